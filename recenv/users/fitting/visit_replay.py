"""Replay of logged visits under the laws that the simulator steps.

The likelihood of a log under given rates of boredom and drift, and the users' states when they
left, need a pass through whole visits. ``dynamics`` calls the replay at every evaluation of its
likelihood; the vectors of users and items stay fixed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.jit.compiled import compiled
from recenv.schema import CLICK
from recenv.users import laws
from recenv.users.fitting.training_rows import Rows

Array = npt.NDArray[np.float64]
MOST_ROWS = 300_000
"""More rows than this are not replayed; whole visits are kept."""


class LoggedVisits(NamedTuple):
    """Logged visits, ready to be replayed: rows sorted by visit, round and slot."""

    user: npt.NDArray[np.int64]  # (n,)
    item: npt.NDArray[np.int64]  # (n,)
    category: npt.NDArray[np.int32]  # (n,)
    response: npt.NDArray[np.int64]  # (n,)
    examined: npt.NDArray[np.float32]  # (n,) P(slot is looked at)
    bias: npt.NDArray[np.float32]  # (n,) click log-odds apart from affinity and boredom
    purchase_bias: npt.NDArray[np.float32]  # (n,)
    new_visit: npt.NDArray[np.bool_]  # (n,) first row of a visit
    new_round: npt.NDArray[np.bool_]  # (n,) first row of a round
    weight: npt.NDArray[np.float32]  # (n,)
    place: npt.NDArray[np.int64]  # (n,) row of ``Rows`` that this is


class Vectors(NamedTuple):
    """Vectors and weights of the affinities."""

    users: npt.NDArray[np.float32]  # (U, D)
    items: npt.NDArray[np.float32]  # (N, D)
    click_weight: npt.NDArray[np.float32]  # (D,)
    purchase_weight: npt.NDArray[np.float32]  # (D,)


class Rounds(NamedTuple):
    """One row per replayed round."""

    first: npt.NDArray[np.bool_]  # of its visit
    utility: Array  # that the round brought
    boredom: Array  # mean over the slate when it was shown
    row: npt.NDArray[np.int64]  # (n,) first row of the round, as a row of ``Rows``


def vectors_of(arrays: dict[str, npt.NDArray[np.float32]]) -> Vectors:
    """Those among the arrays of a ``UserModel``."""
    names = ("user_vectors", "item_vectors", "click_weight", "purchase_weight")
    return Vectors(*(arrays[name] for name in names))


def prepare(
    rows: Rows,
    category: npt.NDArray[np.int32],
    examination: npt.NDArray[np.float32],
    arrays: dict[str, npt.NDArray[np.float32]],
    repeat: npt.NDArray[np.float32],
) -> LoggedVisits:
    """Sort rows of known rounds into visits.

    Args:
        rows: see ``recenv.users.fitting.training_rows``; those without a round are left out.
        category: (N,) of each item.
        examination: (S,) of each slot.
        arrays: of the fitted ``UserModel``.
        repeat: (n,) click log-odds that each row's personal past adds.
    """
    kept = np.flatnonzero(rows.round >= 0)
    kept = kept[np.lexsort([rows.slot[kept], rows.round[kept], rows.visit[kept], rows.user[kept]])]
    kept = _whole_visits(rows, kept)
    user, item = rows.user[kept], rows.item[kept]
    bias = arrays["user_click_bias"][user] + arrays["item_click_bias"][item]
    bias = bias + rows.offset[kept] + repeat[kept]
    buy = arrays["user_purchase_bias"][user] + arrays["item_purchase_bias"][item]
    new_visit = np.ones(len(kept), bool)
    new_visit[1:] = (np.diff(user) != 0) | (np.diff(rows.visit[kept]) != 0)
    new_round = np.ones(len(kept), bool)
    new_round[1:] = new_visit[1:] | (np.diff(rows.round[kept]) != 0)
    return LoggedVisits(
        user=user,
        item=item,
        category=category[item].astype(np.int32),
        response=rows.response[kept],
        examined=examination[np.minimum(rows.slot[kept], len(examination) - 1)],
        bias=bias.astype(np.float32),
        purchase_bias=buy.astype(np.float32),
        new_visit=new_visit,
        new_round=new_round,
        weight=rows.weight[kept],
        place=kept,
    )


def _whole_visits(rows: Rows, kept: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """All rows, or those of evenly spread users that make up about ``MOST_ROWS``."""
    if len(kept) <= MOST_ROWS:
        return kept
    step = -(-len(kept) // MOST_ROWS)
    return kept[rows.user[kept] % step == 0]


def replay(
    visits: LoggedVisits,
    vectors: Vectors,
    *,
    categories: int,
    drift_rate: float,
    boredom_weight: float,
    boredom_gain: float,
    boredom_decay: float,
    learning_rate: float = 0.0,
) -> tuple[float, Array, Rounds]:
    """(log-likelihood of the clicks, (n,) what the visit so far adds to each logit, rounds).

    ``learning_rate`` moves a user's interest for good, over all later visits, where
    ``drift_rate`` moves it within the visit: see ``dynamics.fit_drift``.
    """
    n = len(visits.user)
    moved = np.empty(n)
    rounds = int(visits.new_round.sum())
    first, utility, boredom = np.empty(rounds, bool), np.zeros(rounds), np.zeros(rounds)
    likelihood = _replay(
        visits,
        vectors,
        categories,
        np.float32(drift_rate),
        np.float32(learning_rate),
        np.float32(boredom_weight),
        np.float32(boredom_gain),
        np.float32(boredom_decay),
        moved,
        first,
        utility,
        boredom,
    )
    return likelihood, moved, Rounds(first, utility, boredom, visits.place[visits.new_round])


@compiled
def _replay(  # noqa: ANN202
    visits,  # noqa: ANN001
    vectors,  # noqa: ANN001
    categories,  # noqa: ANN001
    drift_rate,  # noqa: ANN001
    learning_rate,  # noqa: ANN001
    weight,  # noqa: ANN001
    gain,  # noqa: ANN001
    decay,  # noqa: ANN001
    moved,  # noqa: ANN001
    first,  # noqa: ANN001
    utility,  # noqa: ANN001
    mean_boredom,  # noqa: ANN001
):
    n = len(visits.user)
    one = np.float32(1)
    moving = np.empty((1, vectors.users.shape[1]), np.float32)
    theta = moving[0]
    lasting = theta.copy()  # moved by what is learnt for good
    boredom = np.zeros(categories, np.float32)
    likelihood = 0.0
    begin, number = 0, -1
    while begin < n:
        end = begin + 1
        while end < n and not visits.new_round[end]:
            end += 1
        number += 1
        user = visits.user[begin]
        first[number] = visits.new_visit[begin]
        if begin == 0 or visits.user[begin - 1] != user:
            lasting[:] = vectors.users[user]
        if visits.new_visit[begin]:
            theta[:] = lasting
            boredom[:] = np.float32(0)
        total = 0.0
        for row in range(begin, end):
            item = visits.item[row]
            here = boredom[visits.category[row]]
            total += here
            to_click, to_buy = laws.affinities(
                moving, 0, vectors.items, item, one, vectors.click_weight, vectors.purchase_weight
            )
            still, _ = laws.affinities(
                vectors.users,
                user,
                vectors.items,
                item,
                one,
                vectors.click_weight,
                vectors.purchase_weight,
            )
            bored = weight * here
            moved[row] = to_click - still - bored
            p = visits.examined[row] * laws.click_given_examined(to_click, visits.bias[row], bored)
            p = min(max(p, np.float32(1e-6)), np.float32(1 - 1e-6))
            clicked = visits.response[row] >= CLICK
            likelihood += visits.weight[row] * np.log(p if clicked else 1 - p)
            if clicked:
                buy = laws.purchase_given_click(to_buy, visits.purchase_bias[row])
                utility[number] += laws.utility(buy)
        mean_boredom[number] = total / (end - begin)
        for g in range(categories):
            boredom[g] = laws.bored(boredom[g], decay)
        for row in range(begin, end):
            if visits.response[row] < CLICK:
                continue
            boredom[visits.category[row]] += gain
            item = visits.item[row]
            for d in range(len(theta)):
                lasting[d] = laws.drift(lasting[d], vectors.items[item, d], learning_rate)
                theta[d] = laws.drift(theta[d], vectors.items[item, d], learning_rate + drift_rate)
        begin = end
    return likelihood
