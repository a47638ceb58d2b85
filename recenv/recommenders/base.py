"""The one protocol that baselines, oracles and trained policies share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recenv.sim.simulator import Simulator
from recenv.sim.state import State

Observation = dict[str, np.ndarray]


@runtime_checkable
class Recommender(Protocol):
    """Fills slates for a batch of B visits, from what the platform observes."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.integer]:
        """(B, K) candidate index per slot, best first.

        Args:
            observation: the recommender's observation; leaves of shape (B, ...).
            keys: (B,) random key of each visit; a policy that draws uses ``recenv.rng`` with
                the stream ``POLICY`` and ``observation["round"]``.
            slate_size: K.
        """
        ...


@runtime_checkable
class PrivilegedRecommender(Protocol):
    """A recommender that reads the users' true state: a frame for tables, not a competitor."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def recommend_privileged(self, simulator: Simulator, state: State) -> npt.NDArray[np.integer]:
        """(B, K) candidate index per slot, best first, from the true state."""
        ...


def top_candidates(scores: npt.NDArray[np.floating], slate_size: int) -> npt.NDArray[np.int64]:
    """(B, C) scores to (B, K) indices of the best, best first; ties by index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :slate_size]
