"""Choices and visits of baskets on planted worlds and logs written by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from recenv.config import SplitConfig, WorldConfig
from recenv.data.split import make_split
from recenv.errors import ConfigError
from recenv.schema import EVENT_COLUMNS, OPTIONAL_EVENT_COLUMNS, PURCHASE, InteractionLog
from recenv.studies.baskets import choices, visits
from recenv.studies.baskets import study as baskets
from recenv.synthetic.baskets import emit_baskets
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.users.duration_law import DurationLaw
from recenv.users.repeat_law import PRIOR_VISITS, RepeatLaw
from recenv.world import World

REPEAT, HALF_LIFE = 0.6, 20.0
DAY = 86_400.0


def law(users, first, hazard, spread=0.0, seed=0):
    """Durations with a constant hazard, and users' effects."""
    effect = spread * np.random.default_rng(seed).normal(size=users)
    baseline = np.full(1, np.log(hazard / (1 - hazard)), np.float32)
    return DurationLaw(baseline, effect.astype(np.float32), first, 1.0)


@pytest.fixture(scope="module")
def shop():
    """A world, the log of its baskets, and the world again as a perfect fit would find it."""
    sizes = PlantedConfig(
        num_users=60, num_items=80, dim=3, affinity=1.0, click_intercept=-4.5, seed=3
    )
    world = planted_world(sizes)
    returns = law(60, 0, 0.3, 0.5)
    log = emit_baskets(
        world,
        visits_per_user=400,
        repeat_weights=[REPEAT],
        half_lives=[HALF_LIFE],
        returns=returns,
        days=200,
        seed=5,
    )
    config = WorldConfig(split=SplitConfig(by="time"))
    split = make_split(log, config.split)
    train = log.take(split.rows("train", "all"))
    past = choices.PurchaseHistory(train, np.zeros(len(train), np.int8), 80)
    repeat = RepeatLaw.at_end(
        past.user, past.item, past.visit, 60, weights=[REPEAT], half_lives=[HALF_LIFE]
    )
    model = dataclasses.replace(
        world.user_model,
        repeat=repeat,
        dynamics=world.user_model.dynamics._replace(funnel=0.9),
        user_purchase_bias=np.zeros(60, np.float32),
        item_purchase_bias=np.zeros(80, np.float32),
        purchase_weight=np.zeros(3, np.float32),
        visit_length=law(60, 1, 0.5),
        return_time=returns,
    )
    found = dataclasses.replace(
        world, user_model=model, train=train, heldout=split.heldout, config=config
    )
    return found, log, split


def log_of(rows):
    """(user, item, day, session, value) rows as a log of purchases."""
    frame = pd.DataFrame(rows, columns=["user", "item", "day", "session", "value"])
    frame["time"] = frame.pop("day") * DAY
    frame["response"] = PURCHASE
    columns = EVENT_COLUMNS | OPTIONAL_EVENT_COLUMNS
    events = frame.astype({c: columns[c] for c in frame.columns})
    names = np.array([str(k) for k in range(int(frame["user"].max()) + 1)], object)
    return InteractionLog(events, names, exposes_catalog=True)


def test_past_of_a_log_written_by_hand():
    log = log_of(
        [(0, 0, 0, 10, 2), (0, 1, 0, 10, 3), (0, 1, 2, 11, 4), (1, 2, 2, 12, 5), (0, 0, 9, 13, 1)]
    )
    past = choices.PurchaseHistory(log, np.array([0, 0, 1, 1, 2]), 3)
    told = past.visits
    assert told.user.tolist() == [0, 0, 0, 1]
    assert told.number.tolist() == [0, 1, 2, 0]
    assert told.part.tolist() == [0, 1, 2, 1]
    assert told.day.tolist() == [0, 2, 9, 2]
    assert told.items.tolist() == [2, 1, 1, 1]
    assert told.value.tolist() == [5, 4, 1, 5]
    assert past.bought(told)[:, 1].tolist() == [True, True, False, False]
    assert past.recency(told) == pytest.approx(
        np.array([[0, 0, 0], [1, 1, 0], [1 / 2, 1, 0], [0, 0, 0]])
    )
    half = 0.5  # after one visit
    total = half + half**2 + PRIOR_VISITS
    expected = [half**2 / total, (half + half**2) / total, 0]
    assert past.frequency(told, 1.0)[2] == pytest.approx(expected)
    assert choices.first_of(told).number.tolist() == [0, 0]
    assert choices.last_of(told).number.tolist() == [2, 0]


def test_hits_by_hand():
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    bought = np.array([[False, True, False], [False, False, True]])
    assert choices.hits(scores, bought, 1).tolist() == [0, 1]
    assert choices.hits(scores, bought, 2).tolist() == [1, 1]
    assert choices.hits(scores, bought & False, 9).tolist() == [0, 0]


def test_scores_by_hand():
    """Two households of four types; p = 1/2 and 1/10 in two cells."""
    bought = np.array([[True, False, False, False], [True, True, False, False]])
    p = np.array([[0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1]])
    nothing = np.zeros(2, np.int64)
    asked = choices.Questions(
        choices.BasketVisits(
            np.arange(2), nothing, nothing.astype(np.int8), nothing, nothing, np.zeros(2)
        ),
        bought,
        np.zeros((2, 4), np.float32),
        {},
    )
    design = choices.Design("all", np.ones((2, 4), bool), 0.0)
    flat = np.full(8, 3 / 8)
    methods = {choices.MODEL: (p.ravel(), {}), choices.LOGISTIC: (flat, {})}
    found = choices.score(asked, design, methods, 2)
    loss = -(4 * np.log(0.5) + 4 * np.log(0.9)) / 8
    base = -(3 * np.log(3 / 8) + 5 * np.log(5 / 8)) / 8
    own = found[choices.MODEL].metrics
    assert own["log-loss"].value == pytest.approx(loss)
    assert own["information gain"].value == pytest.approx(1 - loss / base)
    assert own["ECE"].value == pytest.approx((0.25 + 0.1) / 2)
    assert own["mean over rate"].value == pytest.approx(2.4 / 3)
    # of 15 pairs, the 3 bought against 4 below all win; against the 1 equal one half
    assert own["AUC"].value == pytest.approx((3 * 4 + 3 * 0.5) / 15)
    assert found[choices.LOGISTIC].metrics["information gain"].value == pytest.approx(0, abs=1e-9)
    assert found[choices.MODEL].gain["AUC"].value == pytest.approx(0.9 - 0.5)


def test_log_odds_are_the_models_own_once_the_past_ends_where_the_fit_did(shop):
    world, log, split = shop
    train = log.take(split.rows("train", "all"))
    past = choices.PurchaseHistory(train, np.zeros(len(train), np.int8), 80)
    after = choices.last_of(past.visits)
    after = after._replace(number=after.number + 1)
    users, items = np.repeat(after.user, 80), np.tile(np.arange(80), len(after.user))
    model = world.user_model
    p = model.click_probs(users, items).astype(float) * model.purchase_probs(users, items)
    odds = choices.model_log_odds(world, past, after)
    assert 1 / (1 + np.exp(-odds.ravel())) == pytest.approx(p, rel=1e-3)


def test_the_planted_law_is_calibrated_in_every_design(shop):
    """Rows that are drawn are corrected for; a visit without any purchase leaves no trace, which
    raises the log's rate: ``P(bought | something was)``."""
    world, log, split = shop
    past = choices.PurchaseHistory(log, split.part, 80)
    later = past.visits.take(past.visits.part > 0)
    asked = choices.ask(world, past, later, HALF_LIFE)
    p = 1 / (1 + np.exp(-asked.model.astype(float)))
    seen = (1 - np.prod(1 - p, axis=1, keepdims=True)) * np.ones_like(p)
    asked = asked._replace(model=(np.log(p / seen) - np.log(1 - p / seen)).astype(np.float32))
    for design in choices.designs(asked, 1, common=40, most=20):
        told = choices.probabilities(asked, design, asked, design)
        y = asked.bought[design.rows]
        wrong = told[choices.MODEL][0].sum() / y.sum() - 1
        assert abs(wrong) < 4 / np.sqrt(y.sum()), design.name
        assert told[choices.MODEL][0].size == design.rows.sum()
        slope = told["model, rescaled"][1][choices.MODEL]
        assert slope == pytest.approx(1, abs=0.1), design.name


def test_gaps_in_a_window_have_their_closed_form(shop):
    """A visit a day with probability h: gaps of g days that end within W are expected
    ``(1 + (W - g) h) h (1 - h) ** (g - 1)`` times a household."""
    world, _, _ = shop
    h, window, copies = 0.1, 12, 500
    world = dataclasses.replace(
        world, user_model=dataclasses.replace(world.user_model, return_time=law(60, 1, h))
    )
    user = np.repeat(np.arange(60), copies)
    zero = np.zeros(len(user), np.int64)
    first = choices.BasketVisits(
        user, zero, zero.astype(np.int8), zero + 7, zero, zero.astype(float)
    )
    found = visits.window_gaps(world, first, 7 + window, seed=1)
    days = np.arange(1, window + 1)
    expected = len(user) * (1 + (window - days) * h) * h * (1 - h) ** (days - 1)
    got = np.bincount(found.days, minlength=window + 1)
    assert got[0] == 0
    assert len(got) == window + 1
    assert np.abs(got[1:] - expected).max() < 4 * np.sqrt(expected.max())
    assert found.visits.sum() == len(user) + len(found.days)
    # the mean of an unlimited geometric gap is 10
    assert found.days.mean() == pytest.approx((days @ expected) / expected.sum(), abs=0.1)


def test_logged_gaps_and_last_visits():
    log = log_of([(0, 0, 0, 1, 1), (1, 0, 1, 2, 1), (0, 0, 4, 3, 1), (0, 0, 9, 4, 1)])
    told = choices.PurchaseHistory(log, np.zeros(4, np.int8), 1).visits
    gaps = visits.logged_gaps(told, 2)
    assert (gaps.user.tolist(), gaps.days.tolist()) == ([0, 0], [4, 5])
    assert gaps.visits.tolist() == [3, 1]
    assert visits.last_visits(told, np.array([2, 0])).day.tolist() == [4, 9]


def test_persistence_is_a_correlation_of_means_of_logs():
    rng = np.random.default_rng(0)
    user, items = np.repeat(np.arange(20), 3), rng.integers(1, 30, 60)
    other = rng.integers(1, 30, 40)
    found = visits.persistence(
        (np.repeat(np.arange(20), 2), other), (user, items), np.arange(20), 25
    )
    x = [np.log(v).reshape(20, -1).mean(1) for v in (items, other)]
    assert found.value == pytest.approx(np.corrcoef(*x)[0, 1])


@pytest.fixture(scope="module")
def evaluated(shop):
    world, log, _ = shop
    return baskets.evaluate(world, log, baskets.Options(asked=200, rolled=100))


def test_a_true_world_beats_the_baselines(shop, evaluated):
    _, log, split = shop
    group = evaluated["fitted"]
    of = next(iter(group.choice.values()))
    assert of[choices.MODEL].metrics["AUC"].value > of[choices.POPULARITY].metrics["AUC"].value
    assert group.simulated.counts["held-out visits"] == len(
        np.unique(log.column("session")[~split.rows("train", "all") & ~split.heldout[split.user]])
    )
    ks = {d.name: d for d in group.simulated.distances["days between visits"]}
    assert ks["simulated"].ks.value < ks["simulated"].chance + 0.1
    assert group.simulated.counts["visits rolled out"] == 100


def test_the_report_names_what_is_missed(shop, evaluated, tmp_path, monkeypatch, capsys):
    world, log, _ = shop
    monkeypatch.setattr(baskets, "load", lambda *_, **__: (log, world.catalog))
    monkeypatch.setattr(baskets, "encode_items", lambda *_, **__: None)
    monkeypatch.setattr(baskets, "build_world", lambda *_, **__: world)
    monkeypatch.setattr(baskets, "evaluate", lambda *_: evaluated)
    assert baskets.main(["--quiet", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    # visits are of geometric size whatever the household, so that nothing lasts
    assert "MISSED: persistence of visit length, households fitted" in shown
    assert "| AUC | fitted |" in shown
    told = json.loads((tmp_path / "baskets.json").read_text())
    assert told["missed"] == baskets.missed(evaluated)
    assert shown.strip() in (tmp_path / "baskets.md").read_text()
    monkeypatch.setattr(baskets, "missed", lambda _: [])
    monkeypatch.setattr(World, "member", lambda self, *_, **__: self)
    assert baskets.main(["--quiet", "--members", "1"]) == 0
    value = f"{evaluated['fitted'].judged()['AUC']:.4f}"
    lines = capsys.readouterr().out.splitlines()
    heads = next(x for x in lines if "| met |" in x)
    row = next(x for x in lines if "| AUC | fitted |" in x)
    assert "member 1" in heads
    assert row.count(value) == 2


def test_a_world_without_visits_is_refused(shop):
    world, log, _ = shop
    bare = dataclasses.replace(
        world, user_model=dataclasses.replace(world.user_model, return_time=None)
    )
    with pytest.raises(ConfigError, match="when users return"):
        baskets.evaluate(bare, log, baskets.Options())
