"""Visits as durations: how many items one takes, and how many days pass until the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.artifacts import check_array
from recenv.errors import ArtifactError
from recenv.schema import CLICK, InteractionLog
from recenv.users.duration import DurationLaw
from recenv.users.model import Provenance

DAY = 86_400.0  # seconds
FEWEST = 50
"""Fewer durations than this tell nothing."""

_LONGEST_RETURN = 120  # days with a hazard of their own


class Continuation(NamedTuple):
    """What goes on after the events that are fitted on: how long, never what.

    A visit, and the time until the next, belong to the part of the log in which they began.
    """

    sessions: npt.NDArray[np.int64]  # (c,) visits that the end of the events cuts
    lengths: npt.NDArray[np.int64]  # (c,) items that they take in all; -1: not to be known
    next_visit: npt.NDArray[np.float64]  # (U,) seconds; inf: none came, nan: not to be known
    end: npt.NDArray[np.float64]  # () seconds, when the whole log ends

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], num_users: int) -> Continuation:
        """What was stored, by field.

        Raises:
            ArtifactError: the arrays do not fit together, or not so many users.
        """
        sessions = check_array(arrays, "sessions", np.int64, (None,))
        if (np.diff(sessions) <= 0).any():
            raise ArtifactError("The visits that go on must be in ascending order.")
        return cls(
            sessions,
            check_array(arrays, "lengths", np.int64, (len(sessions),), low=-1),
            check_array(arrays, "next_visit", np.float64, (num_users,), finite=False),
            check_array(arrays, "end", np.float64, ()),
        )


class Fitted(NamedTuple):
    """A law, if there is one, and where it comes from."""

    law: DurationLaw | None
    provenance: Provenance


class Durations(NamedTuple):
    """What was seen of n durations."""

    length: npt.NDArray[np.int64]  # (n,)
    ended: npt.NDArray[np.bool_]  # (n,) False: it lasted longer than was seen
    user: npt.NDArray[np.int64]  # (n,)


class _Sessions(NamedTuple):
    """One entry per session with consumption, by user, then by time."""

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


def continuation(
    log: InteractionLog, later: npt.NDArray[np.bool_], heldout: npt.NDArray[np.bool_]
) -> Continuation:
    """What goes on after the rows that are not ``later``.

    Args:
        log: the whole log.
        later: (n,) the rows that are not fitted on.
        heldout: (U,) users of whom nothing later may be known.
    """
    next_visit = np.where(heldout, np.nan, np.inf)
    end = np.array(log.column("time").max())
    if "session" not in log.events:
        none = np.empty(0, np.int64)
        return Continuation(none, none, next_visit, end)
    session, user, time = (log.column(name) for name in ("session", "user", "time"))
    consumed = log.column("response") >= CLICK
    cut = np.intersect1d(session[later], session[~later])
    whole = consumed & np.isin(session, cut)
    lengths = np.bincount(np.searchsorted(cut, session[whole]), minlength=len(cut))
    owner = np.zeros(len(cut), np.int64)
    inside = np.isin(session, cut)
    owner[np.searchsorted(cut, session[inside])] = user[inside]
    lengths = np.where(heldout[owner], -1, lengths)
    new = later & consumed & ~np.isin(session, cut) & ~heldout[user]
    np.minimum.at(next_visit, user[new], time[new])
    return Continuation(cut, lengths, next_visit, end)


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
