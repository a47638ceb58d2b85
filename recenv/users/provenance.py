"""Provenance of a law's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Source = Literal["fitted", "prior", "planted"]
SOURCES = get_args(Source)


@dataclass(frozen=True)
class Provenance:
    """Provenance of a law's parameters: fitted, prior or planted, with a note."""

    source: Source
    note: str
    spread: dict[str, float] = field(default_factory=dict)
    """Standard errors of the law's scalar parameters, by name."""
