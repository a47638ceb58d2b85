"""Past consumption of users, before their visits began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv.evaluation.fidelity.heldout import Bools, Ints
from recenv.schema import InteractionLog


@dataclass(frozen=True)
class Past:
    """A user's consumption before each of V compared visits, outside of all of them.

    The compared visits' own rows are no past: what they consume is known on either side, logged
    and simulated, by its own events alone.

    Attributes:
        pair: (m,) user * size + item of what was consumed, ascending.
        first: (m,) row of the log in which it was consumed first.
        begins: (V,) row of the log with which each visit begins.
        size: N, items of the catalogue.
    """

    pair: npt.NDArray[np.int64]
    first: Ints
    begins: Ints
    size: int

    @classmethod
    def of(
        cls, log: InteractionLog, visit: Ints, compared: Bools, *, least: int, size: int
    ) -> Past:
        """The past of the visits that the compared rows make up.

        Args:
            log: n rows, in the order of time.
            visit: (n,) visit of each row.
            compared: (n,) rows of the visits that are compared; these are numbered in order.
            least: the least response that counts as consumed.
            size: N.
        """
        other = np.flatnonzero(~compared & (log.column("response") >= least))
        pairs = log.column("user")[other].astype(np.int64) * size + log.column("item")[other]
        pair, first = np.unique(pairs, return_index=True)
        at = np.flatnonzero(compared)
        _, begins = np.unique(visit[at], return_index=True)
        return cls(pair, other[first], at[begins], size)

    def holds(self, visit: Ints, user: Ints, item: Ints) -> Bools:
        """(b,) whether the user had consumed the item before the visit began, all three (b,)."""
        if not len(self.pair):
            return np.zeros(len(user), bool)
        wanted = user.astype(np.int64) * self.size + item
        at = np.minimum(np.searchsorted(self.pair, wanted), len(self.pair) - 1)
        return (self.pair[at] == wanted) & (self.first[at] < self.begins[visit])
