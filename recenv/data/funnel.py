"""Funnels: impression, click, cart and purchase of one item, logged as rows of their own.

Such rows tell of one decision. They become one event: the strongest response, at the time and in
the position of the impression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.data.event_order import SESSION_GAP
from recenv.data.log_builder import repeats_note
from recenv.schema import IGNORE, PURCHASE


def merge_funnel(
    made: pd.DataFrame, within: float, request: npt.NDArray[np.int64] | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row for all rows of one decision: an item shown to a user, and what came of it.

    With request ids these are the rows of one user, item and request. Without, a row belongs to
    the one before it of the same user and item if no more than ``within`` seconds lie between
    them, and if it is no impression: an impression at another time opens a new decision. Rows of
    another session or position, where known, belong to another decision. The strongest response
    counts, and the values of the rows that have it are added up. All else is the first row's.

    Args:
        made: columns of a log, rows in any order. ``position`` may be NaN: then it is that of the
            row to which this one belongs, and stays NaN where there is none.
        within: seconds; 0 merges equal times only. Not used with request ids.
        request: (n,) code of each row's request, or None.

    Returns:
        The merged rows, in the order of the first of each and with its index; notes that count
        what was merged and what found no impression.
    """
    rows = made if request is None else made.assign(request=request)
    again = rows.duplicated().to_numpy()
    rows = rows.loc[~again]
    keys = [name for name in ("user", "item", "session", "request") if name in rows]
    gap = within if request is None else np.inf
    if "position" in rows:
        rows, linked = _chains(rows, keys, gap)
        position = _filled(rows["position"].to_numpy(np.float64), linked)
        rows = rows.assign(position=np.nan_to_num(position, nan=-1))
        keys.append("position")
    rows, linked = _chains(rows, keys, gap)
    response, time = rows["response"].to_numpy(), rows["time"].to_numpy()
    opens = ~linked
    if request is None:
        opens[1:] |= (response[1:] == IGNORE) & (time[1:] != time[:-1])
    first = np.flatnonzero(opens)
    group = np.cumsum(opens) - 1
    strongest = np.maximum.reduceat(response, first)
    merged = rows.iloc[first].drop(columns="request", errors="ignore").assign(response=strongest)
    if "value" in rows:
        counts = response == strongest[group]
        merged["value"] = np.add.reduceat(np.where(counts, rows["value"].to_numpy(), 0.0), first)
    if "position" in rows:
        merged["position"] = merged["position"].replace(-1, np.nan)
    merged = merged.sort_index()
    twice = merged.duplicated().to_numpy()  # two requests of one time
    merged = merged.loc[~twice]

    notes = [
        _told(len(rows) - len(first), "rows are merged with the row of the same decision "
              + ("(by request)" if request is not None else f"(up to {within:g} s before)")
              + f"; {len(merged)} events remain"),
        _told(int((response == PURCHASE).sum() - (strongest == PURCHASE).sum()),
              "purchases among them are merged with another purchase, and their values added up"),
        _told(int((response[first] > IGNORE).sum()) if (response == IGNORE).any() else 0,
              "events are clicks or purchases without an impression to merge with; each counts as "
              "shown when it happened"),
    ]  # fmt: skip
    if again.any() or twice.any():
        told = repeats_note(int(again.sum() + twice.sum()), len(made), "every column")
        notes.insert(0, told)
    return merged, tuple(note for note in notes if note)


def unmerged_note(made: pd.DataFrame) -> str | None:
    """A note on rows that look like a funnel's: a stronger response to the same item follows.

    Args:
        made: columns of a log; each row counts as a decision of its own.
    """
    keys = [name for name in ("user", "item", "session") if name in made]
    rows, linked = _chains(made, keys, SESSION_GAP)
    rises = int((linked[1:] & (np.diff(rows["response"].to_numpy()) > 0)).sum())
    return _told(
        rises,
        f"rows follow a row of the same user and item with a weaker event by {SESSION_GAP:g} s or "
        "less, and count as decisions of their own. If they tell of the same decision, pass "
        f"duplicates='strongest' with merge_within={SESSION_GAP:g}, or map a request column",
    )


def _chains(
    rows: pd.DataFrame, keys: Sequence[str], gap: float
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """The rows sorted by keys, time and response; (n,) whether each follows the one before.

    It does if it has the same keys and comes no more than ``gap`` seconds later.
    """
    columns = [rows[name].to_numpy() for name in (*keys, "time", "response")]
    order = np.lexsort(columns[::-1])
    rows = cast("pd.DataFrame", rows.iloc[order])
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for name in keys:
        column = rows[name].to_numpy()
        same &= column[1:] == column[:-1]
    same &= np.diff(rows["time"].to_numpy()) <= gap
    return rows, np.append(np.zeros(min(len(rows), 1), dtype=bool), same)


def _filled(
    values: npt.NDArray[np.float64], linked: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Each NaN replaced by the last number before it in its chain, if there is one."""
    row = np.arange(len(values))
    start = np.maximum.accumulate(np.where(linked, 0, row))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, row))
    return np.where(last >= start, values[np.maximum(last, 0)], np.nan)


def _told(count: int, what: str) -> str | None:
    return f"{count} {what}." if count else None
