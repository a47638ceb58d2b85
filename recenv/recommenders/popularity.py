"""Popularity baseline: the most clicked items, without personalisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recenv.recommenders.base import Observation, top_candidates


class PopularityRecommender:
    """The candidates with the most training clicks, the same for every user.

    Args:
        name: for reports.
    """

    def __init__(self, name: str = "popularity") -> None:
        self.name = name

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.int64]:
        """(B, K) candidates by ``candidate_popularity``; see ``Recommender``."""
        return top_candidates(observation["candidate_popularity"], slate_size)
