"""Consumption: which items, from which category to the next, and which of them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import Floats
from recenv.evaluation.fidelity.distances import Sides, beside_the_log, distance
from recenv.evaluation.fidelity.events import Events, joined
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import Ints
from recenv.evaluation.fidelity.past import Past
from recenv.evaluation.fidelity.results import Figure, Value

_POINTS = 3000  # items in the plot of shares


def popularity(judge: Judge, consumed: Sides, size: int, laws: Sequence[str]) -> Findings:
    """Which of ``size`` items are consumed how often."""
    pairs = [joined(consumed.log, e) for e in (consumed.simulated, consumed.trivial)]
    compare = judge.resampler.compare
    kl = [compare(m.kullback_leibler(e.item, size), e.user, side) for e, side in pairs]
    rank = [compare(m.rank_correlation(e.item, size), e.user, side) for e, side in pairs]
    check = judge.check(
        "item popularity",
        kl[0].value - kl[0].noise,
        judge.config.divergence,
        kl[0].error,
        laws,
        f"KL {kl[0].value:.3f} nats, of which chance {kl[0].noise:.3f}",
        two_sided=False,
    )
    counts = [np.bincount(e.item, minlength=size) for e in consumed.all]
    keep = np.flatnonzero(counts[0] + counts[1])
    if len(keep) > _POINTS:
        keep = np.random.default_rng(0).choice(keep, _POINTS, replace=False)
    names = ("log", "simulator", "trivial")
    shares = {k: (c[keep] / max(c.sum(), 1)).tolist() for k, c in zip(names, counts, strict=True)}
    return Findings(
        (
            distance(("items", "KL of item shares"), kl, note="log against simulator, nats"),
            distance(("items", "Spearman of item counts"), rank, best="1"),
        ),
        (check,),
        {"item shares": shares},
    )


def transitions(judge: Judge, consumed: Sides, category: Ints, laws: Sequence[str]) -> Findings:
    """From one category to the next: consecutive consumed items of a visit."""
    groups = int(category.max()) + 1
    found = []
    for simulator in (consumed.simulated, consumed.trivial):
        events, side = joined(consumed.log, simulator)
        next_ = np.flatnonzero(events.visit[1:] == events.visit[:-1])
        code = category[events.item[next_]].astype(np.int64) * groups
        code += category[events.item[next_ + 1]]
        if not found and (not side[next_].any() or side[next_].all()):
            return untold(
                "categories",
                ["TV distance of transitions"],
                ["category transitions"],
                "no visit consumes two items",
            )
        measure = m.total_variation(code)
        found.append(judge.resampler.compare(measure, events.user[next_], side[next_]))
    beyond = found[0].value - found[0].noise
    spread = 1.96 * found[0].error
    return Findings(
        (
            distance(("categories", "TV distance of transitions"), found),
            Figure(
                "categories",
                "TV distance beyond chance",
                Value(beyond, beyond - spread, beyond + spread),
                Value(found[1].value - found[1].noise),
                best="0",
            ),
        ),
        (
            judge.check(
                "category transitions",
                beyond,
                judge.config.distance,
                found[0].error,
                laws,
                f"total variation {found[0].value:.3f}, of which chance {found[0].noise:.3f}",
                two_sided=False,
            ),
        ),
    )


def repeats(judge: Judge, consumed: Sides, past: Past, laws: Sequence[str]) -> Findings:
    """Share of consumed items that the user had consumed before: in its past, or in these visits.

    Args:
        judge: tolerances and draws of users.
        consumed: visits of a user in the order of time.
        past: of the same visits.
        laws: that make it.
    """
    again = [consumed_before(events, past) for events in consumed.all]
    found = []
    for own, simulator in zip(again[1:], (consumed.simulated, consumed.trivial), strict=True):
        events, side = joined(consumed.log, simulator)
        measure = m.mean_difference(np.concatenate([again[0], own]))
        found.append(judge.resampler.compare(measure, events.user, side))
    rates = [Value(float(a.mean()) if len(a) else np.nan) for a in again]
    return Findings(
        (
            beside_the_log(("repeats", "share consumed before"), rates),
            distance(("repeats", "difference to the log"), found),
        ),
        (
            judge.check(
                "repeat consumption",
                found[0].value,
                judge.config.distance,
                found[0].error,
                laws,
                f"{rates[1].value:.1%} of items were consumed before, {rates[0].value:.1%} "
                "in the log",
            ),
        ),
    )


def consumed_before(events: Events, past: Past) -> Floats:
    """(n,) 1 where a row's user had consumed its item before, 0 elsewhere."""
    key = events.user.astype(np.int64) * past.size + events.item
    _, first = np.unique(key, return_index=True)
    again = np.ones(len(key), bool)
    again[first] = False
    return (again | past.holds(events.visit, events.user, events.item)).astype(float)
