"""The held-out part of a log as visits: slates to replay, or items that were consumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recenv.data.split import Split
from recenv.schema import CLICK, PURCHASE, InteractionLog
from recenv.sim.state import EMPTY
from recenv.users.model import MAX_SLOTS, UserModel

Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Kind = Literal["impressions", "catalogue", "consumption"]
"""What a log tells of what was passed over: slates; the whole catalogue; nothing."""

_WHOLE_SHARE = 0.8
DAY = 86_400.0
_PROBE = 0.05  # a rate of drift to look for where the world has none


@dataclass(frozen=True)
class Slates:
    """Logged slates, S of them in V visits, each visit's in the order of time. K slots.

    Attributes:
        user: (V,) code of each visitor.
        first, rounds: (V,) index of a visit's first slate, and how many it has.
        items: (S, K) item codes, EMPTY where a slot was empty.
        responses: (S, K) what the log says was answered.
        slate, slot: (n,) where each row of the log stands.
        row: (n,) those rows.
        scored: (n,) whether a row is held out; the others only lead up to it.
        weight: (n,) rows of the log that a row stands for (1 over its sampling probability).
    """

    user: Ints
    first: Ints
    rounds: Ints
    items: npt.NDArray[np.int32]
    responses: npt.NDArray[np.int8]
    slate: Ints
    slot: Ints
    row: Ints
    scored: Bools
    weight: npt.NDArray[np.float64]

    @property
    def visit(self) -> Ints:
        """(S,) visit of each slate."""
        return np.repeat(np.arange(len(self.user)), self.rounds)

    def alone(self) -> Slates:
        """The same slates, each a visit of its own: what a user answers who has no past."""
        count = len(self.items)
        return Slates(
            user=self.user[self.visit],
            first=np.arange(count),
            rounds=np.ones(count, np.int64),
            items=self.items,
            responses=self.responses,
            slate=self.slate,
            slot=self.slot,
            row=self.row,
            scored=self.scored,
            weight=self.weight,
        )


def consumed_so_far(
    slates: Slates, least: int, model: UserModel, category: Ints
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What each row has to do with what its visit consumed in earlier rounds.

    Args:
        slates: n rows.
        least: the least response that counts as consumed.
        model: its vectors say in which direction consumption would move interest.
        category: (N,) codes.

    Returns:
        (n,) what drift of interest at the model's rate (``_PROBE`` where it has none) adds to
        the log-odds, less what a linear regression on the other feature explains; and (n,)
        log(1 + how many items of the row's category were consumed).
    """
    filled = slates.items != EMPTY
    took = filled & (slates.responses >= least)
    item = np.where(filled, slates.items, 0)
    first = slates.first[slates.visit]
    row_item = slates.items[slates.slate, slates.slot]
    same = np.zeros(len(slates.slate))
    for code in np.unique(category[row_item]):
        count = (took & (category[item] == code)).sum(axis=1)
        total = np.cumsum(count) - count
        rows = category[row_item] == code
        same[rows] = (total - total[first])[slates.slate[rows]]
    same = np.log1p(same)

    rate = model.dynamics.drift_rate or _PROBE
    began = model.user_vectors[slates.user].astype(float)  # (V, D)
    interest = began.copy()
    moved = np.zeros((len(slates.items), model.dim))
    for round_ in range(int(slates.rounds.max(initial=0))):
        visit = np.flatnonzero(slates.rounds > round_)
        slate = slates.first[visit] + round_
        moved[slate] = interest[visit] - began[visit]
        for slot in range(slates.items.shape[1]):
            who = took[slate, slot]
            target = model.item_vectors[item[slate[who], slot]]
            interest[visit[who]] += rate * (target - interest[visit[who]])
    moved *= model.click_weight
    drift = (moved[slates.slate] * model.item_vectors[row_item]).sum(axis=1)
    known = np.stack([np.ones(len(same)), same], axis=1)
    return drift - known @ np.linalg.lstsq(known, drift, rcond=None)[0], same


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


def kind_of(log: InteractionLog) -> Kind:
    """What the log tells of what was passed over."""
    if log.has_impressions:
        return "impressions"
    return "catalogue" if log.exposes_catalog else "consumption"


def consumed_from(log: InteractionLog) -> int:
    """The least response that counts as consumed: a click, or a purchase where no click is."""
    return CLICK if (log.column("response") == CLICK).any() else PURCHASE


def visit_numbers(log: InteractionLog) -> tuple[Ints, Ints]:
    """(n,) number of each row's visit, in the order of their first rows, and (V,) visitors.

    A visit is a session of a user. Without sessions it is a slate (rows of one user and time)
    where the log has impressions, and otherwise all that a user did.
    """
    user = log.column("user").astype(np.int64)
    if "session" in log.events:
        other = log.column("session")
    elif log.has_impressions:
        other = log.column("time")
    else:
        other = np.zeros(len(log))
    _, second = np.unique(other, return_inverse=True)
    key = user * (int(second.max(initial=0)) + 1) + second
    _, first, code = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[code], user[first[order]]


@dataclass(frozen=True)
class HeldOut:
    """Which rows and visits of a log a fidelity report looks at.

    Attributes:
        visit: (n,) visit of each row of the log; visitor: (V,) its user.
        rows: (n,) rows of the test part.
        whole: (V,) visits compared as wholes.
        later: whether those lie in the test part; otherwise they are all visits of the
            held-out users, because the split cuts through too many.
    """

    visit: Ints
    visitor: Ints
    rows: Bools
    whole: Bools
    later: bool

    @classmethod
    def of(cls, log: InteractionLog, split: Split) -> HeldOut:
        """The test part; whole visits from there if they hold 80 % of it.

        A split by events cuts each user's boundary visit in two, and that one is longer than
        others: leaving it out biases lengths where a user has few visits.
        """
        visit, visitor = visit_numbers(log)
        rows = split.rows("test", "all")
        size = np.bincount(visit, minlength=len(visitor))
        inside = np.bincount(visit, rows, len(visitor))
        whole = inside == size
        later = bool(inside[whole].sum() >= _WHOLE_SHARE * inside.sum())
        if not later and split.heldout.any():
            whole = split.heldout[visitor]
        return cls(visit, visitor, rows, whole, later)


def limit(mask: Bools, most: int, rng: np.random.Generator) -> Bools:
    """At most ``most`` of the marked, drawn at random."""
    at = np.flatnonzero(mask)
    if len(at) <= most:
        return mask
    out = np.zeros(len(mask), bool)
    out[rng.choice(at, most, replace=False)] = True
    return out


def logged_slates(log: InteractionLog, held: HeldOut, visits: Bools) -> Slates:
    """The slates of the marked visits: rows of equal visit and time, by position.

    A row beyond slot ``MAX_SLOTS``, or whose slot is taken by another row, is left out.
    """
    at = np.flatnonzero(visits[held.visit])
    visit, time = held.visit[at], log.column("time")[at]
    order = np.lexsort((at, time, visit))
    at, visit, time = at[order], visit[order], time[order]
    new = np.ones(len(at), bool)
    new[1:] = (visit[1:] != visit[:-1]) | (time[1:] != time[:-1])
    slate = np.cumsum(new) - 1
    if "position" in log.events:
        slot = log.column("position")[at].astype(np.int64) - 1
    else:
        slot = np.arange(len(at)) - np.flatnonzero(new)[slate]
    good = slot < MAX_SLOTS
    slots = int(slot[good].max(initial=0)) + 1
    items = np.full((int(slate[-1]) + 1 if len(slate) else 0, slots), EMPTY, np.int32)
    owner = np.full(items.shape, -1, np.int64)
    responses = np.zeros(items.shape, np.int8)
    items[slate[good], slot[good]] = log.column("item")[at[good]]
    responses[slate[good], slot[good]] = log.column("response")[at[good]]
    owner[slate[good], slot[good]] = at[good]
    good &= owner[slate, np.minimum(slot, slots - 1)] == at
    codes, rounds = np.unique(visit[new], return_counts=True)
    return Slates(
        user=held.visitor[codes],
        first=np.concatenate([[0], np.cumsum(rounds)[:-1]]).astype(np.int64),
        rounds=rounds,
        items=items,
        responses=responses,
        slate=slate[good],
        slot=slot[good],
        row=at[good],
        scored=held.rows[at[good]],
        weight=np.ones(int(good.sum())),
    )


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


def contrasts(
    log: InteractionLog, held: HeldOut, num_items: int, each: int, rng: np.random.Generator
) -> Slates:
    """Held-out consumption against items passed over, every item on a screen of its own.

    Where each visit could choose from the whole catalogue: all items of a visit, and ``each``
    others for each of them, with the weight that makes these stand for all others. Otherwise:
    ``each`` items that the user never consumed, per item consumed, uniformly drawn, weight 1;
    the rate is then the sample's own and tells nothing.
    """
    least = consumed_from(log)
    at = np.flatnonzero(held.rows & (log.column("response") >= least))
    exposed = log.exposes_catalog
    group = held.visit[at] if exposed else log.column("user")[at].astype(np.int64)
    item = log.column("item")[at].astype(np.int64)
    keys, back = np.unique(group * num_items + item, return_index=True)
    group, item, at = keys // num_items, keys % num_items, at[back]
    taken = keys
    if not exposed:
        past = log.column("response") >= least
        pairs = log.column("user")[past].astype(np.int64) * num_items + log.column("item")[past]
        taken = np.unique(pairs)
    size = np.bincount(taken // num_items, minlength=int(group.max(initial=0)) + 1)
    usable = size[group] < num_items
    other_group = np.repeat(group[usable], each)
    other = rng.integers(num_items, size=len(other_group))
    clash = np.arange(len(other))
    while len(clash):
        pair = other_group[clash] * num_items + other[clash]
        found = np.minimum(np.searchsorted(taken, pair), len(taken) - 1)
        clash = clash[taken[found] == pair]
        other[clash] = rng.integers(num_items, size=len(clash))
    drawn = np.bincount(other_group, minlength=len(size))
    weight = (num_items - size) / np.maximum(drawn, 1) if exposed else np.ones(len(size))
    groups = np.concatenate([group, other_group])
    count = len(groups)
    response = np.zeros(count, np.int8)
    response[: len(at)] = log.column("response")[at]
    return Slates(
        user=held.visitor[groups] if exposed else groups,
        first=np.arange(count),
        rounds=np.ones(count, np.int64),
        items=np.concatenate([item, other]).astype(np.int32)[:, None],
        responses=response[:, None],
        slate=np.arange(count),
        slot=np.zeros(count, np.int64),
        row=np.concatenate([at, np.full(len(other), -1)]),
        scored=np.ones(count, bool),
        weight=np.concatenate([np.ones(len(at)), weight[other_group]]),
    )


def gaps(log: InteractionLog, held: HeldOut) -> tuple[Ints, Ints]:
    """Users, and midnights (UTC) from the start of a visit to that of the user's next one.

    Of the visits that ``held`` compares as wholes, and the visits that follow them.
    """
    start = np.full(len(held.visitor), np.inf)
    np.minimum.at(start, held.visit, log.column("time"))
    order = np.lexsort((start, held.visitor))
    user, begin = held.visitor[order], start[order]
    follows = (user[1:] == user[:-1]) & held.whole[order[1:]]
    if not held.later:
        follows &= held.whole[order[:-1]]
    days = np.diff(np.floor(begin / DAY)).astype(np.int64)
    return user[1:][follows], days[follows]
