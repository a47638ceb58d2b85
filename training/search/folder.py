"""Search folder: the trials and their results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from recenv.artifacts import write_atomically
from recenv.errors import ArtifactError, ConfigError
from training.config import TrainConfig
from training.runs.folder import RunFolder
from training.search.space import Space, Values, config_with

State = Literal["finished", "stopped", "failed", "unfinished"]

ONE_FOR_ALL = (
    "env",
    "num_env_runners",
    "num_learners",
    "gpus_per_env_runner",
    "gpus_per_learner",
    "ray_address",
)
"""Settings of where trials run, which cannot be searched."""


@dataclass(frozen=True)
class Search:
    """Settings of a search.

    Attributes:
        samples: draws of the space; a space with grids has as many for each point of them.
        seed: of the draws.
        metric: column of the metrics that is to be large, in the last row that has it.
        asha: stop trials that are worse than others were after as many rounds (Li et al., MLSys
            2020, "A system for massively parallel hyperparameter tuning").
        grace_rounds: rounds before a trial can be stopped.
        at_once: trials at a time.
    """

    samples: int
    seed: int
    metric: str
    asha: bool
    grace_rounds: int
    at_once: int


@dataclass(frozen=True)
class Trial:
    """Result of one trial.

    Attributes:
        number: from 0.
        values: settings that were searched.
        state: "stopped" by ASHA, "failed" too often, or "unfinished" so far.
        rounds: trained for.
        score: the metric in the last row that has it, if one has.
        best: the largest that it was.
        seconds: of training.
    """

    number: int
    values: Values
    state: State
    rounds: int
    score: float | None
    best: float | None
    seconds: float


class SearchFolder:
    """The folder of a search.

    Args:
        path: need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.toml"
        self.tune = path / "tune"
        self._search = path / "search.json"

    def create(self, search: Search, base: TrainConfig, space: Space, text: str) -> None:
        """Draw the trials and write down all that a search begins with.

        Raises:
            ConfigError: there is something in the folder already, or a draw suits no config.
            UnknownNameError: a name of the space is no setting.
        """
        if self.path.exists():
            raise ConfigError(
                f"There is {self.path} already. Go on with --resume {self.path}, or choose "
                "another --name."
            )
        wrong = [name for name in space.domains if name in ONE_FOR_ALL]
        if wrong:
            raise ConfigError(
                f"{', '.join(wrong)} cannot be searched: it is the same for all trials. Set it as "
                "a flag or in the base config."
            )
        space.check(base)
        trials = space.draw(search.samples, search.seed)
        for values in trials:
            config_with(base, values)
        write_atomically(self.path / "base.toml", base.with_absolute_paths().to_toml())
        write_atomically(self.path / "space.toml", text)
        content = {"search": asdict(search), "trials": trials}
        write_atomically(self._search, json.dumps(content, indent=2))  # last: it marks a search

    def read(self) -> tuple[Search, TrainConfig, list[Values]]:
        """The search, its base config, and every trial's settings.

        Raises:
            ArtifactError: there is no search.
        """
        if not self._search.is_file():
            raise ArtifactError(
                f"There is no search in {self.path} ({self._search.name} is missing). Give the "
                "folder that recenv tune printed."
            )
        content = json.loads(self._search.read_text())
        base = TrainConfig.from_toml(self.path / "base.toml")
        return Search(**content["search"]), base, content["trials"]

    def run(self, number: int) -> RunFolder:
        """A trial's run."""
        return RunFolder(self.path / "trials" / f"{number:05d}")

    def mark(self, number: int, state: State) -> None:
        """Remember that a trial ended before its run did, or with "unfinished" forget that."""
        mark = self.run(number).path / "ended"
        if state == "unfinished":
            mark.unlink(missing_ok=True)
        else:
            write_atomically(mark, state)

    def trials(self) -> list[Trial]:
        """Results of every trial so far, the best first, then those without a score."""
        search, _, trials = self.read()
        told = [self.trial(search.metric, number, values) for number, values in enumerate(trials)]
        return sorted(told, key=lambda t: (t.score is None, -(t.score or 0.0), t.number))

    def trial(self, metric: str, number: int, values: Values) -> Trial:
        """Result of one trial so far."""
        run = self.run(number)
        rows = run.read_metrics()
        scores = [row[metric] for row in rows if metric in row and row["rounds"] > 0]
        ended = run.path / "ended"
        state: State = "unfinished"
        if run.exists and run.finished:
            state = "finished"
        elif ended.is_file():
            state = "failed" if ended.read_text() == "failed" else "stopped"
        return Trial(
            number,
            values,
            state,
            int(rows[-1]["rounds"]) if rows else 0,
            scores[-1] if scores else None,
            max(scores, default=None),
            rows[-1]["seconds"] if rows else 0.0,
        )

    def write_results(self) -> Trial | None:
        """Write the tables and the best finished trial's config; that trial."""
        search, base, _ = self.read()
        trials = self.trials()
        table = [_cells(trial, search.metric) for trial in trials]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        write_atomically(self.path / "results.csv", text.getvalue())
        write_atomically(self.path / "results.md", _markdown(table))
        best = next((t for t in trials if t.state == "finished" and t.score is not None), None)
        if best is not None:
            head = f"# trial {best.number:05d}: {search.metric} {best.score:.4f}\n"
            write_atomically(self.best, head + config_with(base, best.values).to_toml())
        return best


def _cells(trial: Trial, metric: str) -> dict[str, Any]:
    return {
        "trial": f"{trial.number:05d}",
        **trial.values,
        "state": trial.state,
        "rounds": trial.rounds,
        metric: trial.score,
        "highest": trial.best,
        "seconds": round(trial.seconds, 1),
    }


def _markdown(table: Sequence[dict[str, Any]]) -> str:
    def line(cells: Sequence[object]) -> str:
        return f"| {' | '.join(map(str, cells))} |\n"

    def shown(cell: object) -> str:
        return "-" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)

    rows = "".join(line([shown(cell) for cell in row.values()]) for row in table)
    return line(list(table[0])) + line(["---"] * len(table[0])) + rows
