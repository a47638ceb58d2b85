"""Registry of the baselines that a world allows, worst first."""

from __future__ import annotations

from recenv.errors import MissingDependencyError
from recenv.recommenders.als import ALSRecommender, require_implicit
from recenv.recommenders.base import PrivilegedRecommender, Recommender
from recenv.recommenders.content import ContentRecommender
from recenv.recommenders.oracle import OracleRecommender
from recenv.recommenders.popularity import PopularityRecommender
from recenv.recommenders.random import RandomRecommender
from recenv.world import World


def baselines(world: World) -> list[Recommender | PrivilegedRecommender]:
    """Random, popularity, content, ALS (if ``implicit`` is installed), and the greedy oracle.

    ``left_out`` says what is missing, and why.
    """
    found: list[Recommender | PrivilegedRecommender] = [
        RandomRecommender(),
        PopularityRecommender(),
        ContentRecommender(world),
    ]
    if "ALS" not in left_out():
        found.append(ALSRecommender(world))
    return [*found, OracleRecommender()]


def left_out() -> dict[str, str]:
    """Names of the baselines that ``baselines`` cannot make here, and why, in a sentence."""
    try:
        require_implicit()
    except MissingDependencyError as error:
        return {"ALS": str(error)}
    return {}
