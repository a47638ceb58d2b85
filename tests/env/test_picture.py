"""Visits as pictures."""

import sys

import gymnasium
import numpy as np
import pytest

import recenv
from recenv.env.picture import HEIGHT, WIDTH
from recenv.errors import ConfigError, MissingDependencyError

pytest.importorskip("matplotlib")
ID, MODE = "recenv/Toy-v0", {"render_mode": "rgb_array"}


def check(frame):
    assert (frame.shape, frame.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 20
    return frame


@pytest.mark.parametrize("slots", [1, 5, 15])
@pytest.mark.parametrize("make", [recenv.parallel_env, recenv.aec_env], ids=["parallel", "aec"])
def test_every_turn_looks_another(make, slots):
    env = make(ID, slate_size=slots, num_candidates=20, **MODE)
    with pytest.raises(ConfigError, match="no visit to draw yet"):
        env.render()
    env.reset(seed=0)
    frames = [check(env.render())]
    slate, answer = np.zeros(slots, int), np.zeros(slots + 1, int)
    answer[[0, -1]] = 1
    if slots == 1:
        slate, answer = 0, 3
    for agent, action in (("recommender_0", slate), ("user_0", answer)):
        env.step({agent: action} if make is recenv.parallel_env else action)
        frames.append(check(env.render()))
    assert not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[1], frames[2])
    np.testing.assert_array_equal(env.render(), frames[2])


def test_gymnasium_and_its_vector_environments():
    single = gymnasium.make(ID, **MODE)
    single.reset(seed=4)
    alone = check(single.render())
    ours = gymnasium.make_vec(ID, num_envs=2, **MODE)
    theirs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="sync", **MODE)
    for envs in (ours, theirs):
        envs.reset(seed=4)
    frames = ours.render()
    assert isinstance(frames, tuple)
    np.testing.assert_array_equal(frames, theirs.render())
    np.testing.assert_array_equal(frames[0], alone)
    assert gymnasium.make_vec(ID, num_envs=2).render() is None


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    env = recenv.parallel_env(ID, **MODE)
    env.reset(seed=0)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"recenv\[plots\]"):
        env.render()
