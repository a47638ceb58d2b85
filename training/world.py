"""The world and game of a run, by name: built or read once in each process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from recenv import artifacts
from recenv.config import GameConfig
from recenv.env import registration
from recenv.world import World


@lru_cache(maxsize=4)
def _read(folder: str) -> World:
    return World.load(folder)


def load_world(env: str) -> World:
    """The world of an environment id, or of the folder of a saved world.

    Raises:
        UnknownNameError: neither an id nor such a folder.
        ArtifactError: the folder is damaged.
    """
    if artifacts.exists(Path(env)):
        return _read(str(Path(env).resolve()))
    return registration.load_world(env)


def resolve(env: str, overrides: dict[str, Any]) -> tuple[World, GameConfig]:
    """World and game of an id or folder, with the game's settings overridden.

    Raises:
        UnknownNameError: neither an id nor a folder, or no such setting.
        ConfigError: a setting has a wrong value.
    """
    source = env if env in registration.REGISTRY else load_world(env)
    return registration.resolve(source, overrides)
