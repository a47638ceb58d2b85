"""Rollouts, metrics, intervals and off-policy estimates."""

from recenv.evaluation.metrics import (
    METRICS,
    Row,
    difference,
    differences,
    gini,
    position,
    summarise,
)
from recenv.evaluation.off_policy import (
    PolicyValue,
    direct_method,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    inverse_propensity,
    self_normalised,
)
from recenv.evaluation.rollouts import Pool, Rollout, rollout
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
    "PolicyValue",
    "Pool",
    "Rollout",
    "Row",
    "difference",
    "differences",
    "direct_method",
    "doubly_robust",
    "effective_sample_size",
    "gini",
    "importance_weights",
    "inverse_propensity",
    "mean_interval",
    "paired_difference",
    "paired_position",
    "per_user",
    "position",
    "rollout",
    "self_normalised",
    "summarise",
]
