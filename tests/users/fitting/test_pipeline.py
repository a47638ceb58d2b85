"""The fit recovers planted parameters, and notices when a law is broken."""

import dataclasses

import numpy as np
import pytest

from recenv.config import GameConfig, UserModelConfig
from recenv.encoders.interest_vectors import InterestVectors
from recenv.errors import SchemaError
from recenv.jit.logistic import sigmoid
from recenv.schema import CLICK
from recenv.synthetic import emit_log
from recenv.users.fitting import fit_user_model
from recenv.users.model import UserModel

GAME = GameConfig(slate_size=5, num_candidates=20)
# little shrinkage and many steps: what is tested is the likelihood, not the prior
CONFIG = UserModelConfig(
    epochs=10, batch_size=4096, learning_rate=0.02, user_l2=1.0, item_l2=1.0, bias_l2=0.3
)


@pytest.fixture(scope="module")
def log(still_world):
    return emit_log(still_world, GAME, visits_per_user=20, seed=1)


def pairs(world):
    users, items = np.meshgrid(np.arange(world.num_users), np.arange(len(world.catalog)))
    return users.ravel(), items.ravel()


def errors(world, log, folded=None, config=CONFIG):
    """RMSE of click and purchase probabilities over all pairs, after a fit to the log."""
    model = fit_user_model(
        log, world.catalog, world.interests, config, folded=folded, progress=False
    )
    users, items = pairs(world)
    truth = world.user_model
    click = model.click_probs(users, items) - truth.click_probs(users, items)
    buy = model.purchase_probs(users, items) - truth.purchase_probs(users, items)
    return np.sqrt(np.mean(click**2)), np.sqrt(np.mean(buy**2)), model


@pytest.fixture(scope="module")
def fitted(still_world, log):
    return errors(still_world, log)


def test_planted_probabilities_are_recovered(still_world, log, fitted):
    """Tolerance: 300 000 impressions on 12 000 pairs are 25 looks a pair, 17 after examination.

    A pair alone would have a standard error of about sqrt(.2 * .8 / 17) = .10 on its click
    probability. Sharing strength over the roughly 1000 parameters of the model brings
    300 impressions (190 looks) to each parameter: sqrt(.16 / 190) = .03. The purchase law sees
    only the clicks, a seventh of that: sqrt(.25 / 27) = .10. The spread of the truth itself is
    printed by the assertion: knowing nothing costs that much.
    """
    click, buy, _ = fitted
    truth = still_world.user_model
    spread = [np.std(f(*pairs(still_world))) for f in (truth.click_probs, truth.purchase_probs)]
    assert click < 0.04, (click, spread)
    assert buy < 0.10, (buy, spread)
    assert click < 0.25 * spread[0]
    assert buy < 0.5 * spread[1]


def test_planted_appeal_of_items_is_recovered(still_world, fitted):
    """Mean log-odds over users: biases alone trade off against the mean of the users' vectors."""

    def appeal(model):
        for name in ("click_probs", "purchase_probs"):
            p = getattr(model, name)(*pairs(still_world)).reshape(len(still_world.catalog), -1)
            yield np.log(p / (1 - p)).mean(1)

    for got, wanted in zip(appeal(fitted[2]), appeal(still_world.user_model), strict=True):
        assert np.corrcoef(got, wanted)[0, 1] > 0.8


def test_error_shrinks_with_the_log(still_world, log, fitted):
    """Four times the data should halve the error; the prior helps the small log a little."""
    quarter = log.take(log.column("session") < log.column("session").max() / 4)
    click, buy, _ = errors(still_world, quarter)
    assert click > 1.4 * fitted[0]
    assert buy > 1.25 * fitted[1]


@pytest.mark.parametrize("broken", ["sigmoid twice", "position bias dropped"])
def test_a_broken_law_fails_recovery(still_world, log, fitted, broken, monkeypatch):
    """The same comparison with a law broken on purpose misses the tolerance by far."""
    if broken == "sigmoid twice":
        model = fitted[2]
        users, items = pairs(still_world)
        p = sigmoid.py_func
        twice = np.array([p(np.float32(x)) for x in model.click_probs(users, items)])
        error = np.sqrt(np.mean((twice - still_world.user_model.click_probs(users, items)) ** 2))
    else:
        events = log.events.drop(columns="position")
        error, _, _ = errors(still_world, dataclasses.replace(log, events=events))
    assert error > 0.06
    assert error > 2 * fitted[0]


def test_sampled_negatives_recover_the_odds_without_impressions(still_world):
    """A log of clicks alone: which items a user clicks, uniformly exposed to each once.

    The level is lost (it becomes the stated one); log-odds ratios between items are not.
    """
    world = still_world
    truth = world.user_model
    model = dataclasses.replace(truth, user_click_bias=np.zeros_like(truth.user_click_bias))
    users, items = pairs(world)
    rng = np.random.default_rng(0)
    p = model.click_probs(users, items)
    clicked = rng.random(len(p)) < p
    bought = rng.random(len(p)) < model.purchase_probs(users, items)
    n = int(clicked.sum())
    events = emit_log(world, GAME, seed=1).events.iloc[:0]
    events = events.reindex(range(n))[["user", "item", "time", "response"]].assign(
        user=users[clicked].astype(np.int32),
        item=items[clicked].astype(np.int32),
        time=np.arange(n, dtype=float),
        response=(CLICK + bought[clicked]).astype(np.int8),
    )
    log = dataclasses.replace(world.train, events=events, has_impressions=False)
    config = CONFIG.replace(click_rate=float(p.mean()))
    fit = fit_user_model(log, world.catalog, world.interests, config, progress=False)
    assert fit.repeat is not None
    assert fit.repeat.excludes  # no pair stands twice in this log; what follows is of first looks
    assert fit.click_probs(users[clicked], items[clicked]).max() < 1e-4
    fit = dataclasses.replace(fit, repeat=None)
    assert (fit.user_click_bias == 0).all()
    assert fit.laws["click level"].source == "prior"
    got = fit.click_probs(users, items)
    assert abs(got.mean() - p.mean()) < 0.003  # the stated level, whatever it is
    low = fit_user_model(
        log, world.catalog, world.interests, config.replace(click_rate=0.02), progress=False
    )
    low = dataclasses.replace(low, repeat=None)
    assert abs(low.click_probs(users, items).mean() - 0.02) < 0.001

    def logit(x):
        return np.log(x / (1 - x))

    # Each pair was looked at once, 2 300 clicks in all for about 760 parameters: single pairs
    # stay vague, items do not. The items' empirical click rates, 29 clicks each, correlate .92
    # with the truth (log-odds); a fit that corrects for its sampling comes as near.
    assert np.corrcoef(logit(got), logit(p))[0, 1] > 0.75
    by_item = [logit(x.reshape(len(world.catalog), -1).mean(1)) for x in (p, got)]
    assert np.corrcoef(by_item)[0, 1] > 0.87
    slope = np.polyfit(*by_item, 1)[0]
    assert 0.75 < slope < 1.25


def test_folded_users_touch_no_shared_parameter(still_world, log):
    log = log.take(log.column("session") < log.column("session").max() / 4)
    folded = np.zeros(still_world.num_users, bool)
    folded[:30] = True
    _, _, with_them = errors(still_world, log, folded)
    without = log.take(~folded[log.column("user")])
    _, _, alone = errors(still_world, without, folded)
    for name in ("item_vectors", "item_click_bias", "click_weight", "purchase_weight"):
        np.testing.assert_array_equal(getattr(with_them, name), getattr(alone, name))
    np.testing.assert_array_equal(with_them.user_vectors[30:], alone.user_vectors[30:])
    users, items = pairs(still_world)
    mine = folded[users]
    truth = still_world.user_model.click_probs(users[mine], items[mine])
    fitted_error = np.sqrt(np.mean((with_them.click_probs(users[mine], items[mine]) - truth) ** 2))
    start_error = np.sqrt(np.mean((alone.click_probs(users[mine], items[mine]) - truth) ** 2))
    assert fitted_error < 0.6 * start_error


def test_fit_is_deterministic_and_survives_saving(still_world, log, fitted, tmp_path):
    again = errors(still_world, log)[2]
    fitted[2].save(tmp_path / "model")
    loaded = UserModel.load(tmp_path / "model")
    for name, value in fitted[2].to_artifact()[0].items():
        np.testing.assert_array_equal(again.to_artifact()[0][name], value)
        np.testing.assert_array_equal(loaded.to_artifact()[0][name], value)
    assert loaded.laws == fitted[2].laws
    assert loaded.dynamics == fitted[2].dynamics


def test_every_law_says_where_it_comes_from(fitted):
    sources = {name: law.source for name, law in fitted[2].laws.items()}
    assert sources == {
        "click": "fitted",
        "click level": "fitted",
        "purchase": "fitted",
        "examination": "fitted",
        "leave": "fitted",
        "boredom": "fitted",
        "drift": "prior",  # without validation events
        "repeat": "prior",  # past clicks tell of taste as well
        "return": "fitted",
        "visit length": "prior",  # rounds are known, so the hazard of each round ends visits
    }
    assert all(law.note for law in fitted[2].laws.values())
    assert fitted[2].laws["examination"].spread["slot 2"] > 0


def simulated_click_rate(world, model, seed=7):
    twin = dataclasses.replace(world, user_model=model)
    emitted = emit_log(twin, GAME, visits_per_user=5, seed=seed)
    return (emitted.column("response") >= CLICK).mean()


@pytest.mark.parametrize("positions", [True, False])
def test_the_simulated_click_rate_is_the_logged_one(still_world, log, positions):
    """0.005 is four standard errors of 75 000 simulated impressions."""
    events = log.events if positions else log.events.drop(columns="position")
    model = errors(still_world, dataclasses.replace(log, events=events))[2]
    logged = (log.column("response") >= CLICK).mean()
    assert abs(simulated_click_rate(still_world, model) - logged) < 0.005
    assert ("no positions" in model.laws["examination"].note) == (not positions)


def test_wrong_input_is_named(still_world, log):
    world = still_world
    few = InterestVectors(world.interests.items[:3], world.interests.users, False, "x")
    with pytest.raises(SchemaError, match="interest vectors are of 150 users and 3 items"):
        fit_user_model(log, world.catalog, few, CONFIG, progress=False)
    everyone = np.ones(world.num_users, bool)
    with pytest.raises(SchemaError, match="No click is left"):
        fit_user_model(log, world.catalog, world.interests, CONFIG, folded=everyone, progress=False)
    with pytest.raises(SchemaError, match="There is no item 80"):
        world.user_model.click_probs([0], [80])


def test_leave_probs_against_the_formula(toy):
    model = toy.user_model
    d = model.dynamics
    rounds, satisfaction, boredom = np.array([0, 5, 19]), np.array([0, 2.5, -1]), [0, 0.3, 2]
    x = (
        d.leave_intercept
        + d.leave_length * rounds
        - d.leave_satisfaction * satisfaction
        + d.leave_boredom * np.array(boredom)
    )
    expected = 1 / (1 + np.exp(-x))
    got = model.leave_probs(rounds, satisfaction, boredom)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
