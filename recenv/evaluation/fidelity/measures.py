"""Scores of probabilities and distances between two samples, as functions of sums over users.

Every measure first sorts its rows into cells (a value, a code, a quantile of a score) and then
needs no more than sums of weights per cell. So a bootstrap over users, a permutation of labels
and a halving of the log are products of one matrix (users by cells), for all draws at once. A
measure is NaN where a side has no weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from recenv.users.clipping import clipped

Floats = npt.NDArray[np.float64]
_CELLS = 2000
"""A score with more different values than this is cut into so many quantiles."""


@dataclass(frozen=True)
class Measure:
    """One measure of n rows.

    Attributes:
        cell: (n,) cell of each row; size: how many there are.
        channels: what is summed per cell, (n,) each, times the row's weight.
        value: from sums of shape (..., size), one per channel, to (...,). A distance is given
            the first side's sums and then the second's.
        sides: 1 for a score, 2 for a distance.
    """

    cell: npt.NDArray[np.integer]
    size: int
    channels: tuple[Floats, ...]
    value: Callable[..., Floats]
    sides: int = 1

    def __call__(self, *weights: npt.ArrayLike) -> float:
        """The measure for one set of (n,) weights per side."""
        sums = [
            np.bincount(self.cell, np.asarray(w, float) * c, self.size)
            for w in weights
            for c in self.channels
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.value(*sums))


def log_likelihood(p: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """(n,) nats of outcomes ``y`` under ``p``; a ``y`` between 0 and 1 is a probability of 1."""
    p, y = clipped(np.asarray(p, float)), np.asarray(y, float)
    return y * np.log(p) + (1 - y) * np.log1p(-p)


def entropy(p: npt.ArrayLike) -> Floats:
    """(n,) nats: the mean surprise if ``p`` were true."""
    p = clipped(np.asarray(p, float))
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Measure:
    """Weighted sum of the one over that of the other."""
    a, b = np.asarray(above, float), np.asarray(below, float)
    return Measure(_one_cell(a), 1, (a, b), lambda x, y: x[..., 0] / _positive(y[..., 0]))


def mean(values: npt.ArrayLike) -> Measure:
    """Weighted mean."""
    x = np.asarray(values, float)
    return ratio(x, np.ones(len(x)))


def auc(score: npt.ArrayLike, y: npt.ArrayLike) -> Measure:
    """Probability that a random 1 scores above a random 0, ties counting half (Mann-Whitney)."""
    yes = np.asarray(y, float)
    cell, size = _cells(score)

    def value(positive: Floats, negative: Floats) -> Floats:
        below = np.cumsum(negative, -1) - negative / 2
        pairs = positive.sum(-1) * negative.sum(-1)
        return (positive * below).sum(-1) / _positive(pairs)

    return Measure(cell, size, (yes, 1 - yes), value)


def information_gain(p: npt.ArrayLike, y: npt.ArrayLike) -> Measure:
    """1 - log-loss over the log-loss of the mean rate (the outcomes' entropy)."""
    ll, yes = log_likelihood(p, y), np.asarray(y, float)

    def value(likelihood: Floats, hits: Floats, rows: Floats) -> Floats:
        base = rows * entropy(hits / _positive(rows))
        return (1 + likelihood / _positive(base))[..., 0]

    return Measure(_one_cell(ll), 1, (ll, yes, np.ones(len(yes))), value)


def equal_count_bins(p: npt.ArrayLike, weight: Floats, bins: int) -> npt.NDArray[np.intp]:
    """(n,) bin of each row, by quantiles of ``p``; equal values share a bin."""
    _, at = np.unique(np.asarray(p, float), return_inverse=True)
    mass = np.bincount(at, weight)
    middle = (np.cumsum(mass) - mass / 2) / max(mass.sum(), 1e-300)
    return np.minimum((middle * bins).astype(np.intp), bins - 1)[at]


def calibration_error(p: npt.ArrayLike, y: npt.ArrayLike, weight: Floats, bins: int) -> Measure:
    """Expected calibration error: mean over bins of |mean p - mean y|, bins weighed by rows.

    Equal-count bins (Nguyen & O'Connor, EMNLP 2015), cut once by ``weight``.
    """
    gap = np.asarray(p, float) - np.asarray(y, float)
    return Measure(
        equal_count_bins(p, weight, bins),
        bins,
        (gap, np.ones(len(gap))),
        lambda g, n: np.abs(g).sum(-1) / _positive(n.sum(-1)),
    )


def reliability(
    p: npt.ArrayLike, y: npt.ArrayLike, weight: Floats, bins: int
) -> list[dict[str, float]]:
    """One row per bin: mean ``predicted``, mean ``observed``, ``rows`` (their count)."""
    bin_ = equal_count_bins(p, weight, bins)
    total = np.bincount(bin_, weight)
    rows = np.bincount(bin_)
    sums = [np.bincount(bin_, weight * np.asarray(v, float)) for v in (p, y)]
    return [
        {
            "predicted": float(sums[0][b] / total[b]),
            "observed": float(sums[1][b] / total[b]),
            "rows": int(rows[b]),
        }
        for b in np.flatnonzero(total > 0)
    ]


def mean_difference(values: npt.ArrayLike) -> Measure:
    """Mean of the second side minus that of the first."""
    x = np.asarray(values, float)

    def value(a: Floats, n: Floats, b: Floats, k: Floats) -> Floats:
        return (b / _positive(k) - a / _positive(n))[..., 0]

    return Measure(_one_cell(x), 1, (x, np.ones(len(x))), value, sides=2)


def kolmogorov_smirnov(values: npt.ArrayLike) -> Measure:
    """Largest difference of the two distribution functions."""
    points, cell = np.unique(np.asarray(values, float), return_inverse=True)
    return _distance(cell, len(points), lambda a, b: np.abs(np.cumsum(a - b, -1)).max(-1))


def wasserstein(values: npt.ArrayLike) -> Measure:
    """Area between the two distribution functions, in units of the values."""
    points, cell = np.unique(np.asarray(values, float), return_inverse=True)
    steps = np.diff(points)
    return _distance(cell, len(points), lambda a, b: np.abs(np.cumsum(a - b, -1))[..., :-1] @ steps)


def total_variation(codes: npt.ArrayLike) -> Measure:
    """Half the sum of absolute differences of two shares over codes, in [0, 1]."""
    order, cell = np.unique(np.asarray(codes), return_inverse=True)
    return _distance(cell, len(order), lambda a, b: np.abs(a - b).sum(-1) / 2)


def kullback_leibler(codes: npt.ArrayLike, size: int) -> Measure:
    """KL(first || second) in nats of shares over ``size`` codes, each with half a row added."""

    def value(a: Floats, b: Floats) -> Floats:
        p, q = (_shares(x + 0.5) for x in (a, b))
        return np.where(a.sum(-1) * b.sum(-1) > 0, (p * np.log(p / q)).sum(-1), np.nan)

    cell = np.asarray(codes)
    return Measure(cell, size, (np.ones(len(cell)),), value, sides=2)


def rank_correlation(codes: npt.ArrayLike, size: int) -> Measure:
    """Spearman's correlation of the two sides' counts over ``size`` codes."""

    def value(a: Floats, b: Floats) -> Floats:
        pairs = zip(a.reshape(-1, size), b.reshape(-1, size), strict=True)
        found = [correlation(_ranks(x), _ranks(y)) for x, y in pairs]
        return np.array(found).reshape(a.shape[:-1])

    cell = np.asarray(codes)
    return Measure(cell, size, (np.ones(len(cell)),), value, sides=2)


def chi_square(groups: npt.ArrayLike, hits: npt.ArrayLike) -> Measure:
    """Mean over groups of the squared difference of two rates over its binomial variance.

    Pearson's statistic of two samples, over the number of groups that both sides have: near 1
    for equal rates and independent rows.
    """
    cell, hit = np.asarray(groups), np.asarray(hits, float)

    def value(n: Floats, taken: Floats, k: Floats, others: Floats) -> Floats:
        pooled = (taken + others) / _positive(n + k)
        variance = pooled * (1 - pooled) * (1 / _positive(n) + 1 / _positive(k))
        square = (others / _positive(k) - taken / _positive(n)) ** 2 / _positive(variance)
        told = np.isfinite(square)
        return np.where(told, square, 0).sum(-1) / _positive(told.sum(-1))

    size = int(cell.max(initial=0)) + 1
    return Measure(cell, size, (np.ones(len(cell)), hit), value, sides=2)


def choice(odds: npt.ArrayLike, real: npt.ArrayLike, distractors: int) -> dict[str, Measure]:
    """``precision``, ``recall`` and ``F1`` of choosing real items among ``distractors`` for each.

    Every item is chosen independently with its own probability, the log-odds of all moved alike
    so that as many are expected to be chosen as are real (the prior of a 1:m mix is not the
    log's). All three are of expected counts: nothing is drawn. Log-odds are rounded to 0.01.

    Args:
        odds: (n,) probability of being chosen, in the log's own mix.
        real: (n,) whether the user did choose the item.
        distractors: m.
    """
    yes = np.asarray(real, float)
    x, cell = np.unique(np.round(logit(clipped(np.asarray(odds, float))), 2), return_inverse=True)

    def chosen(true: Floats, false: Floats) -> tuple[Floats, Floats, Floats]:
        total = true.sum(-1)
        false = false * (distractors * total / _positive(false.sum(-1)))[..., None]
        q = expit(x + level_shift(x, true + false, total)[..., None])
        return (true * q).sum(-1), (false * q).sum(-1), total

    def precision(true: Floats, false: Floats) -> Floats:
        hit, missed, _ = chosen(true, false)
        return hit / _positive(hit + missed)

    def recall(true: Floats, false: Floats) -> Floats:
        hit, _, total = chosen(true, false)
        return hit / _positive(total)

    def f1(true: Floats, false: Floats) -> Floats:
        hit, missed, total = chosen(true, false)
        return 2 * hit / _positive(hit + missed + total)

    made = {"precision": precision, "recall": recall, "F1": f1}
    return {k: Measure(cell, len(x), (yes, 1 - yes), f) for k, f in made.items()}


def level_shift(x: Floats, w: Floats, wanted: npt.ArrayLike) -> Floats:
    """(...,) what to add to log-odds ``x`` so that ``sum(w p)`` is ``wanted`` (by bisection).

    Args:
        x: (n,) log-odds.
        w: (..., n) weights.
        wanted: (...,).
    """
    wanted = np.asarray(wanted, float)
    low, high = np.full(wanted.shape, -40.0), np.full(wanted.shape, 40.0)
    for _ in range(45):
        middle = (low + high) / 2
        less = (w * expit(x + middle[..., None])).sum(-1) < wanted
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return (low + high) / 2


def weighted_correlation(x: npt.ArrayLike, y: npt.ArrayLike) -> Measure:
    """Pearson's correlation of weighted rows."""
    a, b = np.asarray(x, float), np.asarray(y, float)

    def value(n: Floats, *sums: Floats) -> Floats:
        ma, mb, maa, mbb, mab = (s[..., 0] / _positive(n[..., 0]) for s in sums)
        scale = (maa - ma**2) * (mbb - mb**2)
        return (mab - ma * mb) / np.sqrt(_positive(scale))

    channels = (np.ones(len(a)), a, b, a * a, b * b, a * b)
    return Measure(_one_cell(a), 1, channels, value)


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's, NaN where a side does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else np.nan


def _distance(
    cell: npt.NDArray[np.integer], size: int, value: Callable[[Floats, Floats], Floats]
) -> Measure:
    """A distance of two shares over cells."""
    return Measure(
        cell, size, (np.ones(len(cell)),), lambda a, b: value(_shares(a), _shares(b)), sides=2
    )


def _cells(score: npt.ArrayLike) -> tuple[npt.NDArray[np.integer], int]:
    """Cells in ascending order of the score: its values, or its quantiles if they are many."""
    x = np.asarray(score, float)
    order, cell = np.unique(x, return_inverse=True)
    if len(order) <= _CELLS:
        return cell, len(order)
    return equal_count_bins(x, np.ones(len(x)), _CELLS), _CELLS


def _one_cell(values: Floats) -> npt.NDArray[np.integer]:
    return np.zeros(len(values), np.int64)


def _positive(x: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    return np.where(x > 0, x, np.nan)


def _shares(count: Floats) -> Floats:
    return count / _positive(count.sum(-1))[..., None]


def _ranks(counts: Floats) -> Floats:
    _, at, size = np.unique(counts, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[at]
