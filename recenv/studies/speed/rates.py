"""Step rates of the simulator and its environments, and bounds of the machine.

``python -m recenv.studies.speed.rates`` compares one parallel environment with a trivial one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from gymnasium import spaces
from numba import prange
from pettingzoo import ParallelEnv

from recenv import rng
from recenv.config import GameConfig
from recenv.env.registration import parallel_env, single_env, vector_env
from recenv.jit.compiled import kept
from recenv.jit.logistic import sigmoid
from recenv.sim.simulator import Simulator
from recenv.sim.state import Field, Screen
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.world import World

GAME = GameConfig(slate_size=10, num_candidates=50, vectors=False)
"""The game that rates are of, where nothing else is said."""


@dataclass(frozen=True)
class Rate:
    """User-steps per second of one thing, over repeats."""

    what: str
    rows: int
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the repeats."""
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """``median (least - most)``."""
        low, high = min(self.values), max(self.values)
        return f"{short(self.median)} ({short(low)} - {short(high)})"


@dataclass(frozen=True)
class Clock:
    """Duration and repeats of a measurement."""

    seconds: float
    repeats: int

    def rate(self, what: str, rows: int, call: Callable[[], object]) -> Rate:
        """Time a call that steps ``rows`` users; the first calls, which may compile, are not."""
        call()
        began = time.perf_counter()
        call()
        once = max(time.perf_counter() - began, 1e-7)
        count = max(int(self.seconds / once), 1)
        values = []
        for _ in range(self.repeats):
            began = time.perf_counter()
            for _ in range(count):
                call()
            values.append(rows * count / (time.perf_counter() - began))
        return Rate(what, rows, tuple(values))


def world_of(items: int, dim: int, *, categories: int = 20, users: int = 2000) -> World:
    """A planted world of the asked size; its users have visited once."""
    return planted_world(
        PlantedConfig(
            num_users=users,
            num_items=items,
            num_categories=categories,
            dim=dim,
            history_visits=1,
        )
    )


def kernel_rate(
    clock: Clock, world: World, game: GameConfig, batch: int, threads: int, what: str = "kernel"
) -> Rate:
    """Steps of the simulator: slates in, both agents' observations out, next visits begun."""
    simulator = Simulator(world, game, threads=threads)
    state = simulator.reset(np.arange(batch))
    slates = np.tile(np.arange(game.slate_size), (batch, 1))
    for _ in range(3):  # visits of different ages
        simulator.step(state, slates, autoreset=True)
    return clock.rate(what, batch, lambda: simulator.step(state, slates, autoreset=True))


def two_sided_rate(
    clock: Clock, world: World, game: GameConfig, batch: int, threads: int, what: str
) -> Rate:
    """The two-player way: show, then answers from outside, both observations at each turn."""
    simulator = Simulator(world, game, threads=threads)
    state = simulator.reset(np.arange(batch))
    slates = np.tile(np.arange(game.slate_size), (batch, 1))
    answers = np.zeros((batch, game.slate_size + 1), np.int64)
    answers[:, 0] = 1

    def play() -> None:
        simulator.show(state, slates)
        simulator.user_observation(state, copy=False)
        simulator.respond_unchecked(state, simulator.check_answers(state, answers))
        simulator.recommender_observation(state, copy=False)
        state.ended[:] = 0  # visits of any length: nothing begins anew

    return clock.rate(what, batch, play)


def vector_rate(clock: Clock, world: World, batch: int, threads: int, **settings: Any) -> Rate:
    """``RecVectorEnv.step`` with actions sampled before."""
    envs = vector_env(world, num_envs=batch, threads=threads, **settings)
    envs.reset(seed=0)
    actions = [envs.action_space.sample() for _ in range(8)]
    return clock.rate("vector environment", batch, _cycle(envs.step, actions))


def parallel_rate(clock: Clock, world: World, batch: int, **settings: Any) -> Rate:
    """Rounds (two steps) of the parallel environment, both agents acting from outside."""
    env = parallel_env(world, num_sessions=batch, max_rounds=1_000_000, **settings)
    env.reset(seed=0)
    drawn = [{a: env.action_space(a).sample() for a in env.agents} for _ in range(8)]
    for actions in drawn:  # nobody leaves: every call is a round of every visit
        for agent in env.agents:
            if env.side[agent] == "user_0":
                stays = np.array(actions[agent])
                stays[..., -1:] = 0
                actions[agent] = stays if stays.ndim else np.int64(int(stays) // 2 * 2)

    def play(actions: dict[str, Any]) -> None:
        env.step(actions)
        env.step(actions)

    return clock.rate("parallel environment", batch, _cycle(play, drawn))


def single_rate(clock: Clock, world: World, **settings: Any) -> Rate:
    """``RecEnv.step`` with actions sampled before; resets at the ends of visits are inside."""
    env = single_env(world, **settings)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(64)]

    def play(action: Any) -> None:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    return clock.rate("Gymnasium environment", 1, _cycle(play, actions))


class Trivial(ParallelEnv[str, Any, Any]):
    """The least that a parallel environment of two agents can be: what PettingZoo itself costs."""

    metadata = {"name": "trivial"}

    def __init__(self) -> None:
        self.possible_agents = ["recommender_0", "user_0"]
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: spaces.Box(-1, 1, (4,), np.float32) for agent in self.possible_agents
        }
        self.action_spaces = {agent: spaces.Discrete(3) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Four numbers."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """One of three."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin twenty steps."""
        self.agents, self._steps = list(self.possible_agents), 0
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:  # type: ignore[override]
        """Count."""
        agents, self._steps = self.agents, self._steps + 1
        over = self._steps == 20
        observations = self._observations()
        rewards = dict.fromkeys(agents, 0.0)
        ended, cut = dict.fromkeys(agents, over), dict.fromkeys(agents, False)
        infos: dict[str, Any] = {agent: {} for agent in agents}
        if over:
            self.agents = []
        return observations, rewards, ended, cut, infos

    def _observations(self) -> dict[str, Any]:
        return {agent: np.zeros(4, np.float32) for agent in self.agents}


def against_trivial(
    source: str | World, *, rounds: int = 31, steps: int = 400, **settings: Any
) -> list[tuple[float, float]]:
    """Steps per second of one parallel environment, and of ``Trivial``, played in turn.

    Both agents act at random, by actions sampled before; resets are inside. Measured in the
    processor's time of this thread, so that what else the machine does counts less.

    Args:
        source: an environment id or a world.
        rounds: how often both are measured.
        steps: of each in a round.
        settings: of the game.

    Returns:
        (ours, trivial) of each round; the ratio of the two is what compares.
    """
    games = [parallel_env(source, **settings), Trivial()]
    drawn = []
    for env in games:
        for number, agent in enumerate(env.possible_agents):
            env.action_space(agent).seed(number)
        agents = env.possible_agents
        drawn.append([{a: env.action_space(a).sample() for a in agents} for _ in range(256)])
        env.reset(seed=0)
    told = []
    for number in range(rounds + 1):
        rates = []
        for env, actions in zip(games, drawn, strict=True):
            began = time.thread_time()
            for step in range(steps):
                env.step(actions[step % len(actions)])
                if not env.agents:
                    env.reset()
            rates.append(steps / (time.thread_time() - began))
        if number:  # the first compiles
            told.append((rates[0], rates[1]))
    return told


def _cycle(call: Callable[[Any], object], arguments: Sequence[Any]) -> Callable[[], object]:
    at = 0

    def play() -> None:
        nonlocal at
        call(arguments[at])
        at = (at + 1) % len(arguments)

    return play


@kept(parallel=True)
def _gather(table, rows, out):  # noqa: ANN001, ANN202
    for b in prange(len(rows)):
        for k in range(rows.shape[1]):
            for d in range(table.shape[1]):
                out[b, d] = table[rows[b, k], d]


@kept(parallel=True)
def _copy(source, target):  # noqa: ANN001, ANN202
    for i in prange(len(source)):
        target[i] = source[i]


@kept(parallel=True)
def _look_up(table, rows, out):  # noqa: ANN001, ANN202
    for b in prange(len(rows)):
        for c in range(rows.shape[1]):
            out[b, c] = table[rows[b, c]]


@kept(parallel=True)
def _draw(keys, out):  # noqa: ANN001, ANN202
    for b in prange(len(keys)):
        for c in range(out.shape[1]):
            out[b, c] = rng.integer(keys[b], 0, rng.CANDIDATES, c, out.shape[1])


@kept(parallel=True, error_model="numpy")
def _sigmoids(odds, out):  # noqa: ANN001, ANN202
    for b in prange(len(odds)):
        for k in range(odds.shape[1]):
            out[b, k] = sigmoid(odds[b, k])


@kept(parallel=True, fastmath=True)
def _products(table, rows, weights, out):  # noqa: ANN001, ANN202
    for b in prange(len(rows)):
        for k in range(rows.shape[1]):
            click, buy = np.float32(0), np.float32(0)
            for d in range(table.shape[1]):
                both = table[b % len(table), d] * table[rows[b, k], d]
                click += weights[0, d] * both
                buy += weights[1, d] * both
            out[b, k] = click
            out[b, rows.shape[1] + k] = buy


_IDLE = ("seed", "session", "encoded", "taken", "taken_count", "need", "fulfilled")
_ON_SCREEN = (*Screen._fields, "slate_vectors")


def touched_bytes(
    fields: dict[str, Field], *, clicking: float = 1.0, own_screens: bool = False
) -> float:
    """Bytes of the state that a step reads and writes, of one visit (each counted once).

    Args:
        fields: of the state.
        clicking: share of the steps that bring a click; the others need no ``visit_interest``.
        own_screens: also what is on each visit's screen. A CPU's step leaves that in a few rows.
    """
    idle = _IDLE if own_screens else _IDLE + _ON_SCREEN
    touched = sum(field.bytes for name, field in fields.items() if name not in idle)
    return touched - (1 - clicking) * fields["visit_interest"].bytes


_IN_CACHE = 2048
"""Rows, for each thread, of the arrays that arithmetic is measured on: a core's own caches hold
them."""
_NEAR = 32
"""Item vectors that inner products are measured on."""


def bound(world: World, game: GameConfig, batch: int, threads: int) -> dict[str, float]:
    """User-steps per second that this machine allows: by its memory, and with the arithmetic too.

    Memory: the slate's item vectors must be gathered, two numbers of every candidate looked up (its
    code in the shuffled catalogue and its popularity), and the state copied once, at the measured
    rates of plain loops over arrays of the same sizes.

    Arithmetic: C candidates, K answers and two more numbers are drawn, 2K + 1 logistic functions
    evaluated, and two weighted inner products taken for each slot, at the rates of plain loops over
    ``_IN_CACHE`` rows for each thread (the inner products with additions in any order, over vectors
    that the first cache holds).

    Returns:
        gather_gb_s, lookups_g_s (10^9 numbers a second) and copy_gb_s (a byte read and written
        counts once), steps_per_second (memory alone); draws_g_s, sigmoids_g_s, products_g_s
        (10^9 dimensions a second, for both inner products), steps_with_arithmetic.
    """
    numba.set_num_threads(threads)
    simulator = Simulator(world, game)
    touched = touched_bytes(simulator.fields, clicking=clicking_share(simulator))
    vectors = world.user_model.item_vectors
    slots, candidates, dim = game.slate_size, game.num_candidates, vectors.shape[1]
    generator = np.random.default_rng(0)
    rows = generator.integers(len(vectors), size=(batch, slots)).astype(np.int32)
    out = np.empty((batch, dim), np.float32)
    codes = generator.integers(len(vectors), size=(batch, candidates)).astype(np.int32)
    found = np.empty(codes.shape, np.float32)
    popularity = np.ones(len(vectors), np.float32)
    size = max(int(touched * batch / 4), 1)
    source, target = np.ones(size, np.float32), np.zeros(size, np.float32)
    clock = Clock(0.3, 5)
    gathered = clock.rate("gather", rows.size * dim * 4, lambda: _gather(vectors, rows, out))
    looked_up = clock.rate("look up", codes.size, lambda: _look_up(popularity, codes, found))
    copied = clock.rate("copy", source.nbytes, lambda: _copy(source, target))
    memory = slots * dim * 4 / gathered.median + 2 * candidates / looked_up.median
    memory += touched / copied.median

    few = _IN_CACHE * threads
    keys = np.arange(few, dtype=np.uint64)
    drawn = np.empty((few, candidates), np.int32)
    odds = generator.normal(size=(few, 2 * slots)).astype(np.float32)
    answers = np.empty_like(odds)
    weights = np.ones((2, dim), np.float32)

    draws = clock.rate("draw", drawn.size, lambda: _draw(keys, drawn)).median
    sigmoids = clock.rate("sigmoid", odds.size, lambda: _sigmoids(odds, answers)).median
    near = generator.integers(_NEAR, size=(few, slots)).astype(np.int32)
    products = clock.rate(
        "product", near.size * dim, lambda: _products(vectors[:_NEAR], near, weights, answers)
    ).median
    arithmetic = (candidates + slots + 2) / draws + (2 * slots + 1) / sigmoids
    arithmetic += slots * dim / products
    return {
        "gather_gb_s": gathered.median / 1e9,
        "lookups_g_s": looked_up.median / 1e9,
        "copy_gb_s": copied.median / 1e9,
        "steps_per_second": 1 / memory,
        "draws_g_s": draws / 1e9,
        "sigmoids_g_s": sigmoids / 1e9,
        "products_g_s": products / 1e9,
        "steps_with_arithmetic": 1 / (memory + arithmetic),
    }


def clicking_share(simulator: Simulator) -> float:
    """Share of the steps that bring a click, where slates are the first candidates."""
    state = simulator.reset(np.arange(4096))
    slates = np.tile(np.arange(simulator.game.slate_size), (len(state.user), 1))
    shares = []
    for _ in range(10):
        simulator.step(state, slates, autoreset=True)
        shares.append(float((state.clicks > 0).mean()))
    return statistics.mean(shares)


def peak_mb() -> float:
    """Resident memory of this process at its highest, in MiB (Linux; else NaN)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def short(value: float) -> str:
    """Three digits, with k or M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


if __name__ == "__main__":
    for told in ("recenv/Toy-v0", "recenv/MovieLens100K-v0"):
        for kind in ("dict", "flat"):
            pairs = against_trivial(told, observation=kind)
            ratios = [a / b for a, b in pairs]
            ours, least = (statistics.median(values) for values in zip(*pairs, strict=True))
            print(
                f"{told} {kind}: {short(ours)} steps/s, trivial {short(least)}: "
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})"
            )
