"""The same bits from every batch size, number of threads, process, and way to step."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recenv.config import GameConfig
from recenv.sim import Simulator, kernels, threads

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
