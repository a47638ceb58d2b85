"""Visit lengths: their distribution, and whether it is the same users who stay long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import Floats
from recenv.evaluation.fidelity.distances import Sides, distribution
from recenv.evaluation.fidelity.events import Events
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import Ints
from recenv.evaluation.fidelity.resample import Draws
from recenv.evaluation.fidelity.results import Figure

_PERSISTENCE = "persistence of visit length"
_FEWEST = 20  # users


def no_lengths(why: str) -> Findings:
    """The figures and checks of this page, where the log cannot tell them."""
    return untold("visits", ["rounds"], ["visit length"], why) + no_persistence(why)


def no_persistence(why: str) -> Findings:
    """Likewise of persistence alone."""
    return untold("users", [_PERSISTENCE], [_PERSISTENCE], why)


def rounds_of(sides: Sides) -> list[Floats]:
    """(V,) rounds of each visit, on each side."""
    return [np.maximum.reduceat(e.round, _starts(e)) + 1.0 for e in sides.all]


def visit_lengths(
    judge: Judge,
    what: str,
    lengths: Sequence[Floats],
    users: Ints,
    laws: Sequence[str],
    *,
    later: bool,
) -> Findings:
    """Lengths of the same visits on three sides.

    Args:
        judge: tolerances and draws of users.
        what: "rounds" or "items".
        lengths: (V,) each: logged, simulated, trivial.
        users: (V,).
        laws: that make them.
        later: whether the visits lie in the test part. Otherwise the world's users have seen
            most of them, and that their lengths persist says nothing.
    """
    found = distribution(judge, "visits", what, lengths, users, laws, check="visit length")
    if not later:
        return found + no_persistence("the split cuts through most visits")
    return found + persistence(judge, lengths, users, laws)


def persistence(
    judge: Judge, lengths: Sequence[Floats], users: Ints, laws: Sequence[str]
) -> Findings:
    """Do users who make long visits in the log make long ones in the simulator?

    Correlation over users of the mean log length, simulated against logged; the log against
    itself is every other visit against the rest, which has fewer visits on each side.
    """
    x = [np.log(np.maximum(v, 1)) for v in lengths]
    odd = _every_other(users)
    count = int(users.max()) + 1
    present = np.flatnonzero(np.bincount(users[odd], minlength=count))
    if len(present) < _FEWEST or any(np.ptp(v) == 0 for v in x[:2]):
        return no_persistence("too few users with two visits, or lengths all alike")

    def means(values: Floats, rows: np.ndarray) -> Floats:
        total = np.bincount(users[rows], values[rows], count)
        return (total / np.maximum(np.bincount(users[rows], minlength=count), 1))[present]

    ones = np.ones(len(present))

    def across(half: Floats, logged: Floats) -> Draws:
        return judge.resampler.score(m.weighted_correlation(half, logged), present, ones)

    second, first = means(x[0], odd), means(x[0], ~odd)
    # each simulated half against the other half of the log: as many visits as the log's own
    own, trivial = (
        _average(across(means(v, ~odd), second), across(means(v, odd), first)) for v in x[1:]
    )
    itself = across(first, second)
    figure = Figure(
        "users",
        _PERSISTENCE,
        own.interval,
        trivial.interval,
        itself.interval,
        "every other visit of the log",
        "the log's own",
    )
    check = judge.check(
        _PERSISTENCE,
        itself.value - own.value,
        judge.config.correlation,
        float(np.nanstd(itself.drawn - own.drawn, ddof=1)),
        laws,
        f"correlation {own.value:.2f} with the log's users, {itself.value:.2f} within the log",
        two_sided=False,
    )
    return Findings((figure,), (check,))


def _every_other(users: Ints) -> np.ndarray:
    """(V,) whether a visit is its user's second, fourth, ..."""
    order = np.argsort(users, kind="stable")
    nth = np.empty(len(users), np.int64)
    nth[order] = np.arange(len(users)) - np.searchsorted(users[order], users[order])
    return nth % 2 == 1


def _average(x: Draws, y: Draws) -> Draws:
    return Draws((x.value + y.value) / 2, (x.drawn + y.drawn) / 2)


def _starts(events: Events) -> Ints:
    """First row of each visit; every visit has one."""
    return np.searchsorted(events.visit, np.arange(len(events.visitor)))
