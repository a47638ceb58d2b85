"""Training of both agents with RLlib; trained policies load without it.

>>> from training import TrainConfig, load_recommender, load_user
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.runs.load_policy import load as load_recommender
    from training.runs.load_policy import load_user

_LAZY = {
    "TrainConfig": ("training.config", "TrainConfig"),
    "load_recommender": ("training.runs.load_policy", "load"),
    "load_user": ("training.runs.load_policy", "load_user"),
}

__all__ = ["TrainConfig", "load_recommender", "load_user"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'training' has no attribute {name!r}")
