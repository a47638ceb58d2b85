"""Command frame: missing packages, errors in one line, signals as exit codes.

``recenv train`` is ``TRAIN``, an entry point of this package, and so are the others: they import a
command's module when it is run. The module imports this one first, so that ``python -m`` does as
well: it says in one line which packages are missing, and ends on a signal without a traceback
while it is still being imported.
"""

from __future__ import annotations

from training.interrupts import (
    Interrupted,
    Stop,
    command_module,
    ended_at_once,
    stop_on_signals,
)

# isort: split
import errno
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recenv.errors import MissingDependencyError, RecenvError

ERROR = 2
"""Exit code of a command that ended with an error of recenv's own."""

_TORCH = ("torch",)
_RAY = ("torch", "ray", "tensorboard")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")


class DiskFullError(RecenvError):
    """The disk is full: a file could not be written."""


def require(*packages: str, extra: str, purpose: str) -> None:
    """Raise MissingDependencyError unless all packages can be imported.

    Args:
        packages: names of modules, and of packages if they are the same.
        extra: of recenv, that installs them.
        purpose: what needs them, as the beginning of a sentence.
    """
    for package in packages:
        if not installed(package):
            raise MissingDependencyError(package, extra, purpose)


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@dataclass(frozen=True)
class Command:
    """A command of ``recenv`` whose module is imported when it is run.

    Attributes:
        name: as it is typed, and of the module.
        summary: what it does, in a line.
        packages: that it cannot do without.
    """

    name: str
    summary: str
    packages: tuple[str, ...] = _RAY

    def __call__(self, arguments: Sequence[str]) -> int:
        """Run it; the exit code."""
        try:
            with ended_at_once():  # the import takes seconds
                require_for(f"training.{self.name}")
                module = importlib.import_module(f"training.{self.name}")
        except RecenvError as error:
            return told(error)
        return module.main(list(arguments))


TRAIN = Command("train", "train the recommender, the user, or both")
TUNE = Command("tune", "search for settings of the training")
EVALUATE = Command("evaluate", "compare a run's policies with baselines, on new users", _TORCH)
SUITE = Command("suite", "train several algorithms, and compare them")
RECORD = Command("record", "play visits and keep them, to learn from", _TORCH)
EXPORT = Command("export", "write a trained policy as one file, ONNX or torch", _TORCH)
COMMANDS = {c.name: c for c in (TRAIN, TUNE, EVALUATE, SUITE, RECORD, EXPORT)}
"""By name."""


def require_for(module: str) -> None:
    """Raise MissingDependencyError unless a command's packages are there.

    Args:
        module: of the command, as ``training.train``, or of a study.
    """
    found = COMMANDS.get(module.removeprefix("training."))
    purpose = f"recenv {found.name}" if found else f"python -m {module}"
    require(*(found.packages if found else _RAY), extra="train", purpose=purpose)


def told(error: RecenvError) -> int:
    """Say an error on stderr; the exit code."""
    print(f"error: {error}", file=sys.stderr)
    return ERROR


def run(body: Callable[[Stop], int]) -> int:
    """Run a command.

    Args:
        body: returns the exit code; ``Stop.advice`` is said if a signal ends it.

    Returns:
        The exit code: that of ``body``, 2 after an error of recenv's own, 130 after SIGINT and
        143 after SIGTERM.
    """
    with stop_on_signals(command=True) as stop:
        try:
            with full_disk_told():
                return body(stop)
        except RecenvError as error:
            return told(error)
        except KeyboardInterrupt:
            print(f"Interrupted. {stop.advice}".rstrip(), file=sys.stderr)
            return stop.code


@contextmanager
def full_disk_told(place: Path | None = None, advice: str = "") -> Iterator[None]:
    """Say that a disk is full, whoever of Python, Arrow, Rust or Ray met it.

    Args:
        place: on the disk, if it is known.
        advice: what to do once there is space.

    Raises:
        DiskFullError: in place of whatever was raised.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        full = _full(error)
        if full is None:
            raise
        where = place or getattr(full, "filename", None)
        raise DiskFullError(
            f"The disk is full{f': {where} could not be written' if where else ''} ({full}). "
            f"Make space there{f', then {advice}' if advice else ' and try again'}."
        ) from error


def _full(error: BaseException | None) -> BaseException | None:
    """Of an error and those that led to it, the one that says that a disk is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) in _FULL or any(t in str(error) for t in _FULL_TEXTS):
            return error
        error = error.__cause__ or error.__context__
    return None


_module = command_module()
if _module:
    try:
        require_for(_module)
    except MissingDependencyError as error:
        sys.exit(told(error))

__all__ = [
    "COMMANDS",
    "ERROR",
    "EVALUATE",
    "EXPORT",
    "RECORD",
    "SUITE",
    "TRAIN",
    "TUNE",
    "Command",
    "DiskFullError",
    "Interrupted",
    "Stop",
    "full_disk_told",
    "installed",
    "require",
    "require_for",
    "run",
    "told",
]
