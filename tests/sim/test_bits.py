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


def test_every_row_is_run_once():
    seen = np.zeros(5000, int)

    def kernel(low, high, step):
        seen[low:high] += step

    for count in (1, 2, 3, 8):
        for rows in (0, 1, 255, 256, 513, 5000):
            seen[:] = 0
            threads.run(kernel, rows, count, 1)
            assert (seen[:rows] == 1).all()
            assert (seen[rows:] == 0).all()


def test_an_error_in_a_thread_is_raised():
    def kernel(low, high):
        if low:
            raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        threads.run(kernel, 10_000, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_after_a_fork(toy):
    """A forked process makes threads of its own instead of waiting for its parent's."""
    code = """
import os, sys
sys.path.insert(0, "tests")
from sim.test_bits import digest, played
from recenv.env.registration import load_world
world = load_world("recenv/Toy-v0")
before = digest(played(world, 2048, count=2), 2048)
child = os.fork()
if child == 0:
    os._exit(0 if digest(played(world, 2048, count=2), 2048) == before else 1)
print(os.waitpid(child, 0)[1])
"""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one processor")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "0", done.stderr
