"""Visits as durations: how many items one takes, and how many days pass until the next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.schema import CLICK, InteractionLog
from recenv.users.duration import DurationLaw
from recenv.users.model import Provenance

DAY = 86_400.0  # seconds
FEWEST = 50
"""Fewer durations than this tell nothing."""

_LONGEST_RETURN = 120  # days with a hazard of their own


class Continuation(NamedTuple):
    """What goes on after the end of the events that are fitted on."""

    sessions: npt.NDArray[np.int64]  # visits that are cut there
    users: npt.NDArray[np.bool_]  # (U,) users who come back


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
    ended = np.ones(len(sessions.user), bool)
    if goes_on is not None:
        ended = ~np.isin(sessions.name, goes_on.sessions)
    return Durations(sessions.consumed, ended, sessions.user)


def return_times(log: InteractionLog, goes_on: Continuation | None) -> Durations:
    """Whole days (midnights, UTC) from each visit to the user's next one.

    A user's last gap lasts at least until the log's end, unless the user is known to come back
    later than the events given: then nothing is known of it.
    """
    sessions = _sessions(log)
    day = np.floor(sessions.start / DAY).astype(np.int64)
    same = np.diff(sessions.user) == 0
    gap = np.diff(day)[same]
    owner = sessions.user[:-1][same]
    last = np.ones(len(day), bool)
    last[:-1] = ~same
    if goes_on is not None:
        last &= ~goes_on.users[sessions.user]
    end = int(np.floor(log.column("time").max() / DAY))
    return Durations(
        length=np.concatenate([gap, end - day[last]]),
        ended=np.concatenate([np.ones(len(gap), bool), np.zeros(int(last.sum()), bool)]),
        user=np.concatenate([owner, sessions.user[last]]),
    )


def fit_lengths(
    log: InteractionLog,
    folded: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating] | None,
    goes_on: Continuation | None,
) -> Fitted:
    """The law of how many items a visit takes, from 1."""
    if log.has_impressions:
        return Fitted(None, Provenance("prior", "none: visits end by the hazard of each round"))
    return _fit(log, visit_lengths, "items per visit", 1, 200, folded, weight, goes_on)


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
    errors = law.standard_errors(*(column[own] for column in seen))
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
