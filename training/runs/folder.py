"""The folder of a run: config, metrics, checkpoints; each written whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recenv import artifacts
from recenv.artifacts import write_atomically
from recenv.errors import ArtifactError, ConfigError
from training.config import TrainConfig

Row = dict[str, float]
Which = Literal["last", "best"]

_COUNTS = ("iteration", "rounds")
"""Columns of whole numbers; all others are float64."""
_LOCK_WAIT = 10.0
"""Seconds to wait for another process to let go of a run; one that was killed needs a moment."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint and what it was worth.

    Attributes:
        folder: holds ``rllib/`` and ``policy/``.
        iteration: iterations completed.
        seconds: of training until then.
        reward: of the learning sides in the evaluation of that iteration, summed; None if there
            was none.
    """

    folder: Path
    iteration: int
    seconds: float
    reward: float | None

    @property
    def rllib(self) -> Path:
        """RLlib's state, from which training goes on; its pickles need Ray."""
        return self.folder / "rllib"

    @property
    def policy(self) -> Path:
        """The policies of the sides that learn, which load without Ray."""
        return self.folder / "policy"


class RunFolder:
    """``config.toml``, ``world.json``, ``metrics.parquet``, ``checkpoints/``, ``policy/``, others.

    Args:
        path: the folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.parquet"
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

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end: all iterations done and the policies written."""
        last, config = self.checkpoint(), self.config()
        return (
            last is not None
            and last.iteration >= config.iterations
            and all(artifacts.exists(self.policy / side) for side in config.trained)
        )

    def create(self, config: TrainConfig) -> None:
        """Begin a run.

        Raises:
            ConfigError: a run stands there already.
        """
        if self.exists:
            raise _taken(self.path)
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

    @contextmanager
    def lock(self, wait: float = _LOCK_WAIT) -> Iterator[None]:
        """Keep other processes of this machine from training the same run.

        Args:
            wait: seconds to wait for one that does.

        Raises:
            ConfigError: one still does.
        """
        held = artifacts.lock(self.path)
        try:
            held.acquire(timeout=wait)
        except TimeoutError:
            raise ConfigError(
                f"Another process trains the run {self.path}. Stop it first (SIGINT lets it write "
                "a checkpoint), or begin a run with another --name."
            ) from None
        try:
            yield
        finally:
            held.release()

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
        """Write all rows; a reader sees the old file or the new one.

        A column that a row lacks is null there. ``iteration`` and ``rounds`` are int64, all
        others float64.
        """
        columns = list(dict.fromkeys(key for row in rows for key in row))
        kinds = {name: pa.int64() if name in _COUNTS else pa.float64() for name in columns}
        table = pa.table(
            {
                name: pa.array([_cell(row, name) for row in rows], kind, from_pandas=False)
                for name, kind in kinds.items()
            }
        )
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_atomically(self.metrics, buffer.getvalue().to_pybytes())

    def read_metrics(self) -> list[Row]:
        """All rows, without empty cells."""
        if not self.metrics.is_file():
            return []
        rows = pq.read_table(pa.BufferReader(self.metrics.read_bytes())).to_pylist()
        return [{k: v for k, v in row.items() if v is not None} for row in rows]

    def save_checkpoint(
        self,
        save: Callable[[Path], object],
        iteration: int,
        seconds: float,
        reward: float | None,
    ) -> Checkpoint:
        """Write a checkpoint, then drop all but it and the best.

        The folder appears whole and the index names only folders that are there, so that a
        process killed at any point leaves at least the checkpoint before.

        Args:
            save: writes into a folder that it makes; see ``Checkpoint.folder``.
            iteration, seconds, reward: see ``Checkpoint``.
        """
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        part = self._checkpoints / ".part"
        shutil.rmtree(part, ignore_errors=True)
        save(part)
        _sync(part)
        index = self._read_index()
        base = f"iteration-{iteration:06d}"  # there already if killed before the index was written
        names = itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))
        name = next(n for n in names if not (self._checkpoints / n).exists())
        folder = part.rename(self._checkpoints / name)
        entry = {"name": name, "iteration": iteration, "seconds": seconds, "reward": reward}
        best = index.get("best")
        if best is None or _worth(entry) >= _worth(best):
            best = entry
        write_atomically(self._index, json.dumps({"last": entry, "best": best}, indent=2))
        for other in self._checkpoints.iterdir():
            if other.name in (self._index.name, name, best["name"]):
                continue
            if other.is_dir():
                shutil.rmtree(other)
            else:
                other.unlink()
        return Checkpoint(folder, iteration, seconds, reward)

    def checkpoint(self, which: Which = "last") -> Checkpoint | None:
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


def _cell(row: Row, name: str) -> float | None:
    return int(row[name]) if name in _COUNTS and name in row else row.get(name)


def _sync(folder: Path) -> None:
    """Have the files of a folder on the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _worth(entry: dict[str, Any]) -> float:
    """A checkpoint without an evaluation counts least."""
    return float("-inf") if entry["reward"] is None else entry["reward"]


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        f"There is a run in {path} already. Continue it with --resume {path}, or choose another "
        "--name."
    )


def create_seeds(path: Path, configs: Sequence[TrainConfig]) -> list[RunFolder]:
    """Begin the runs of several seeds in ``path``; all of them are there or none.

    Raises:
        ConfigError: there is something in ``path`` already.
    """
    if path.exists():
        raise _taken(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".part-{path.name}-"))
    try:
        for config in configs:
            RunFolder(part / f"seed-{config.seed}").create(config)
        part.chmod(0o755)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return seed_runs(path)


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
