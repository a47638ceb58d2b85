"""A copied environment plays on as the original would, and apart from it."""

import copy
import itertools
import pickle

import cloudpickle
import gymnasium
import numpy as np
import pytest

import recenv

ID = "recenv/Toy-v0"
FORMS = [
    {"observation": observation, "slate_size": slots}
    for observation in ("dict", "flat")
    for slots in (1, 3)
]
WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


def same(a, b):
    """Equal through dicts, tuples and arrays; no array of the one is memory of the other."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        np.testing.assert_array_equal(a, b)
        if isinstance(a, np.ndarray):
            assert not np.shares_memory(a, b)


def _seeded(env):
    """An environment whose agents sample the same actions each time."""
    agents = getattr(env, "possible_agents", None)
    for space in [env.action_space(a) for a in agents] if agents else [env.action_space]:
        space.seed(3)
    return env


class Parallel:
    """One of the interfaces: ``begin`` and ``turn`` return all that it tells."""

    def __init__(self, visits=1, **form):
        self.env = _seeded(recenv.parallel_env(ID, num_sessions=visits, **form))

    def begin(self, seed=None):
        return (*self.env.reset(seed=seed), self.env.state())

    def turn(self):
        env = self.env
        if not env.agents:
            return self.begin()
        told = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        return (*told, env.state(), tuple(env.agents))


class Several(Parallel):
    def __init__(self, **form):
        super().__init__(visits=3, **form)


class Aec:
    def __init__(self, **form):
        self.env = _seeded(recenv.aec_env(ID, **form))

    def _told(self):
        env = self.env
        seen = tuple(env.observe(agent) for agent in env.possible_agents)
        return (seen, env.rewards, env.terminations, env.infos, env.agent_selection, env.state())

    def begin(self, seed=None):
        self.env.reset(seed=seed)
        return self._told()

    def turn(self):
        env = self.env
        agent = env.agent_selection
        if env.terminations[agent] or env.truncations[agent]:
            return self.begin()
        env.step(env.action_space(agent).sample())
        return self._told()


class Single:
    def __init__(self, **form):
        self.env = _seeded(gymnasium.make(ID, **form))
        self.over = False

    def begin(self, seed=None):
        self.over = False
        return self.env.reset(seed=seed)

    def turn(self):
        if self.over:
            return self.begin()
        told = self.env.step(self.env.action_space.sample())
        self.over = told[2] or told[3]
        return told


class Vector:
    def __init__(self, copied=True, **form):
        self.env = _seeded(gymnasium.make_vec(ID, num_envs=3, copy=copied, **form))

    def begin(self, seed=None):
        return self.env.reset(seed=seed)

    def turn(self):
        return self.env.step(self.env.action_space.sample())


class VectorOfItsMemory(Vector):
    def __init__(self, **form):
        super().__init__(copied=False, **form)


every_interface = pytest.mark.parametrize(
    "interface", [Parallel, Several, Aec, Single, Vector, VectorOfItsMemory]
)


@every_interface
@every_form
@every_way
def test_a_copy_plays_on_as_the_original(interface, form, way):
    original = interface(max_rounds=4, **form)
    before = way(original)
    same(original.begin(seed=5), before.begin(seed=5))
    seen = []
    for turn in range(6):
        told = original.turn()
        same(told, before.turn())
        seen.append(told)
        if turn in (0, 3):  # at either side's turn
            twin = way(original)
            again = way(twin)
            for _ in range(9):  # beyond the end of visits
                same(twin.turn(), again.turn())
            same(twin.begin(seed=9), again.begin(seed=9))
    flat = [np.concatenate([np.ravel(x) for x in _arrays(told)]) for told in seen[:4]]
    assert any(a.shape != b.shape or (a != b).any() for a, b in itertools.pairwise(flat))


def _arrays(told):
    if isinstance(told, np.ndarray):
        yield told.astype(float)
    elif isinstance(told, (dict, tuple)):
        for part in told.values() if isinstance(told, dict) else told:
            yield from _arrays(part)


@every_interface
def test_a_copy_and_the_original_are_apart(interface):
    """What the one plays changes nothing that the other sees or is paid."""
    original, alone = interface(slate_size=3), interface(slate_size=3)
    original.begin(seed=1)
    alone.begin(seed=1)
    for _ in range(3):
        same(original.turn(), alone.turn())
    twin = copy.deepcopy(original)
    for _ in range(5):
        twin.turn()
    twin.begin(seed=8)
    for _ in range(5):
        same(original.turn(), alone.turn())


def test_copies_share_the_world():
    env = recenv.parallel_env(ID)
    twin = copy.deepcopy(env)
    assert twin.world is env.world
    assert twin.visit.simulator.tables is env.visit.simulator.tables
    assert not np.shares_memory(twin.visit.state.interest, env.visit.state.interest)


def test_a_copied_state_is_laid_out_as_a_new_one():
    env = recenv.parallel_env(ID, num_sessions=4)
    env.reset(seed=0)
    for way in WAYS.values():
        state, twin = env.visit.state, way(env.visit.state)
        assert type(twin) is type(state)
        assert len({id(array.base) for array in twin}) == 1
        first = state.seed.ctypes.data, twin.seed.ctypes.data
        for ours, its in zip(state, twin, strict=True):
            np.testing.assert_array_equal(ours, its)
            assert ours.ctypes.data - first[0] == its.ctypes.data - first[1]


@pytest.mark.parametrize("way", ["pickle", "cloudpickle"])
def test_what_was_pickled_is_stepped_by_the_same_compiled_code(way):
    env = recenv.parallel_env(ID)
    twin = WAYS[way](env)
    assert not any(array.flags.writeable for array in twin.visit.simulator.tables)
    assert twin.visit.state.kind == env.visit.state.kind
