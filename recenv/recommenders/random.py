"""Random baseline: slates drawn uniformly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recenv import rng
from recenv.recommenders.base import Observation, top_candidates


class RandomRecommender:
    """Uniform slates: K distinct candidates in random order, drawn by each visit's key.

    Args:
        name: for reports.
    """

    def __init__(self, name: str = "random") -> None:
        self.name = name

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.int64]:
        """(B, K) the candidates with the largest of C keyed uniforms; see ``Recommender``."""
        rounds = np.ascontiguousarray(observation["round"][:, 0], np.int32)
        draws = rng.uniforms(keys, rounds, rng.POLICY, observation["candidates"].shape[1])
        return top_candidates(draws, slate_size)
