"""Baselines, the greedy oracle, and the protocol that trained policies share with them."""

from recenv.recommenders.als import ALSConfig, ALSRecommender
from recenv.recommenders.base import PrivilegedRecommender, Recommender, top_candidates
from recenv.recommenders.baselines import baselines, left_out
from recenv.recommenders.content import ContentRecommender
from recenv.recommenders.oracle import OracleRecommender
from recenv.recommenders.popularity import PopularityRecommender
from recenv.recommenders.random import RandomRecommender

__all__ = [
    "ALSConfig",
    "ALSRecommender",
    "ContentRecommender",
    "OracleRecommender",
    "PopularityRecommender",
    "PrivilegedRecommender",
    "RandomRecommender",
    "Recommender",
    "baselines",
    "left_out",
    "top_candidates",
]
