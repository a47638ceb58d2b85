"""Intervals: closed forms, and coverage where the truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.evaluation import (
    METRICS,
    difference,
    gini,
    mean_interval,
    paired_difference,
    paired_position,
    per_user,
    position,
    rollout,
    summarise,
)
from recenv.recommenders import OracleRecommender, PopularityRecommender, RandomRecommender
from recenv.sim import Simulator
from recenv.synthetic import planted_world

USERS, VISITS = 40, 5


def clustered(rng: np.random.Generator, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Skewed user levels (exponential) plus noise of equal size per visit; values and users."""
    level = mean - 1 + rng.exponential(size=USERS)
    user = np.repeat(np.arange(USERS), VISITS)
    return level[user] + rng.normal(size=len(user)), user


def test_mean_interval_is_students() -> None:
    values, user = clustered(np.random.default_rng(0), 2.0)
    means = values.reshape(USERS, VISITS).mean(axis=1)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    found = mean_interval(values, user)
    np.testing.assert_allclose(found, [means.mean(), expected.low, expected.high, USERS])


def test_users_weigh_the_same_however_often_they_come() -> None:
    np.testing.assert_allclose(
        per_user(np.array([1.0, 3.0, 10.0]), np.array([7, 7, 2])), [10.0, 2.0]
    )


def test_intervals_over_users_cover_and_intervals_over_visits_do_not() -> None:
    """2000 data sets: coverage has standard error 0.005, so 0.95 lies within 4 of them.

    A skewed population costs the t interval 1 % at 40 users; it is let below by 0.03.
    """
    rng = np.random.default_rng(1)
    hits = naive_hits = 0
    for _ in range(2000):
        values, user = clustered(rng, 2.0)
        found = mean_interval(values, user)
        hits += found.low < 2.0 < found.high
        half = 1.96 * stats.sem(values)
        naive_hits += abs(values.mean() - 2.0) < half
    assert 0.92 < hits / 2000 < 0.97
    assert naive_hits / 2000 < 0.80


def test_paired_differences_cover_and_beat_unpaired_ones() -> None:
    rng = np.random.default_rng(2)
    hits, paired_width, unpaired_width = 0, 0.0, 0.0
    for _ in range(1000):
        values, user = clustered(rng, 2.0)
        better = values + 0.3 + 0.5 * rng.normal(size=len(values))
        found = paired_difference(better, values, user)
        hits += found.low < 0.3 < found.high
        paired_width += found.high - found.low
        first, second = (mean_interval(v, user) for v in (better, values))
        unpaired_width += np.hypot(first.high - first.low, second.high - second.low)
    assert 0.92 < hits / 1000 < 0.98  # standard error 0.007
    assert paired_width < 0.25 * unpaired_width


def test_common_random_numbers_pay_in_the_simulator() -> None:
    simulator = Simulator(planted_world(), GameConfig(num_candidates=20))
    users = {"users": "heldout", "episodes_per_user": 5}
    first = rollout(simulator, PopularityRecommender(), **users)
    second = rollout(simulator, RandomRecommender(), **users)
    paired = difference(first, second)
    sides = [mean_interval(r.recommender_reward, r.user) for r in (first, second)]
    assert paired.mean == pytest.approx(sides[0].mean - sides[1].mean)
    unpaired = np.hypot(sides[0].high - sides[0].low, sides[1].high - sides[1].low)
    assert paired.high - paired.low < 0.8 * unpaired


def test_position_has_its_ends_and_covers() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        low, user = clustered(rng, 2.0)
        span = 1 + rng.exponential(size=USERS)[user]  # mean 2
        own = low + 0.25 * span + 0.5 * rng.normal(size=len(low))
        found = paired_position(own, low, low + span, user)
        hits += found.low < 0.25 < found.high
        assert paired_position(low, low, low + span, user)[:3] == (0, 0, 0)
        assert paired_position(low + span, low, low + span, user)[:3] == pytest.approx((1, 1, 1))
    assert 0.88 < hits / 200 <= 1  # standard error 0.015


def test_position_is_unknown_between_two_that_cannot_be_told_apart() -> None:
    low, user = clustered(np.random.default_rng(4), 2.0)
    noise = np.random.default_rng(5).normal(size=len(low))
    found = paired_position(low + 1, low, low + noise - noise.mean(), user)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(paired_position(low + 1, low, low, user).mean)


def test_gini_by_hand() -> None:
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    counts = np.random.default_rng(0).integers(0, 50, 30)
    pairs = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert gini(counts) == pytest.approx(pairs)
    assert np.isnan(gini(np.zeros(3, int)))


def test_rows_and_paired_metrics() -> None:
    simulator = Simulator(planted_world(), GameConfig(num_candidates=20))
    users = {"users": "heldout", "episodes_per_user": 2}
    low, mid, high = (
        rollout(simulator, r, **users)
        for r in (RandomRecommender(), PopularityRecommender(), OracleRecommender())
    )
    row = summarise(mid, kind="baseline")
    assert (row.name, row.kind, row.visits) == ("popularity", "baseline", len(mid))
    assert list(row.metrics) == list(METRICS)
    assert row.metrics["clicks"].mean == pytest.approx(mid.clicks.mean())
    assert row.coverage < summarise(low).coverage
    assert row.gini > summarise(low).gini
    between = position(mid, low, high)
    assert 0 < between.low < between.mean < between.high < 1
    stranger = dataclasses.replace(mid, seed=1)
    with pytest.raises(ConfigError, match="rolled out on different visits"):
        difference(stranger, low)
    with pytest.raises(ConfigError, match="rolled out on different visits"):
        position(mid, low, dataclasses.replace(high, user=high.user[::-1]))


def test_one_user_has_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least 2 users, but there are 1"):
        mean_interval(np.ones(3), np.zeros(3, int))
    with pytest.raises(ConfigError, match="same visits on both sides"):
        paired_difference(np.ones(3), np.ones(4), np.zeros(3, int))
