"""Errors a user can act on.

Every message says what was wanted, what came, and what to do next.
"""

from __future__ import annotations

import difflib
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
        close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(
            f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}."
            + (f" {advice}" if advice else "")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """As of ``MissingDependencyError``."""
        return type(self), self._told
