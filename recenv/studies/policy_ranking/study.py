"""Does a simulator fitted to a log rank policies as the true world does?

A planted world is the truth. Its users leave a log under a known logging policy; a user model is
fitted to that log as to any other; and a fixed set of policies plays in both worlds, which differ
in the user model alone. ``python -m recenv.benchmark.ranking`` measures how well the two rankings
agree over the size of the log, over the narrowness of the logging policy, and with parts of the
log or of the model taken away.

A cell (one log, one fit, one ranking) is kept as JSON, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from recenv.artifacts import write_atomically
from recenv.benchmark.agreement import agreement, surely_ranked, visit_error
from recenv.benchmark.ranking_policies import ScoreRecommender, candidate_policies, click_values
from recenv.config import Config, GameConfig, WorldConfig, content_hash
from recenv.data.split import make_split
from recenv.encoders.interest import fit_interests
from recenv.evaluation import rollout
from recenv.recommenders import Recommender
from recenv.schema import CLICK, InteractionLog
from recenv.sim.emit import (
    LoggingPolicy,
    PersonalLogging,
    PopularityLogging,
    UniformLogging,
    emit_log,
)
from recenv.sim.simulator import Simulator
from recenv.sim.synthetic import PlantedConfig, planted_world
from recenv.users.model import UserModel
from recenv.users.visits import continuation
from recenv.world import World

VERSION = 1
"""Goes up when this file would measure something else for the same cell."""
_SOURCES = ("users", "sim", "encoders", "evaluation", "recommenders", "data", "config.py", "rng.py")

TRUE_SEED, FITTED_SEED = 1, 2
"""The worlds are played on other draws: agreement by shared luck would be none."""

Change = Literal[
    "none",
    "no positions",
    "wrong examination prior",
    "clicks only, level 0.1",
    "clicks only, level 0.02",
    "clicks only, level 0.4",
    "random item vectors",
    "no boredom, drift, satisfaction",
    "items only",
    "the planted model itself",
]
LOG_CHANGES = {  # what is asked of the fit, in words for the report
    "no positions": "the log's positions are dropped: every slot counts as looked at",
    "wrong examination prior": "`examination_decay = 1.5` is stated, where 0.5 is planted",
    "clicks only, level 0.1": "no impressions, `click_rate = 0.1` is stated (the default)",
    "clicks only, level 0.02": "no impressions, `click_rate = 0.02` is stated",
    "clicks only, level 0.4": "no impressions, `click_rate = 0.4` is stated",
    "random item vectors": "the encoder's vectors are noise: tastes come from ids alone",
    "no boredom, drift, satisfaction": "the stated priors of these laws are set to zero",
    "items only": "the fitted users' vectors are set to zero: all users have one taste",
    "the planted model itself": "nothing is fitted: what the noise of the rollouts leaves",
}


@dataclass(frozen=True)
class RankingConfig(Config):
    """One cell. ``visits`` per user are played in the fitted world, ``true_visits`` in the true.

    ``log`` names the logging policy; ``mix`` and ``temperature`` are its own. ``build`` says how
    the log is split and fitted (its encoder is not used).
    """

    events: int = 100_000
    log: Literal["uniform", "popularity", "personal"] = "popularity"
    mix: float = 0.3
    temperature: float = 0.5
    change: Change = "none"
    num_users: int = 200
    num_items: int = 200
    visits: int = 30
    true_visits: int = 200
    seed: int = 0
    build: WorldConfig = field(default_factory=WorldConfig)

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("events", "visits", "true_visits"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(self.num_users >= 5, "num_users", "at least 5")
        self.require(self.num_items >= 20, "num_items", "at least 20, the number of candidates")
        _ = self.policy

    @property
    def policy(self) -> LoggingPolicy:
        """The logging policy."""
        if self.log == "uniform":
            return UniformLogging()
        kind = PopularityLogging if self.log == "popularity" else PersonalLogging
        return kind(mix=self.mix, temperature=self.temperature)

    @property
    def game(self) -> GameConfig:
        """The rules under which the log is emitted and policies are ranked."""
        return GameConfig(num_candidates=20)

    def world(self) -> World:
        """The true world."""
        planted = PlantedConfig(num_users=self.num_users, num_items=self.num_items, seed=self.seed)
        return planted_world(planted, name=f"planted {self.seed}")

    @property
    def truth_key(self) -> str:
        """Names the true ranking, which many cells share."""
        shared = self.num_users, self.num_items, self.true_visits, self.seed
        return content_hash("truth", VERSION, sources_hash(), *shared)

    @property
    def key(self) -> str:
        """Names the cell; another code of fit or simulator is another cell."""
        return content_hash(VERSION, sources_hash(), self.to_dict())


def sources_hash() -> str:
    """Hash of the code that fits and simulates."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256((Path(__file__).parent / "ranking_policies.py").read_bytes())
    for name in _SOURCES:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def draw_log(
    world: World, game: GameConfig, policy: LoggingPolicy, events: int, seed: int
) -> InteractionLog:
    """A log of exactly ``events`` impressions: everyone's visits in random order, the last cut."""
    visits = -(-events // (world.num_users * game.slate_size * 4))
    while True:
        log = emit_log(world, game, policy, visits_per_user=visits, seed=seed)
        if len(log) >= events:
            break
        visits *= 2
    session = log.column("session")
    rng = np.random.default_rng([seed, 21])
    place = rng.random(int(session.max()) + 1)  # of each session among its round of visits
    rank = np.empty(len(place), np.int64)
    rank[np.lexsort((place, np.arange(len(place)) // world.num_users))] = np.arange(len(place))
    order = np.lexsort((np.arange(len(log)), rank[session]))
    return log.take(np.sort(order[:events]))


def fit_model(world: World, log: InteractionLog, cell: RankingConfig) -> tuple[UserModel, Any]:
    """The user model that ``build_world`` would fit, and the split.

    The platform's item vectors (the planted ones with noise) stand for a text encoder's.
    """
    vectors, config = world.interests.items, cell.build.user_model
    if cell.change == "random item vectors":
        vectors = np.random.default_rng([cell.seed, 22]).normal(size=vectors.shape)
        vectors = vectors.astype(np.float32)
    elif cell.change == "no positions":
        log = dataclasses.replace(log, events=log.events.drop(columns="position"))
    elif cell.change == "wrong examination prior":
        config = config.replace(examination_decay=1.5, examination_l2=1e9)  # held at the prior
    elif cell.change.startswith("clicks only"):
        log = log.take(log.column("response") >= CLICK)
        log = dataclasses.replace(log, has_impressions=False)
        events = log.events.drop(columns=["position", "propensity"])
        log = dataclasses.replace(log, events=events)
        config = config.replace(click_rate=float(cell.change.split("level ")[1]))
    share = len(np.unique(log.column("user"))) / world.num_users  # of users who are in the log
    heldout_users = cell.build.split.heldout_users * share
    split = make_split(log, cell.build.split.replace(heldout_users=heldout_users))
    interests = fit_interests(
        log,
        split,
        vectors,
        cell.build.interest,
        encoder=world.interests.encoder,
        is_language_model=False,
        progress=False,
    )
    model = UserModel.fit(
        log.take(split.rows("train", "all")),
        world.catalog,
        interests,
        config,
        valid=log.take(split.rows("valid")),
        folded=split.heldout,
        goes_on=continuation(log, ~split.rows("train", "all"), split.heldout),
        progress=False,
    )
    if cell.change == "items only":
        model = dataclasses.replace(model, user_vectors=np.zeros_like(model.user_vectors))
    elif cell.change == "no boredom, drift, satisfaction":
        still = {"boredom_weight": 0.0, "drift_rate": 0.0}
        still |= {"leave_satisfaction": 0.0, "leave_boredom": 0.0}
        model = dataclasses.replace(model, dynamics=model.dynamics._replace(**still))
    return model, split


def play(
    world: World, game: GameConfig, policies: Sequence[Recommender], visits: int, seed: int
) -> npt.NDArray[np.float64]:
    """(P, U, V) the recommender's reward of every user's visits under every policy."""
    simulator = Simulator(world, game)
    rewards = [
        rollout(simulator, p, users="all", episodes_per_user=visits, seed=seed).recommender_reward
        for p in policies
    ]
    return np.reshape(rewards, (len(policies), world.num_users, visits))


def measure_truth(cell: RankingConfig) -> dict[str, Any]:
    """The policies' values in the true world."""
    world = cell.world()
    policies = candidate_policies(world, cell.seed)
    rewards = play(world, cell.game, policies, cell.true_visits, TRUE_SEED)
    return {
        "world": world.hash,
        "policies": [p.name for p in policies],
        "values": rewards.mean(axis=2).round(5).tolist(),  # (P, U)
        "error": visit_error(rewards).round(6).tolist(),  # (P, P)
    }


def measure_cell(cell: RankingConfig, truth: dict[str, Any]) -> dict[str, Any]:
    """One cell: emit, fit, rank, compare with the truth."""
    world, game = cell.world(), cell.game
    policies = candidate_policies(world, cell.seed)
    log = draw_log(world, game, cell.policy, cell.events, cell.seed + 1)
    if cell.change == "the planted model itself":
        model, heldout = world.user_model, world.heldout
    else:
        model, split = fit_model(world, log, cell)
        heldout = split.heldout
    own = ScoreRecommender("greedy on the fitted model", click_values(model))
    twin = dataclasses.replace(world, user_model=model)
    fitted = play(twin, game, [*policies, own], cell.visits, FITTED_SEED).mean(axis=2)
    delivered = play(world, game, [own], cell.visits, TRUE_SEED).mean()
    true, error = np.array(truth["values"]), np.array(truth["error"])
    return {
        "config": cell.to_dict(),
        "world": truth["world"],
        "log": log.hash,
        "clicks": int((log.column("response") >= CLICK).sum()),
        "effective_candidates": float(np.exp(-np.log(log.column("propensity")).mean())),
        "policies": truth["policies"],
        "true": true.mean(axis=1).tolist(),
        "fitted": fitted[:-1].mean(axis=1).tolist(),
        "own": {"promised": float(fitted[-1].mean()), "delivered": float(delivered)},
        "certain_pairs": int(np.triu(surely_ranked(true, error), 1).sum()),
        "all": agreement(fitted[:-1], true, error),
        "heldout": agreement(fitted[:-1, heldout], true[:, heldout], error),
    }


def _run_truth(job: tuple[RankingConfig, str]) -> None:
    cell, folder = job
    path = Path(folder) / f"truth-{cell.truth_key}.json"
    if not path.exists():
        write_atomically(path, json.dumps(measure_truth(cell)))


def _run_cell(job: tuple[RankingConfig, str]) -> dict[str, Any]:
    cell, folder = job
    path = Path(folder) / f"cell-{cell.key}.json"
    if path.exists():
        return json.loads(path.read_text())
    truth = json.loads((Path(folder) / f"truth-{cell.truth_key}.json").read_text())
    result = measure_cell(cell, truth)
    write_atomically(path, json.dumps(result))
    return result


def run_cells(
    cells: Sequence[RankingConfig], folder: str | Path, *, jobs: int = 1, progress: bool = True
) -> list[dict[str, Any]]:
    """The results of all cells, in order; those that ``folder`` holds already are read."""
    folder = Path(folder)
    write_atomically(folder / ".gitignore", "*\n")  # a cache, not a result
    truths = list({cell.truth_key: (cell, str(folder)) for cell in cells}.values())
    todo = [(cell, str(folder)) for cell in cells]
    with tqdm(total=len(truths) + len(todo), desc="ranking", disable=not progress) as bar:
        if jobs == 1:
            return _collect(map, truths, todo, bar)
        context = multiprocessing.get_context("spawn")  # numba's and torch's threads do not fork
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            return _collect(pool.map, truths, todo, bar)


def _collect(
    apply: Callable[..., Any],
    truths: list[tuple[RankingConfig, str]],
    todo: list[tuple[RankingConfig, str]],
    bar: tqdm,
) -> list[dict[str, Any]]:
    for _ in apply(_run_truth, truths):
        bar.update()
    results = []
    for result in apply(_run_cell, todo):
        results.append(result)
        bar.update()
    return results


SIZES = (1_000, 10_000, 100_000, 1_000_000)
NARROW: tuple[dict[str, Any], ...] = (
    {"log": "uniform"},
    {"log": "popularity", "mix": 0.3, "temperature": 0.5},
    {"log": "popularity", "mix": 0.1, "temperature": 0.2},
    {"log": "popularity", "mix": 0.0, "temperature": 0.05},
    {"log": "personal", "mix": 0.3, "temperature": 0.5},
    {"log": "personal", "mix": 0.1, "temperature": 0.2},
    {"log": "personal", "mix": 0.0, "temperature": 0.05},
)
QUICK_BUILD = WorldConfig().replace(
    interest={"min_updates": 50}, user_model={"min_updates": 50, "l2_ladder": (1.0,)}
)
_FEW_SEEDS = 100_000  # logs above this many events have one seed


def plan(
    base: RankingConfig, sizes: Sequence[int], seeds: int, *, quick: bool = False
) -> dict[str, list[RankingConfig]]:
    """The cells of the three parts of the study."""
    few = range(min(seeds, 2))
    narrow, changes = NARROW, tuple(LOG_CHANGES)
    if quick:
        narrow, changes = NARROW[1:2], ("the planted model itself",)
    return {
        "size": [
            base.replace(events=n, seed=s)
            for n in sizes
            for s in range(1 if n > _FEW_SEEDS else seeds)
        ],
        "narrowness": [base.replace(seed=s, **how) for how in narrow for s in few],
        "change": [base.replace(seed=s, change=how) for how in changes for s in few],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m recenv.benchmark.ranking``: run the study and write its report."""
    from recenv.benchmark.ranking_report import write_ranking_report

    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="recenv.benchmark.ranking", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=list(SIZES), help="log sizes")
    parser.add_argument("--seeds", type=int, default=3, help="worlds per cell (at most 2 for logs "
                        "that are narrow or changed, 1 above 100 000 events)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("docs/reports"), help="its folder")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--quick", action="store_true", help="tiny, for tests: says nothing")
    options = parser.parse_args(given)
    base, sizes, seeds = RankingConfig(), options.events, options.seeds
    if options.quick:
        base = RankingConfig(
            events=2_000, num_users=20, num_items=40, visits=4, true_visits=8, build=QUICK_BUILD
        )
        sizes, seeds = [500, 2_000], 1
    parts = plan(base, sizes, seeds, quick=options.quick)
    cells = [cell for part in parts.values() for cell in part]
    found = iter(run_cells(cells, options.out / "policy-ranking" / "cells", jobs=options.jobs))
    results = {name: [next(found) for _ in part] for name, part in parts.items()}
    command = " ".join(["python -m recenv.benchmark.ranking", *given])
    report = write_ranking_report(options.out, results, base, command, sources_hash())
    print(report.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
