"""Continuation: what of a log goes on after the events that are fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.artifacts import check_array
from recenv.errors import ArtifactError
from recenv.schema import CLICK, InteractionLog


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
