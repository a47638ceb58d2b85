"""Settings of a fidelity report: tolerances, and how much is drawn."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from recenv.config import Config


@dataclass(frozen=True)
class FidelityConfig(Config):
    """What a fidelity report tolerates, and how much it draws.

    A check fails where a difference exceeds its tolerance by more than ``standard_errors`` of
    its own. Tolerances named ``*_share`` are relative to what the log says. Logs of more than
    ``max_visits`` held-out visits are sampled; visits of one item after another, which are slow,
    from ``max_single_visits``.
    """

    level_share: float = 0.1
    calibration_share: float = 0.1
    surprise_share: float = 0.05
    personal_share: float = 0.5
    memory_share: float = 0.5
    distance: float = 0.05
    divergence: float = 0.05
    position: float = 1.0
    correlation: float = 0.1
    log_odds: float = 0.05
    standard_errors: float = 3.0
    resamples: int = 200
    bins: int = 20
    max_visits: int = 4000
    max_single_visits: int = 1000
    passed_over: int = 9
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("resamples", "bins", "max_visits", "max_single_visits", "passed_over"):
            self.require(getattr(self, name) >= 2, name, "at least 2")
        for f in dataclasses.fields(self):
            self.require(getattr(self, f.name) >= 0, f.name, "zero or more")
