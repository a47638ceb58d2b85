"""The oracle against every slate's expected reward, computed from the simulator's own screen."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from recenv.config import GameConfig, RewardConfig
from recenv.recommenders import OracleRecommender
from recenv.sim import EMPTY, Simulator
from recenv.sim.state import State
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig

BORING = PlantedConfig(num_items=12, num_categories=3, num_users=40)


def expected_reward(simulator: Simulator, state: State, slate: tuple[int, ...]) -> np.ndarray:
    """(B,) expected recommender reward of showing one slate to copies of all visits.

    Reads P(answer) from the screen and adds up ``RewardConfig``'s docstring over all answers.
    """
    copy = State._make(leaf.copy() for leaf in state)
    simulator.show(copy, np.tile(slate, (len(state.key), 1)))
    reward, slots = simulator.game.reward, len(slate)
    mix = reward.cooperation / 2
    probability = copy.behaviour.astype(np.float64)
    log = np.log(np.maximum(probability, 1e-30))
    price = simulator.tables.items["price"][copy.slate]
    total = np.zeros(len(state.key))
    for k in range(slots):
        if slate[k] == EMPTY:
            continue
        utility, seen = copy.utility[:, k], simulator.tables.examination[k]
        value = price[:, k] if reward.purchase_by_value else 1.0
        recommender = [0.0, reward.click, reward.click + reward.purchase * value]
        own = [
            -reward.effort * seen,
            reward.click_utility * utility - reward.effort,
            (reward.click_utility + reward.purchase_utility) * utility
            - reward.effort
            - reward.price_sensitivity * price[:, k],
        ]
        for r in range(3):
            at = 3 * k + r
            user = own[r] + reward.behaviour_weight * log[:, at]
            total += probability[:, at] * ((1 - abs(mix)) * recommender[r] + mix * user)
    for left in range(2):
        at = 3 * slots + left
        user = reward.behaviour_weight * log[:, at]
        total += probability[:, at] * (-(1 - abs(mix)) * reward.leave_cost * left + mix * user)
    return total


def bored(simulator: Simulator, visits: int = 40) -> State:
    """Live visits after three rounds in which every item shown was clicked."""
    state = simulator.reset(np.arange(visits))
    slots = simulator.game.slate_size
    answers = np.concatenate([np.ones((visits, slots), int), np.zeros((visits, 1), int)], axis=1)
    for _ in range(3):
        simulator.show(state, np.tile(np.arange(slots), (visits, 1)))
        simulator.respond(state, answers)
    assert state.boredom.max() > 0.5
    return state


@pytest.mark.parametrize(
    "reward",
    [
        RewardConfig(leave_cost=0.0),
        RewardConfig(leave_cost=0.0, purchase_by_value=True, purchase=3.0),
        RewardConfig(leave_cost=0.0, click=0.0),
    ],
)
def test_best_of_all_slates_where_slots_add_up(reward: RewardConfig) -> None:
    game = GameConfig(slate_size=2, num_candidates=6, reward=reward)
    simulator = Simulator(planted_world(BORING), game)
    state = bored(simulator)
    values = {s: expected_reward(simulator, state, s) for s in itertools.permutations(range(6), 2)}
    best = np.max(list(values.values()), axis=0)
    found = OracleRecommender().recommend_privileged(simulator, state)
    got = [values[tuple(slate)][row] for row, slate in enumerate(found.tolist())]
    np.testing.assert_allclose(got, best, rtol=1e-5)


@pytest.mark.parametrize("cooperation", [-1.0, 0.0, 0.7])
def test_best_single_candidate_under_every_weight(cooperation: float) -> None:
    reward = RewardConfig(
        leave_cost=20.0, effort=0.3, behaviour_weight=0.4, cooperation=cooperation
    )
    game = GameConfig(slate_size=1, num_candidates=6, reward=reward)
    simulator = Simulator(planted_world(BORING), game)
    state = bored(simulator)
    values = np.stack([expected_reward(simulator, state, (c,)) for c in range(6)], axis=1)
    found = OracleRecommender().recommend_privileged(simulator, state)
    got = np.take_along_axis(values, found, axis=1)[:, 0]
    np.testing.assert_allclose(got, values.max(axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cooperation", [-1.0, 0.0, 1.0])
def test_greedy_slot_by_slot_under_every_weight(cooperation: float) -> None:
    """Each slot holds what adds most to the slate so far, with the later slots still empty."""
    reward = RewardConfig(leave_cost=2.0, effort=1.0, behaviour_weight=0.4, cooperation=cooperation)
    game = GameConfig(slate_size=3, num_candidates=6, reward=reward)
    world = planted_world(BORING)
    dynamics = world.user_model.dynamics._replace(leave_boredom=8.0, leave_intercept=-4.0)
    model = dataclasses.replace(world.user_model, dynamics=dynamics)
    simulator = Simulator(dataclasses.replace(world, user_model=model), game)
    state = bored(simulator)
    found = OracleRecommender().recommend_privileged(simulator, state)
    for row in range(len(found)):
        alone = State._make(leaf[[row]] for leaf in state)
        slate: list[int] = []
        for k in range(3):
            values = {
                c: expected_reward(simulator, alone, (*slate, c, *[EMPTY] * (2 - k)))[0]
                for c in set(range(6)) - set(slate)
            }
            assert values[found[row, k]] == pytest.approx(max(values.values()), abs=1e-4)
            slate.append(int(found[row, k]))


def test_leave_cost_makes_it_spare_bored_users() -> None:
    """With nothing but the leave cost at stake it shows the least boring candidates."""
    reward = RewardConfig(click=0.0, purchase=0.0, leave_cost=1.0)
    game = GameConfig(slate_size=2, num_candidates=6, reward=reward)
    simulator = Simulator(planted_world(BORING), game)
    state = bored(simulator)
    found = OracleRecommender().recommend_privileged(simulator, state)
    category = simulator.tables.items["category"][state.candidates]
    boredom = np.take_along_axis(state.boredom, category, axis=1)
    shown = np.take_along_axis(boredom, found, axis=1).sum(axis=1)
    np.testing.assert_allclose(shown, np.sort(boredom, axis=1)[:, :2].sum(axis=1), rtol=1e-6)


def test_ended_visits_are_left_alone() -> None:
    simulator = Simulator(planted_world(BORING), GameConfig(slate_size=2, num_candidates=6))
    state = simulator.reset([0, 1])
    state.ended[0] = 1
    assert OracleRecommender().recommend_privileged(simulator, state)[0].tolist() == [0, 0]
