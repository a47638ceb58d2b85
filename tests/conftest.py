"""Shared worlds. Built once; caches live under RECENV_HOME, or in pytest's own cache."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".pytest_cache"
os.environ.setdefault("RECENV_HOME", str(CACHE / "recenv-home"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NUMBA_CACHE_DIR", str(CACHE / "numba"))

from recenv.env.registration import load_world
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.world import World


@pytest.fixture(scope="session")
def toy() -> World:
    return load_world("recenv/Toy-v0")


@pytest.fixture(scope="session")
def movielens() -> World:
    return load_world("recenv/MovieLens100K-v0")


@pytest.fixture(scope="session")
def still_world() -> World:
    """A planted world whose users do not change or leave: the laws that a fit must recover."""
    world = planted_world(PlantedConfig(num_users=150, num_items=80, dim=4, seed=3))
    still = world.user_model.dynamics._replace(
        boredom_weight=0.0, drift_rate=0.0, leave_intercept=-20.0, leave_length=0.0
    )
    model = dataclasses.replace(world.user_model, dynamics=still)
    return dataclasses.replace(world, user_model=model)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty RECENV_HOME."""
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
