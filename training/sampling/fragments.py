"""Fragments: sampled steps as flat arrays, each linked to the observation that followed.

An episode for every visit costs more than playing it. A fragment holds all steps of one side from
one call, time first, and links each to the row of what was observed next; advantages, targets and
replayed transitions all follow these links.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.observation import Observation
from training.sampling.turns import Turn
from training.sampling.visit_sampler import Played

SLOT_REWARDS = "slot_rewards"
"""Column: (N, K) what each slot added to the recommender's reward."""

Rows = npt.NDArray[np.int64]

_BY_SLOT = ("slot_rewards", "responses", "fitted_clicks")
"""What a fragment of the recommender tells of each slot."""


@dataclass(frozen=True)
class Fragment:
    """N steps of one side, and M observations that follow steps but lead to none.

    Attributes:
        observations: (N + M, ...) leaves: what each step saw, then the M.
        actions: (N, ...).
        rewards: (N,).
        logp: (N,) log-probability of the action when it was taken.
        inputs: (N, F) inputs of the action's distribution then.
        following: (N,) row of ``observations`` that was seen next, always a later one.
        terminated: (N,) whether the user left: nothing follows, whatever ``following`` says.
        edges: (T + 1,) rows [edges[t], edges[t + 1]) belong to the same turn.
        slot_rewards: (N, K) of the recommender, by slot.
        responses: (N, K) int8 the answers to the recommender's slots; see ``Played``.
        fitted_clicks: (N, K) the fitted user's probabilities of clicks in them.
    """

    observations: Observation
    actions: np.ndarray
    rewards: np.ndarray
    logp: np.ndarray
    inputs: np.ndarray
    following: Rows
    terminated: npt.NDArray[np.bool_]
    edges: Rows
    slot_rewards: np.ndarray | None = None
    responses: np.ndarray | None = None
    fitted_clicks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rewards)


class Fragments:
    """The fragments of all learning sides from B visits, as RLlib passes episodes about.

    Args:
        sides: a fragment for each module.
        rounds: in them, which ``len`` tells: from it RLlib reckons how many minibatches of one
            side's steps each of several learners takes.
    """

    def __init__(self, sides: dict[str, Fragment], rounds: int) -> None:
        self.sides = sides
        self.rounds = rounds

    def __len__(self) -> int:
        return self.rounds


def fragment(played: Played, agent: str, columns: slice = slice(None)) -> Fragment:
    """The steps that an agent completed in T rounds of B visits.

    Args:
        played: what was played.
        agent: which of the learning agents.
        columns: which of the B visits.
    """
    side = (RECOMMENDER_AGENT, USER_AGENT).index(agent)
    turns: list[Turn] = played.turns[agent]
    rewards = played.rewards[..., side]
    total, batch = rewards.shape
    complete = np.ones((total, batch), bool)
    slots: dict[str, np.ndarray] = {}
    if agent == RECOMMENDER_AGENT:
        slots = {name: getattr(played, name) for name in _BY_SLOT}
    shift = 0
    if agent == USER_AGENT:
        complete[-1] = False  # unless the visit ended: see below
        if played.waiting is not None:
            turns = [played.waiting.turn, *turns]
            rewards = np.concatenate([played.waiting.reward[None], rewards])
            complete = np.concatenate([played.waiting.held[None], complete])
            shift = 1
    final = np.full(complete.shape, -1, np.int64)  # row of the finals
    left = np.zeros(complete.shape, bool)
    for end in played.ends:
        at = end.round + shift
        final[at, end.rows] = end.final
        left[at, end.rows] = end.left
        complete[at, end.rows] = True
    if agent in played.learns:
        complete[shift:] &= played.learns[agent]
    inside = np.zeros(batch, bool)
    inside[columns] = True
    complete &= inside
    where = np.flatnonzero(complete)
    n = len(where)
    position = np.full(complete.shape, -1, np.int64)
    position.reshape(-1)[where] = np.arange(n)

    # the next round's step, else what the last turn saw, else what followed the visit's end
    following = np.full(complete.shape, -1, np.int64)
    following[:-1] = position[1:]
    following = np.where(following < 0, n + np.arange(batch), following)
    following = np.where(final >= 0, n + batch + final, following)

    beyond = played.current if agent == RECOMMENDER_AGENT else turns[-1].observation

    def leaf(name: str) -> np.ndarray:
        steps = [t.observation[name] for t in turns]
        if n < complete.size:
            steps = [np.concatenate(steps)[where]]
        return np.concatenate([*steps, beyond[name], played.finals[agent][name]])

    def rows(parts: list[np.ndarray]) -> np.ndarray:
        whole = np.concatenate(parts)
        return whole if n == len(whole) else whole[where]

    return Fragment(
        observations={name: leaf(name) for name in turns[0].observation},
        actions=rows([t.action for t in turns]),
        rewards=rows(list(rewards)).astype(np.float32),
        logp=rows([t.logp for t in turns]),
        inputs=rows([t.inputs for t in turns]),
        following=following.reshape(-1)[where],
        terminated=left.reshape(-1)[where],
        edges=np.concatenate([[0], np.cumsum(complete.sum(1))]),
        **{name: rows(list(values)) for name, values in slots.items()},
    )


def fragments(played: Played, modules: dict[str, str], parts: int = 1) -> Iterator[Fragments]:
    """All that was played, cut by visits into parts of equal size.

    Args:
        played: T rounds of B visits.
        modules: the learning agents' modules.
        parts: how many; must divide B.
    """
    total, batch = played.rewards.shape[:2]
    for part in range(parts):
        columns = slice(batch * part // parts, batch * (part + 1) // parts)
        yield Fragments(
            {modules[agent]: fragment(played, agent, columns) for agent in played.turns},
            total * batch // parts,
        )


def joined(several: list[Fragment]) -> Fragment:
    """Fragments one after the other: their steps first, then all that leads to no step."""
    if len(several) == 1:
        return several[0]
    steps = np.cumsum([0, *(len(f) for f in several)])
    extra = np.cumsum([0, *(len(_any(f)) - len(f) for f in several)])
    n = steps[-1]
    following = [
        np.where(f.following < len(f), f.following + at, f.following - len(f) + n + beyond)
        for f, at, beyond in zip(several, steps, extra, strict=False)
    ]
    parts: dict[str, Any] = {
        name: np.concatenate([getattr(f, name) for f in several])
        for name in ("actions", "rewards", "logp", "inputs", "terminated")
    }
    for name in _BY_SLOT:
        if getattr(several[0], name) is not None:
            parts[name] = np.concatenate([getattr(f, name) for f in several])
    return Fragment(
        observations={
            name: np.concatenate(
                [
                    *(f.observations[name][: len(f)] for f in several),
                    *(f.observations[name][len(f) :] for f in several),
                ]
            )
            for name in several[0].observations
        },
        following=np.concatenate(following),
        edges=np.concatenate(
            [[0], *(f.edges[1:] + at for f, at in zip(several, steps, strict=False))]
        ),
        **parts,
    )


def advantages(
    piece: Fragment, values: npt.NDArray[np.float32], gamma: float, lam: float
) -> npt.NDArray[np.float32]:
    """Generalised advantage estimates (Schulman et al. 2016), not standardised.

    Args:
        piece: N steps.
        values: (N + M,) of its observations.
        gamma: discount per turn of this side.
        lam: decay of the estimates.

    Returns:
        (N,) advantages; with ``values[:N]`` added, they are the value targets TD(lambda).
    """
    n = len(piece)
    following = piece.following
    delta = piece.rewards + gamma * ~piece.terminated * values[following] - values[:n]
    decay = gamma * lam * ~piece.terminated
    out = np.zeros(len(values), np.float32)  # beyond the steps, no advantage is known
    for start, stop in zip(piece.edges[-2::-1], piece.edges[:0:-1], strict=True):
        cut = slice(start, stop)
        out[cut] = delta[cut] + decay[cut] * out[following[cut]]
    return out[:n]


def _any(piece: Fragment) -> np.ndarray:
    return next(iter(piece.observations.values()))
