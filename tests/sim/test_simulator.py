import copy
import dataclasses
import pickle

import numpy as np
import pytest
from helpers.oracle import OracleVisit

from recenv.config import GameConfig
from recenv.errors import ActionError, ConfigError
from recenv.sim import EMPTY, Simulator
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.users.user_policy import FittedUser

GAME = GameConfig(slate_size=4, num_candidates=12, max_rounds=6)
SPICY = GAME.replace(
    reward={
        "purchase_by_value": True,
        "behaviour_weight": 0.3,
        "cooperation": -0.6,
        "click": 0.7,
        "purchase": 1.9,
    }
)


def lively(world):
    """The world with large dynamics, so that a wrong one shows."""
    dynamics = world.user_model.dynamics._replace(drift_rate=0.2, boredom_weight=1.5)
    model = dataclasses.replace(world.user_model, dynamics=dynamics)
    return dataclasses.replace(world, user_model=model)


@pytest.mark.parametrize("game", [GAME, SPICY], ids=["default", "all rewards"])
def test_kernel_plays_by_the_rules(toy, game):
    """Probabilities, rewards and state against a float64 implementation of the rules."""
    world = lively(toy)
    simulator = Simulator(world, game)
    rng = np.random.default_rng(0)
    for visit in range(40):
        state = simulator.reset([visit])
        oracle = OracleVisit(world, game, int(state.user[0]))
        while not oracle.ended:
            slate = rng.integers(game.num_candidates, size=(1, game.slate_size))
            oracle.show(list(slate[0]), state.candidates[0].copy())
            simulator.show(state, slate)
            behaviour = state.behaviour[0]
            shown = behaviour[:-2].reshape(-1, 3)
            expected = np.stack(
                [1 - oracle.click, oracle.click * (1 - oracle.buy), oracle.click * oracle.buy], 1
            )
            np.testing.assert_allclose(shown, expected, atol=2e-5)
            np.testing.assert_allclose(behaviour[-2:], [1 - oracle.leave, oracle.leave], atol=2e-5)
            answer = np.append(rng.integers(3, size=game.slate_size), rng.random() < 0.1)
            outcome = simulator.respond(state, answer[None])
            rewards = oracle.respond([int(a) for a in answer])
            got = (outcome.recommender_reward[0], outcome.user_reward[0])
            np.testing.assert_allclose(got, rewards, atol=2e-4)
            np.testing.assert_allclose(state.interest[0], oracle.interest, atol=1e-5)
            np.testing.assert_allclose(state.boredom[0], oracle.boredom, atol=1e-5)
            np.testing.assert_allclose(state.satisfaction[0], oracle.satisfaction, atol=1e-4)
            assert outcome.terminated[0] == (oracle.ended == "left")
            assert outcome.truncated[0] == (oracle.ended == "limit")


def play(simulator, seeds, sessions=0):
    """Every array of a whole game with fitted users, round by round."""
    state = simulator.reset(seeds, sessions=sessions)
    slates = np.tile(np.arange(simulator.game.slate_size), (len(seeds), 1))
    history = []
    for _ in range(simulator.game.max_rounds):
        simulator.show(state, slates)
        shown = simulator.user_observation(state)
        outcome = simulator.respond_fitted(state)
        seen = simulator.recommender_observation(state)
        history.append([*shown.values(), *outcome, *seen.values()])
    return history


@pytest.mark.parametrize("threads", [1, 2])
def test_row_5_of_4096_is_the_same_user_alone(toy, threads):
    seeds = np.arange(100, 4196)
    together = play(Simulator(toy, GAME, threads=threads), seeds)
    alone = play(Simulator(toy, GAME), seeds[5:6])
    for many, one in zip(together, alone, strict=True):
        for a, b in zip(many, one, strict=True):
            np.testing.assert_array_equal(a[5:6], b)


def test_fitted_user_is_a_policy_of_the_observation(toy):
    simulator = Simulator(toy, GAME)
    a, b = simulator.reset(np.arange(500)), simulator.reset(np.arange(500))
    policy = FittedUser()
    slates = np.tile(np.arange(4), (500, 1))
    for _ in range(GAME.max_rounds):
        simulator.show(a, slates)
        simulator.show(b, slates)
        one = simulator.respond_fitted(a)
        two = simulator.respond(b, policy.answer(simulator.user_observation(b), b.key))
        for x, y in zip(one, two, strict=True):
            np.testing.assert_array_equal(x, y)


def test_fitted_answers_have_the_probabilities_they_say(toy):
    n = 40_000
    simulator = Simulator(toy, GAME)
    state = simulator.reset(np.arange(n), np.zeros(n, int))
    # the same four items for everyone: the draw is all that varies
    state.candidates[:] = state.candidates[0]
    simulator.show(state, np.tile(np.arange(4), (n, 1)))
    p = state.behaviour[0].astype(float).copy()
    outcome = simulator.respond_fitted(state)
    for k in range(4):
        counts = np.bincount(outcome.answers[:, k], minlength=3)
        error = np.sqrt(p[3 * k : 3 * k + 3] * (1 - p[3 * k : 3 * k + 3]) / n)
        assert (np.abs(counts / n - p[3 * k : 3 * k + 3]) < 4.5 * error + 1e-9).all()
    left = outcome.answers[:, -1].mean()
    assert abs(left - p[-1]) < 4.5 * np.sqrt(p[-1] * (1 - p[-1]) / n)


def test_candidates_do_not_repeat_and_are_uniform(toy):
    n = 20_000
    simulator = Simulator(toy, GAME)
    state = simulator.reset(np.arange(n))
    ordered = np.sort(state.candidates, axis=1)
    assert (np.diff(ordered, axis=1) > 0).all()
    share = np.bincount(state.candidates.ravel(), minlength=200) / n
    expected = GAME.num_candidates / 200
    assert (np.abs(share - expected) < 5 * np.sqrt(expected / n)).all()


@pytest.mark.parametrize(("slots", "candidates"), [(4, 5), (10, 50), (40, 70), (40, 200)])
def test_a_repeated_candidate_leaves_its_slot_empty(slots, candidates):
    """The first of equals stays, whatever the sizes; what candidates there are is as before."""
    world = planted_world(PlantedConfig(num_users=20, num_items=200, dim=4))
    simulator = Simulator(world, GameConfig(slate_size=slots, num_candidates=candidates))
    state = simulator.reset(np.arange(300))
    offered = state.candidates.copy()
    slates = np.random.default_rng(0).integers(-1, candidates, size=(300, slots))
    slates[0] = 3  # one candidate alone
    slates[1] = np.arange(slots)  # none twice
    simulator.show(state, slates)
    for b, slate in enumerate(slates.tolist()):
        first = [k for k, i in enumerate(slate) if i >= 0 and i not in slate[:k]]
        wanted = [offered[b, slate[k]] if k in first else EMPTY for k in range(slots)]
        assert state.slate[b].tolist() == wanted
    assert (state.candidates == offered).all()


def test_an_ended_visit_brings_nothing_more(toy):
    simulator = Simulator(toy, GAME)
    state = simulator.reset([0, 1])
    simulator.show(state, np.zeros((2, 4), int))
    leave = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    assert list(simulator.respond(state, leave).terminated) == [True, False]
    before = {name: value.copy() for name, value in state._asdict().items()}
    simulator.show(state, np.ones((2, 4), int))
    outcome = simulator.respond(state, np.full((2, 5), 1))
    assert outcome.recommender_reward[0] == 0
    assert outcome.clicks[0] == 0
    assert (outcome.answers[0] == 0).all()
    for name, value in state._asdict().items():
        if name not in ("answers", "clicks", "purchases", "rewards"):
            np.testing.assert_array_equal(value[0], before[name][0], err_msg=name)


def test_a_turn_out_of_order_has_no_effect(toy):
    simulator = Simulator(toy, GAME)
    state = simulator.reset([3])
    outcome = simulator.respond(state, np.array([[2, 2, 2, 2, 1]]))
    assert outcome.recommender_reward[0] == 0
    assert state.round[0] == 0
    simulator.show(state, np.array([[0, 1, 2, 3]]))
    slate = state.slate.copy()
    simulator.show(state, np.array([[4, 5, 6, 7]]))
    np.testing.assert_array_equal(state.slate, slate)


def test_negative_one_leaves_a_slot_empty(toy):
    simulator = Simulator(toy, GAME)
    state = simulator.reset([3])
    simulator.show(state, np.array([[-1, 1, 1, 2]]))
    assert (state.slate[0] == EMPTY).tolist() == [True, False, True, False]


def test_wrong_input_is_named(toy):
    simulator = Simulator(toy, GAME)
    state = simulator.reset([0])
    with pytest.raises(ActionError, match=r"slates must be integers of shape \(1, 4\)"):
        simulator.show(state, np.zeros((1, 3), int))
    with pytest.raises(ActionError, match="dtype float64"):
        simulator.show(state, np.zeros((1, 4)))
    with pytest.raises(ActionError, match=r"slates\[0, 2\] is 12"):
        simulator.show(state, np.array([[0, 1, 12, 3]]))
    with pytest.raises(ActionError, match="last column"):
        simulator.respond(state, np.array([[0, 0, 0, 0, 2]]))
    with pytest.raises(ConfigError, match="has only 200 items"):
        Simulator(toy, GameConfig(num_candidates=201))
    with pytest.raises(ConfigError, match="There is no user 200"):
        simulator.reset([0], [200])
    with pytest.raises(ConfigError, match="threads is 0"):
        Simulator(toy, GAME, threads=0)


def test_states_of_other_layouts_and_slates_of_other_kinds(toy):
    """Code that was compiled for one layout is not called with another."""
    simulator = Simulator(toy, GAME)
    state, twin = simulator.reset(np.arange(8)), simulator.reset(np.arange(8))
    slates = np.tile(np.arange(4), (8, 1))
    read_only = slates.copy()
    read_only.flags.writeable = False
    wide = np.repeat(slates, 2, axis=1)[:, ::2]  # not in one piece
    for given in (slates, read_only, wide, slates.astype(np.int8)):
        for check in (True, False):
            simulator.step(state, given, check=check)
            simulator.step(twin, slates)
    with pytest.raises(ActionError, match="shape"):
        simulator.step(state, slates[0], check=False)
    apart = type(twin)(*(np.repeat(leaf, 2, axis=0)[::2] for leaf in twin))
    assert apart.kind is not state.kind
    simulator.show(apart, slates)
    simulator.show(twin, slates)
    for ours, theirs, strided in zip(state, twin, apart, strict=True):
        np.testing.assert_array_equal(theirs, strided)
        assert ours.shape == theirs.shape
    assert (state.key == twin.key).all()


def test_simulators_and_states_can_be_copied_and_pickled(toy):
    simulator = Simulator(toy, GAME)
    state = simulator.reset(np.arange(3))
    slates = np.tile(np.arange(4), (3, 1))
    simulator.step(state, slates)
    other, same = copy.deepcopy((simulator, state))
    third = pickle.loads(pickle.dumps(state))
    for each in (state, same, third):
        other.step(each, slates)
    for leaves in zip(state, same, third, strict=True):
        assert all((leaf == leaves[0]).all() for leaf in leaves)
    pickle.dumps(simulator)
