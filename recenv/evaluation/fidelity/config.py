"""Settings of a fidelity report: tolerances, and how much is drawn."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from recenv.config import Config


@dataclass(frozen=True)
class FidelityConfig(Config):
    """What a fidelity report tolerates, and how much it draws.

    A check fails where a difference exceeds its tolerance by more than some standard errors of
    its own. All are 0 or more.

    Attributes:
        level_share: of a rate or a mean, as a share of the log's.
        calibration_share: of the calibration error, as a share of the log's rate.
        surprise_share: of the log-loss, as a share of what the probabilities claim for themselves.
        personal_share: of what knowing who the user is adds, as a share of what is claimed.
        memory_share: of what knowing the visit so far adds, as a share of what is claimed.
        distance: of distances between distributions.
        divergence: of item popularity, in nats of Kullback and Leibler.
        position: of click rates by slot: mean chi-square of a slot beyond chance.
        correlation: of correlations.
        log_odds: of slopes, in log-odds per standard deviation.
        standard_errors: by how many a difference must exceed its tolerance to fail.
        resamples: draws of users behind an interval, 2 or more.
        bins: of a calibration curve, 2 or more.
        max_visits: of held-out visits that are looked at, 2 or more; more are sampled.
        max_single_visits: the same for visits of one item after another, which are slow.
        passed_over: items drawn for each that was taken, where the log has no impressions, 2 or
            more.
        seed: of all that is drawn.
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
