"""Users drawn anew, swapped and halved: intervals, noise and the log against itself.

Users are the sample, and a user's rows stay together (a cluster bootstrap: Cameron & Miller
2015). The noise of a distance between simulated and logged visits comes from swapping the two
labels of random users: if the simulator is true, both sides of a user have one distribution,
and every swap is as likely as the one observed (a permutation test: Good, 2005).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recenv.evaluation.fidelity.heldout import Ints
from recenv.evaluation.fidelity.measures import Floats, Measure
from recenv.evaluation.fidelity.results import Value

_Z = 1.96
_MOST = 4_000_000  # numbers in one block of draws


class Draws(NamedTuple):
    """A score and what it is for users drawn anew."""

    value: float
    drawn: Floats

    @property
    def error(self) -> float:
        """Standard error."""
        return _spread(self.drawn)

    @property
    def interval(self) -> Value:
        """95 %, from the standard error of the bootstrap."""
        return Value(self.value, self.value - _Z * self.error, self.value + _Z * self.error)


class Compared(NamedTuple):
    """A distance between the logged and the simulated side."""

    value: float
    interval: Value
    noise: float  # its mean where the labels of random users are swapped
    error: float  # its standard deviation there
    halves: Value  # between random halves of the log's users


class Resampler:
    """Draws of users that all figures of a report share.

    Args:
        users: codes of those who are looked at.
        num_users: U.
        resamples: how many draws of each kind.
        seed: of them.
    """

    def __init__(self, users: Ints, num_users: int, resamples: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        present = np.unique(users)
        share = np.zeros(num_users)
        share[present] = 1 / max(len(present), 1)
        self._counts = rng.multinomial(len(present), share, size=resamples).astype(float)
        self._swap = (rng.random((resamples, num_users)) < 0.5).astype(float)
        self._half = (rng.random((resamples, num_users)) < 0.5).astype(float)

    def score(self, measure: Measure, user: Ints, weight: Floats) -> Draws:
        """Of (n,) rows with their users and weights."""
        table = self._table(measure, user, weight)
        return Draws(measure(weight), self._values(measure, [(self._counts, table)]))

    def compare(self, measure: Measure, user: Ints, simulated: npt.NDArray[np.bool_]) -> Compared:
        """Of (n,) rows, logged and simulated ones together."""
        logged, second = (~simulated).astype(float), simulated.astype(float)
        value = measure(logged, second)
        log, sim = (self._table(measure, user, w) for w in (logged, second))
        drawn = self._values(measure, [(self._counts, log)], [(self._counts, sim)])
        swap, stay = self._swap, 1 - self._swap
        null = self._values(measure, [(stay, log), (swap, sim)], [(swap, log), (stay, sim)])
        inner = self._values(measure, [(self._half, log)], [(1 - self._half, log)])
        halves, spread = _centre(inner), _spread(inner)
        return Compared(
            value,
            Value(value, value - _Z * _spread(drawn), value + _Z * _spread(drawn)),
            _centre(null),
            _spread(null),
            Value(halves, halves - _Z * spread, halves + _Z * spread),
        )

    def _table(self, measure: Measure, user: Ints, weight: Floats) -> list[csr_matrix]:
        """Sums of each channel per user and cell, (U, size)."""
        shape = (self._counts.shape[1], measure.size)
        return [
            csr_matrix((weight * c, (user, measure.cell)), shape=shape) for c in measure.channels
        ]

    def _values(self, measure: Measure, *sides: list[tuple[Floats, list[csr_matrix]]]) -> Floats:
        """(R,) values; a side is the sum over its pairs of (R, U) multiplicities and a table."""
        step = max(1, _MOST // measure.size)
        out = []
        for start in range(0, len(self._counts), step):
            sums = []
            for side in sides:
                for channel in range(len(measure.channels)):
                    parts = [
                        (table[channel].T @ times[start : start + step].T).T
                        for times, table in side
                    ]
                    sums.append(np.sum(parts, axis=0))
            with np.errstate(divide="ignore", invalid="ignore"):
                out.append(measure.value(*sums))
        return np.concatenate(out)


def _centre(values: Floats) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else np.nan


def _spread(values: Floats) -> float:
    good = values[np.isfinite(values)]
    return float(good.std(ddof=1)) if len(good) > 1 else np.nan
