"""Provenance: where the parameters of a law come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Provenance:
    """Where a law's parameters come from."""

    source: Literal["fitted", "prior", "planted"]
    note: str
    spread: dict[str, float] = field(default_factory=dict)
    """Standard errors of the law's scalar parameters, by name."""
