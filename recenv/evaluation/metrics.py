"""Metrics of a policy: rows of a results table, with confidence intervals over users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv.evaluation.rollouts import Rollout
from recenv.evaluation.statistics import (
    Estimate,
    check_paired,
    mean_interval,
    paired_difference,
    paired_position,
)

METRICS: dict[str, Callable[[Rollout], npt.NDArray[np.float64] | npt.NDArray[np.int64]]] = {
    "recommender reward": lambda r: r.recommender_reward,
    "user reward": lambda r: r.user_reward,
    "clicks": lambda r: r.clicks,
    "purchases": lambda r: r.purchases,
    "rounds": lambda r: r.rounds,
    "surprise": lambda r: r.surprise,
    "excess surprise": lambda r: r.excess_surprise,
}
"""Per-visit values (V,) by name: sums over a visit; the last two in nats per round."""


@dataclass(frozen=True)
class Row:
    """One policy's results, all per visit.

    Attributes:
        name: the policy's.
        kind: how it came to be ("baseline", "trained", ...), for marking it in a table.
        visits: V.
        metrics: mean and interval by name in ``METRICS``.
        coverage: share of the catalogue shown at least once in these visits. It grows with
            their number, so it has no interval and compares only over equal visits.
        gini: Gini coefficient of the items' impressions, 0 even, towards 1 concentrated.
    """

    name: str
    kind: str
    visits: int
    metrics: dict[str, Estimate]
    coverage: float
    gini: float


def summarise(rollout: Rollout, *, name: str | None = None, kind: str = "policy") -> Row:
    """The row of one rollout; its name is the recommender's unless given.

    Raises:
        ConfigError: fewer than two users.
    """
    return Row(
        name=rollout.recommender if name is None else name,
        kind=kind,
        visits=len(rollout),
        metrics={k: mean_interval(value(rollout), rollout.user) for k, value in METRICS.items()},
        coverage=float((rollout.impressions > 0).mean()),
        gini=gini(rollout.impressions),
    )


def difference(first: Rollout, second: Rollout, metric: str = "recommender reward") -> Estimate:
    """Paired mean of ``first - second`` per visit in one of ``METRICS``.

    Raises:
        ConfigError: they are not of the same visits, or of fewer than two users.
    """
    check_paired([first, second])
    return paired_difference(METRICS[metric](first), METRICS[metric](second), first.user)


def differences(
    rollouts: Sequence[Rollout], against: Rollout, metric: str = "recommender reward"
) -> dict[str, Estimate]:
    """``difference`` of every rollout from a reference, by the recommender's name.

    Raises:
        ConfigError: see ``difference``.
    """
    return {r.recommender: difference(r, against, metric) for r in rollouts}


def position(
    rollout: Rollout, low: Rollout, high: Rollout, metric: str = "recommender reward"
) -> Estimate:
    """Normalised score of a policy between two others: 0 is as good as ``low``, 1 as ``high``.

    Raises:
        ConfigError: they are not of the same visits, or of fewer than two users.
    """
    check_paired([rollout, low, high])
    value = METRICS[metric]
    return paired_position(value(rollout), value(low), value(high), rollout.user)


def gini(counts: npt.NDArray[np.integer]) -> float:
    """Gini coefficient of (N,) counts: half the relative mean absolute difference.

    0 where all are equal, ``1 - 1/N`` where one has all; NaN where all are 0.
    """
    ordered = np.sort(counts)
    n, total = len(ordered), ordered.sum()
    if total == 0:
        return float("nan")
    ranks = np.arange(1, n + 1)
    return float((2 * ranks - n - 1) @ ordered / (n * total))
