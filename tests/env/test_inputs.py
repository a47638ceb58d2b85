"""What is not a seed, an option, an action or a size is refused, and the message says why."""

import gymnasium
import numpy as np
import pytest

import recenv
from recenv.errors import ActionError, ConfigError, RecenvError, UnknownNameError
from recenv.sim.simulator import Simulator

ID = "recenv/Toy-v0"
MAKERS = {
    "parallel": recenv.parallel_env,
    "aec": recenv.aec_env,
    "single": recenv.single_env,
    "vector": lambda env_id, **form: recenv.vector_env(env_id, num_envs=2, **form),
}
every_interface = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every_interface
@pytest.mark.parametrize(
    "seed", [b"x", True, np.True_, 1.5, "3", -1, 2**63, [1.5, 2], {}, np.zeros(())], ids=repr
)
def test_seeds_that_are_none(make, seed):
    env = make(ID)
    with pytest.raises(
        ConfigError, match=r"(seed must be an integer in \[0, 2\*\*63\)|visits, but)"
    ):
        env.reset(seed=seed)


@pytest.mark.parametrize("make", [recenv.parallel_env, recenv.aec_env, recenv.single_env])
def test_a_list_of_seeds_is_not_one(make):
    with pytest.raises(ConfigError, match=r"seed must be an integer .* but is \[3\]"):
        make(ID).reset(seed=[3])


@every_interface
@pytest.mark.parametrize("seed", [np.uint32(2**32 - 1), np.int8(127), np.uint64(2**63 - 2)])
def test_integers_of_numpy_are_seeds(make, seed):
    a, b = make(ID, max_rounds=2), make(ID, max_rounds=2)
    for env, one in ((a, seed), (b, int(seed))):
        env.reset(seed=one)
    visits = [getattr(env, "visit", None) or env.visits for env in (a, b)]
    np.testing.assert_array_equal(visits[0].state.key, visits[1].state.key)
    assert int(visits[0].state.seed[-1]) == int(seed) + visits[0].batch - 1


@every_interface
def test_options(make):
    env = make(ID)
    with pytest.raises(UnknownNameError, match="'users'. Did you mean 'user'"):
        env.reset(seed=0, options={"users": 3})
    for options in ("user", 3, ["user"]):
        with pytest.raises(ConfigError, match="options must be a dict with any of 'user'"):
            env.reset(seed=0, options=options)
    for user in (10**30, -1, -(10**30)):
        with pytest.raises(ConfigError, match=f"There is no user {user}; .* 0 to 199"):
            env.reset(seed=0, options={"user": user})
    for user in (True, 1.0, "3", None.__class__, np.array([1.5] * 2)):
        with pytest.raises(ConfigError, match=r"options\['user'\] must be a user's code"):
            env.reset(seed=0, options={"user": user})
    env.reset(seed=0, options={"user": np.uint8(7)})
    state = (getattr(env, "visit", None) or env.visits).state
    assert (state.user == 7).all()


WRONG = [
    None,
    np.nan,
    float("inf"),
    "0",
    b"0",
    True,
    {},
    [],
    [0, 1],
    [0, 1, [2]],
    np.zeros(3),
    np.full(3, np.nan),
    np.zeros((1, 3), int),
    np.zeros(3, bool),
    np.array([0, 1, 20]),
    np.array([0, -1, 2]),
    np.array([0, 1, 2**63], np.uint64),
    np.array([0, 1, 2**64 - 1], np.uint64),
    [0, 1, 10**30],
    np.array([0, 1, None]),
]


@pytest.mark.parametrize("action", WRONG, ids=repr)
def test_actions(action):
    parallel = recenv.parallel_env(ID, slate_size=3)
    aec = recenv.aec_env(ID, slate_size=3)
    single = recenv.single_env(ID, slate_size=3)
    for env in (parallel, aec, single):
        env.reset(seed=0)
    before = parallel.state()
    idle = np.zeros(4, int)
    with pytest.raises(ActionError, match="recommender_0 wants an action from MultiDiscrete"):
        parallel.step({"recommender_0": action, "user_0": idle})
    with pytest.raises(ActionError, match=r"sample\(\) shows one"):
        aec.step(action)
    with pytest.raises(ActionError, match="recommender_0 wants an action from MultiDiscrete"):
        single.step(action)
    np.testing.assert_array_equal(parallel.state(), before)
    wrong = action if not isinstance(action, np.ndarray) else np.append(action, action[:1])
    with pytest.raises(ActionError, match="user_0 wants an action from MultiDiscrete"):
        parallel.step({"recommender_0": np.arange(3), "user_0": wrong})  # out of turn, too
    np.testing.assert_array_equal(parallel.state(), before)


@pytest.mark.parametrize(
    "action", [None, -1, 20, 10**30, 1.0, True, "1", [1], np.zeros(1, int), np.nan], ids=repr
)
def test_actions_of_one_slot(action):
    parallel, single = recenv.parallel_env(ID, slate_size=1), recenv.single_env(ID, slate_size=1)
    parallel.reset(seed=0)
    single.reset(seed=0)
    for agent in ("recommender_0", "user_0"):
        fine = {"recommender_0": 0, "user_0": 0}
        with pytest.raises(ActionError, match=f"{agent} wants an action from Discrete"):
            parallel.step({**fine, agent: action})
    with pytest.raises(ActionError, match="wants an action from Discrete"):
        single.step(action)


@pytest.mark.parametrize("actions", [None, 3, [0, 1], "recommender_0", np.zeros(5, int)], ids=repr)
def test_actions_are_a_dict(actions):
    env = recenv.parallel_env(ID)
    env.reset(seed=0)
    with pytest.raises(ActionError, match="wants a dict with an action for each agent"):
        env.step(actions)


def test_before_the_reset_and_after_the_end():
    aec = recenv.aec_env(ID, max_rounds=1)
    for env, action in (
        (recenv.parallel_env(ID), {}),
        (aec, np.arange(5)),
        (recenv.single_env(ID), np.arange(5)),
        (MAKERS["vector"](ID), np.zeros((2, 5), int)),
    ):
        with pytest.raises(ActionError, match=r"before reset\(\). Call envs?.reset\(seed"):
            env.step(action)
    aec.reset(seed=0)
    aec.step(np.arange(5))
    aec.step(np.zeros(6, int))
    with pytest.raises(ActionError, match=r"can only step\(None\)"):
        aec.step(np.arange(5))
    aec.step(None)
    aec.step(None)
    with pytest.raises(ActionError, match="no agent is left"):
        aec.step(None)


def test_sizes(toy):
    with pytest.raises(ConfigError, match="max_rounds must be from 1 to 2147483647"):
        recenv.parallel_env(ID, max_rounds=2**31)
    recenv.parallel_env(ID, max_rounds=2**31 - 1)
    for threads in (1.5, True, "1", 0, None):
        with pytest.raises(ConfigError, match="Choose a whole number from 1"):
            recenv.vector_env(ID, threads=threads)
    for count in (0, -1, 2.5, True, "2", None):
        with pytest.raises(ConfigError, match="must be an integer from 1"):
            recenv.vector_env(ID, num_envs=count)
        with pytest.raises(ConfigError, match="must be an integer from 1"):
            recenv.parallel_env(ID, num_sessions=count)
    with pytest.raises(ConfigError, match="cannot be had. Play fewer"):
        recenv.vector_env(ID, num_envs=10**15)
    simulator = Simulator(toy, recenv.GameConfig(num_candidates=20))
    for seeds in ([1.5], [-1], ["a"], [np.nan], [None]):
        with pytest.raises(ConfigError, match="seeds must be integers"):
            simulator.reset(seeds)
    with pytest.raises(ConfigError, match="users must be integers"):
        simulator.reset([1], [1.5])


def test_what_is_refused_is_of_recenv():
    assert issubclass(ActionError, RecenvError)
    assert issubclass(ConfigError, RecenvError)
    with pytest.raises(RecenvError):
        gymnasium.make(ID, max_rounds=2**31)
