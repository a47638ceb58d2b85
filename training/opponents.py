"""Recommenders that do not learn, by name."""

from __future__ import annotations

from recenv.errors import UnknownNameError
from recenv.recommenders import (
    ALSRecommender,
    ContentRecommender,
    PopularityRecommender,
    RandomRecommender,
    Recommender,
)
from recenv.world import World


def make_opponent(name: str, world: World) -> Recommender:
    """A classical recommender; ALS is fitted on the world's training log.

    Raises:
        UnknownNameError: no such recommender.
    """
    makers = {
        "random": RandomRecommender,
        "popularity": PopularityRecommender,
        "content": lambda: ContentRecommender(world),
        "als": lambda: ALSRecommender(world),
    }
    if name not in makers:
        raise UnknownNameError("opponent", name, makers)
    return makers[name]()
