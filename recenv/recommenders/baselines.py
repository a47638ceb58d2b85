"""Every baseline that a world allows, worst first."""

from __future__ import annotations

from contextlib import suppress

from recenv.errors import MissingDependencyError
from recenv.recommenders.als import ALSRecommender
from recenv.recommenders.base import PrivilegedRecommender, Recommender
from recenv.recommenders.content import ContentRecommender
from recenv.recommenders.oracle import OracleRecommender
from recenv.recommenders.popularity import PopularityRecommender
from recenv.recommenders.random import RandomRecommender
from recenv.world import World


def baselines(world: World) -> list[Recommender | PrivilegedRecommender]:
    """Random, popularity, content, ALS (if ``implicit`` is installed), and the greedy oracle."""
    found: list[Recommender | PrivilegedRecommender] = [
        RandomRecommender(),
        PopularityRecommender(),
        ContentRecommender(world),
    ]
    with suppress(MissingDependencyError):  # the table then says nothing of ALS
        found.append(ALSRecommender(world))
    return [*found, OracleRecommender()]
