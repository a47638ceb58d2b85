"""Observations as the networks read them: arrays and tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.observation import Observation
from recenv.sim.simulator import Simulator
from recenv.sim.state import State
from training.config import Side

RECOMMENDER_LEAVES = (
    "user",
    "candidates",
    "history_items",
    "history_responses",
    "visit_interest",
    "round",
)
"""Entries of the recommender's observation that the network reads: the rest it looks up."""
USER_LEAVES = (
    "boredom",
    "satisfaction",
    "spent",
    "slate",
    "prices",
    "utility",
    "behaviour",
    "round",
)
"""Entries of the user's observation that the network reads."""

AGENT: dict[Side, str] = {"recommender": RECOMMENDER_AGENT, "user": USER_AGENT}
MODULE = {agent: side for side, agent in AGENT.items()}
LEAVES = {RECOMMENDER_AGENT: RECOMMENDER_LEAVES, USER_AGENT: USER_LEAVES}
TRUE_INTEREST = "true_interest"
"""Leaf that only a centralised critic reads: the user's current interest, (B, D)."""


def observe(simulator: Simulator, agent: str, state: State, *, central: bool) -> Observation:
    """(B, ...) the entries of an agent's observation that its networks read.

    Args:
        simulator: of the game.
        agent: whose turn it is.
        state: of B visits.
        central: both agents' entries and the user's true interest, for a centralised critic.
    """
    ours: Observation = {}
    theirs: Observation = {}
    if central or agent == RECOMMENDER_AGENT:
        ours = _pick(RECOMMENDER_LEAVES, simulator.recommender_observation(state))
    if central or agent == USER_AGENT:
        whole = simulator.user_observation(state)
        theirs = _pick(USER_LEAVES, whole)
        if central:
            theirs[TRUE_INTEREST] = whole["interest"]
    return {**ours, **theirs}


def _pick(leaves: tuple[str, ...], observation: Observation) -> Observation:
    return {name: observation[name] for name in leaves}


def env_action(agent: str, actions: np.ndarray, slate_size: int) -> np.ndarray:
    """(B, ...) actions of an agent's space to the simulator's (B, K) or (B, K + 1)."""
    if slate_size > 1:
        return actions
    if agent == USER_AGENT:
        return np.stack([actions // 2, actions % 2], axis=1)
    return actions[:, None]


def tensors(arrays: Observation, device: torch.device | str) -> dict[str, Tensor]:
    """Arrays as tensors on a device; shared where they can be, copied where they are read-only."""
    return {
        name: torch.from_numpy(a if a.flags.writeable else np.array(a)).to(device)
        for name, a in arrays.items()
    }
