"""Many visits in one parallel environment."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

import recenv
from recenv.errors import ActionError, ConfigError

ID, N = "recenv/Toy-v0", 3


@pytest.mark.parametrize(
    "form", [{}, {"slate_size": 1, "observation": "flat"}], ids=["dict", "flat"]
)
def test_conforms(form):
    def make():
        return recenv.parallel_env(ID, num_sessions=N, **form)

    parallel_api_test(make(), num_cycles=200)
    parallel_seed_test(make, num_cycles=60)


def test_visit_b_is_that_of_seed_plus_b():
    """Each pair plays what it would play alone, until its own end."""
    many = recenv.parallel_env(ID, num_sessions=N, max_rounds=5)
    alone = [recenv.parallel_env(ID, max_rounds=5) for _ in range(N)]
    draw = np.random.default_rng(0)
    for seed in range(6):
        told, infos = many.reset(seed=10 * seed)
        for b, env in enumerate(alone):
            one, info = env.reset(seed=10 * seed + b)
            for side in ("recommender", "user"):
                assert infos[f"{side}_{b}"] == info[f"{side}_0"]
                for leaf, values in one[f"{side}_0"].items():
                    np.testing.assert_array_equal(told[f"{side}_{b}"][leaf], values)
        lengths = set()
        while many.agents:
            actions = {}
            for agent in many.agents:
                action = many.action_space(agent).sample()
                if agent.startswith("user"):
                    action[-1] = draw.random() < 0.15
                actions[agent] = action
            before = list(many.agents)
            told, rewards, terminated, truncated, infos = many.step(actions)
            assert set(told) == set(rewards) == set(infos) == set(before)
            for b, env in enumerate(alone):
                if f"user_{b}" not in before:
                    assert not env.agents
                    continue
                pair = {f"{s}_0": actions[f"{s}_{b}"] for s in ("recommender", "user")}
                one = env.step(pair)
                for side in ("recommender", "user"):
                    mine, its = f"{side}_{b}", f"{side}_0"
                    for leaf, values in one[0][its].items():
                        np.testing.assert_array_equal(told[mine][leaf], values)
                    got = (rewards[mine], terminated[mine], truncated[mine], infos[mine])
                    assert got == tuple(part[its] for part in one[1:])
                assert bool(env.agents) == (f"user_{b}" in many.agents)
            lengths.add(len(many.agents))
        assert not any(env.agents for env in alone)
    assert lengths <= {0, 2, 4, 6}


def test_state_holds_every_visit():
    env = recenv.parallel_env(ID, num_sessions=N)
    env.reset(seed=0)
    assert env.state_space.contains(env.state())
    one = recenv.parallel_env(ID)
    one.reset(seed=1)
    size = len(one.state())
    np.testing.assert_array_equal(env.state()[size : 2 * size], one.state())


def test_flat_layout_of_any_agent():
    env = recenv.parallel_env(ID, num_sessions=N, observation="flat")
    observations, _ = env.reset(seed=0)
    told = env.unflatten("user_2", observations["user_2"])
    np.testing.assert_array_equal(told["interest"], env.visit.state.interest[2])


def test_each_agent_samples_by_itself():
    env = recenv.parallel_env(ID, num_sessions=N)
    for agent in env.possible_agents:
        env.action_space(agent).seed(7)
    drawn = [env.action_space(f"recommender_{b}").sample() for b in range(N)]
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_users_by_choice():
    env = recenv.parallel_env(ID, num_sessions=N)
    _, infos = env.reset(seed=0, options={"user": np.array([5, 9, 5])})
    assert [infos[f"user_{b}"]["user"] for b in range(N)] == [5, 9, 5]


def test_who_is_missing_is_named():
    env = recenv.parallel_env(ID, num_sessions=N)
    env.reset(seed=0)
    slates = {f"recommender_{b}": np.arange(5) for b in (0, 2)}
    with pytest.raises(ActionError, match="It is recommender_1's turn"):
        env.step(slates)
    with pytest.raises(ActionError, match="no agent 'user_3'"):
        env.step({"user_3": np.zeros(6, int)})
    with pytest.raises(ConfigError, match="must be an integer from 1, but is 0"):
        recenv.parallel_env(ID, num_sessions=0)
