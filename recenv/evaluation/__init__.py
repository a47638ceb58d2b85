"""Rollouts, metrics and intervals."""

from recenv.evaluation.metrics import (
    METRICS,
    Row,
    difference,
    differences,
    gini,
    position,
    summarise,
)
from recenv.evaluation.rollout import Pool, Rollout, rollout
from recenv.evaluation.statistics import (
    CONFIDENCE,
    Estimate,
    mean_interval,
    paired_difference,
    paired_position,
    per_user,
)

__all__ = [
    "CONFIDENCE",
    "METRICS",
    "Estimate",
    "Pool",
    "Rollout",
    "Row",
    "difference",
    "differences",
    "gini",
    "mean_interval",
    "paired_difference",
    "paired_position",
    "per_user",
    "position",
    "rollout",
    "summarise",
]
