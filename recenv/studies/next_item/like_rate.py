"""Calibration of the fitted purchase law, P(like | rated), on later ratings.

- **per user**: the last ``TEST_SHARE`` of every user's ratings are the test.
- **global**: the ratings after a date are the test, such that their share is the same; many of
  those users are cold (``recenv.studies.next_item.cold_start``).

ECE, the expected calibration error, is over ``BINS`` bins of equal count (Guo et al. 2017, "On
Calibration of Modern Neural Networks", ICML, with bins of equal count for equal width). The mean
bias is the mean prediction over the observed rate, minus 1. Intervals are percentiles of a
bootstrap over users.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from recenv.benchmark.tables import markdown
from recenv.config import SplitConfig
from recenv.data.split import make_split
from recenv.evaluation.statistics import CONFIDENCE
from recenv.progress import Progress
from recenv.schema import PURCHASE, Catalog, InteractionLog
from recenv.studies.next_item.cold_start import cold_start_purchase_probs
from recenv.studies.next_item.rankers import Settings, fit_users

TEST_SHARE = 0.2
BINS = 10
RESAMPLES = 200
_PRIOR = 5.0  # ratings that the mean of all counts as, in the baselines' means

Floats = npt.NDArray[np.float64]
Rates = dict[str, dict[str, dict[str, tuple[float, float, float]]]]
"""Split -> method -> metric -> (value, low, high)."""


def auc(p: Floats, liked: npt.NDArray[np.bool_]) -> float:
    """P(a liked one is predicted above one not liked), ties half."""
    right = int(liked.sum())
    rank = rankdata(p)[liked].sum()
    return float((rank - right * (right + 1) / 2) / max(right * (len(p) - right), 1))


def log_loss(p: Floats, liked: npt.NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood, nats."""
    q = np.clip(np.where(liked, p, 1 - p), 1e-6, 1)
    return float(-np.log(q).mean())


def ece(p: Floats, liked: npt.NDArray[np.bool_]) -> float:
    """Weighted mean of |mean prediction - observed rate| over ``BINS`` bins of equal count."""
    bins = np.array_split(np.argsort(p, kind="stable"), BINS)
    return float(sum(len(b) * abs(p[b].mean() - liked[b].mean()) for b in bins if len(b)) / len(p))


def bias(p: Floats, liked: npt.NDArray[np.bool_]) -> float:
    """Mean prediction over observed rate, minus 1."""
    return float(p.mean() / max(liked.mean(), 1e-12) - 1)


METRICS = {"AUC": auc, "log-loss": log_loss, "ECE": ece, "bias": bias}


def measure(
    p: Floats, liked: npt.NDArray[np.bool_], user: npt.NDArray[np.integer]
) -> dict[str, tuple[float, float, float]]:
    """Metrics of (n,) predictions, with bootstrap intervals over users."""
    rng = np.random.default_rng(0)
    order = np.argsort(user, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(user[order])) + 1)
    drawn: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(RESAMPLES):
        rows = np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))])
        for name, metric in METRICS.items():
            drawn[name].append(metric(p[rows], liked[rows]))
    tail = (1 - CONFIDENCE) / 2
    return {
        name: (
            metric(p, liked),
            float(np.quantile(drawn[name], tail)),
            float(np.quantile(drawn[name], 1 - tail)),
        )
        for name, metric in METRICS.items()
    }


def baselines(
    log: InteractionLog, test: npt.NDArray[np.bool_], num_items: int
) -> dict[str, Floats]:
    """Base rate, item's mean, and user's plus item's deviation, each shrunk to the base rate."""
    user, item = log.column("user"), log.column("item")
    liked = (log.column("response") == PURCHASE).astype(np.float64)
    base = liked[~test].mean()

    def shrunk(code: np.ndarray, rest: Floats, size: int) -> Floats:
        total = np.bincount(code[~test], rest[~test], minlength=size)
        return total / (np.bincount(code[~test], minlength=size) + _PRIOR)

    of_item = shrunk(item, liked - base, num_items)
    of_user = shrunk(user, liked - base - of_item[item], log.num_users)
    both = base + of_item[item[test]] + of_user[user[test]]
    return {
        "base rate": np.full(int(test.sum()), base),
        "item mean": base + of_item[item[test]],
        "user + item": np.clip(both, 0.01, 0.99),
    }


def rows_to_predict(log: InteractionLog) -> dict[str, npt.NDArray[np.bool_]]:
    """(n,) bool by name of the split: what is to be predicted."""
    config = SplitConfig(test_fraction=TEST_SHARE, valid_fraction=0.0, heldout_users=0.0)
    later = np.zeros(len(log), bool)
    later[round(len(log) * (1 - TEST_SHARE)) :] = True  # a log is sorted by time
    return {"per user": make_split(log, config).rows("test", "all"), "global": later}


def like_rates(
    log: InteractionLog,
    catalog: Catalog,
    vectors: npt.NDArray[np.float32],
    settings: Settings,
    *,
    progress: bool | None = None,
) -> Rates:
    """Fit on the train rows of each split, measure on its test rows."""
    out: Rates = {}
    splits = rows_to_predict(log)
    stage = Progress("like rates", len(splits), unit="splits", shown=progress)
    for name, test in stage.of(splits.items()):
        train = log.take(~test)
        by = "time" if name == "global" else "user"
        nobody = np.zeros(log.num_users, bool)
        _, model = fit_users(train, catalog, vectors, nobody, settings, by=by, progress=False)
        liked = log.column("response")[test] == PURCHASE
        users, items = log.column("user")[test], log.column("item")[test]
        rows = baselines(log, test, len(catalog))
        known = np.bincount(train.column("user"), minlength=log.num_users)[users] > 0
        told = model.purchase_probs(users, items).astype(np.float64)
        rows["user model"] = np.where(known, told, cold_start_purchase_probs(model, train, items))
        out[name] = {k: measure(p, liked, users) for k, p in rows.items()}
    return out


def like_table(rates: Rates) -> str:
    """Markdown: value and 95 % interval of each metric."""
    lines = [
        [split, name, *(f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in found.values())]
        for split, methods in rates.items()
        for name, found in methods.items()
    ]
    return markdown(["test", "P(like / rated) by", *METRICS], lines)
