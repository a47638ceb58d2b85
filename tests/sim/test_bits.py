"""The same bits from every batch size, number of threads, process, and way to step."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recenv.config import GameConfig
from recenv.jit import threads
from recenv.sim import Simulator, kernels

GAME = GameConfig(slate_size=4, num_candidates=12, max_rounds=6)
LARGE = kernels._LARGE + 513  # rows are asked for ahead, and threads share them unevenly
ROUNDS = 9


def played(world, batch, *, count=1, game=GAME, split=False):
    """State after some rounds, visits beginning anew where they end."""
    simulator = Simulator(world, game, threads=count)
    state = simulator.reset(np.arange(batch))
    draw = np.random.default_rng(0)
    for _ in range(ROUNDS):
        # row b's slates do not depend on how many rows there are
        slates = np.tile(draw.integers(-1, game.num_candidates, size=game.slate_size), (batch, 1))
        if split:
            ended = np.flatnonzero(state.ended)
            going = state.ended == 0
            simulator.show(state, slates)
            simulator.respond_fitted(state)
            simulator.next_visits(state, ended)
            assert (state.round[~going] == 0).all()
        else:
            simulator.step(state, slates, autoreset=True)
    return state


def digest(state, rows):
    told = hashlib.sha256()
    for array in state:
        told.update(np.ascontiguousarray(array[:rows]).tobytes())
    return told.hexdigest()


def test_batches_of_every_size(toy):
    whole = played(toy, LARGE)
    for batch in (1, 7, threads.PARALLEL_FROM, kernels._LARGE):
        assert digest(played(toy, batch), batch) == digest(whole, batch)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
@pytest.mark.parametrize("batch", [threads.PARALLEL_FROM, 1001, LARGE])
def test_threads(toy, batch):
    assert digest(played(toy, batch, count=2), batch) == digest(played(toy, batch), batch)


def test_one_pass_or_two(toy):
    assert digest(played(toy, 999, split=True), 999) == digest(played(toy, 999), 999)


def test_processes(toy):
    """A Python of its own, with a compiler's cache of its own, comes to the same."""
    code = """
import sys
sys.path.insert(0, "tests")
from sim.test_bits import digest, played
from recenv.env.registration import load_world
print(digest(played(load_world("recenv/Toy-v0"), 700), 700))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest(played(toy, 700), 700)


def slates_of(batch, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(-1, GAME.num_candidates, size=(batch, GAME.slate_size))


@pytest.mark.parametrize("batch", [1, 30, 64, 65, 300])
def test_a_step_answers_what_is_on_screen(toy, batch):
    """Visits that were shown a slate before keep it, wherever in the batch they are."""
    simulator = Simulator(toy, GAME)
    ours, theirs = simulator.reset(np.arange(batch)), simulator.reset(np.arange(batch))
    for state in (ours, theirs):
        for low in range(0, batch, 50):  # some of every tile
            high = min(low + 17, batch)
            kernels.show(low, high, slates_of(batch, 1), simulator.tables, simulator.rules, state)
    simulator.step(ours, slates_of(batch))
    simulator.show(theirs, slates_of(batch))
    simulator.respond_fitted(theirs)
    assert digest(ours, batch) == digest(theirs, batch)
    assert (ours.last_slate == theirs.last_slate).all()
    assert (ours.slate == -1).all()


def test_one_visit_after_the_other(toy):
    """What a GPU's thread does with one visit, on the CPU."""
    simulator = Simulator(toy, GAME)
    ours, theirs = simulator.reset(np.arange(150)), simulator.reset(np.arange(150))
    for n in range(ROUNDS):
        simulator.step(ours, slates_of(150, n), autoreset=True)
        kernels.step_alone(
            0, 150, slates_of(150, n), True, simulator.tables, simulator.rules, theirs
        )
        assert digest(ours, 150) == digest(theirs, 150)
    assert (ours.session > 0).any()


def test_nothing_to_step(toy):
    simulator = Simulator(toy, GAME)
    state = simulator.allocate(0)
    simulator.step(state, np.zeros((0, GAME.slate_size), int))
