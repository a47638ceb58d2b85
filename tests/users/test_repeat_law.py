"""The personal past: against sums written out, and the planted weight recovered."""

import dataclasses

import numpy as np
import pytest

from recenv.errors import ConfigError
from recenv.schema import CLICK, PURCHASE
from recenv.studies.recovery.laws import (
    FIT,
    REPEAT,
    make_world,
    pairs,
    planted_duration,
    refit,
)
from recenv.synthetic.baskets import emit_baskets
from recenv.users.fitting import fit_user_model
from recenv.users.fitting.training_rows import make_rows, repeats, with_past
from recenv.users.repeat_law import (
    FLOOR,
    PRIOR_VISITS,
    RepeatLaw,
    feature,
    past_frequency,
    visit_numbers,
)


def past_by_hand(user, item, visit, consumed, half_life):
    """Every row against every other."""
    out = np.zeros(len(user))
    for a in range(len(user)):
        earlier = {
            int(visit[b])
            for b in range(len(user))
            if user[b] == user[a] and visit[b] < visit[a] and consumed[b] and item[b] == item[a]
        }
        with_item = sum(2 ** (-(visit[a] - v) / half_life) for v in earlier)
        every = sum(2 ** (-(visit[a] - v) / half_life) for v in range(visit[a]))
        out[a] = with_item / (every + PRIOR_VISITS)
    return out


@pytest.mark.parametrize("half_life", [1.0, 5.0, 40.0])
def test_past_frequency_against_sums(half_life):
    rng = np.random.default_rng(0)
    user, item = rng.integers(4, size=300), rng.integers(6, size=300)
    visit, consumed = rng.integers(9, size=300), rng.random(300) < 0.4
    got = past_frequency(user, item, visit, consumed, 6, half_life)
    np.testing.assert_allclose(
        got, past_by_hand(user, item, visit, consumed, half_life), rtol=1e-5, atol=1e-7
    )


def test_the_past_of_one_user_by_hand():
    """Bread in visits 0 and 2, asked in visit 3 at half-life 1: (1/8 + 1/2) / (7/8 + 1)."""
    visit, item = np.array([0, 1, 2, 3]), np.array([5, 2, 5, 5])
    got = past_frequency(np.zeros(4, np.int64), item, visit, np.ones(4, bool), 6, 1.0)
    np.testing.assert_allclose(got, [0, 0, 0.25 / 1.75, 0.625 / 1.875], rtol=1e-6)


def test_the_law_at_the_end_is_the_feature_of_a_visit_to_come():
    rng = np.random.default_rng(1)
    user, item, visit = rng.integers(3, size=80), rng.integers(5, size=80), rng.integers(7, size=80)
    law = RepeatLaw.at_end(user, item, visit, 4, weights=(0.7, 0.2), half_lives=(3.0, 9.0))
    users, items = (a.ravel() for a in np.meshgrid(np.arange(3), np.arange(5)))
    last = np.array([visit[user == u].max() + 1 for u in range(3)])
    joined = [np.concatenate(pair) for pair in ((user, users), (item, items), (visit, last[users]))]
    expected = sum(
        weight * np.log1p(past_by_hand(*joined, np.arange(95) < 80, half_life)[80:] / FLOOR)
        for weight, half_life in ((0.7, 3.0), (0.2, 9.0))
    )
    np.testing.assert_allclose(law.of(users, items), expected, rtol=1e-5)
    assert (law.of([3, 3], [0, 4]) == 0).all()
    never = RepeatLaw.at_end(user, item, visit, 4)
    assert never.excludes
    assert (never.of(user, item) == -30).all()


def test_visits_are_numbered_by_their_first_event():
    session = np.array([7, 7, 3, 9, 3, 1])
    user = np.array([0, 0, 0, 1, 0, 1])
    time = np.array([5.0, 6.0, 1.0, 2.0, 9.0, 3.0])
    np.testing.assert_array_equal(visit_numbers(user, session, time), [1, 1, 0, 0, 0, 1])


@pytest.fixture(scope="module")
def shop():
    """A shop of 150 items, 40 users of 60 visits; its log has 15 000 to 20 000 purchases."""
    world = make_world(
        2, affinity=0.8, click_intercept=-4.2, user_bias=0.2, num_items=150, num_users=40
    )
    log = emit_baskets(world, visits_per_user=60, repeat_weights=REPEAT, seed=5)
    return world, log.validate(world.catalog)


@pytest.fixture(scope="module")
def fitted(shop):
    return refit(*shop)


def test_the_generator_plants_what_it_says(shop):
    """The logged rate by personal past, against the planted probabilities of those pairs."""
    world, log = shop
    assert log.exposes_catalog
    assert (log.column("response") == PURCHASE).all()
    rows = make_rows(log, FIT)
    assert repeats(rows) > 0.2
    users, items = pairs(world)
    last = rows.visit == 40
    came = np.unique(rows.user[last])
    keep = np.isin(users, came)
    asked = rows.take(rows.visit < 40)
    first = asked.take(np.zeros(int(keep.sum()), np.int64))._replace(
        user=users[keep], item=items[keep], visit=np.full(int(keep.sum()), 40),
        response=np.zeros(int(keep.sum()), np.int64),
    )  # fmt: skip
    past = with_past(asked.add(first), 150).past[asked.size :]
    p = world.user_model.click_probs(users[keep], items[keep]).astype(float)
    logit = np.log(p / (1 - p)) + feature(past) @ np.array(REPEAT)
    expected = 1 / (1 + np.exp(-logit))
    taken = np.isin(users[keep] * 150 + items[keep], rows.user[last] * 150 + rows.item[last])
    known = past.any(axis=1)
    for group in (~known, known):
        error = np.sqrt((expected * (1 - expected))[group].sum())
        assert abs(taken[group].sum() - expected[group].sum()) < 4 * error
    assert expected[known].mean() > 3 * expected[~known].mean()


def test_planted_repeat_weights_are_recovered(fitted):
    """Together; 60 visits tell a lasting habit poorly from a taste, which 400 purchases hold."""
    assert max(fitted.laws["repeat"].spread.values()) < 0.03
    assert sum(fitted.repeat.weights) == pytest.approx(sum(REPEAT), abs=0.08)
    np.testing.assert_allclose(fitted.repeat.weights, REPEAT, atol=0.2)


def test_no_weight_is_found_where_none_is_planted(shop):
    world, _ = shop
    log = emit_baskets(world, visits_per_user=60, seed=6)
    model = refit(world, log)
    # taste alone, in 6 000 purchases: what the fit has not learnt of it looks like a past
    assert abs(sum(model.repeat.weights)) < 0.15


def test_sampled_negatives_recover_the_level(shop, fitted):
    """Contrasting with a sample of what was passed over keeps the level: within 10 %.

    The log of a mean probability from 2 400 visits of 7 has a standard error of 1 %; the pull of
    the penalties on 190 biases adds a few. Without the offset for the sampling the level would
    be off by a factor of the share sampled, about 5.
    """
    world, _ = shop
    users, items = pairs(world)
    still = dataclasses.replace(fitted, repeat=None)
    got = (still.click_probs(users, items) * still.purchase_probs(users, items)).mean()
    wanted = world.user_model.click_probs(users, items).mean()
    assert got == pytest.approx(wanted, rel=0.1)
    assert fitted.laws["click level"].source == "fitted"


def test_the_weight_in_a_shop_whose_visits_take_a_large_share():
    """40 items and visits that take 2 to 20 of them: each visit passed over another number.

    The right offset is that of each visit: -log(drawn / passed over there).
    """
    world = make_world(0, affinity=0.8, click_intercept=-3.2, user_bias=0.2)
    log = emit_baskets(world, visits_per_user=60, repeat_weights=REPEAT, seed=77)
    model = refit(world, log)
    assert sum(model.repeat.weights) == pytest.approx(sum(REPEAT), abs=0.03)


def test_a_log_without_repeats_says_never():
    world = make_world(1, num_items=200)
    log = emit_baskets(world, visits_per_user=1, seed=3)
    first = ~log.events.duplicated(["user", "item"]).to_numpy()
    once = dataclasses.replace(log.take(first), exposes_catalog=False)
    assert len(once) >= 1000
    model = fit_user_model(once, world.catalog, world.interests, FIT, progress=False)
    assert model.repeat.excludes
    taken = once.column("response") >= CLICK
    pair = once.column("user")[taken], once.column("item")[taken]
    assert model.click_probs(*pair).max() < 1e-4


def test_baskets_of_a_planted_length():
    world = make_world(1)
    lengths = planted_duration(1, 8, 60, seed=1)
    log = emit_baskets(world, visits_per_user=40, lengths=lengths, seed=3)
    size = log.events.groupby("session").size().to_numpy()
    small = np.mean([lengths.cdf([u])[0, 2] for u in range(60)])
    assert np.mean(size <= 3) == pytest.approx(small, abs=4 * 0.5 / np.sqrt(2400))


def test_wrong_input_is_named():
    world = make_world(1)
    with pytest.raises(ConfigError, match="visits_per_user must be at least 1"):
        emit_baskets(world, visits_per_user=0)
    with pytest.raises(ConfigError, match="a weight for each of the half-lives"):
        emit_baskets(world, repeat_weights=[0.5])
    one = np.zeros(1, np.int64)
    with pytest.raises(ConfigError, match="a weight for each of its half-lives"):
        RepeatLaw.at_end(one, one, one, 1, weights=[0.5])
    with pytest.raises(ConfigError, match="Give both returns and days"):
        emit_baskets(world, days=30)


def test_lookups_find_what_is_there_and_nothing_else():
    """The filter in front of the bisection never hides an entry."""
    rng = np.random.default_rng(0)
    users, items = 60, 5000
    count = rng.integers(0, 300, size=users)
    count[:3] = 0, 1, 2
    user = np.repeat(np.arange(users), count)
    item = np.concatenate([rng.choice(items, n, replace=False) for n in count])
    law = RepeatLaw.at_end(user, item, np.zeros(len(user), np.int64), users, weights=(0.5, 0.2))
    had = np.zeros((users, items), bool)
    had[user, item] = True
    every = np.indices((users, items)).reshape(2, -1)
    np.testing.assert_array_equal(law.of(*every).reshape(users, items) > 0, had)
    start, words = law.filter
    size = np.diff(start)
    assert ((size == 0) == (count == 0)).all()
    assert (np.log2(size[size > 0]) % 1 == 0).all()
    bits = np.unpackbits(words.view(np.uint8)).mean()
    assert bits < 1 / 8  # fewer than one other item in eight is looked for in vain
