"""RecVectorEnv against Gymnasium's own SyncVectorEnv over RecEnv: the same, to the bit."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import recenv
from recenv.env.single import RecEnv
from recenv.env.vector import RecVectorEnv
from recenv.errors import ActionError, ConfigError
from recenv.users.duration_law import DurationLaw

ID, B = "recenv/Toy-v0", 7
PARTS = ("obs", "reward", "terminated", "truncated", "info")
SHORT = {"max_rounds": 4}
MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)


def both(mode, form):
    ours = gymnasium.make_vec(ID, num_envs=B, autoreset_mode=mode, **form)
    theirs = gymnasium.make_vec(
        ID,
        num_envs=B,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **form,
    )
    assert isinstance(theirs, SyncVectorEnv)
    return ours, theirs


def same(a, b, where=""):
    """Equal in value, shape and dtype, through dicts and object arrays."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), (where, a.keys() ^ b.keys())
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y, where)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None), where
            if x is not None:
                same(x, y, where)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, (where, a.dtype, b.dtype)
        np.testing.assert_array_equal(a, b, err_msg=where)
    else:
        assert a == b, where


@every_mode
@pytest.mark.parametrize("form", [{}, {"observation": "flat", "slate_size": 1}], ids=str)
def test_is_gymnasiums_own_vector_environment(mode, form):
    ours, theirs = both(mode, {**SHORT, **form})
    for name in ("observation_space", "action_space", "single_observation_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.metadata["autoreset_mode"] == mode
    same(ours.reset(seed=3), theirs.reset(seed=3))
    ours.action_space.seed(0)
    endings = 0
    for step in range(60):
        action = ours.action_space.sample()
        a, b = ours.step(action), theirs.step(action)
        for name, x, y in zip(
            ["obs", "reward", "terminated", "truncated", "info"], a, b, strict=True
        ):
            same(x, y, f"step {step} {name}")
        ended = a[2] | a[3]
        endings += int(ended.sum())
        if mode is AutoresetMode.DISABLED and ended.any():
            options = {"reset_mask": ended}
            same(ours.reset(options=dict(options)), theirs.reset(options=dict(options)))
        if step == 30:
            same(ours.reset(), theirs.reset())
    assert endings > 2 * B


def test_return_days_come_with_the_end(returning):
    ours = RecVectorEnv(returning, num_envs=B)
    theirs = SyncVectorEnv([lambda: RecEnv(returning) for _ in range(B)])
    same(ours.reset(seed=0), theirs.reset(seed=0))
    seen = 0
    for _ in range(40):
        action = ours.action_space.sample()
        a, b = ours.step(action), theirs.step(action)
        same(a, b)
        ended = a[2] | a[3]
        np.testing.assert_array_equal(a[4]["return_days"][a[4]["_return_days"] & ended] >= 0, True)
        np.testing.assert_array_equal(a[4]["return_days"][a[4]["_return_days"] & ~ended], -1)
        seen += int(ended.sum())
    assert seen


def test_resets_bring_every_info_that_steps_bring(returning):
    env = recenv.parallel_env(returning)
    _, infos = env.reset(seed=0)
    while env.agents:
        *_, later = env.step({a: env.action_space(a).sample() for a in env.agents})
        assert all(set(later[a]) <= set(infos[a]) for a in later)
    assert later["user_0"]["return_days"] >= 0


@pytest.fixture
def returning(toy):
    """The toy world with a law of when users return."""
    law = DurationLaw(
        np.full(5, -1, np.float32), np.zeros(toy.num_users, np.float32), first=0, l2=1.0
    )
    model = dataclasses.replace(toy.user_model, return_time=law)
    return dataclasses.replace(toy, user_model=model)


@every_mode
def test_row_b_is_the_environment_of_its_seed(mode):
    """Row b after reset(seed=s) plays what RecEnv plays after reset(seed=s + b)."""
    envs = gymnasium.make_vec(ID, num_envs=B, autoreset_mode=mode)
    single = gymnasium.make(ID).unwrapped
    observation, infos = envs.reset(seed=40)
    for b in range(B):
        one, info = single.reset(seed=40 + b)
        same({k: v[b] for k, v in observation.items()}, one)
        assert {k: int(infos[k][b]) for k in info} == info


@pytest.mark.parametrize("observation", ["dict", "flat"])
def test_without_copies_observations_are_the_simulators_memory(observation):
    envs = gymnasium.make_vec(ID, num_envs=B, copy=False, observation=observation)
    copies = gymnasium.make_vec(ID, num_envs=B, observation=observation)
    first, _ = envs.reset(seed=0)
    kept, _ = copies.reset(seed=0)
    before = {k: v.copy() for k, v in kept.items()} if observation == "dict" else kept.copy()
    for _ in range(5):
        action = envs.action_space.sample()
        observed = envs.step(action)[0]
        copied = copies.step(action)[0]
        same(observed, copied)
    if observation == "dict":
        assert all(np.shares_memory(first[k], observed[k]) for k in first)
        assert not any(np.shares_memory(kept[k], copied[k]) for k in kept)
    else:
        assert np.shares_memory(first, observed)
        assert not np.shares_memory(kept, copied)
    same(kept, before)


def test_memory_reaches_torch_without_a_copy():
    torch = pytest.importorskip("torch")
    envs = gymnasium.make_vec(ID, num_envs=B, copy=False)
    observation, _ = envs.reset(seed=0)
    tensors = {k: torch.from_numpy(v) for k, v in observation.items()}
    envs.step(envs.action_space.sample())
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), observation[name])
        assert tensor.data_ptr() == envs.visits.seen["recommender_0"][name].ctypes.data


def test_item_codes_alone():
    with_vectors = gymnasium.make_vec(ID, num_envs=B)
    codes = gymnasium.make_vec(ID, num_envs=B, vectors=False)
    a, _ = with_vectors.reset(seed=1)
    b, _ = codes.reset(seed=1)
    assert a.keys() - b.keys() == {"candidate_vectors"}
    same({k: a[k] for k in b}, b)
    table = codes.world.interests.items
    np.testing.assert_array_equal(table[b["candidates"]], a["candidate_vectors"])


def test_wrong_input_is_named():
    envs = gymnasium.make_vec(ID, num_envs=B, autoreset_mode="Disabled", max_rounds=1)
    with pytest.raises(ActionError, match="before reset"):
        envs.step(envs.action_space.sample())
    with pytest.raises(ConfigError, match="Reset all first"):
        envs.reset(options={"reset_mask": np.ones(B, bool)})
    envs.reset(seed=0)
    with pytest.raises(ActionError, match=r"shape \(7, 4\)"):
        envs.step(np.zeros((B, 4), int))
    with pytest.raises(ActionError, match="dtype float64"):
        envs.step(np.zeros((B, 5)))
    with pytest.raises(ActionError, match="wants an action from MultiDiscrete"):
        envs.step(np.full((B, 5), 20))
    with pytest.raises(ConfigError, match="7 visits, but 3 seeds"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(ConfigError, match="seed must be an integer"):
        envs.reset(seed=[-1] * B)
    with pytest.raises(ConfigError, match="boolean array of shape"):
        envs.reset(options={"reset_mask": np.zeros(B, bool)})
    envs.step(envs.action_space.sample())
    with pytest.raises(ActionError, match="row 0 has ended"):
        envs.step(envs.action_space.sample())
    with pytest.raises(ConfigError, match="autoreset_mode must be one of 'NextStep'"):
        gymnasium.make_vec(ID, num_envs=2, autoreset_mode="never")
    with pytest.raises(ConfigError, match="shows nothing"):
        gymnasium.make_vec(ID, num_envs=2, render_mode="ansi")
    with pytest.raises(ConfigError, match="must be an integer from 1"):
        gymnasium.make_vec(ID, num_envs=0)
