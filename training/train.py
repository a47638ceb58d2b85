"""``python -m training.train``: train the recommender, the user, or both.

Writes one folder, ``<runs>/<name>``: ``config.toml``, ``metrics.csv``, ``tensorboard/``,
``checkpoints/`` (the last and the best), ``policy/`` (weights that load without Ray) and the
report of ``training.evaluate``.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from recenv.errors import ConfigError, RecenvError
from recenv.evaluation import rollout
from recenv.sim.simulator import Simulator
from training.cli import config_of, make_parser, merged, parse
from training.config import MODULES, Side, TrainConfig
from training.opponents import make_opponent
from training.policy import NetworkRecommender, NetworkUser, save_policy
from training.runs import Row, RunFolder, seed_runs
from training.session import Session, ray_session

RESUMABLE = {
    "rounds",
    "checkpoint_every",
    "evaluation_every",
    "evaluation_visits",
    "num_env_runners",
    "torch_threads",
}
"""Settings that may change when a run is resumed: the task and the algorithm stay the same.

Another ``num_env_runners`` draws other visits.
"""


def train(folder: RunFolder, *, progress: bool = True) -> bool:
    """Train a run that was created, from its last checkpoint on; Ray must be running.

    Args:
        folder: of the run, with its config.
        progress: show a bar.

    Returns:
        Whether it came to the end; False if it was interrupted (a checkpoint is written).

    Raises:
        ArtifactError: there is no run, or its world has changed.
        TrainingError: a side that should learn was not updated.
    """
    config = folder.config()
    world, _ = config.resolve()
    folder.pin_world(world.name, world.hash)
    start = folder.checkpoint()
    done = start.iteration if start else 0
    rows = [row for row in folder.read_metrics() if row["iteration"] <= done]
    folder.write_metrics(rows)
    reward = start.reward if start else None
    earlier = start.seconds if start else 0.0
    per_iteration = config.settings.rounds_per_iteration
    session = Session(config, start.folder if start else None)
    writer = SummaryWriter(str(folder.tensorboard), purge_step=(done + 1) * per_iteration)
    evaluator = _Evaluator(config)
    began = time.perf_counter()
    total = config.iterations * per_iteration
    try:
        with (
            _stop_on_signals() as stop,
            tqdm(
                total=total,
                initial=done * per_iteration,
                unit="round",
                unit_scale=True,
                desc=f"training {config.train}",
                disable=not progress,
            ) as bar,
        ):
            if config.evaluation_every and not rows:
                rows.append({"iteration": 0, "rounds": 0, **evaluator(session), "seconds": 0.0})
                folder.write_metrics(rows)
                for name, value in rows[0].items():
                    writer.add_scalar(_tag(name), value, 0)
            while done < config.iterations and not stop:
                row: Row = {"iteration": done + 1, "rounds": (done + 1) * per_iteration}
                row |= session.iterate()
                done += 1
                reward = None  # of this iteration, if it is evaluated
                if config.evaluation_every and (
                    done % config.evaluation_every == 0 or done == config.iterations
                ):
                    row |= evaluator(session)
                    reward = sum(row[f"evaluation_{side}_reward"] for side in config.trained)
                seconds = earlier + time.perf_counter() - began
                row["seconds"] = seconds
                rows.append(row)
                folder.write_metrics(rows)
                for name, value in row.items():
                    writer.add_scalar(_tag(name), value, done * per_iteration)
                bar.update(per_iteration)
                bar.set_postfix_str(_summary(row))
                if done % config.checkpoint_every == 0 or done == config.iterations:
                    folder.save_checkpoint(session.save, done, seconds, reward)
                    writer.flush()
        last = folder.checkpoint()
        if last is None or last.iteration < done:
            seconds = earlier + time.perf_counter() - began
            folder.save_checkpoint(session.save, done, seconds, reward)
        finished = done >= config.iterations
        if finished:
            _save_policies(config, folder, session)
        return finished
    finally:
        writer.close()
        session.close()


class _Evaluator:
    """Rewards of the current policies on users of the training pool, on the same draws always.

    The recommender plays greedily and the user draws its answers. A side that does not learn is
    the one it trains against.
    """

    def __init__(self, config: TrainConfig) -> None:
        world, game = config.resolve()
        pool = world.pool(game.users)
        count = min(config.evaluation_visits, len(pool))
        self._users = np.sort(np.random.default_rng(config.seed).permutation(pool)[:count])
        self._episodes = -(-config.evaluation_visits // count)
        self._simulator = Simulator(world, game)
        self._opponent = None
        if "recommender" not in config.trained:
            self._opponent = make_opponent(config.opponent, world)

    def __call__(self, session: Session) -> Row:
        networks: dict[Side, Any] = dict(session.networks())
        recommender = self._opponent or NetworkRecommender(networks["recommender"])
        user = NetworkUser(networks["user"]) if "user" in networks else None
        played = rollout(
            self._simulator,
            recommender,
            user,
            users=self._users,
            episodes_per_user=self._episodes,
        )
        return {
            "evaluation_recommender_reward": float(played.recommender_reward.mean()),
            "evaluation_user_reward": float(played.user_reward.mean()),
        }


def _save_policies(config: TrainConfig, folder: RunFolder, session: Session) -> None:
    world, game = config.resolve()
    meta = {"config": config.hash, "seed": config.seed, "rounds": config.rounds, "env": config.env}
    for side, network in session.networks().items():
        save_policy(folder.policy, side, network, world, game, config.network, meta)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGINT or SIGTERM came; a second one raises."""
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        print("\nFinishing this iteration and writing a checkpoint ...", file=sys.stderr)

    old = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _tag(name: str) -> str:
    """TensorBoard's group of a metric."""
    for prefix in ("evaluation", *MODULES):
        if name.startswith(f"{prefix}_"):
            return f"{prefix}/{name.removeprefix(prefix + '_')}"
    return f"run/{name}"


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
    parser = make_parser(__doc__ or "")
    parser.add_argument("--config", type=Path, help="TOML file with settings; flags go on top")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--name", help="folder of this run [env, algorithm, side and time]")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on from its checkpoint")
    parser.add_argument("--seeds", type=int, default=1, help="train this many seeds in turn [1]")
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="evaluate on held-out users at the end [yes]",
    )
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, default=True, help="a bar [yes]"
    )
    parser.add_argument("--verbose", action="store_true", help="show notices of Ray and RLlib")
    try:
        arguments, given = parse(parser, argv)
        return _run(arguments, given)
    except RecenvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(arguments: Any, given: dict[str, Any]) -> int:
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {arguments.seeds}.")
    if arguments.resume:
        target = arguments.resume
        runs = _resumed(target, arguments, given)
    else:
        config = config_of(arguments.config, given)
        config.resolve()  # the world is built, and the game checked, before any worker starts
        target = arguments.runs / (arguments.name or _default_name(config))
        runs = [RunFolder(target)]
        if arguments.seeds > 1:
            seeds = range(config.seed, config.seed + arguments.seeds)
            runs = [RunFolder(target / f"seed-{seed}") for seed in seeds]
        for offset, run in enumerate(runs):
            run.create(config.replace(seed=config.seed + offset))
    with ray_session(runs[0].config(), verbose=arguments.verbose):
        for run in runs:
            if not train(run, progress=arguments.progress):
                print(f"Interrupted. Go on with: python -m training.train --resume {target}")
                return 130
            print(f"Trained: {run.path}")
    if arguments.report:
        from training.evaluate import evaluate

        evaluate(target, progress=arguments.progress)
    return 0


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
    for run in runs:
        run.write_config(merged(run.config(), given))
    return runs


if __name__ == "__main__":
    sys.exit(main())
