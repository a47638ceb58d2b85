"""The order of events, and the visits they fall into."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import int64, uint64

from recenv.jit.compiled import compiled

SESSION_GAP = 1800.0
"""Seconds of inactivity that end a visit: the usual 30 minutes of web analytics
(Halfaker et al. 2015, "User Session Identification Based on Strong Regularities in
Inter-activity Time", WWW)."""

TIE_SEED = 20250101
"""Seed of the order among events of equal time."""

_LARGEST_KEY = 2**64
_FEW, _MANY = 1 << 18, 2**31 - 1  # not worth the compiler's time; row numbers are 32 bits wide
_LARGEST_WHOLE = 2.0**53  # above it float64 skips whole numbers


def sort_by_time(events: pd.DataFrame, *, presort: bool = False) -> pd.DataFrame:
    """Events sorted by time, events of equal time in random order, with a fresh index.

    Many logs stamp several events with one time, and list them by item id or popularity. Their
    order in the file would then decide which item is "the next one", and with it every
    leave-last-out figure. The random order is drawn from ``TIE_SEED`` after sorting by user
    and item, so that it does not depend on the order of rows in the file.

    Args:
        events: columns of a log.
        presort: whether rows of one user, item, response and position are drawn for in the order
            of their times. Otherwise in the order in which they stand: then it does depend on the
            file where a user meets an item again.
    """
    columns = {str(name): events[name].to_numpy() for name in events}
    order = time_order(columns, presort=presort)
    return events.iloc[order].reset_index(drop=True)


def time_order(
    columns: Mapping[str, np.ndarray], *, presort: bool = False
) -> npt.NDArray[np.int64]:
    """(n,) row numbers that bring the columns of a log into the order of ``sort_by_time``."""
    keys = [columns[name] for name in ("position", "response", "item", "user") if name in columns]
    time = columns["time"]
    order = _order_of_times(time)
    if presort and not (time[1:] >= time[:-1]).all():
        canonical = order[_order_of_whole([key[order] for key in keys])]
    else:
        canonical = _order_of_whole(keys)
    tie = np.empty(len(canonical))
    tie[canonical] = np.random.default_rng(TIE_SEED).random(len(canonical))
    del canonical
    # only among equal times does the tie decide: sort these rows, and leave the others
    ordered = time[order]
    same = ordered[1:] == ordered[:-1]
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    rows = order[tied]
    order[tied] = rows[np.lexsort([tie[rows], ordered[tied]])]
    return order


def _order_of_whole(keys: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.int64]:
    """What ``np.lexsort(keys)`` gives for whole numbers, by way of one 64-bit key."""
    if len(keys[0]) == 0:
        return np.empty(0, np.int64)
    spans = [(int(key.min()), int(key.max())) for key in keys]
    if math.prod(high - low + 1 for low, high in spans) > _LARGEST_KEY:
        return np.lexsort(keys)
    joined = np.zeros(len(keys[0]), np.uint64)
    for key, (low, high) in zip(reversed(keys), reversed(spans), strict=True):
        joined *= np.uint64(high - low + 1)
        joined += (key.astype(np.int64) - low).view(np.uint64)
    return _radix_order(joined)


def _order_of_times(time: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """What a stable ``np.argsort`` gives."""
    if len(time) == 0 or not time.min() >= 0:  # also where a time is NaN
        return np.argsort(time, kind="stable")
    if time.max() < _LARGEST_WHOLE and (time == np.floor(time)).all():
        return _radix_order(time.astype(np.uint64))
    # the bits of floats that are not negative sort like the floats; + 0.0 turns -0.0 into 0.0
    return _radix_order((time.astype(np.float64) + 0.0).view(np.uint64))


def _radix_order(key: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """What a stable ``np.argsort`` gives; ``key`` may be overwritten."""
    if len(key) < _FEW or len(key) > _MANY:
        return np.argsort(key, kind="stable")
    key -= key.min()
    return _radix(key, int(key.max()).bit_length()).astype(np.int64, copy=False)


@compiled
def _radix(key: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.int32]:
    """Least-significant-digit radix sort, 11 bits a pass (Knuth, TAOCP 3, section 5.2.5).

    Keys travel with their row numbers, so that all reads are in sequence.
    """
    n = len(key)
    order = np.arange(n).astype(np.int32)
    next_key, next_order = np.empty_like(key), np.empty_like(order)
    mask = uint64(2047)
    for shift in range(0, bits, 11):
        start = np.zeros(2049, np.int64)
        for i in range(n):
            start[int64((key[i] >> uint64(shift)) & mask) + 1] += 1
        for d in range(2048):
            start[d + 1] += start[d]
        for i in range(n):
            digit = int64((key[i] >> uint64(shift)) & mask)
            place = start[digit]
            start[digit] = place + 1
            next_key[place] = key[i]
            next_order[place] = order[i]
        key, next_key = next_key, key
        order, next_order = next_order, order
    return order


def sessionize(
    user: npt.NDArray[np.integer], time: npt.NDArray[np.floating], *, gap: float = SESSION_GAP
) -> npt.NDArray[np.int64]:
    """Visits: a user's event more than ``gap`` after the one before opens a new one.

    Args:
        user: (n,) user code of each event; events in any order.
        time: (n,) seconds.
        gap: seconds.

    Returns:
        (n,) int64 visit of each event, 0-based, unique over users; numbered by user, then time.
    """
    if len(time) and (time[1:] >= time[:-1]).all():  # then the order by user alone is the same
        order = _order_of_whole([user])
    else:
        order = np.lexsort([time, user])
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = (np.diff(user[order]) != 0) | (np.diff(time[order]) > gap)
    session = np.empty(len(order), dtype=np.int64)
    session[order] = np.cumsum(opens) - 1
    return session
