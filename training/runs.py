"""The folder of a run: config, metrics, checkpoints; each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.artifacts import write_atomically
from recenv.errors import ArtifactError, ConfigError
from training.config import TrainConfig

Row = dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint and what it was worth.

    Attributes:
        folder: RLlib's state.
        iteration: iterations completed.
        seconds: of training until then.
        reward: of the learning sides in the latest evaluation, summed; None before the first.
    """

    folder: Path
    iteration: int
    seconds: float
    reward: float | None


class RunFolder:
    """``config.toml``, ``world.json``, ``metrics.csv``, ``checkpoints/``, ``policy/`` and others.

    Args:
        path: the folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.csv"
        self.policy = path / "policy"
        self.tensorboard = path / "tensorboard"
        self._config = path / "config.toml"
        self._world = path / "world.json"
        self._checkpoints = path / "checkpoints"
        self._index = self._checkpoints / "index.json"

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self._config.is_file()

    def create(self, config: TrainConfig) -> None:
        """Begin a run.

        Raises:
            ConfigError: a run stands there already.
        """
        if self.exists:
            raise ConfigError(
                f"There is a run in {self.path} already. Continue it with --resume {self.path}, "
                "or choose another --name."
            )
        self.write_config(config)

    def write_config(self, config: TrainConfig) -> None:
        """Write the run's config."""
        write_atomically(self._config, config.to_toml())

    def config(self) -> TrainConfig:
        """The run's config.

        Raises:
            ArtifactError: there is no run.
        """
        if not self.exists:
            raise ArtifactError(
                f"There is no run in {self.path} ({self._config.name} is missing). Give the "
                "folder that python -m training.train printed."
            )
        return TrainConfig.from_toml(self._config)

    def pin_world(self, name: str, content: str) -> None:
        """Remember the world's hash, or check that it is still the one remembered.

        Raises:
            ArtifactError: the run was begun in another world.
        """
        if not self._world.is_file():
            write_atomically(self._world, json.dumps({"name": name, "hash": content}, indent=2))
            return
        begun = json.loads(self._world.read_text())
        if begun["hash"] != content:
            raise ArtifactError(
                f"The run {self.path} was begun in the world {begun['name']!r} "
                f"({begun['hash']}), but that is now {name!r} ({content}): its log or its settings "
                "changed. Begin a new run, or give the folder of the saved world as --env."
            )

    def write_metrics(self, rows: list[Row]) -> None:
        """Write all rows; a reader sees the old file or the new one."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.metrics, text.getvalue())

    def read_metrics(self) -> list[Row]:
        """All rows, without empty cells."""
        if not self.metrics.is_file():
            return []
        with self.metrics.open(newline="") as file:
            return [{k: float(v) for k, v in r.items() if v} for r in csv.DictReader(file)]

    def save_checkpoint(
        self,
        save: Callable[[Path], object],
        iteration: int,
        seconds: float,
        reward: float | None,
    ) -> Checkpoint:
        """Write a checkpoint, then drop all but it and the best.

        Args:
            save: writes RLlib's state into a folder.
            iteration, seconds, reward: see ``Checkpoint``.
        """
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        name = f"iteration-{iteration:06d}"
        folder, part = self._checkpoints / name, self._checkpoints / f".part-{name}"
        shutil.rmtree(part, ignore_errors=True)
        save(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
        entry = {"name": name, "iteration": iteration, "seconds": seconds, "reward": reward}
        index = self._read_index()
        best = index.get("best")
        if best is None or _worth(entry) >= _worth(best):
            best = entry
        write_atomically(self._index, json.dumps({"last": entry, "best": best}, indent=2))
        for other in self._checkpoints.iterdir():
            if other.is_dir() and other.name not in (name, best["name"]):
                shutil.rmtree(other)
        return Checkpoint(folder, iteration, seconds, reward)

    def checkpoint(self, which: str = "last") -> Checkpoint | None:
        """The "last" or the "best" checkpoint, if there is one."""
        entry = self._read_index().get(which)
        if entry is None:
            return None
        return Checkpoint(
            self._checkpoints / entry["name"],
            entry["iteration"],
            entry["seconds"],
            entry["reward"],
        )

    def _read_index(self) -> dict[str, Any]:
        return json.loads(self._index.read_text()) if self._index.is_file() else {}


def _worth(entry: dict[str, Any]) -> float:
    """A checkpoint without an evaluation counts least."""
    return float("-inf") if entry["reward"] is None else entry["reward"]


def seed_runs(path: Path) -> list[RunFolder]:
    """The run in a folder, or the runs of all its seeds.

    Raises:
        ArtifactError: there is neither.
    """
    whole = RunFolder(path)
    if whole.exists:
        return [whole]
    found = sorted(path.glob("seed-*"), key=lambda p: int(p.name.removeprefix("seed-")))
    runs = [RunFolder(p) for p in found if RunFolder(p).exists]
    if not runs:
        whole.config()  # raises
    return runs
