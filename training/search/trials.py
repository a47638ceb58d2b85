"""Trials of a search under Ray Tune: placement, scheduling and early stopping.

Tune is given the trials' numbers alone; what each stands for was drawn and written down before
(``training.search.folder``). A trial's state is its run's folder, so whatever Tune remembers of an
interrupted search, no trial is trained twice.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from training.cluster import bundles  # before Ray: it sets what Ray reads when it is imported

# isort: split
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler

from training.config import TrainConfig
from training.interrupts import Stop
from training.ray_output import quiet
from training.runs.folder import Row
from training.search.folder import SearchFolder
from training.search.space import config_with
from training.train import train

_FAILURES = 2
"""Times that a trial is begun again where it was after its process was lost."""
_ROUNDS = "rounds"
_stop: Stop | None = None  # not in a callback: Tune pickles those, and restores what they were


def fit(folder: SearchFolder, stop: Stop | None = None) -> None:
    """Run all trials that have not ended, or until a signal. Ray must be running.

    Args:
        folder: of the search.
        stop: that takes this process's signals; without one, Tune takes SIGINT itself.
    """
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")  # seconds between Tune's snapshots
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs have their metrics
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other one cannot be silenced
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # paths in settings are from here
    _, base, trials = folder.read()
    trainable = tune.with_resources(
        partial(run_trial, search=str(folder.path.resolve())),
        tune.PlacementGroupFactory([_driver(base), *bundles(base)]),
    )
    numbers = {"trial": tune.grid_search(list(range(len(trials))))}
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = str(int(stop is not None))
    global _stop
    _stop = stop
    path = str(folder.tune.resolve())
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(
            path, trainable, param_space=numbers, resume_unfinished=True, restart_errored=True
        )
    else:
        tuner = _tuner(folder, trainable, numbers)
    tuner.fit()


def _driver(config: TrainConfig) -> dict[str, float]:
    """CPUs and GPUs of a trial's main process, which learns if no other does."""
    gpus = 0.0 if config.num_learners else config.gpus_per_learner
    return {"CPU": 1.0, "GPU": gpus} if gpus else {"CPU": 1.0}


def _tuner(folder: SearchFolder, trainable: Any, numbers: dict[str, Any]) -> tune.Tuner:
    settings, base, trials = folder.read()
    longest = max(config_with(base, values).rounds for values in trials)
    scheduler = None
    if settings.asha:
        scheduler = ASHAScheduler(
            time_attr=_ROUNDS, max_t=longest, grace_period=min(settings.grace_rounds, longest)
        )
    return tune.Tuner(
        trainable,
        param_space=numbers,
        tune_config=tune.TuneConfig(
            metric=settings.metric,
            mode="max",
            scheduler=scheduler,
            max_concurrent_trials=settings.at_once,
        ),
        run_config=tune.RunConfig(
            name=folder.tune.name,
            storage_path=str(folder.path.resolve()),
            failure_config=tune.FailureConfig(max_failures=_FAILURES),
            callbacks=[_Ends(folder, len(trials))],
            verbose=0,
        ),
    )


def run_trial(drawn: dict[str, int], *, search: str) -> None:
    """Train one trial, from its last checkpoint on, and report its metric to Tune.

    Args:
        drawn: its number as ``trial``.
        search: the folder of the search.
    """
    quiet()
    folder, number = SearchFolder(Path(search)), drawn["trial"]
    settings, base, trials = folder.read()
    run = folder.run(number)
    if not run.exists:
        run.create(config_with(base, trials[number]))
    folder.mark(number, "unfinished")

    iterations = run.config().iterations
    held: list[Row] = []  # Tune may stop a trial when it hears of a row: not before the run ended

    def report(row: Row) -> None:
        if settings.metric not in row or row[_ROUNDS] == 0:
            return
        if row["iteration"] >= iterations and not run.finished:
            held.append(row)
        else:
            tune.report({settings.metric: row[settings.metric], _ROUNDS: row[_ROUNDS]})

    last = run.checkpoint()
    for row in run.read_metrics():  # Tune may have been interrupted before it heard of them
        if last is not None and row["iteration"] <= last.iteration:
            report(row)
    if not run.finished:
        train(run, progress=False, on_row=report)
    for row in held:
        report(row)


class _Ends(tune.Callback):
    """A line for each trial that ends, and a mark on those that ended before their run did."""

    def __init__(self, folder: SearchFolder, count: int) -> None:
        self._folder, self._count = folder, count

    _stopped = False

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        number = int(trial.config["trial"])
        if not self._folder.run(number).finished:
            self._folder.mark(number, "stopped")
        self._tell(number)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        number = int(trial.config["trial"])
        self._folder.mark(number, "failed")
        self._tell(number)

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        if _stop and not self._stopped and hasattr(signal, "SIGUSR1"):
            self._stopped = True
            signal.raise_signal(signal.SIGUSR1)  # Tune keeps what it knows and returns

    def _tell(self, number: int) -> None:
        settings, _, trials = self._folder.read()
        told = self._folder.trial(settings.metric, number, trials[number])
        values = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in told.values.items()
        )
        score = "no score" if told.score is None else f"{settings.metric} {told.score:.4f}"
        print(
            f"Trial {number:05d} {told.state} after {told.rounds} rounds: {score}; {values}",
            file=sys.stderr,
            flush=True,
        )
