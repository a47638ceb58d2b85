"""Run folder: config, metrics, checkpoints; each written whole or not at all.

Files that are read back carry a hash of their content, so that a damaged file is an error and never
another result. Only files that the run wrote are deleted, by name.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recenv import artifacts
from recenv.artifacts import write_atomically
from recenv.config import content_hash
from recenv.errors import ArtifactError, ConfigError, RecenvError
from training.config import TrainConfig

Row = dict[str, float]
Which = Literal["last", "best"]

_COUNTS = ("iteration", "rounds")
"""Columns of whole numbers; all others are float64."""
_HASH, _SEAL = "hash", "seal"
_FILES = "files.json"
_HEAD = re.compile(r"# recenv (\S+), settings ([0-9a-f]{16})\b")
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

    def check(self) -> None:
        """Raise ArtifactError unless every file is as it was written.

        Checkpoints of versions that kept no list of files are taken as they are.
        """
        remedy = (
            f"Put {self.folder} back from a copy, or begin a new run; the run's other checkpoint "
            "and its policies may still be whole (recenv evaluate --checkpoint best)."
        )
        if not self.rllib.is_dir():
            raise ArtifactError(f"The checkpoint {self.folder} is missing. {remedy}")
        if not (self.folder / _FILES).is_file():
            return
        for name, wanted in _read_sealed(self.folder / _FILES, remedy)["files"].items():
            file = self.folder / name
            if not file.is_file() or _digest(file) != wanted:
                raise ArtifactError(f"{file} is missing, truncated or changed. {remedy}")


def written_by(checkpoint: Path) -> dict[str, str]:
    """Versions of the packages that wrote a checkpoint's folder, as far as they are known."""
    if not (checkpoint / _FILES).is_file():
        return {}
    return _read_sealed(checkpoint / _FILES, "")["versions"]


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
        """Write the run's config, with paths that hold wherever it is resumed from."""
        config = config.with_absolute_paths()
        head = f"# recenv {_version('recenv')}, settings {config.hash}"
        write_atomically(self._config, f"{head}\n{config.to_toml()}")

    def config(self) -> TrainConfig:
        """The run's config.

        Raises:
            ArtifactError: there is no run, or its settings cannot be read or were changed.
        """
        if not self.exists:
            raise ArtifactError(
                f"There is no run in {self.path} ({self._config.name} is missing). Give the "
                "folder that recenv train printed."
            )
        own = _version("recenv")
        try:
            text = self._config.read_text(encoding="utf-8")
            head = _HEAD.match(text)
            config = TrainConfig.from_toml(text)
        except (RecenvError, UnicodeDecodeError) as error:
            by = head[1] if (head := _head_of(self._config)) else "another version"
            raise ArtifactError(
                f"{self._config} cannot be read by recenv {own} ({error}). It was written by "
                f"recenv {by}: resume with that, put the file back from a copy, or begin a new run."
            ) from error
        if head and config.hash != head[2]:
            raise ArtifactError(
                f"The settings in {self._config} are not those that recenv {head[1]} wrote "
                f"({config.hash} instead of {head[2]}): the file was damaged or changed. Put it "
                "back from a copy. To train with other settings, begin a new run with --config "
                f"{self._config}; --resume takes those that may change as flags."
            )
        return config

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
            write_atomically(self._world, _sealed({"name": name, "world": content}))
            return
        remedy = "Put it back from a copy, or begin a new run."
        begun = _read_sealed(self._world, remedy)
        known = begun.get("world", begun.get(_HASH))  # as an earlier version wrote it
        if known != content:
            raise ArtifactError(
                f"The run {self.path} was begun in the world {begun['name']!r} "
                f"({known}), but that is now {name!r} ({content}): its log or its settings "
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
        table = table.replace_schema_metadata({_HASH: _rows_hash(rows)})
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_atomically(self.metrics, buffer.getvalue().to_pybytes())

    def read_metrics(self) -> list[Row]:
        """All rows, without empty cells.

        Raises:
            ArtifactError: the file is damaged.
        """
        if not self.metrics.is_file():
            return []
        remedy = (
            "Put it back from a copy; without the file (delete it) training can go on, and its "
            "curve begins there."
        )
        try:
            table = pq.read_table(pa.BufferReader(self.metrics.read_bytes()))
            found = table.to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArtifactError(f"{self.metrics} is damaged ({error}). {remedy}") from error
        rows = [{k: v for k, v in row.items() if v is not None} for row in found]
        wanted = (table.schema.metadata or {}).get(_HASH.encode())
        if wanted is not None and wanted.decode(errors="replace") != _rows_hash(rows):
            raise ArtifactError(
                f"{self.metrics} is damaged: other rows than were written. {remedy}"
            )
        return rows

    def save_checkpoint(
        self,
        save: Callable[[Path], object],
        iteration: int,
        seconds: float,
        reward: float | None,
    ) -> Checkpoint:
        """Write a checkpoint, then drop those of this run's but it and the best.

        The folder appears whole, and the index names as last and best only folders that are
        there, so that a process killed at any point leaves at least the checkpoint before. The
        index also lists what the run made, which is all that it ever deletes.

        Args:
            save: writes into a folder that it makes; see ``Checkpoint.folder``.
            iteration, seconds, reward: see ``Checkpoint``.
        """
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        part = self._checkpoints / ".part"
        index = self._read_index()
        shutil.rmtree(part, ignore_errors=True)
        try:
            save(part)
            files = {
                path.relative_to(part).as_posix(): _digest(path)
                for path in sorted(part.rglob("*"))
                if path.is_file()
            }
            versions = {name: _version(name) for name in ("recenv", "ray", "torch")}
            write_atomically(part / _FILES, _sealed({"files": files, "versions": versions}))
            _sync(part)
            base = f"iteration-{iteration:06d}"  # may be there: of a run that was killed, or a copy
            names = itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))
            name = next(n for n in names if not (self._checkpoints / n).exists())
            made = [*_made(index), name]
            self._write_index({**index, "made": made})
            folder = part.rename(self._checkpoints / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        entry = {"name": name, "iteration": iteration, "seconds": seconds, "reward": reward}
        best = index.get("best")
        if best is None or _worth(entry) >= _worth(best):
            best = entry
        index = {"last": entry, "best": best, "made": made}
        self._write_index(index)
        for other in set(made) - {name, best["name"]}:
            shutil.rmtree(self._checkpoints / other, ignore_errors=True)
        for left in self._checkpoints.glob(".part-*"):  # by a process that was killed
            if left.is_file():
                left.unlink()
        there = [n for n in dict.fromkeys(made) if (self._checkpoints / n).exists()]
        self._write_index({**index, "made": there})
        return Checkpoint(folder, iteration, seconds, reward)

    def checkpoint(self, which: Which = "last") -> Checkpoint | None:
        """The "last" or the "best" checkpoint, if there is one.

        Raises:
            ArtifactError: the index of checkpoints is damaged.
        """
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
        remedy = "Put it back from a copy, or begin a new run."
        return _read_sealed(self._index, remedy) if self._index.is_file() else {}

    def _write_index(self, index: dict[str, Any]) -> None:
        index.pop(_SEAL, None)
        write_atomically(self._index, _sealed(index))


def _made(index: dict[str, Any]) -> list[str]:
    """Folders of checkpoints that a run made; earlier versions listed the last and the best."""
    entries = (index.get("last"), index.get("best"))
    return list(dict.fromkeys(index.get("made", [e["name"] for e in entries if e])))


def _sealed(content: dict[str, Any]) -> str:
    """JSON with a hash of its content."""
    return json.dumps({**content, _SEAL: content_hash(content)}, indent=2)


def _read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Content of a file of ``_sealed``, hash checked; files of earlier versions have no hash.

    Raises:
        ArtifactError: it is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        own = {name: value for name, value in content.items() if name != _SEAL}
    except (ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). {remedy}") from error
    if _SEAL in content and content[_SEAL] != content_hash(own):
        raise ArtifactError(f"{path} is damaged: its content is not what was written. {remedy}")
    return content


def _rows_hash(rows: list[Row]) -> str:
    """Of rows as ``read_metrics`` gives them, whatever the order of their columns."""
    cells = [
        {k: int(v) if k in _COUNTS else float(v) for k, v in row.items() if v is not None}
        for row in rows
    ]
    return content_hash(cells)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # used out of a folder
        return "unknown"


def _head_of(config: Path) -> re.Match[str] | None:
    return _HEAD.match(config.read_bytes().decode(errors="replace"))


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


def seed_folders(path: Path) -> list[Path]:
    """Folders that ``create_seeds`` made, in the order of their seeds; not copies beside them."""
    found = {p: re.fullmatch(r"seed-(\d+)", p.name, re.ASCII) for p in path.glob("seed-*")}
    return sorted((p for p, m in found.items() if m), key=lambda p: int(p.name[len("seed-") :]))


def seed_runs(path: Path) -> list[RunFolder]:
    """The run in a folder, or the runs of all its seeds.

    Raises:
        ArtifactError: there is neither.
    """
    whole = RunFolder(path)
    if whole.exists:
        return [whole]
    runs = [RunFolder(p) for p in seed_folders(path) if RunFolder(p).exists]
    if not runs:
        whole.config()  # raises
    return runs
