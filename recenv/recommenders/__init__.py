"""Recommenders: baselines, the greedy oracle, a bandit, and their protocols."""

from recenv.recommenders.als import ALSConfig, ALSRecommender
from recenv.recommenders.bandit import ThompsonRecommender
from recenv.recommenders.base import (
    Feedback,
    LearningRecommender,
    PrivilegedRecommender,
    Recommender,
    top_candidates,
)
from recenv.recommenders.content import ContentRecommender
from recenv.recommenders.oracle import OracleRecommender
from recenv.recommenders.popularity import PopularityRecommender
from recenv.recommenders.random import RandomRecommender
from recenv.recommenders.registry import baselines, left_out

__all__ = [
    "ALSConfig",
    "ALSRecommender",
    "ContentRecommender",
    "Feedback",
    "LearningRecommender",
    "OracleRecommender",
    "PopularityRecommender",
    "PrivilegedRecommender",
    "RandomRecommender",
    "Recommender",
    "ThompsonRecommender",
    "baselines",
    "left_out",
    "top_candidates",
]
