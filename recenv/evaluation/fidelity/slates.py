"""Slates to replay: those that a log shows, or its items beside others of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recenv.evaluation.fidelity.heldout import Bools, HeldOut, Ints, consumed_from
from recenv.schema import InteractionLog
from recenv.sim.state import EMPTY
from recenv.users.model import MAX_SLOTS


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
