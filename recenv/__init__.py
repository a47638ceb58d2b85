"""recenv: multi-agent recommender-system environments fitted to logged interactions.

``import recenv`` registers the environment ids with Gymnasium and PettingZoo. Everything
heavy is imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recenv.env.registration import (
    aec_env,
    load_world,
    parallel_env,
    register_all,
    single_env,
    vector_env,
)

if TYPE_CHECKING:
    from recenv.config import GameConfig, RewardConfig, WorldConfig
    from recenv.data import load, make_split, read_table
    from recenv.schema import Catalog, InteractionLog
    from recenv.sim.simulator import Simulator
    from recenv.synthetic.world import planted_world
    from recenv.users.fitting import fit_user_model
    from recenv.users.model import UserModel
    from recenv.users.user_policy import FittedUser
    from recenv.world import World, build_world

__version__ = "0.1.0"

_LAZY = {
    "Catalog": "recenv.schema",
    "FittedUser": "recenv.users.user_policy",
    "GameConfig": "recenv.config",
    "InteractionLog": "recenv.schema",
    "RewardConfig": "recenv.config",
    "Simulator": "recenv.sim.simulator",
    "UserModel": "recenv.users.model",
    "World": "recenv.world",
    "WorldConfig": "recenv.config",
    "build_world": "recenv.world",
    "fit_user_model": "recenv.users.fitting",
    "load": "recenv.data",
    "make_split": "recenv.data",
    "planted_world": "recenv.synthetic.world",
    "read_table": "recenv.data",
}

__all__ = [
    "Catalog",
    "FittedUser",
    "GameConfig",
    "InteractionLog",
    "RewardConfig",
    "Simulator",
    "UserModel",
    "World",
    "WorldConfig",
    "aec_env",
    "build_world",
    "fit_user_model",
    "load",
    "load_world",
    "make_split",
    "parallel_env",
    "planted_world",
    "read_table",
    "single_env",
    "vector_env",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'recenv' has no attribute {name!r}")


register_all()
