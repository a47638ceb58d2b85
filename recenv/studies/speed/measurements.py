"""Measurements of step rates: kernel, environments, peers and machine bounds, in one run.

    python -m recenv.studies.speed                  # the CPU, and the peers from PyPI
    python -m recenv.studies.speed --device cuda    # the same steps on a GPU

prints user-steps per second (one user answering one slate, everything that both agents observe
kept up to date) as medians over repeats with their spread, ratios between what was measured in
the same run, the bounds of the machine and the fractions reached, and how the time of a step
grows with each size. All users of the planted world have every law: examination, click,
purchase, leaving, boredom, drift, satisfaction, history.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recenv.env.registration import load_world
from recenv.progress import Progress
from recenv.sim.simulator import Simulator
from recenv.studies.speed import peers
from recenv.studies.speed.rates import (
    GAME,
    Clock,
    Rate,
    bound,
    kernel_rate,
    parallel_rate,
    single_rate,
    two_sided_rate,
    vector_rate,
    world_of,
)
from recenv.world import World

BATCHES = (1, 64, 1024, 16384, 65536)
CATALOGUES = ((1682, 64), (1682, 384), (100_000, 64), (100_000, 384))  # items, dimensions


_FIRST_STEP = """
import time
began = time.perf_counter()
import recenv
imported = time.perf_counter() - began
env = recenv.parallel_env("recenv/Toy-v0")
env.reset(seed=0)
env.step({a: env.action_space(a).sample() for a in env.agents})
env.step({a: env.action_space(a).sample() for a in env.agents})
print(imported, time.perf_counter() - began)
"""
_PEAK = """
import sys
import numpy as np
from recenv.studies.speed.rates import GAME, peak_mb, world_of
from recenv.sim.simulator import Simulator
batch = int(sys.argv[1])
world = world_of(1682, 64)
simulator = Simulator(world, GAME)
base = peak_mb()
state = simulator.reset(np.zeros(batch), sessions=np.arange(batch))
simulator.step(state, np.tile(np.arange(GAME.slate_size), (batch, 1)), autoreset=True)
print(base, peak_mb(), simulator.bytes_per_visit)
"""


def fresh(script: str, *arguments: str) -> list[float]:
    """Numbers printed by a script in a fresh Python process.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"A measuring process failed:\n{done.stderr[-2000:]}")
    return [float(x) for x in done.stdout.split()]


GROWTH: dict[str, tuple[int, ...]] = {
    "batch": (64, 256, 1024, 4096, 16384, 65536),
    "items": (1000, 10_000, 100_000, 1_000_000),
    "slots": (1, 2, 5, 10, 20, 50),
    "candidates": (50, 100, 200, 500, 1000),
    "dimensions": (8, 16, 32, 64, 128, 256, 384),
    "history": (1, 10, 20, 50, 100, 200),
}
_BASE = {
    "batch": 4096,
    "items": 10_000,
    "slots": 10,
    "candidates": 50,
    "dimensions": 64,
    "history": 20,
}


def growth(clock: Clock, progress: Callable[[], object]) -> dict[str, list[list[float]]]:
    """Nanoseconds per user-step (median, one thread) along each size, the others at their base."""
    out: dict[str, list[list[float]]] = {}
    for name, sizes in GROWTH.items():
        out[name] = []
        for size in sizes:
            at = {**_BASE, name: size}
            world = world_of(at["items"], at["dimensions"], users=500)
            game = GAME.replace(
                slate_size=at["slots"],
                num_candidates=max(at["candidates"], at["slots"]),
                history_length=at["history"],
            )
            rate = kernel_rate(clock, world, game, at["batch"], 1)
            out[name].append([size, 1e9 / rate.median])
            progress()
    return out


def item_tables(clock: Clock, items: int = 100_000, dim: int = 384) -> list[dict[str, Any]]:
    """Item tables in fewer bits: loss of accuracy, gain in memory and speed."""
    world, out = world_of(items, dim), []
    exact: npt.NDArray[np.float32] | None = None
    for table in ("float32", "int16", "int8"):
        game = GAME.replace(item_table=table)
        simulator = Simulator(world, game)
        state = simulator.reset(np.arange(4096))
        simulator.show(state, np.tile(np.arange(game.slate_size), (4096, 1)))
        shown = state.behaviour[:, : 3 * game.slate_size].reshape(4096, -1, 3)
        click = 1 - shown[..., 0]  # P(click), examination included
        exact = click if exact is None else exact
        tables = simulator.tables
        out.append(
            {
                "table": table,
                "megabytes": (tables.item_vectors.nbytes + tables.shown_vectors.nbytes) / 1e6,
                "mean_error": float(np.abs(click - exact).mean()),
                "largest_error": float(np.abs(click - exact).max()),
                "rate": kernel_rate(clock, world, game, 16384, 1).median,
            }
        )
    return out


@dataclass
class Study:
    """Results of the measurements."""

    rates: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    bounds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    start: dict[str, float] = dataclasses.field(default_factory=dict)
    memory: list[dict[str, float]] = dataclasses.field(default_factory=list)
    tables: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    growth: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    peers: list[peers.PeerResult] = dataclasses.field(default_factory=list)

    def add(self, rate: Rate, **about: Any) -> None:
        """Keep a rate and what it was of."""
        self.rates.append(
            {"what": rate.what, "rows": rate.rows, **about, "values": list(rate.values)}
        )

    def median(self, what: str, rows: int, **about: Any) -> float:
        """Of the rate with these properties; NaN if it was not measured."""
        for row in self.rates:
            wanted = {"what": what, "rows": rows, **about}
            if all(row.get(name) == value for name, value in wanted.items()):
                return statistics.median(row["values"])
        return float("nan")


def measure(clock: Clock, *, with_peers: bool, folder: Path, progress: bool | None) -> Study:
    """All of it, on the CPU."""
    study, cores = Study(), min(os.cpu_count() or 1, 2)
    with Progress("measuring", unit="cells", shown=progress) as bar:
        for items, dim in CATALOGUES:
            world = world_of(items, dim)
            about: dict[str, Any] = {"items": items, "dim": dim}
            for batch in BATCHES:
                for threads in range(1, cores + 1):
                    study.add(
                        kernel_rate(clock, world, GAME, batch, threads), **about, threads=threads
                    )
                    bar.update()
                if batch < 65536:  # vectors of that many users take more memory than they are worth
                    game = GAME.replace(vectors=True)
                    what = "kernel, vectors observed"
                    study.add(kernel_rate(clock, world, game, batch, 1, what), **about, threads=1)
                    bar.update()
            if (items, dim) == CATALOGUES[0]:
                _environments(study, clock, world, about, cores, bar.update)
            for threads in range(1, cores + 1):
                told = bound(world, GAME, BATCHES[-1], threads)
                reached = study.median("kernel", BATCHES[-1], **about, threads=threads)
                study.bounds.append(
                    {
                        **about,
                        "threads": threads,
                        **told,
                        "reached": reached / told["steps_per_second"],
                        "reached_with_arithmetic": reached / told["steps_with_arithmetic"],
                    }
                )
                bar.update()
        study.tables = item_tables(clock)
        study.growth = growth(clock, bar.update)
        fresh(_FIRST_STEP)  # fills the caches
        starts = [fresh(_FIRST_STEP) for _ in range(clock.repeats)]
        study.start = {
            "import_s": statistics.median(s[0] for s in starts),
            "first_step_s": statistics.median(s[1] for s in starts),
        }
        for batch in (1, 65536, 1_000_000):
            base, peak, each = fresh(_PEAK, str(batch))
            study.memory.append(
                {"users": batch, "base_mb": base, "peak_mb": peak, "bytes_per_user": each}
            )
            bar.update()
        if with_peers:
            study.peers = peers.measure_peers(
                folder, seconds=max(clock.seconds, 1.0), repeats=clock.repeats, progress=False
            )
            bar.update()
    return study


def _environments(
    study: Study,
    clock: Clock,
    world: World,
    about: dict[str, Any],
    cores: int,
    bar: Callable[[], object],
) -> None:
    game = {k: v for k, v in GAME.to_dict().items() if k in ("slate_size", "num_candidates")}
    for batch in BATCHES:
        for copy in (True, False):
            rate = vector_rate(clock, world, batch, 1, copy=copy, vectors=False, **game)
            study.add(rate, **about, threads=1, vectors=False, copy=copy)
        if batch <= 16384:
            rate = vector_rate(clock, world, batch, 1, vectors=True, **game)
            study.add(rate, **about, threads=1, vectors=True, copy=True)
        rate = two_sided_rate(clock, world, GAME, batch, 1, "show, then answers")
        study.add(rate, **about, threads=1)
        bar()
    for threads in range(2, cores + 1):
        rate = vector_rate(clock, world, 1024, threads, copy=False, vectors=False, **game)
        study.add(rate, **about, threads=threads, vectors=False, copy=False)
    toy = load_world("recenv/Toy-v0")
    for observation in ("dict", "flat"):
        shape: dict[str, Any] = {"observation": observation}
        for batch in (1, 64, 1024):
            study.add(parallel_rate(clock, toy, batch, num_candidates=20, **shape), **shape)
        study.add(single_rate(clock, toy, num_candidates=20, **shape), **shape)
        rate = vector_rate(clock, toy, 1024, 1, num_candidates=20, **shape)
        study.add(rate, world="toy", **shape)
        bar()
