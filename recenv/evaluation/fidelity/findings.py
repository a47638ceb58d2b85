"""Findings: figures, and checks of them against tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recenv.evaluation.fidelity.config import FidelityConfig
from recenv.evaluation.fidelity.resample import Resampler
from recenv.evaluation.fidelity.results import Check, Figure, Status
from recenv.users.provenance import Provenance


@dataclass(frozen=True)
class Findings:
    """Parts of a report; ``a + b`` has those of ``a`` first.

    Attributes:
        figures, checks, series, counts, notes: see ``FidelityReport``.
    """

    figures: tuple[Figure, ...] = ()
    checks: tuple[Check, ...] = ()
    series: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            self.figures + other.figures,
            self.checks + other.checks,
            self.series | other.series,
            self.counts | other.counts,
            self.notes + other.notes,
        )


def untold(topic: str, names: Sequence[str], checks: Sequence[str], why: str) -> Findings:
    """Figures and checks that the log says nothing about."""
    note = f"the log cannot tell: {why}"
    return Findings(
        tuple(Figure(topic, name, note=note) for name in names),
        tuple(Check(name, "unknown", np.nan, np.nan, np.nan, (), note) for name in checks),
    )


@dataclass(frozen=True)
class Judge:
    """What turns numbers into checks.

    Attributes:
        laws: the world's, by name.
        config: tolerances.
        resampler: draws of users that all figures share.
    """

    laws: dict[str, Provenance]
    config: FidelityConfig
    resampler: Resampler

    def check(
        self,
        name: str,
        value: float,
        tolerance: float,
        error: float,
        laws: Sequence[str],
        words: str,
        *,
        two_sided: bool = True,
        unknown: str = "",
    ) -> Check:
        """A check: ``value`` is 0 for a perfect simulator, noise already taken off."""
        stated = [x for x in laws if x in self.laws and self.laws[x].source == "prior"]
        size = abs(value) if two_sided else value
        limit = tolerance + self.config.standard_errors * error
        status: Status = "fail" if size > limit else "pass"
        said = f"{words} (off by {value:+.3g}, allowed {tolerance:.3g}, standard error {error:.2g})"
        if unknown or not (np.isfinite(value) and np.isfinite(error)):
            status, said = "unknown", unknown or "the log has too little of it"
        elif stated:
            status, said = "prior", f"{said}; not judged: stated, not fitted: {', '.join(stated)}"
        return Check(name, status, value, tolerance, error, tuple(laws), said)
