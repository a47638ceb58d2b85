"""One game behind every interface: the same seed and slates give the same trajectory."""

import gymnasium
import numpy as np
import pytest

import recenv
from recenv.env.registration import REGISTRY


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("env_id", sorted(REGISTRY))
@pytest.mark.parametrize("slate_size", [1, 5])
def test_gymnasium_parallel_and_aec_agree_exactly(env_id, slate_size):
    single = gymnasium.make(env_id, slate_size=slate_size)
    parallel = recenv.parallel_env(env_id, slate_size=slate_size)
    aec = recenv.aec_env(env_id, slate_size=slate_size)
    space = single.action_space
    space.seed(1)

    def encode(answer):
        return answer if slate_size > 1 else int(2 * answer[0] + answer[1])

    endings = set()
    user = recenv.FittedUser()
    for visit in range(25):
        seed = visit if visit < 10 else None  # then the visits that follow the last seed
        s, _ = single.reset(seed=seed)
        p, infos = parallel.reset(seed=seed)
        aec.reset(seed=seed)
        user.begin(infos["user_0"])
        done = False
        while not done:
            assert_same(s, p["recommender_0"])
            assert_same(s, aec.observe("recommender_0"))
            slate = space.sample()
            p, r, *_ = parallel.step(
                {"recommender_0": slate, "user_0": encode([0] * slate_size + [0])}
            )
            assert r == {"recommender_0": 0, "user_0": 0}
            aec.step(slate)
            answer = encode(user.act(p["user_0"]))
            assert_same(p["user_0"], aec.observe("user_0"))
            s, reward, terminated, truncated, info = single.step(slate)
            p, r, t, u, _ = parallel.step({"recommender_0": slate, "user_0": answer})
            aec.step(answer)
            assert (reward, info["user_reward"]) == (r["recommender_0"], r["user_0"])
            assert (reward, info["user_reward"]) == tuple(aec.rewards.values())
            assert (terminated, truncated) == (t["user_0"], u["user_0"])
            assert (terminated, truncated) == (
                aec.terminations["user_0"],
                aec.truncations["user_0"],
            )
            done = terminated or truncated
        endings.add((terminated, truncated))
    assert (True, False) in endings


def test_flat_and_dict_observations_carry_the_same():
    flat = recenv.parallel_env("recenv/Toy-v0", observation="flat")
    plain = recenv.parallel_env("recenv/Toy-v0")
    a, _ = flat.reset(seed=4)
    b, _ = plain.reset(seed=4)
    for _ in range(6):
        for agent in flat.possible_agents:
            assert_same(flat.unflatten(agent, a[agent]), b[agent])
            for name, where in flat.layout(agent).items():
                np.testing.assert_array_equal(a[agent][where], np.ravel(b[agent][name]))
        actions = {x: flat.action_space(x).sample() for x in flat.agents}
        if not actions:
            break
        a, b = flat.step(actions)[0], plain.step(actions)[0]


def test_reset_without_a_seed_goes_on_and_can_be_replayed():
    env = gymnasium.make("recenv/Toy-v0").unwrapped
    env.reset(seed=9)
    observation, replay = env.reset()
    assert (replay["seed"], replay["session"]) == (9, 1)
    state = env.visit.simulator.reset([9], sessions=1)
    assert state.user[0] == replay["user"]
    np.testing.assert_array_equal(observation["candidates"], state.candidates[0])
    again, _ = env.reset(seed=9)
    assert not np.array_equal(again["candidates"], observation["candidates"])


def test_observations_are_the_users_to_keep():
    env = recenv.parallel_env("recenv/Toy-v0")
    observations, _ = env.reset(seed=0)
    kept = {n: v.copy() for n, v in observations["recommender_0"].items()}
    for _ in range(4):
        if env.agents:
            env.step({a: env.action_space(a).sample() for a in env.agents})
    assert_same(kept, observations["recommender_0"])


@pytest.mark.parametrize("observation", ["dict", "flat"])
@pytest.mark.parametrize("visits", [1, 3])
def test_writing_to_an_observation_changes_nothing(observation, visits):
    """What is done to what was handed out reaches neither the game nor another observation."""
    form = {"observation": observation, "num_sessions": visits}
    spoilt, whole = (recenv.parallel_env("recenv/Toy-v0", **form) for _ in range(2))
    a, infos = spoilt.reset(seed=2)
    b, _ = whole.reset(seed=2)
    for _ in range(4):
        assert a.keys() == b.keys()
        arrays = []
        for agent in a:
            mine = a[agent] if observation == "dict" else {"all": a[agent]}
            assert_same(mine, b[agent] if observation == "dict" else {"all": b[agent]})
            arrays += list(mine.values())
        for i, array in enumerate(arrays):
            assert not any(np.shares_memory(array, other) for other in arrays[:i])
            array[...] = -5
        infos.clear()
        actions = {x: whole.action_space(x).sample() for x in whole.agents}
        if not actions:
            break
        a, _, _, _, infos = spoilt.step(actions)
        b = whole.step(actions)[0]


def test_recommender_never_sees_the_true_state(toy):
    """Two worlds that differ only in the users' truth look the same before the first answer."""
    import dataclasses

    model = dataclasses.replace(toy.user_model, user_vectors=-toy.user_model.user_vectors)
    other = dataclasses.replace(toy, user_model=model)
    a, _ = recenv.parallel_env(toy).reset(seed=3)
    b, _ = recenv.parallel_env(other).reset(seed=3)
    assert_same(a["recommender_0"], b["recommender_0"])
    assert not np.array_equal(a["user_0"]["interest"], b["user_0"]["interest"])


def test_a_visit_can_be_read():
    env = recenv.parallel_env("recenv/Toy-v0", render_mode="ansi")
    env.reset(seed=0, options={"user": 7})
    env.step({"recommender_0": np.array([0, 1, 2, 2, 4]), "user_0": np.zeros(6, int)})
    env.step({"recommender_0": np.zeros(5, int), "user_0": np.array([1, 2, 0, 1, 0, 1])})
    text = env.render()
    assert "A visit of user user 7." in text
    assert "click and purchase" in text
    assert "(empty)" in text
    assert "The user leaves." in text
    assert "reward: recommender +2.00" in text  # two clicks, one purchase, one departure
