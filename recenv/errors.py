"""Errors a user can act on.

Every message says what was wanted, what came, and what to do next.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


class RecenvError(Exception):
    """Base class of every error that recenv raises on purpose."""


class SchemaError(RecenvError, ValueError):
    """A log or a catalogue breaks the schema (a column, a value, a row)."""


class ConfigError(RecenvError, ValueError):
    """A configuration value is unknown, of the wrong type, or out of range."""


class ActionError(RecenvError, ValueError):
    """An action lies outside its action space."""


class ArtifactError(RecenvError):
    """A saved artifact is missing, damaged, or of another format version."""


class LockedError(ArtifactError, TimeoutError):
    """Another process is at work on the same thing, and did not end in time."""


class UnsupportedVersionError(RecenvError, ImportError):
    """An installed package is of a version that recenv does not know."""


class DataNotFoundError(RecenvError, FileNotFoundError):
    """A named data set is in none of the places where recenv looks."""


class CheckError(RecenvError, AssertionError):
    """A part that a user wrote breaks its protocol (``recenv.testing``)."""


class MissingDependencyError(RecenvError, ImportError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self._told = package, extra, purpose
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'recenv[{extra}]'"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by what it was made from: processes hand errors to each other."""
        return type(self), self._told


class UnknownNameError(RecenvError, LookupError):
    """A name (an environment id, a data set, a config key) is not known.

    Args:
        kind: what the name was to be the name of.
        name: what came.
        known: the names that there are; the nearest is suggested.
        advice: a last sentence, on what else can be done.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], advice: str = "") -> None:
        names = sorted(known)
        self._told = kind, name, names, advice
        hint = nearest(name, names)
        super().__init__(
            f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}."
            + (f" {advice}" if advice else "")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """As of ``MissingDependencyError``."""
        return type(self), self._told


def nearest(name: object, known: Iterable[str]) -> str:
    """Question whether the known name that is most like ``name`` was meant; empty without one."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def nearest_flags(flag: str, known: Iterable[str], preferred: str = "") -> list[str]:
    """The flags, three at most, that are most like a mistyped one.

    Args:
        flag: as it came, with its hyphens.
        known: all that there are; a dotted one is also known by its last part.
        preferred: beginning of those that come first where several are as near.
    """

    def likeness(name: str) -> float:
        whole = difflib.SequenceMatcher(None, flag, name).ratio()
        last = difflib.SequenceMatcher(None, flag.lstrip("-"), name.rpartition(".")[2]).ratio()
        return max(whole, last if "." in name else 0.0)

    scored = [(likeness(name), name) for name in known]
    best = max((score for score, _ in scored), default=0.0)
    near = [(not n.startswith(preferred), -s, n) for s, n in scored if s >= max(0.6, best - 0.1)]
    return [name for _, _, name in sorted(near, key=lambda found: found[:2])][:3]


def require_version(package: str, found: str, at_least: str, below: str) -> None:
    """Check a package of which recenv uses private parts, which may change with any version.

    Args:
        package: its name.
        found: the version that is installed.
        at_least: the lowest version that is known, as "0.61".
        below: the lowest version that is not known any more.

    Raises:
        UnsupportedVersionError: it lies outside; the message says what to install.
    """
    if not _numbers(at_least) <= _numbers(found) < _numbers(below):
        raise UnsupportedVersionError(
            f"recenv uses private parts of {package}, which it knows in versions from {at_least} "
            f"to below {below}, but {found} is installed. Install a known one with: "
            f"pip install '{package}>={at_least},<{below}'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """(major, minor): what a bound is made of."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
