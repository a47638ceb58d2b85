"""V-trace on flat samples: off-policy value targets and advantages.

B visits, T turns, N steps, M observations that lead to no step (see
``training.sampling.fragments``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from torch import Tensor

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from training.models.observations import MODULE, tensors
from training.sampling.fragments import SLOT_REWARDS, Fragment, Fragments, joined

FOLLOWING = "following"
"""Column: (N + M,) row of what was seen next; of no meaning where no step was taken."""
TURN = "turn"
"""Column: (N + M,) turn of each step, ascending."""


class Traced(NamedTuple):
    """V-trace targets and advantages of N steps."""

    values: Tensor  # (N,) targets of the critic
    advantages: Tensor  # (N,) with the clipped importance weight in them
    weights: Tensor  # (N,) that weight


def vtrace(
    log_ratio: Tensor,
    rewards: Tensor,
    values: Tensor,
    following: Tensor,
    terminated: Tensor,
    turn: Tensor,
    *,
    gamma: float,
    lam: float = 1.0,
    clip: float = 1.0,
) -> Traced:
    """V-trace targets (Espeholt et al., ICML 2018, eq. 1 and section 4.2).

    With importance ratio ``w_t``, ``rho_t = min(clip, w_t)`` and ``c_t = lam min(1, w_t)``::

        v_t = V_t + rho_t (r_t + gamma V_t+1 - V_t) + gamma c_t (v_t+1 - V_t+1)
        A_t = rho_t (r_t + gamma v_t+1 - V_t)

    where t + 1 is the step's ``following`` row, whose values count 0 after a terminal step.

    Args:
        log_ratio: (N,) log-probability of each action under the policy to be evaluated, less
            that under the policy that took it.
        rewards: (N,).
        values: (N + M,) of what was seen.
        following: (N,) row of ``values`` that each step led to, always a later one.
        terminated: (N,) bool: nothing follows, whatever ``following`` says.
        turn: (N,) ascending; a step leads to one of a later turn, or to none.
        gamma: discount per turn of one side.
        lam: the paper's lambda, in the trace coefficients alone.
        clip: the paper's rho-bar, of targets and of advantages; that of the traces is 1.
    """
    n = len(rewards)
    ratio = log_ratio.exp()
    weights = ratio.clamp(max=clip)
    discount = gamma * (~terminated).to(values.dtype)
    delta = weights * (rewards + discount * values[following] - values[:n])
    trace = discount * lam * ratio.clamp(max=1.0)
    beyond = torch.zeros_like(values)  # how far targets lie from values; 0 where no step was taken
    stop = n
    for count in reversed(torch.unique_consecutive(turn, return_counts=True)[1].tolist()):
        cut = slice(stop - count, stop)
        beyond[cut] = delta[cut] + trace[cut] * beyond[following[cut]]
        stop -= count
    targets = values + beyond
    advantages = weights * (rewards + discount * targets[following] - values[:n])
    return Traced(targets[:n], advantages, weights)


class FragmentConnector(ConnectorV2):
    """Batches of flat samples in the order of turns, with the links that V-trace follows.

    Takes ``Fragments``, or RLlib's episodes from its own runner. What leads to no step comes
    last and is masked out by ``LOSS_MASK``.
    """

    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """See ``ConnectorV2.__call__``."""
        flat = isinstance(episodes[0], Fragments)
        for agent in (RECOMMENDER_AGENT, USER_AGENT):
            side = MODULE[agent]
            if side not in rl_module:
                continue
            if flat:
                piece = joined([e.sides[side] for e in episodes])
            else:
                piece = of_episodes([e.agent_episodes.get(agent) for e in episodes])
            if piece is not None and len(piece):
                batch[side] = columns(piece)
        return batch


def columns(piece: Fragment) -> dict[str, Any]:
    """A fragment as columns of N + M rows, on the CPU."""
    n = len(piece)
    rows = len(next(iter(piece.observations.values())))

    def whole(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros((rows - n, *values.shape[1:]), values.dtype)])

    turn = np.repeat(np.arange(len(piece.edges) - 1), np.diff(piece.edges))
    arrays = {
        Columns.ACTIONS: whole(piece.actions),
        Columns.ACTION_LOGP: whole(piece.logp),
        Columns.ACTION_DIST_INPUTS: whole(piece.inputs),
        Columns.REWARDS: whole(piece.rewards),
        Columns.TERMINATEDS: whole(piece.terminated),
        Columns.LOSS_MASK: whole(np.ones(n, bool)),
        FOLLOWING: whole(piece.following),
        TURN: whole(turn),
    }
    if piece.slot_rewards is not None and piece.slot_rewards.shape[1] > 1:
        arrays[SLOT_REWARDS] = whole(piece.slot_rewards)
    return {**tensors(arrays, "cpu"), Columns.OBS: tensors(piece.observations, "cpu")}


def of_episodes(episodes: list[Any]) -> Fragment | None:
    """One agent's ``SingleAgentEpisode``s as a fragment; None if it took no step in any.

    Args:
        episodes: finalised ones (of arrays); None where the agent is missing.
    """
    played = [e for e in episodes if e is not None and len(e) > 0]
    if not played:
        return None
    lengths = np.array([len(e) for e in played])
    n, starts = int(lengths.sum()), np.concatenate([[0], np.cumsum(lengths)[:-1]])
    turn = np.concatenate([np.arange(length) for length in lengths])
    order = np.argsort(turn, kind="stable")  # by turn, then by episode
    row = np.empty(n, np.int64)
    row[order] = np.arange(n)
    following = np.empty(n, np.int64)
    following[:-1] = row[1:]
    following[starts + lengths - 1] = n + np.arange(len(played))
    left = np.zeros(n, bool)
    left[starts + lengths - 1] = [e.is_terminated for e in played]

    def steps(name: str) -> np.ndarray:
        parts = [np.asarray(e.get_extra_model_outputs(name)) for e in played]
        return np.concatenate(parts)[order]

    seen = [e.get_observations() for e in played]
    slots = all(SLOT_REWARDS in e.extra_model_outputs for e in played)
    return Fragment(
        observations={
            leaf: np.concatenate(
                [
                    np.concatenate([s[leaf][:-1] for s in seen])[order],
                    np.stack([s[leaf][-1] for s in seen]),
                ]
            )
            for leaf in seen[0]
        },
        actions=np.concatenate([np.asarray(e.get_actions()) for e in played])[order],
        rewards=np.concatenate([np.asarray(e.get_rewards(), np.float32) for e in played])[order],
        logp=steps(Columns.ACTION_LOGP),
        inputs=steps(Columns.ACTION_DIST_INPUTS),
        following=following[order],
        terminated=left[order],
        edges=np.concatenate([[0], np.cumsum(np.bincount(turn))]),
        slot_rewards=steps(SLOT_REWARDS) if slots else None,
    )
