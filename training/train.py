"""Training of the recommender, the user, or both: ``recenv train``.

Writes one folder, ``<runs>/<name>``: ``config.toml``, ``metrics.parquet``, ``tensorboard/``,
``checkpoints/`` (the last and the best), ``policy/`` (weights that load without Ray) and the
report of ``recenv evaluate``.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from recenv import artifacts
from recenv.errors import ConfigError
from recenv.evaluation import rollout
from recenv.progress import Progress
from recenv.sim.simulator import Simulator
from training.algorithms.registry import build
from training.cli import SettingsParser, config_of, merged, parse
from training.config import FITTED, MODULES, Side, TrainConfig
from training.evaluate import check_report, evaluate
from training.interrupts import Interrupted, Stop, stop_on_signals
from training.ray_output import quiet_start, set_verbose
from training.runs.folder import Checkpoint, Row, RunFolder, create_seeds, seed_runs
from training.runs.load_policy import NetworkRecommender, NetworkUser, save_policy
from training.runs.opponents import make_fixed_user, make_opponent
from training.runs.warm_start import warm_weights
from training.session import Session, ray_session

RESUMABLE = {
    "env",
    "rounds",
    "checkpoint_every",
    "evaluation_every",
    "evaluation_visits",
    "num_env_runners",
    "ray_address",
    "torch_threads",
}
"""Settings that may change when a run is resumed: the task and the algorithm stay the same.

``env`` may be another folder of the same world, if that was moved. Another ``num_env_runners``
draws other visits.
"""


def train(
    folder: RunFolder,
    *,
    progress: bool | None = None,
    on_row: Callable[[Row], object] = lambda row: None,
    stop: Stop | None = None,
) -> bool:
    """Train a run that was created, from its last checkpoint on; Ray must be running.

    Args:
        folder: of the run, with its config.
        progress: False for silence; see ``recenv.progress``.
        on_row: called with every new row of the metrics once it is written.
        stop: ends the run after an iteration once it is not empty; by default, signals do.
            Whoever gives it holds it.

    Returns:
        Whether it came to the end; False if it was interrupted (a checkpoint is written).

    Raises:
        ArtifactError: there is no run, or its world has changed.
        ConfigError: another process trains it.
        DiskFullError: there is no space; the last checkpoint is whole.
        TrainingError: a side that should learn was not updated.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.lock())
        if stop is None:
            stop = stack.enter_context(stop_on_signals())
            stack.enter_context(stop.held())
        advice = f"go on with: recenv train --resume {folder.path}"
        stack.enter_context(command.full_disk_told(folder.path, advice))
        return not stop and _Loop(folder).run(progress, on_row, stop)


class _Loop:
    """Iterations of a run, each followed by a row of metrics, some by a checkpoint."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.config = folder, folder.config()
        world, _ = self.config.resolve()
        folder.pin_world(world.name, world.hash)
        start = folder.checkpoint()
        if start:
            start.check()
        self.done = start.iteration if start else 0
        self.rows = [row for row in folder.read_metrics() if row["iteration"] <= self.done]
        folder.write_metrics(self.rows)
        self.reward = start.reward if start else None
        self.earlier = start.seconds if start else 0.0
        self.evaluator = Evaluator(self.config)
        with quiet_start():
            self.session = Session(self.config, start.rllib if start else None, iteration=self.done)
        self.began = time.perf_counter()
        self.per_iteration = self.config.settings.rounds_per_iteration
        self.writer = SummaryWriter(
            str(folder.tensorboard), purge_step=(self.done + 1) * self.per_iteration
        )

    def run(self, progress: bool | None, on_row: Callable[[Row], object], stop: Stop) -> bool:
        """See ``train``."""
        config, total = self.config, self.config.iterations
        with contextlib.ExitStack() as stack:
            stack.callback(self.session.close)
            stack.callback(self.writer.close)
            with Progress(
                progress_label(config),
                total * self.per_iteration,
                self.done * self.per_iteration,
                unit="rounds",
                shown=progress,
            ) as bar:
                if config.evaluation_every and not self.rows and not stop:
                    self._add({"iteration": 0, "rounds": 0, **self.evaluator(self.session)})
                    on_row(self.rows[-1])
                while self.done < total and not stop:
                    self._iterate()
                    on_row(self.rows[-1])
                    bar.update(self.per_iteration, _summary(self.rows[-1]))
                    if self.done % config.checkpoint_every == 0 or self.done == total:
                        self._save()
                last = self.folder.checkpoint()
                if last is None or last.iteration < self.done:
                    self._save()
                if self.done < total:
                    return False
                self._save_policies(self.folder.policy)
                return True

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self.earlier + time.perf_counter() - self.began

    def _iterate(self) -> None:
        config, began = self.config, time.perf_counter()
        learned = self.session.iterate()
        rate = self.per_iteration / (time.perf_counter() - began)
        self.done += 1
        row: Row = {"iteration": self.done, "rounds": self.done * self.per_iteration, **learned}
        self.reward = None  # of this iteration, if it is evaluated
        if config.evaluation_every and (
            self.done % config.evaluation_every == 0 or self.done == config.iterations
        ):
            row |= self.evaluator(self.session)
            self.reward = sum(row[f"evaluation_{side}_reward"] for side in config.trained)
        self._add({**row, "rounds_per_second": rate})

    def _add(self, row: Row) -> None:
        row["seconds"] = self.seconds
        self.rows.append(row)
        self.folder.write_metrics(self.rows)
        for name, value in row.items():
            self.writer.add_scalar(_tag(name), value, row["rounds"])

    def _save(self) -> None:
        def write(part: Path) -> None:
            part.mkdir()
            made = Checkpoint(part, self.done, self.seconds, self.reward)
            self.session.save(made.rllib)
            self._save_policies(made.policy)

        self.folder.save_checkpoint(write, self.done, self.seconds, self.reward)
        self.writer.flush()

    def _save_policies(self, folder: Path) -> None:
        config, (world, game) = self.config, self.config.resolve()
        saved = artifacts.exists(Path(config.env))
        meta = {
            "config": config.hash,
            "algorithm": config.algorithm,
            "seed": config.seed,
            "rounds": self.done * self.per_iteration,
            "env": str(Path(config.env).resolve()) if saved else config.env,
        }
        for side, network in self.session.networks().items():
            save_policy(folder, side, network, world, game, config.network, meta)


class Evaluator:
    """Rewards of the current policies on users of the training pool, on the same draws always.

    The recommender plays greedily and the user draws its answers. A side that does not learn is
    the one it trains against.
    """

    def __init__(self, config: TrainConfig) -> None:
        world, game = config.resolve_evaluation()
        pool = world.pool(game.users)
        count = min(config.evaluation_visits, len(pool))
        self._users = np.sort(np.random.default_rng(config.seed).permutation(pool)[:count])
        self._episodes = -(-config.evaluation_visits // count)
        self.simulator = Simulator(world, game)
        self._opponent = None
        if "recommender" not in config.trained:
            self._opponent = make_opponent(config.opponent, world, game)
        self._fixed_user = make_fixed_user(config.fixed_user, world, game)

    def __call__(self, session: Session) -> Row:
        """Mean rewards of both agents now."""
        networks: dict[Side, Any] = dict(session.networks())
        recommender = self._opponent or NetworkRecommender(networks["recommender"])
        user = NetworkUser(networks["user"]) if "user" in networks else self._fixed_user
        played = rollout(
            self.simulator,
            recommender,
            user,
            users=self._users,
            episodes_per_user=self._episodes,
            progress=False,
        )
        return {
            "evaluation_recommender_reward": float(played.recommender_reward.mean()),
            "evaluation_user_reward": float(played.user_reward.mean()),
        }


def _tag(name: str) -> str:
    """TensorBoard's group of a metric."""
    for prefix in ("evaluation", *MODULES):
        if name.startswith(f"{prefix}_"):
            return f"{prefix}/{name.removeprefix(prefix + '_')}"
    return f"run/{name}"


def progress_label(config: TrainConfig) -> str:
    """Label of the progress bar: what is trained, and against whom rewards are earned."""
    if config.train == "both":
        return "training both, each against the other as it learns"
    if config.train == "user":
        return f"training the user before {config.opponent}"
    user = "the fitted user" if config.fixed_user == FITTED else config.fixed_user
    return f"training the recommender before {user}"


def _summary(row: Row) -> str:
    shown = {
        "recommender": row.get("recommender_reward"),
        "user": row.get("user_reward"),
    }
    return ", ".join(f"{k} {v:.2f}" for k, v in shown.items() if v is not None)


def _default_name(config: TrainConfig) -> str:
    world = Path(config.env).name.rsplit("-v", 1)[0].lower()
    return f"{world}-{config.algorithm}-{config.train}-{datetime.now():%Y%m%d-%H%M%S}"


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = SettingsParser("recenv train", __doc__ or "")
    parser.add_argument("--config", type=Path, help="TOML file with settings; flags go on top")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs [runs]")
    parser.add_argument("--name", help="folder of this run [env, algorithm, side and time]")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on from its checkpoint")
    parser.add_argument("--seeds", type=int, default=1, help="train this many seeds in turn [1]")
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="evaluate on held-out users at the end [yes]",
    )
    parser.add_progress()
    parser.add_argument("--verbose", action="store_true", help="show notices of Ray and RLlib")
    return command.run(lambda stop: _run(*parse(parser, argv), stop))


def _run(arguments: Any, given: dict[str, Any], stop: Stop) -> int:
    set_verbose(arguments.verbose)  # before anything of RLlib is made
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {arguments.seeds}.")
    if arguments.report:
        check_report("--no-report trains without one.")
    if arguments.resume:
        target = arguments.resume
        runs = _resumed(target, arguments, given)
    else:
        config = config_of(arguments.config, given)
        check(config)
        target = arguments.runs / (arguments.name or _default_name(config))
        seeds = range(config.seed, config.seed + arguments.seeds)
        if arguments.seeds > 1:
            runs = create_seeds(target, [config.replace(seed=seed) for seed in seeds])
        else:
            runs = [RunFolder(target)]
            runs[0].create(config)
    stop.advice = f"Go on with: recenv train --resume {target}"
    _train_all(runs, target, arguments, stop)
    if arguments.report:
        stop.advice = f"The run is trained; report on it with: recenv evaluate {target}"
        if stop:  # while Ray was shut down
            raise Interrupted
        evaluate(target, progress=arguments.progress)
    return 0


def check(config: TrainConfig) -> None:
    """Raise what a run of this config would, before there is a folder or a worker of it.

    Builds the world, the game, who else plays, and reads what the run begins with.
    """
    Evaluator(config)
    if "recommender" in config.trained and config.network.init in ("cf", "hybrid"):
        purpose = f"--network.init {config.network.init}"
        command.require("implicit", "threadpoolctl", extra="benchmark", purpose=purpose)
    if config.warm_start:
        warm_weights(config)
    build(config)


def _train_all(runs: list[RunFolder], target: Path, arguments: Any, stop: Stop) -> None:
    """Train in turn what is not finished.

    Raises:
        Interrupted: by a signal.
    """
    print(f"Run: {target}", flush=True)
    waiting = [run for run in runs if not run.finished]
    if not waiting:
        return
    # from here on, so that no interrupt is raised inside Ray, which may crash or hang
    with stop.held(), ray_session(waiting[0].config(), verbose=arguments.verbose):
        for run in waiting:
            if not train(run, progress=arguments.progress, stop=stop):
                raise Interrupted
            print(f"Trained: {run.path}", flush=True)


def _resumed(target: Path, arguments: Any, given: dict[str, Any]) -> list[RunFolder]:
    if arguments.config or arguments.name or arguments.seeds != 1:
        raise ConfigError("--resume takes the run's own config; leave --config, --name, --seeds.")
    fixed = sorted(set(given) - RESUMABLE)
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)} cannot change in a resumed run; only "
            f"{', '.join(sorted(RESUMABLE))} can. Begin a new run for that."
        )
    runs = seed_runs(target)
    for run in runs if given else []:
        with run.lock():  # not while somebody trains it
            config = merged(run.config(), given)
            if "env" in given:
                world, _ = config.resolve()
                run.pin_world(world.name, world.hash)
            run.write_config(config)
    return runs


if __name__ == "__main__":
    sys.exit(main())
