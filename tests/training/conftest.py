"""What the tests of training share: a small planted world."""

import pytest

from recenv.config import GameConfig
from recenv.synthetic.world import PlantedConfig, planted_world

GAME = {"slate_size": 3, "num_candidates": 12, "max_rounds": 6}


@pytest.fixture(scope="session")
def world():
    return planted_world(PlantedConfig(num_users=60, num_items=50))


@pytest.fixture(scope="session")
def game():
    return GameConfig(**GAME)


@pytest.fixture(scope="session")
def env_config(world, tmp_path_factory):
    """Where the world is saved, and the game, as RLlib's processes are told."""
    folder = world.save(tmp_path_factory.mktemp("worlds") / "toy")
    return {"env": str(folder), "game": GAME, "opponent": "popularity"}
