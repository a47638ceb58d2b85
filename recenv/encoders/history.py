"""Recency-weighted mean of the item vectors that a user consumed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv.schema import CLICK, InteractionLog

CLICK_WEIGHT, PURCHASE_WEIGHT = 1.0, 2.0
"""What an event counts, before recency."""

BLOCK = 1 << 14  # rows of vectors gathered at once


def event_weights(response: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """(n,) float32: 0 for an ignored item, 1 for a click, 2 for a purchase."""
    table = np.array([0.0, CLICK_WEIGHT, PURCHASE_WEIGHT], dtype=np.float32)
    return table[response]


def history_weights(
    log: InteractionLog, rows: npt.NDArray[np.bool_], half_life_events: float
) -> npt.NDArray[np.float32]:
    """Recency weight of each event in its user's history.

    A click counts 1 and a purchase 2, times one half for every ``half_life_events`` later
    events of the same history; what is no click, or lies outside ``rows``, counts 0.

    Args:
        log: sorted by time.
        rows: (n,) bool, the events that the histories may hold.
        half_life_events: number of events.

    Returns:
        (n,) float32.
    """
    response = log.column("response")
    kept = np.flatnonzero(rows & (response >= CLICK))
    user = log.column("user")[kept]
    order = np.argsort(user, kind="stable")
    end = np.cumsum(np.bincount(user, minlength=log.num_users))
    later = np.empty(len(kept), dtype=np.int64)  # later events of the same history
    later[order] = end[user[order]] - np.arange(len(kept)) - 1
    weights = np.zeros(len(log), dtype=np.float32)
    weights[kept] = event_weights(response[kept]) * 0.5 ** (later / half_life_events)
    return weights


def user_means(
    log: InteractionLog,
    weights: npt.NDArray[np.floating],
    vectors: npt.NDArray[np.floating],
) -> npt.NDArray[np.float32]:
    """Weighted mean of the vectors of each user's items.

    Args:
        log: who consumed what.
        weights: (n,) of each event, as from ``history_weights``.
        vectors: (N, E) of each item.

    Returns:
        (U, E) float32, zero where a user has no weight.
    """
    return Histories.of(log, weights, vectors).means()


@dataclass(frozen=True)
class Histories:
    """Sums over every user's history, from which single items can be subtracted.

    Attributes:
        sums: (U, E) float32 sum of weight times item vector.
        total: (U,) float64 sum of weights.
        keys: (P,) int64, sorted: user * N + item of each pair that a history holds.
        weight: (P,) float64 weight of each pair, summed over its events.
        vectors: (N, E) float32 of each item.
    """

    sums: npt.NDArray[np.float32]
    total: npt.NDArray[np.float64]
    keys: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.floating]

    @classmethod
    def of(
        cls,
        log: InteractionLog,
        weights: npt.NDArray[np.floating],
        vectors: npt.NDArray[np.floating],
    ) -> Histories:
        """Sum up; linear in the number of events with a weight."""
        rows = np.flatnonzero(weights)
        num_items = len(vectors)
        key = log.column("user")[rows].astype(np.int64) * num_items + log.column("item")[rows]
        keys, inverse = np.unique(key, return_inverse=True)
        weight = np.bincount(inverse, weights[rows], len(keys)).astype(np.float64)
        user, item = np.divmod(keys, num_items)
        total = np.bincount(user, weight, log.num_users).astype(np.float64)
        sums = np.zeros((log.num_users, vectors.shape[1]), dtype=np.float32)
        for start in range(0, len(keys), BLOCK):
            block = slice(start, start + BLOCK)
            some, first = np.unique(user[block], return_index=True)  # keys are sorted by user
            terms = vectors[item[block]] * weight[block, None].astype(np.float32)
            sums[some] += np.add.reduceat(terms, first, axis=0)
        return cls(sums, total, keys, weight, vectors)

    def means(self) -> npt.NDArray[np.float32]:
        """(U, E) float32 mean of each history, zero where it is empty."""
        return _divide(self.sums, self.total)

    def means_without(
        self, user: npt.NDArray[np.integer], item: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float32]:
        """(B, E) mean of each user's history without any of its events on the given item.

        Args:
            user: (B,) codes.
            item: (B,) codes; an item that the history does not hold changes nothing.
        """
        key = user.astype(np.int64) * len(self.vectors) + item
        at = np.minimum(np.searchsorted(self.keys, key), max(len(self.keys) - 1, 0))
        own = np.zeros(len(key))
        if len(self.keys):
            own = np.where(self.keys[at] == key, self.weight[at], 0.0)
        own_sums = own[:, None] * self.vectors[item]
        return _divide((self.sums[user] - own_sums).astype(np.float32), self.total[user] - own)


def _divide(
    sums: npt.NDArray[np.float32], total: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Mean, or zero where nothing but rounding is left of a history."""
    factor = np.where(total > 1e-9, 1.0 / np.maximum(total, 1e-9), 0.0)
    return (sums * factor[:, None].astype(np.float32)).astype(np.float32)
