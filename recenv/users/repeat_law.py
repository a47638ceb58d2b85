"""Repeat consumption: recency-weighted personal frequency of items.

The strongest single predictor of grocery baskets (Hu, He, Gao & Zhang, "Modeling Personalized
Item Frequency Information for Next-basket Recommendation", SIGIR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, uint32

from recenv.artifacts import check_array
from recenv.errors import ArtifactError, ConfigError
from recenv.jit.compiled import compiled, inlined

Index = npt.NDArray[np.int64]

NEVER = -30.0
"""Log-odds added to what, by the log, is never consumed twice."""

FLOOR = 0.02
"""The frequency that counts as little: the law's feature is ``log(1 + frequency / FLOOR)``."""

PRIOR_VISITS = 1.0
"""Visits without the item that every user's frequency starts from."""


_HASH, _SHIFT = 2_654_435_761, 7
"""Multiplicative hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4)."""

HALF_LIVES = (5.0, 80.0)
"""Visits after which a visit counts half: what a user is on lately, and lasting habits."""


@dataclass(frozen=True)
class RepeatLaw:
    """Log-odds that a user's past adds to the items in it, as a sparse matrix by rows.

    Attributes:
        start: (U + 1,) int64; user u's entries are ``start[u]`` to ``start[u + 1]``.
        items: item code of each entry, ascending within a user.
        bonus: float32 log-odds of each entry, as of the end of the log.
        weights: what the feature of each half-life counts; none where nothing is consumed twice.
        half_lives: visits after which a visit counts half.
    """

    start: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    bonus: npt.NDArray[np.float32]
    weights: tuple[float, ...] = ()
    half_lives: tuple[float, ...] = HALF_LIVES

    @classmethod
    def nothing(cls, num_users: int) -> RepeatLaw:
        """A law under which no past adds anything."""
        return cls(
            start=np.zeros(num_users + 1, np.int64),
            items=np.empty(0, np.int32),
            bonus=np.empty(0, np.float32),
            weights=(0.0,),
            half_lives=(1.0,),
        )

    @property
    def excludes(self) -> bool:
        """Whether no item is consumed twice."""
        return not self.weights

    def of(self, users: npt.ArrayLike, items: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(n,) log-odds of paired (n,) codes; 0 for what the user never consumed."""
        return _lookup(
            self.start,
            self.items,
            self.bonus,
            *self.filter,
            np.asarray(users, np.int64),
            np.asarray(items, np.int64),
        )

    @cached_property
    def filter(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """See ``past_filter``."""
        return past_filter(self.start, self.items)

    @classmethod
    def at_end(
        cls,
        user: Index,
        item: Index,
        visit: Index,
        num_users: int,
        *,
        weights: Sequence[float] = (),
        half_lives: Sequence[float] = HALF_LIVES,
    ) -> RepeatLaw:
        """The law as it stands after all of the given consumption.

        Args:
            user: (n,) codes of who consumed.
            item: (n,) codes of what.
            visit: (n,) number of the visit within the user's own visits, from 0.
            num_users: U.
            weights: see the class.
            half_lives: as many as there are weights, or any number if there are none.

        Raises:
            ConfigError: there are weights, but not one for each half-life.
        """
        if weights and len(weights) != len(half_lives):
            raise ConfigError(
                f"A repeat law needs a weight for each of its half-lives {tuple(half_lives)}, "
                f"but got {tuple(weights)}."
            )
        last = np.zeros(num_users, np.int64)
        np.maximum.at(last, user, visit + 1)
        once = np.unique(np.stack([user, item, visit]), axis=1)  # sorted by user, then item
        user, item, visit = once
        new = np.ones(len(user), bool)
        new[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
        entry = np.cumsum(new) - 1
        owner, items = user[new], item[new]
        start = np.zeros(num_users + 1, np.int64)
        np.cumsum(np.bincount(owner, minlength=num_users), out=start[1:])
        bonus = np.zeros(len(items)) if weights else np.full(len(items), NEVER)
        for weight, half_life in zip(weights, half_lives, strict=False):
            decayed = np.bincount(entry, 0.5 ** ((last[user] - visit) / half_life))
            total = _total_weight(last, half_life)[owner]
            bonus += weight * feature(decayed / (total + PRIOR_VISITS))
        return cls(
            start,
            items.astype(np.int32),
            bonus.astype(np.float32),
            tuple(map(float, weights)),
            tuple(map(float, half_lives)),
        )

    def to_artifact(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, meta) to store."""
        arrays = {"start": self.start, "items": self.items, "bonus": self.bonus}
        return arrays, {"weights": list(self.weights), "half_lives": list(self.half_lives)}

    @classmethod
    def from_artifact(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], *, num_users: int, num_items: int
    ) -> RepeatLaw:
        """The inverse of ``to_artifact``.

        Raises:
            ArtifactError: the arrays do not fit together, or not so many users and items.
        """
        start = check_array(arrays, "start", np.int64, (num_users + 1,), low=0)
        items = check_array(arrays, "items", np.int32, (None,), low=0, high=num_items - 1)
        bonus = check_array(arrays, "bonus", np.float32, (len(items),))
        rows_fit = start[0] == 0 and start[-1] == len(items) and (np.diff(start) >= 0).all()
        if rows_fit and len(items):
            begins = np.zeros(len(items) + 1, bool)
            begins[start] = True
            rows_fit = ((np.diff(items) > 0) | begins[1:-1]).all()
        weights, half_lives = (tuple(map(float, meta[k])) for k in ("weights", "half_lives"))
        if not rows_fit or len(weights) not in (0, len(half_lives)):
            raise ArtifactError(
                "A repeat law needs each user's items in ascending order, one user after the "
                "other, and a weight for each half-life."
            )
        return cls(start, items, bonus, weights=weights, half_lives=half_lives)


def feature(frequency: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Covariate of the law: ``log(1 + frequency / FLOOR)``."""
    return np.log1p(np.asarray(frequency, np.float64) / FLOOR)


def visit_numbers(
    user: npt.NDArray[np.integer], session: npt.NDArray[np.integer], time: npt.NDArray[np.floating]
) -> Index:
    """(n,) number of each event's visit within its user's visits, by first time, from 0."""
    _, code = np.unique(session, return_inverse=True)
    first = np.full(code.max(initial=0) + 1, np.inf)
    np.minimum.at(first, code, time)
    owner = np.zeros(len(first), np.int64)
    owner[code] = user
    order = np.lexsort([first, owner])
    begins = np.ones(len(order), bool)
    begins[1:] = owner[order][1:] != owner[order][:-1]
    at = np.arange(len(order))
    number = np.empty(len(order), np.int64)
    number[order] = at - np.maximum.accumulate(np.where(begins, at, 0))
    return number[code]


def past_frequency(
    user: Index,
    item: Index,
    visit: Index,
    consumed: npt.NDArray[np.bool_],
    num_items: int,
    half_life: float,
) -> npt.NDArray[np.float32]:
    """(n,) recency-weighted share of the user's earlier visits that consumed the row's item.

    Args:
        user: (n,) codes.
        item: (n,) codes.
        visit: (n,) number of the visit within the user's visits.
        consumed: (n,) whether the row is consumption (others only ask).
        num_items: N.
        half_life: visits.

    Returns:
        ``sum of 2 ** -((v - v') / half_life) over earlier visits v' with the item``, over the
        same sum for all earlier visits plus ``PRIOR_VISITS``.
    """
    order = np.lexsort([visit, user])
    out = np.empty(len(user), np.float32)
    most = int(visit.max(initial=0)) + 2
    total = _total_weight(np.arange(most), half_life) + PRIOR_VISITS
    _walk(order, user, item, visit, consumed, num_items, half_life, total, out)
    return out


def _total_weight(visits: npt.NDArray[np.integer], half_life: float) -> npt.NDArray[np.float64]:
    """Sum of ``2 ** -(j / half_life)`` over j = 1 to ``visits``."""
    ratio = 0.5 ** (1 / half_life)
    return ratio * (1 - ratio ** np.asarray(visits, float)) / (1 - ratio)


@compiled
def _walk(order, user, item, visit, consumed, num_items, half_life, total, out):  # noqa: ANN001, ANN202
    value = np.zeros(num_items)
    last = np.full(num_items, -1)
    begin = 0
    n = len(order)
    while begin < n:
        owner = user[order[begin]]
        end = begin
        while end < n and user[order[end]] == owner:
            end += 1
        at = begin
        while at < end:
            now = visit[order[at]]
            stop = at
            while stop < end and visit[order[stop]] == now:
                stop += 1
            for position in range(at, stop):
                row = order[position]
                i = item[row]
                seen = value[i] * 0.5 ** ((now - last[i]) / half_life) if last[i] >= 0 else 0.0
                out[row] = seen / total[now]
            for position in range(at, stop):
                row = order[position]
                i = item[row]
                if not consumed[row]:
                    continue
                if last[i] < 0:
                    value[i] = 1.0
                    last[i] = now
                elif last[i] < now:
                    value[i] = 1.0 + value[i] * 0.5 ** ((now - last[i]) / half_life)
                    last[i] = now
            at = stop
        for position in range(begin, end):
            last[item[order[position]]] = -1
        begin = end


def past_filter(
    start: npt.NDArray[np.int64], items: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """A Bloom filter of each user's past: one bit rules out most items that are not in it.

    One hash function and at least eight bits an entry (Bloom, CACM 1970), so that fewer than one
    in eight lookups of other items searches in vain.

    Returns:
        (U + 1,) where each user's words begin, a power of two of them or none, and the words.
    """
    count = np.diff(start)
    words = np.where(count > 0, 2 ** np.ceil(np.log2(np.maximum(count / 4, 1))), 0)
    begins = np.zeros(len(start), np.int64)
    np.cumsum(words, out=begins[1:])
    filter_ = np.zeros(begins[-1], np.uint32)
    owner = np.repeat(np.arange(len(count)), count)
    mask = 32 * words[owner].astype(np.uint32) - np.uint32(1)
    bit = (items.astype(np.uint32) * np.uint32(_HASH) >> np.uint32(_SHIFT)) & mask
    where = begins[owner] + (bit >> np.uint32(5))
    np.bitwise_or.at(filter_, where, np.uint32(1) << (bit & np.uint32(31)))
    return begins, filter_


@inlined
def bonus_of(
    start: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    bonus: npt.NDArray[np.float32],
    filter_start: npt.NDArray[np.int64],
    filter_: npt.NDArray[np.uint32],
    user: int,
    item: int,
) -> np.float32:
    """Log-odds of one pair: a look into the filter, then bisection; compiled into the simulator."""
    begins = filter_start[user]
    words = filter_start[user + 1] - begins
    if words == 0:
        return np.float32(0)
    hashed = uint32(uint32(item) * uint32(_HASH)) >> uint32(_SHIFT)
    bit = uint32(hashed & uint32(32 * words - 1))
    if filter_[begins + int64(bit >> uint32(5))] & uint32(uint32(1) << (bit & uint32(31))) == 0:
        return np.float32(0)
    low, high = start[user], start[user + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if items[middle] < item:
            low = middle + 1
        else:
            high = middle
    return np.float32(bonus[low]) if low < end and items[low] == item else np.float32(0)


@compiled
def _lookup(start, items, bonus, filter_start, filter_, users, wanted):  # noqa: ANN001, ANN202
    out = np.empty(len(users), np.float32)
    for n in range(len(users)):
        out[n] = bonus_of(start, items, bonus, filter_start, filter_, users[n], wanted[n])
    return out
