"""Turns: observations and actions of one agent, and the actor that plays them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recenv.sim.observation import Observation


class Turn(NamedTuple):
    """Turn of one agent in B visits: observations, actions and their log-probabilities."""

    observation: Observation  # (B, ...) leaves
    action: np.ndarray  # (B, ...)
    logp: np.ndarray  # (B,) log-probability of the action
    inputs: np.ndarray  # (B, F) inputs of the action's distribution


Actor = Callable[[Observation], Turn]
