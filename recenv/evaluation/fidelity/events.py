"""Events of visits, logged or simulated, in one form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv.evaluation.fidelity.heldout import Bools, HeldOut, Ints
from recenv.schema import InteractionLog


@dataclass(frozen=True)
class Events:
    """What happened in V visits, logged or simulated: n rows, each an item shown or consumed.

    Attributes:
        visitor: (V,) user code.
        visit, round, slot, item, response: (n,); rows are in the order of time in each visit.
        value: (n,) money paid.
    """

    visitor: Ints
    visit: Ints
    round: Ints
    slot: Ints
    item: Ints
    response: Ints
    value: npt.NDArray[np.float64]

    @property
    def user(self) -> Ints:
        """(n,) user of each row."""
        return self.visitor[self.visit]

    def take(self, rows: Bools) -> Events:
        """Some of the rows, of the same visits."""
        names = ("visit", "round", "slot", "item", "response", "value")
        return Events(self.visitor, *(getattr(self, name)[rows] for name in names))

    def total(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(V,) sums per visit of (n,) values."""
        sums = np.bincount(self.visit, np.asarray(values, float), len(self.visitor))
        return sums.astype(float)


def logged_events(log: InteractionLog, held: HeldOut, rows: Bools) -> Events:
    """The marked rows; visits without any are dropped, the others numbered anew in order."""
    at = np.flatnonzero(rows)
    visit, time = held.visit[at], log.column("time")[at]
    order = np.lexsort((at, time, visit))
    at, visit, time = at[order], visit[order], time[order]
    codes, number = np.unique(visit, return_inverse=True)
    new = np.ones(len(at), bool)
    new[1:] = (visit[1:] != visit[:-1]) | (time[1:] != time[:-1])
    slate = np.cumsum(new) - 1
    begins = slate[np.searchsorted(number, np.arange(len(codes)))] if len(codes) else slate[:0]
    if "position" in log.events:
        slot = log.column("position")[at].astype(np.int64) - 1
    else:
        slot = np.arange(len(at)) - np.flatnonzero(new)[slate]
    value = log.column("value")[at] if "value" in log.events else np.zeros(len(at))
    return Events(
        visitor=held.visitor[codes],
        visit=number,
        round=slate - begins[number],
        slot=slot,
        item=log.column("item")[at],
        response=log.column("response")[at],
        value=value.astype(float),
    )


def joined(log: Events, simulated: Events) -> tuple[Events, Bools]:
    """Rows of both sides together, simulated visits numbered after the logged ones."""
    count = len(log.visitor)
    together = Events(
        np.concatenate([log.visitor, simulated.visitor]),
        np.concatenate([log.visit, simulated.visit + count]),
        *(
            np.concatenate([getattr(log, k), getattr(simulated, k)])
            for k in ("round", "slot", "item", "response", "value")
        ),
    )
    return together, np.arange(len(together.visit)) >= len(log.visit)
