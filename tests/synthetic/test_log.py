"""Logs under known logging policies: propensities are true, and a visit is its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.sim import Simulator
from recenv.synthetic import emit_log
from recenv.synthetic.log import (
    LoggingPolicy,
    PersonalLogging,
    PopularityLogging,
    UniformLogging,
    draw_slates,
)
from recenv.world import World

GAME = GameConfig(num_candidates=20)
POLICIES: list[LoggingPolicy] = [
    UniformLogging(),
    PopularityLogging(mix=0.2, temperature=0.3),
    PersonalLogging(mix=0.0, temperature=0.5),
]


def by_hand(weights: list[float], mix: float, slate: tuple[int, ...]) -> list[float]:
    """Chance of each slot's item: a share of uniform, the rest by weight among those left."""
    left, chances = list(range(len(weights))), []
    for item in slate:
        total = sum(weights[i] for i in left)
        chances.append(mix / len(left) + (1 - mix) * weights[item] / total)
        left.remove(item)
    return chances


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_propensities_are_the_frequencies_of_whole_slates(mix: float) -> None:
    """All 24 slates of 3 out of 4: counted, and computed by hand.

    With 200 000 slates a share p has a standard error of sqrt(p / 200 000), at most 0.0011;
    24 slates together give a chi-square of 23 degrees of freedom, below 50 but once in a
    thousand times.
    """
    weights, n = [4.0, 2.0, 1.0, 0.5], 200_000
    logits = np.tile(np.log(weights), (n, 1))
    uniforms = np.random.default_rng(0).random((n, 3))
    slates, propensities = draw_slates(logits, mix, uniforms)
    chi_square = 0.0
    for slate in itertools.permutations(range(4), 3):
        drawn = (slates == slate).all(axis=1)
        expected = by_hand(weights, mix, slate)
        np.testing.assert_allclose(propensities[drawn], np.tile(expected, (drawn.sum(), 1)))
        wanted = n * np.prod(expected)
        chi_square += (drawn.sum() - wanted) ** 2 / wanted
    assert chi_square < 50


def test_extreme_logits_leave_full_slates_without_repeats() -> None:
    """Chances that vanish in floating point still make a slate of different candidates."""
    logits = np.tile([0.0, -2000.0, -4000.0, -8000.0], (2, 1))
    slates, propensities = draw_slates(logits, 0.0, np.array([[0, 0, 0, 0], [1 - 2**-24] * 4]))
    assert slates[0].tolist() == [0, 1, 2, 3]
    assert sorted(slates[1]) == [0, 1, 2, 3]
    assert slates[1, 0] == 0
    assert (propensities > 0).all()


def test_logged_propensities_are_the_frequencies_in_the_log(toy: World) -> None:
    """Over first slots: the mean of 1 / propensity is the number of candidates, 20.

    E[1 / p] = sum over candidates of p / p. Weighted so, each item's share is that of a
    uniform log; unweighted, popular ones are shown far more.
    """
    log = emit_log(toy, GAME, PopularityLogging(0.3, 0.5), visits_per_user=40, seed=3)
    log.validate(toy.catalog)
    first = log.column("position") == 1
    weight = 1 / log.column("propensity")[first]
    error = weight.std() / np.sqrt(len(weight))
    assert abs(weight.mean() - 20) < 4 * error
    item = log.column("item")[first]
    appeal = toy.user_model.item_click_bias[item]
    base = toy.user_model.item_click_bias.mean()
    assert appeal.mean() > base + 0.2
    assert abs(np.average(appeal, weights=weight) - base) < 0.05


def test_uniform_propensities_depend_on_the_slot_alone(toy: World) -> None:
    log = emit_log(toy, GAME, seed=3)
    expected = 1 / (20 - (log.column("position") - 1))
    np.testing.assert_allclose(log.column("propensity"), expected)


def test_the_logits_are_the_laws_own(toy: World) -> None:
    """Personal logits are the click law's log-odds, an affine map of them over temperature."""
    state = Simulator(toy, GAME).reset(np.zeros(7), np.arange(7))
    got = PersonalLogging(temperature=0.5).logits(toy, state)
    users = np.repeat(np.arange(7), 20)
    p = toy.user_model.click_probs(users, state.candidates.ravel()).astype(float)
    odds = np.log(p / (1 - p)) - toy.user_model.user_click_bias[users]
    np.testing.assert_allclose(got.ravel(), odds / 0.5, atol=1e-4)
    got = PopularityLogging(temperature=2).logits(toy, state)
    np.testing.assert_allclose(got, toy.user_model.item_click_bias[state.candidates] / 2)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_a_visit_is_a_function_of_its_user_and_number(toy: World, policy: LoggingPolicy) -> None:
    """The same visits whoever else is in the log, and in whatever order users are named."""
    everyone = emit_log(toy, GAME, policy, visits_per_user=3, seed=5)
    again = emit_log(toy, GAME, policy, visits_per_user=3, seed=5)
    assert again.hash == everyone.hash
    assert emit_log(toy, GAME, policy, visits_per_user=3, seed=6).hash != everyone.hash
    users = [17, 3, 90]
    some = emit_log(toy, GAME, policy, visits_per_user=3, users=users, seed=5)
    theirs = everyone.take(np.isin(everyone.column("user"), users))
    assert some.hash == theirs.hash
    visits = everyone.column("session") // toy.num_users
    assert set(visits) == {0, 1, 2}
    np.testing.assert_array_equal(
        everyone.column("session") % toy.num_users, everyone.column("user")
    )


def test_narrower_policies_show_fewer_items_and_get_more_clicks(toy: World) -> None:
    """From uniform to nearly greedy: lower perplexity of slates, higher click rate."""
    logs = [
        emit_log(toy, GAME, policy, visits_per_user=5, seed=1)
        for policy in (
            UniformLogging(),
            PersonalLogging(mix=0.5, temperature=1),
            PersonalLogging(mix=0.1, temperature=0.5),
            PersonalLogging(mix=0.0, temperature=0.1),
        )
    ]
    perplexity = [np.exp(-np.log(log.column("propensity")).mean()) for log in logs]
    rate = [(log.column("response") > 0).mean() for log in logs]
    assert perplexity == sorted(perplexity, reverse=True)
    assert rate == sorted(rate)
    assert "personal (mix 0.1, temperature 0.5)" in logs[2].notes[0]


def test_wrong_input_is_named(toy: World) -> None:
    with pytest.raises(ConfigError, match="visits_per_user is 0"):
        emit_log(toy, GAME, visits_per_user=0)
    with pytest.raises(ConfigError, match="there are 0 users"):
        emit_log(toy, GAME, users=[])
    with pytest.raises(ConfigError, match="mix must be in"):
        PopularityLogging(mix=1.5)
    with pytest.raises(ConfigError, match="temperature must be positive"):
        PersonalLogging(temperature=0)
