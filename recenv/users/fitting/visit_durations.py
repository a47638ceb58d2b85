"""Duration models, fitted: items per visit, and days until the next visit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.data.continuation import Continuation
from recenv.schema import CLICK, InteractionLog
from recenv.users.duration_law import DurationLaw
from recenv.users.provenance import Provenance

DAY = 86_400.0  # seconds
FEWEST = 50
"""Fewer durations than this tell nothing."""

_LONGEST_RETURN = 120  # days with a hazard of their own


class Fitted(NamedTuple):
    """A law, if there is one, and where it comes from."""

    law: DurationLaw | None
    provenance: Provenance


class Durations(NamedTuple):
    """Observations of n durations, censored ones included."""

    length: npt.NDArray[np.int64]  # (n,)
    ended: npt.NDArray[np.bool_]  # (n,) False: it lasted longer than was seen
    user: npt.NDArray[np.int64]  # (n,)


class _Sessions(NamedTuple):
    """One entry per visit with consumption, by user, then by time."""

    name: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    start: npt.NDArray[np.float64]  # seconds
    consumed: npt.NDArray[np.int64]  # items


def visit_lengths(log: InteractionLog, goes_on: Continuation | None) -> Durations:
    """Items consumed per visit; visits without any are left out."""
    sessions = _sessions(log)
    length = sessions.consumed
    if goes_on is not None and len(goes_on.sessions):
        at = np.searchsorted(goes_on.sessions, sessions.name)
        at = np.minimum(at, len(goes_on.sessions) - 1)
        cut = goes_on.sessions[at] == sessions.name
        length = np.where(cut, goes_on.lengths[at], length)
    kept = length > 0
    return Durations(length[kept], np.ones(int(kept.sum()), bool), sessions.user[kept])


def return_times(log: InteractionLog, goes_on: Continuation | None) -> Durations:
    """Whole days (midnights, UTC) from each visit to the user's next one.

    A user who was not seen to come back stayed away at least until the log's end.
    """
    sessions = _sessions(log)
    day = np.floor(sessions.start / DAY)
    same = np.diff(sessions.user) == 0
    last = np.ones(len(day), bool)
    last[:-1] = ~same
    owner = sessions.user[last]
    if goes_on is None:
        back, end = np.full(len(owner), np.inf), log.column("time").max()
    else:
        back, end = goes_on.next_visit[owner], goes_on.end.item()
    until = np.floor(np.where(np.isinf(back), end, back) / DAY)
    known = ~np.isnan(back)
    length = np.concatenate([np.diff(day)[same], (until - day[last])[known]])
    ended = np.concatenate([np.ones(int(same.sum()), bool), ~np.isinf(back[known])])
    user = np.concatenate([sessions.user[:-1][same], owner[known]])
    return Durations(length.astype(np.int64), ended, user)


def fit_lengths(
    log: InteractionLog,
    folded: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating] | None,
    goes_on: Continuation | None,
) -> Fitted:
    """The law of how many items a visit takes, from 1."""
    if log.has_impressions:
        return Fitted(None, Provenance("prior", "none: visits end by the hazard of each round"))
    return _fit(log, visit_lengths, "items per visit", 1, 300, folded, weight, goes_on)


def fit_returns(
    log: InteractionLog,
    folded: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating] | None,
    goes_on: Continuation | None,
) -> Fitted:
    """The law of the whole days until the next visit, from 0."""
    return _fit(
        log, return_times, "days to the next visit", 0, _LONGEST_RETURN, folded, weight, goes_on
    )


def _fit(log, durations, what, first, longest, folded, weight, goes_on) -> Fitted:  # noqa: ANN001
    if "session" not in log.events:
        return Fitted(None, Provenance("prior", f"none: the log names no visits, so no {what}"))
    seen: Durations = durations(log, goes_on)
    enough = int((seen.ended & ~folded[seen.user]).sum())
    if enough < FEWEST:
        return Fitted(None, Provenance("prior", f"none: only {enough} {what} were seen"))
    law = DurationLaw.fit(
        seen.length,
        seen.ended,
        seen.user,
        log.num_users,
        first=first,
        longest=longest,
        folded=folded,
        weight=weight,
    )
    censored = int((~seen.ended).sum())
    note = (
        f"{log.name}: {what}, {len(seen.length)} of which {censored} censored; discrete-time "
        f"hazard with users' effects (precision {law.l2:g}, by validation)"
    )
    own = ~folded[seen.user]
    errors = law.standard_errors(seen.length[own], seen.ended[own], seen.user[own])
    spread = {f"hazard at {first + m}": float(errors[m]) for m in range(min(3, len(errors)))}
    return Fitted(law, Provenance("fitted", note, spread))


def _sessions(log: InteractionLog) -> _Sessions:
    consumed = log.column("response") >= CLICK
    session, time = log.column("session")[consumed], log.column("time")[consumed]
    name, code, count = np.unique(session, return_inverse=True, return_counts=True)
    start = np.full(len(name), np.inf)
    np.minimum.at(start, code, time)
    user = np.zeros(len(name), np.int64)
    user[code] = log.column("user")[consumed]
    order = np.lexsort([start, user])
    return _Sessions(name[order], user[order], start[order], count[order])
