"""The held-out part of a log: its rows, its visits, and what it tells of what was passed over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv.data.split import Split
from recenv.schema import CLICK, PURCHASE, InteractionLog

Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
_WHOLE_SHARE = 0.8


def consumed_from(log: InteractionLog) -> int:
    """The least response that counts as consumed: a click, or a purchase where no click is."""
    return CLICK if (log.column("response") == CLICK).any() else PURCHASE


def visit_numbers(log: InteractionLog) -> tuple[Ints, Ints]:
    """(n,) number of each row's visit, in the order of their first rows, and (V,) visitors.

    A visit is a session of a user. Without sessions it is a slate (rows of one user and time)
    where the log has impressions, and otherwise all that a user did.
    """
    user = log.column("user").astype(np.int64)
    if "session" in log.events:
        other = log.column("session")
    elif log.has_impressions:
        other = log.column("time")
    else:
        other = np.zeros(len(log))
    _, second = np.unique(other, return_inverse=True)
    key = user * (int(second.max(initial=0)) + 1) + second
    _, first, code = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[code], user[first[order]]


@dataclass(frozen=True)
class HeldOut:
    """Which rows and visits of a log a fidelity report looks at.

    Attributes:
        visit: (n,) visit of each row of the log; visitor: (V,) its user.
        rows: (n,) rows of the test part.
        whole: (V,) visits compared as wholes.
        later: whether those lie in the test part; otherwise they are all visits of the
            held-out users, because the split cuts through too many.
    """

    visit: Ints
    visitor: Ints
    rows: Bools
    whole: Bools
    later: bool

    @classmethod
    def of(cls, log: InteractionLog, split: Split) -> HeldOut:
        """The test part; whole visits from there if they hold 80 % of it.

        A split by events cuts each user's boundary visit in two, and that one is longer than
        others: leaving it out biases lengths where a user has few visits.
        """
        visit, visitor = visit_numbers(log)
        rows = split.rows("test", "all")
        size = np.bincount(visit, minlength=len(visitor))
        inside = np.bincount(visit, rows, len(visitor))
        whole = inside == size
        later = bool(inside[whole].sum() >= _WHOLE_SHARE * inside.sum())
        if not later and split.heldout.any():
            whole = split.heldout[visitor]
        return cls(visit, visitor, rows, whole, later)


def limit(mask: Bools, most: int, rng: np.random.Generator) -> Bools:
    """At most ``most`` of the marked, drawn at random."""
    at = np.flatnonzero(mask)
    if len(at) <= most:
        return mask
    out = np.zeros(len(mask), bool)
    out[rng.choice(at, most, replace=False)] = True
    return out
