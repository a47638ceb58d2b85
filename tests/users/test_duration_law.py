"""Durations: the hazard against counts, planted effects recovered, censoring, weights."""

import numpy as np
import pytest
from scipy.special import expit

from recenv.errors import SchemaError
from recenv.studies.recovery.laws import draw_durations, planted_duration
from recenv.users.duration_law import DurationLaw

ALIKE = 1e6
"""A precision under which all users are one."""


def counted(duration, ended, steps):
    """(steps,) hazards d / n by counting: those that ended over those that got so far."""
    out = []
    for m in range(steps):
        there = sum(1 for d in duration if d >= m)
        out.append(sum(1 for d, e in zip(duration, ended, strict=True) if d == m and e) / there)
    return np.array(out)


def test_without_effects_the_hazard_is_the_life_tables():
    """All users alike and many of them: the maximum likelihood is d / n at every step.

    What ties neighbouring steps weighs 10 / (1 + d / 20) against about n h (1 - h) for the data:
    under 0.3 % of it here, on jumps of the log-odds of at most 1.
    """
    law = planted_duration(0, 8, 1, seed=0, spread=0.0)
    lasted = np.minimum(draw_durations(law, np.zeros(40_000, np.int64), 1), 30)
    fit = DurationLaw.fit(
        lasted, np.ones(len(lasted), bool), np.zeros(len(lasted), np.int64), 1,
        first=0, longest=40, l2=ALIKE,
    )  # fmt: skip
    table = counted(lasted.tolist(), [True] * len(lasted), 9)
    np.testing.assert_allclose(fit.hazards([0])[0, :9], table, rtol=0.02)
    np.testing.assert_allclose(fit.cdf([0])[0, 5], np.mean(lasted <= 5), atol=0.002)


@pytest.mark.parametrize("first", [0, 1])
def test_censored_durations_do_not_bias_the_hazard(first):
    """Half are watched for 5 steps only; taking those for ended would end them all there."""
    law = planted_duration(first, 12, 1, seed=0, spread=0.0)
    user = np.zeros(30_000, np.int64)
    lasted = draw_durations(law, user, 2)
    limit = np.where(np.arange(len(user)) % 2 == 0, first + 5, 10_000)
    seen, ended = np.minimum(lasted, limit), lasted <= limit

    def error(ended):
        fit = DurationLaw.fit(seen, ended, user, 1, first=first, longest=first + 11, l2=ALIKE)
        away = np.arange(12) != 5  # the step of the limit itself has its own test
        return np.abs(expit(fit.baseline) - expit(law.baseline))[away].max()

    # standard error of a late step: sqrt(.15 * .85 / 3000 still there) = .0065, twice that
    assert error(ended) < 0.015
    taken_for_ended = DurationLaw.fit(
        seen, np.ones(len(seen), bool), user, 1, first=first, longest=first + 11, l2=ALIKE
    )
    assert abs(expit(taken_for_ended.baseline[5]) - expit(law.baseline[5])) > 0.1


def test_the_hazard_at_the_censoring_step_itself():
    """Seen through step 5 without ending: at risk there, as in Kaplan & Meier (1958)."""
    law = planted_duration(0, 12, 1, seed=0, spread=0.0)
    user = np.zeros(30_000, np.int64)
    lasted = draw_durations(law, user, 2)
    limit = np.where(np.arange(len(user)) % 2 == 0, 5, 10_000)
    seen, ended = np.minimum(lasted, limit), lasted <= limit
    fit = DurationLaw.fit(seen, ended, user, 1, first=0, longest=11, l2=ALIKE)
    wanted = counted(seen.tolist(), ended.tolist(), 6)[5]
    assert fit.hazards([0])[0, 5] == pytest.approx(wanted, rel=0.03)


def test_users_effects_are_recovered_and_sharpen_with_the_log():
    """200 durations a user: standard error of an effect 1 / sqrt(200 * 1 * .85) = .08."""
    law = planted_duration(1, 12, 40, seed=3)

    def fit(each):
        user = np.repeat(np.arange(40), each)
        lasted = draw_durations(law, user, 4)
        return DurationLaw.fit(lasted, np.ones(len(user), bool), user, 40, first=1, longest=12)

    errors = [np.std(fit(each).effect - law.effect) for each in (25, 200)]
    assert errors[1] < 0.11
    assert 1.9 < errors[0] / errors[1] < 4.2  # sqrt(8) = 2.8
    assert np.corrcoef(fit(200).effect, law.effect)[0, 1] > 0.98


def test_draws_follow_the_hazards():
    law = planted_duration(1, 6, 2, seed=5)
    uniforms = np.random.default_rng(0).random(20_000)
    drawn = law.sample(np.ones(20_000, int), uniforms)
    assert drawn.min() == 1
    got = [np.mean(drawn <= 1 + m) for m in range(6)]
    np.testing.assert_allclose(got, law.cdf([1])[0], atol=4 * 0.5 / np.sqrt(20_000))
    stepwise = draw_durations(law, np.ones(20_000, int), 6)
    assert np.mean(stepwise) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / np.sqrt(10_000))


def test_folded_users_do_not_touch_the_baseline():
    law = planted_duration(1, 8, 30, seed=1)
    user = np.repeat(np.arange(30), 60)
    lasted, ended = draw_durations(law, user, 2), np.ones(1800, bool)
    folded = np.arange(30) < 10
    both = DurationLaw.fit(lasted, ended, user, 30, first=1, folded=folded, l2=1.0)
    own = ~folded[user]
    alone = DurationLaw.fit(lasted[own], ended[own], user[own], 30, first=1, folded=folded, l2=1.0)
    np.testing.assert_array_equal(both.baseline, alone.baseline)
    np.testing.assert_array_equal(both.effect[10:], alone.effect[10:])
    assert np.corrcoef(both.effect[:10], law.effect[:10])[0, 1] > 0.9


def repeated(lasted, user, counts):
    """Rows of users as often as drawn, every copy a user of its own."""
    rows = [np.flatnonzero(user == u) for u in np.repeat(np.arange(len(counts)), counts)]
    owner = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    return lasted[np.concatenate(rows)], owner


COUNTS = np.array([0, 1, 2, 1, 3, 0, 1, 1, 2, 1, 0, 1, 1, 2, 0, 1, 1, 1, 2, 0])


def fit_weighted_and_repeated(l2):
    law = planted_duration(1, 8, 20, seed=7)
    user = np.repeat(np.arange(20), 50)
    lasted = draw_durations(law, user, 8)
    every = np.ones(len(user), bool)
    weighted = DurationLaw.fit(
        lasted, every, user, 20, first=1, longest=8, l2=l2, weight=COUNTS.astype(float)
    )
    more, owner = repeated(lasted, user, COUNTS)
    users = int(COUNTS.sum())
    copies = DurationLaw.fit(
        more, np.ones(len(more), bool), owner, users, first=1, longest=8, l2=l2
    )
    return weighted, copies


def test_weights_are_copies_of_users():
    """Without effects: the same likelihood, to the optimiser's tolerance."""
    weighted, copies = fit_weighted_and_repeated(ALIKE)
    np.testing.assert_allclose(weighted.baseline, copies.baseline, atol=2e-3)


def test_weights_are_copies_of_users_with_effects_too():
    weighted, copies = fit_weighted_and_repeated(10.0)
    first = np.cumsum(COUNTS) - COUNTS
    drawn = COUNTS > 1
    np.testing.assert_allclose(weighted.effect[drawn], copies.effect[first[drawn]], atol=0.02)


def test_reported_errors_are_those_of_the_bootstrap():
    """Users alike, so that resampling users is resampling durations: SDs within a factor 1.7.

    40 samples know a standard deviation to 11 %.
    """
    law = planted_duration(0, 6, 300, seed=2, spread=0.0)
    user = np.repeat(np.arange(300), 5)
    lasted, every = draw_durations(law, user, 3), np.ones(1500, bool)
    rng = np.random.default_rng(0)

    def fit(weight=None):
        return DurationLaw.fit(
            lasted, every, user, 300, first=0, longest=5, l2=ALIKE, weight=weight
        )

    drawn = [
        fit(np.bincount(rng.integers(300, size=300), minlength=300).astype(float)).baseline
        for _ in range(40)
    ]
    ratio = np.std(drawn, axis=0) / fit().standard_errors(lasted, every, user)
    assert ((ratio > 0.6) & (ratio < 1.7)).all(), ratio


def test_wrong_input_is_named():
    every = np.ones(2, bool)
    with pytest.raises(SchemaError, match="No finished duration"):
        DurationLaw.fit(np.array([1, 2]), ~every, np.array([0, 0]), 1, first=1)
    with pytest.raises(SchemaError, match="duration is 0, but the shortest possible is 1"):
        DurationLaw.fit(np.array([0, 2]), every, np.array([0, 0]), 1, first=1)
