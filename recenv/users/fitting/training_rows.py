"""Training examples of the click and purchase laws: taken items and their contrasts.

One row per item that a user took or passed over; the exposure decides. With *impressions* every row
was shown. Where the *catalogue* was exposed to every visit (a shop), a visit passed over all that
it did not take: a uniform sample of that is the contrast, and the sampling rate corrects the level.
With *clicks* alone the contrast is drawn the same way, but what was looked at is unknown, so that
the level is not identified and only log-odds ratios are (case-control sampling: Prentice & Pyke,
Biometrika 1979).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.config import UserModelConfig
from recenv.schema import CLICK, PURCHASE, InteractionLog
from recenv.users.model import MAX_SLOTS
from recenv.users.repeat_law import HALF_LIVES, past_frequency, visit_numbers

F32 = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
_CLASHES = 64  # redraws of a negative that the visit took, before it is dropped


class Rows(NamedTuple):
    """Columns of n rows; sampled rows have no response."""

    user: Index  # (n,) codes
    item: Index  # (n,) codes
    response: Index  # (n,) IGNORE, CLICK or PURCHASE
    slot: Index  # (n,) position from 0; 0 where unknown
    visit: Index  # (n,) number of the visit within the user's visits; 0 where unknown
    round: Index  # (n,) rows of one round share a number, ascending in time; -1: unknown
    offset: F32  # (n,) log-odds that sampling, or what is held fixed, adds
    weight: F32  # (n,) what the row counts
    importance: F32  # (n,) clipped inverse propensity, 1 where unknown
    tenure: F32  # (n,) log(1 + items that the user had consumed before)
    past: F32  # (n, H) recency-weighted share of earlier visits with this item
    late: npt.NDArray[np.bool_]  # (n,) whether the row belongs to the validation events
    cut: npt.NDArray[np.bool_]  # (n,) whether the row's visit goes on after these events

    @property
    def size(self) -> int:
        """n; ``len`` is the number of columns."""
        return len(self.user)

    def take(self, rows: np.ndarray) -> Rows:
        """The given rows (a mask or row numbers)."""
        return Rows._make(column[rows] for column in self)

    def add(self, other: Rows) -> Rows:
        """Both, one after the other."""
        return Rows._make(np.concatenate(pair) for pair in zip(self, other, strict=True))


def make_rows(
    log: InteractionLog, config: UserModelConfig, cut: npt.NDArray[np.int64] | None = None
) -> Rows:
    """Rows of the log: all impressions, or all that was consumed.

    Args:
        log: sorted by time.
        config: how propensities are clipped.
        cut: sessions that go on after the log's end.
    """
    response = log.column("response").astype(np.int64)
    user = log.column("user").astype(np.int64)
    n = len(response)
    consumed = response >= CLICK
    visit, round_ = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    if "session" in log.events:
        session, time = log.column("session"), log.column("time")
        visit = visit_numbers(user, session, time)
        round_ = _rounds(log, session, time)
    slot = np.zeros(n, np.int64)
    if "position" in log.events and log.has_impressions:
        slot = np.minimum(log.column("position").astype(np.int64), MAX_SLOTS) - 1
    rows = Rows(
        user=user,
        item=log.column("item").astype(np.int64),
        response=response,
        slot=slot,
        visit=visit,
        round=round_,
        offset=np.zeros(n, np.float32),
        weight=np.ones(n, np.float32),
        importance=_importance(log, config),
        tenure=np.log1p(_rank(user, consumed)).astype(np.float32),
        past=np.zeros((n, len(HALF_LIVES)), np.float32),
        late=np.zeros(n, bool),
        cut=_in(log, cut),
    )
    return rows if log.has_impressions else rows.take(np.flatnonzero(consumed))


def with_past(rows: Rows, num_items: int) -> Rows:
    """The same rows with ``past`` filled in, a column for each of the ``HALF_LIVES``."""
    taken = rows.response >= CLICK
    columns = [
        past_frequency(rows.user, rows.item, rows.visit, taken, num_items, half_life)
        for half_life in HALF_LIVES
    ]
    return rows._replace(past=np.stack(columns, axis=1))


class Negatives:
    """Draws items that were passed over.

    Where what was looked at is unknown, only items that someone took are drawn: of an item
    without any event it is not even known whether it was there to be taken. With
    ``within_visit`` an item may be drawn that the user took in another visit: needed where users
    take items repeatedly. Otherwise only what the user never took is drawn.

    Args:
        rows: what was consumed.
        num_items: N.
        per_row: how many to draw for each row, on average.
        within_visit: see above.
        known_level: whether every visit passed over all that it did not take; then each visit
            gets equally many, and the offset that makes up for the sampling.
    """

    def __init__(
        self,
        rows: Rows,
        num_items: int,
        per_row: int,
        *,
        within_visit: bool,
        known_level: bool,
    ) -> None:
        self._items, self._per_row = num_items, per_row
        self._within, self._known = within_visit, known_level
        self._owner = self._owners(rows)
        self._taken = np.unique(self._owner * num_items + rows.item)
        self._offered = np.arange(num_items) if known_level else np.unique(rows.item)
        self._count = np.bincount(
            self._taken // num_items, minlength=int(self._owner.max(initial=0)) + 1
        )
        self._each = max(1, round(per_row * rows.size / max(len(np.unique(self._owner)), 1)))

    def _owners(self, rows: Rows) -> Index:
        if not self._within:
            return rows.user
        visits = int(rows.visit.max(initial=0)) + 1
        return np.unique(rows.user * visits + rows.visit, return_inverse=True)[1].astype(np.int64)

    def offset(self) -> F32:
        """(n,) log-odds that contrasting with a sample, instead of with all, adds; 0 if unknown.

        With all that a visit took and, of what it passed over, each with expected multiplicity
        q, ``logit P(taken | in the sample) = logit P(taken) - log q``.
        """
        if not self._known:
            return np.zeros(len(self._owner), np.float32)
        passed = np.maximum(self._items - self._count[self._owner], 1)
        return -np.log(self._each / passed).astype(np.float32)

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Rows passed over, with the user, visit, round, offset and tenure of rows taken."""
        if self._known:
            first = np.unique(self._owner, return_index=True)[1]
            source = np.repeat(first, self._each)
        else:
            free = np.flatnonzero(self._count[self._owner] < len(self._offered))
            source = np.repeat(free, self._per_row)
        item = self._offered[rng.integers(len(self._offered), size=len(source))]
        owner = self._owner[source]
        clash = np.arange(len(source))
        for _ in range(_CLASHES):
            clash = clash[self._is_taken(owner[clash], item[clash])]
            if len(clash) == 0:
                break
            item[clash] = self._offered[rng.integers(len(self._offered), size=len(clash))]
        kept = np.ones(len(source), bool)
        kept[clash] = False
        drawn = rows.take(source[kept])
        return drawn._replace(
            item=item[kept],
            response=np.zeros(int(kept.sum()), np.int64),
            slot=np.zeros(int(kept.sum()), np.int64),
        )

    def _is_taken(self, owner: Index, item: Index) -> npt.NDArray[np.bool_]:
        pair = owner * self._items + item
        at = np.minimum(np.searchsorted(self._taken, pair), len(self._taken) - 1)
        return self._taken[at] == pair


def repeats(rows: Rows) -> float:
    """Share of the consumption that is of items the user had consumed in an earlier visit."""
    taken = rows.response >= CLICK
    user, item, visit = rows.user[taken], rows.item[taken], rows.visit[taken]
    order = np.lexsort([visit, item, user])
    same = (np.diff(user[order]) == 0) & (np.diff(item[order]) == 0)
    later = same & (np.diff(visit[order]) > 0)
    return float(later.sum() / max(len(user), 1))


def any_twice(rows: Rows) -> bool:
    """Whether any user consumed any item twice."""
    taken = rows.response >= CLICK
    pair = rows.user[taken] * (int(rows.item.max(initial=0)) + 1) + rows.item[taken]
    return len(np.unique(pair)) < len(pair)


def mean_tenure(user: npt.NDArray[np.integer], num_users: int) -> npt.NDArray[np.float64]:
    """(U,) mean over a user's events of log(1 + events before): tenure is told within users."""
    count = np.bincount(user, minlength=num_users)
    before = np.concatenate([[0.0], np.cumsum(np.log1p(np.arange(count.max(initial=1))))])
    return before[count] / np.maximum(count, 1)


def some_users(rows: Rows, most: int) -> Rows:
    """All rows, or those of evenly spread users that make up about ``most``."""
    step = -(-rows.size // most)
    return rows if step <= 1 else rows.take(rows.user % step == 0)


def several_rounds(rows: Rows) -> int:
    """Number of visits with more than one round, whose order is informative."""
    known = rows.round >= 0
    rounds = np.unique(np.stack([rows.user[known], rows.visit[known], rows.round[known]]), axis=1)
    count = np.unique(rounds[:2], axis=1, return_counts=True)[1]
    return int((count > 1).sum())


def _in(log: InteractionLog, sessions: npt.NDArray[np.int64] | None) -> npt.NDArray[np.bool_]:
    if sessions is None or "session" not in log.events:
        return np.zeros(len(log), bool)
    return np.isin(log.column("session"), sessions)


def _rank(user: Index, consumed: npt.NDArray[np.bool_]) -> Index:
    """(n,) items that the row's user had consumed in earlier rows."""
    order = np.argsort(user, kind="stable")
    taken = consumed[order].astype(np.int64)
    before = np.cumsum(taken) - taken
    first = np.ones(len(order), bool)
    first[1:] = np.diff(user[order]) != 0
    base = np.maximum.accumulate(np.where(first, before, 0))
    rank = np.empty(len(user), np.int64)
    rank[order] = before - base
    return rank


def _rounds(log: InteractionLog, session: Index, time: npt.NDArray[np.float64]) -> Index:
    """(n,) equal for the rows of one slate; each row its own where nothing was passed over."""
    if not log.has_impressions:
        order = np.lexsort([np.arange(len(session)), session])
        number = np.empty(len(session), np.int64)
        number[order] = np.arange(len(session))
        return number
    order = np.lexsort([time, session])
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(session[order]) != 0) | (np.diff(time[order]) != 0)
    number = np.empty(len(session), np.int64)
    number[order] = np.cumsum(new) - 1
    return number


def _importance(log: InteractionLog, config: UserModelConfig) -> F32:
    """(n,) 1 / propensity over its mean, clipped: rows as a uniform policy would have shown them.

    Inverse-propensity weighting of a likelihood: Schnabel et al., "Recommendations as
    Treatments", ICML 2016; clipping trades bias for variance.
    """
    if "propensity" not in log.events or not log.has_impressions:
        return np.ones(len(log), np.float32)
    weight = 1 / log.column("propensity")
    return np.minimum(weight / weight.mean(), config.propensity_clip).astype(np.float32)


def purchase_source(log: InteractionLog) -> Literal["fitted", "funnel", "prior"]:
    """Source of purchases in the log: both, purchases alone, or clicks alone."""
    response = log.column("response")
    if not (response == PURCHASE).any():
        return "prior"
    return "fitted" if (response == CLICK).any() else "funnel"
