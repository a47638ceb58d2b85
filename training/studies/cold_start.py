"""Cold-start study of initial tables: ``python -m training.studies.cold_start``.

Trains one recommender for each way that its tables can begin (``NetworkConfig.init``) and each
seed, against the fitted user. After every few iterations its greedy policy plays the same visits
of held-out users: nothing was trained on them, and the platform knows only their history. Writes
the learning curves with intervals over seeds and a table to ``--out``. The same command goes on
where it was interrupted: a seed that is finished is not trained again.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from recenv.artifacts import write_atomically
from recenv.config import content_hash
from recenv.errors import ConfigError
from recenv.evaluation import Pool, per_user, rollout
from recenv.recommenders import PrivilegedRecommender, Recommender, baselines
from recenv.schema import CLICK
from recenv.sim.simulator import Simulator
from recenv.world import World
from training.cli import SettingsParser, config_of, parse
from training.config import TrainConfig
from training.config.network import Init
from training.evaluate import check_report
from training.interrupts import Interrupted, Stop
from training.runs.load_policy import NetworkRecommender
from training.session import Session, ray_session
from training.studies.cold_start_report import summary, write_cold_start

ROUNDS = 102_400
"""Rounds of each run, unless ``--rounds`` says otherwise."""

_DEFAULTS = {"train": "recommender", "rounds": ROUNDS}
Run = dict[str, Any]


class ColdStart:
    """The study's runs.

    Args:
        base: settings of every run; its seed is the first.
        inits: what tables begin as, the control first.
        seeds: of each.
        folder: of finished runs.
        episodes_per_user: visits of each user, whenever a policy is evaluated.
        every: iterations between evaluations.

    Raises:
        ConfigError: fewer than two seeds, or another argument out of range.
    """

    def __init__(
        self,
        base: TrainConfig,
        inits: Sequence[Init],
        seeds: int,
        folder: Path,
        *,
        episodes_per_user: int = 5,
        every: int = 1,
    ) -> None:
        for name, value, least in (
            ("--seeds", seeds, 2),
            ("--every", every, 1),
            ("--episodes-per-user", episodes_per_user, 1),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, but is {value}.")
        base.require(base.train == "recommender", "train", "recommender in this study")
        base = base.replace(evaluation_every=0)  # of evaluations, the study's own are enough
        self.configs = {
            init: [
                base.replace(seed=seed, network={"init": init})
                for seed in range(base.seed, base.seed + seeds)
            ]
            for init in inits
        }
        self.folder, self.episodes, self.every = folder, episodes_per_user, every
        world, game = base.resolve_evaluation()
        self.world: World = world
        self._simulator = Simulator(world, game)

    def waiting(self) -> list[TrainConfig]:
        """Runs that are not finished."""
        return [
            c for configs in self.configs.values() for c in configs if not self._file(c).exists()
        ]

    def runs(self) -> dict[str, list[Run]]:
        """Results by seed; all runs must be finished."""
        return {
            init: [json.loads(self._file(c).read_text()) for c in configs]
            for init, configs in self.configs.items()
        }

    def frames(self) -> dict[str, npt.NDArray[np.float64]]:
        """(U,) mean reward from each held-out user, of those who do not learn."""
        return {other.name: self._rewards(other, "heldout") for other in baselines(self.world)}

    def few(self) -> npt.NDArray[np.bool_]:
        """(U,) the third of the held-out users with the fewest clicks in their history."""
        clicked = self.world.train.column("response") >= CLICK
        user = self.world.train.column("user")[clicked]
        clicks = np.bincount(user, minlength=self.world.num_users)[self.world.pool("heldout")]
        return clicks.argsort(kind="stable").argsort() < len(clicks) / 3

    def train(self, config: TrainConfig) -> Iterator[int]:
        """Train a run and keep what was found; Ray must be running. Yields iterations done."""
        began, session = time.perf_counter(), Session(config, None)
        rounds, curve, row = [0], [float(self._evaluate(session).mean())], {}
        try:
            for done in range(1, config.iterations + 1):
                row = session.iterate()
                if done % self.every == 0 or done == config.iterations:
                    rounds.append(done * config.settings.rounds_per_iteration)
                    curve.append(float(self._evaluate(session).mean()))
                yield done
            run = {
                "seed": config.seed,
                "rounds": rounds,
                "heldout": curve,
                "heldout_users": self._evaluate(session).tolist(),
                "trained_users": self._evaluate(session, "train").tolist(),
                "steps_trained": row["recommender_steps_trained"],
                "seconds": time.perf_counter() - began,
            }
            write_atomically(self._file(config), json.dumps(run))
        finally:
            session.close()

    def _evaluate(self, session: Session, users: Pool = "heldout") -> npt.NDArray[np.float64]:
        network: Any = session.networks()["recommender"]
        return self._rewards(NetworkRecommender(network), users)

    def _rewards(
        self, recommender: Recommender | PrivilegedRecommender, users: Pool
    ) -> npt.NDArray[np.float64]:
        """(U,) mean reward of a visit from each user of the pool, on the same draws for all."""
        played = rollout(
            self._simulator,
            recommender,
            users=users,
            episodes_per_user=self.episodes,
            progress=False,
        )
        return per_user(played.recommender_reward, played.user)

    def _file(self, config: TrainConfig) -> Path:
        key = content_hash(config.hash, self.world.hash, self.episodes, self.every)
        return self.folder / f"{config.network.init}-{config.seed}-{key}.json"


def train_all(
    study: ColdStart,
    *,
    verbose: bool = False,
    progress: bool | None = None,
    stop: Stop | None = None,
) -> None:
    """Train what is not finished.

    Raises:
        Interrupted: ``stop`` is no longer empty.
    """
    waiting = study.waiting()
    if not waiting:
        return
    with ray_session(waiting[0], verbose=verbose):
        for number, config in enumerate(waiting, 1):
            name = f"{config.network.init}, seed {config.seed} ({number} of {len(waiting)})"
            began = time.perf_counter()
            for done in study.train(config):
                if stop:
                    raise Interrupted
                if progress is not False and done in (1, config.iterations):
                    passed = time.perf_counter() - began
                    print(f"{name}: {done} iterations, {passed:.0f} s", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = SettingsParser("python -m training.studies.cold_start", __doc__ or "", **_DEFAULTS)
    inits = get_args(Init)
    parser.add_argument(
        "--inits", nargs="+", choices=inits, default=["random", "lm", "cf", "hybrid"]
    )
    parser.add_argument("--seeds", type=int, default=5, help="of each [5]")
    parser.add_argument("--every", type=int, default=1, help="iterations between evaluations [1]")
    parser.add_argument("--episodes-per-user", type=int, default=5, help="in evaluations [5]")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/cold-start"), help="[runs/cold-start]"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of cold-start.{json,md,png}"
    )
    parser.add_progress()
    parser.add_argument("--verbose", action="store_true", help="show notices of Ray and RLlib")
    shown = sys.argv[1:] if argv is None else argv
    return command.run(lambda stop: _run(*parse(parser, argv), stop, shown))


def _run(arguments: Any, given: dict[str, Any], stop: Stop, shown: Sequence[str]) -> int:
    check_report("A report is all that this command makes.")
    study = ColdStart(
        config_of(None, given, **_DEFAULTS),
        arguments.inits,
        arguments.seeds,
        arguments.runs,
        episodes_per_user=arguments.episodes_per_user,
        every=arguments.every,
    )
    stop.advice = "The same command goes on; finished seeds are kept."
    with stop.held():
        train_all(study, verbose=arguments.verbose, progress=arguments.progress, stop=stop)
    if stop:
        raise Interrupted
    figures = summary(study.runs(), study.frames(), study.few())
    config = study.configs[arguments.inits[0]][0]
    figures["about"] = {
        "env": config.env,
        "world": study.world.hash,
        "algorithm": config.algorithm,
        "config": config.hash,
        "episodes_per_user": study.episodes,
    }
    report = write_cold_start(
        arguments.out, figures, " ".join(["python -m training.studies.cold_start", *shown])
    )
    print(report.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
