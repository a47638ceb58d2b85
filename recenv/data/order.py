"""The order of events, and the visits they fall into."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

SESSION_GAP = 1800.0
"""Seconds of inactivity that end a visit: the usual 30 minutes of web analytics
(Halfaker et al. 2015, "User Session Identification Based on Strong Regularities in
Inter-activity Time", WWW)."""

TIE_SEED = 20250101
"""Seed of the order among events of equal time."""


def sort_by_time(events: pd.DataFrame) -> pd.DataFrame:
    """Events sorted by time, events of equal time in random order, with a fresh index.

    Many logs stamp several events with one time, and list them by item id or popularity. Their
    order in the file would then decide which item is "the next one", and with it every
    leave-last-out figure. The random order is drawn from ``TIE_SEED`` after sorting by user
    and item, so that it does not depend on the order of rows in the file.
    """
    keys = [name for name in ("position", "response", "item", "user") if name in events]
    canonical = np.lexsort([events[name].to_numpy() for name in keys])
    tie = np.empty(len(events))
    tie[canonical] = np.random.default_rng(TIE_SEED).random(len(events))
    order = np.lexsort([tie, events["time"].to_numpy()])
    return events.iloc[order].reset_index(drop=True)


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
    order = np.lexsort([time, user])
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = (np.diff(user[order]) != 0) | (np.diff(time[order]) > gap)
    session = np.empty(len(order), dtype=np.int64)
    session[order] = np.cumsum(opens) - 1
    return session
