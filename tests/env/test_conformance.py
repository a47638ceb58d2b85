"""The libraries' own conformance checks, for every registered id, with warnings as errors."""

import gymnasium
import pettingzoo
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

import recenv
from recenv.env.registration import REGISTRY

FORMS = [
    {},
    {"observation": "flat"},
    {"slate_size": 1},
    {"slate_size": 1, "observation": "flat"},
]

# PettingZoo's AEC test prefers one flat Box and the same space for every agent, and exempts its
# own environments from that by name. These five messages are that preference and nothing else.
PREFERENCES = [
    "Observation is not a NumPy array",
    "Observations are different shapes",
    "Observation space for each agent probably should be",
    "Action space for each agent probably should be",
    "Agents have different observation space sizes",
]
prefers = [pytest.mark.filterwarnings(f"ignore:{message}") for message in PREFERENCES]


def all_of(marks, function):
    for mark in marks:
        function = mark(function)
    return function


every_id = pytest.mark.parametrize("env_id", sorted(REGISTRY))
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


@every_id
@every_form
def test_parallel(env_id, form):
    parallel_api_test(recenv.parallel_env(env_id, **form), num_cycles=200)
    parallel_seed_test(lambda: recenv.parallel_env(env_id, **form), num_cycles=60)


@every_id
@every_form
def test_aec(env_id, form):
    def run(env_id, form):
        api_test(recenv.aec_env(env_id, **form), num_cycles=200)
        seed_test(lambda: recenv.aec_env(env_id, **form), num_cycles=60)

    run(env_id, form)


test_aec = all_of(prefers, test_aec)


@every_id
@every_form
def test_gymnasium(env_id, form):
    env = gymnasium.make(env_id, render_mode="ansi", **form)
    check_env(env.unwrapped)
    env.close()


@every_id
def test_registered_with_both_libraries(env_id):
    assert isinstance(gymnasium.make(env_id).unwrapped, gymnasium.Env)
    assert pettingzoo.make("parallel", env_id).possible_agents == ["recommender_0", "user_0"]
    assert pettingzoo.make("aec", env_id).possible_agents == ["recommender_0", "user_0"]


@every_id
def test_gymnasium_vector(env_id):
    envs = gymnasium.make_vec(env_id, num_envs=3, vectorization_mode="sync")
    observation, _ = envs.reset(seed=0)
    assert observation["candidates"].shape[0] == 3
    for _ in range(30):
        _, reward, *_ = envs.step(envs.action_space.sample())
    assert reward.shape == (3,)
    envs.close()
