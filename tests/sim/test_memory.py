"""What a user takes in memory: as stated, and as allocated."""

import tracemalloc

import numpy as np
import pytest

from recenv.config import GameConfig
from recenv.sim import Simulator
from recenv.sim.state import make_state


def stated(world, game, *, user_sees=True):
    """docs/performance.md, in numbers: bytes of the state of one user."""
    k, c, h = game.slate_size, game.num_candidates, game.history_length
    d, p = world.user_model.dim, world.interests.items.shape[1]
    g = len(world.catalog.category_names)
    total = 4 * d + 8 * p + 4 * g + 8 * c + 8 * h + 33 * k + 86
    if game.vectors:
        total += 4 * c * p + (4 * k * d if user_sees else 0)
    if world.user_model.dynamics.again:
        total += 4 * k * game.max_rounds
    return total


@pytest.mark.parametrize(
    "game",
    [
        GameConfig(num_candidates=20),
        GameConfig(slate_size=10, num_candidates=50, vectors=False),
        GameConfig(slate_size=1, num_candidates=7, history_length=3),
    ],
    ids=str,
)
@pytest.mark.parametrize("user_sees", [True, False])
def test_bytes_are_those_stated(toy, game, user_sees):
    simulator = Simulator(toy, game, user_sees=user_sees)
    assert simulator.bytes_per_visit == stated(toy, game, user_sees=user_sees)
    state = simulator.allocate(5)
    assert sum(array.nbytes for array in state) == 5 * simulator.bytes_per_visit


def test_nothing_else_is_allocated(toy):
    """Not at the reset, but for what names the visits, nor in any step."""
    simulator = Simulator(toy, GameConfig(num_candidates=20, vectors=False))
    batch = 20_000
    slates = np.tile(np.arange(5), (batch, 1))
    simulator.step(simulator.reset([0]), slates[:1])  # compiled
    tracemalloc.start()
    state = simulator.reset(np.arange(batch))
    begun = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        simulator.step(state, slates, autoreset=True)
    stepped = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert begun < batch * (simulator.bytes_per_visit + 100) + 200_000
    assert stepped - held < 10_000


def test_a_million_users_fit_in_8_gb(toy):
    """At the size of the speed benchmark, D = P = 64, 20 categories; and with the defaults."""
    for game in (
        GameConfig(slate_size=10, num_candidates=50, vectors=False),
        GameConfig(vectors=False),
    ):
        k, c, h = game.slate_size, game.num_candidates, game.history_length
        assert 4 * 64 + 8 * 64 + 4 * 20 + 8 * c + 8 * h + 33 * k + 86 < 8_000


def test_arrays_begin_on_different_lines_of_a_page(toy):
    simulator = Simulator(toy, GameConfig(num_candidates=20))
    state = make_state(simulator.fields, 4096)
    state = [array for array in state if array.size]
    places = [array.ctypes.data % 4096 // 64 for array in state]
    assert len(set(places)) == len(places)
    assert all(array.ctypes.data % 64 == 0 for array in state)


def test_what_an_agent_of_a_single_visit_observes_lies_side_by_side(toy):
    """So that an observation is copied in one piece of hardly more than its own size."""
    simulator = Simulator(toy, GameConfig(num_candidates=20))
    state = simulator.allocate(1)
    sides = (simulator.recommender_observation, simulator.user_observation)
    for observe in sides:
        leaves = observe(state, copy=False).values()
        first = min(leaf.ctypes.data for leaf in leaves)
        last = max(leaf.ctypes.data + leaf.nbytes for leaf in leaves)
        assert last - first <= sum(-(-leaf.nbytes // 64) * 64 for leaf in leaves)
