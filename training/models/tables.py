"""World tensors shared by all networks: one copy per process, or per machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recenv.world import World


def world_table(world: World, name: str, make: Callable[[], np.ndarray]) -> Tensor:
    """A tensor made from the world once; all that ask for it share its memory.

    Never write to it, and never let a checkpoint hold it. Workers of a cluster find the memory
    in the object store of their machine (``training.world.share``); on a GPU it is a copy.

    Args:
        world: what it is made from.
        name: of the table.
        make: returns it as an array.
    """
    return unwritten(world.derive(("table", name), lambda: np.ascontiguousarray(make())))


def unwritten(array: np.ndarray) -> Tensor:
    """A tensor on the memory of an array that nobody writes to, even if it is read-only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch cannot mark a tensor as read-only
        return torch.from_numpy(array)


class HoldsTables:
    """For a module with tables of a world: learners side by side do not send them to each other.

    PyTorch's DistributedDataParallel would broadcast all buffers before every step, and write
    what comes into them.
    """

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        module: Any = self
        weights = module.state_dict()
        return [name for name, _ in module.named_buffers() if name not in weights]


def category_table(world: World) -> Tensor:
    """(N,) category of each item, int64."""
    return world_table(world, "category", lambda: world.catalog.category.astype(np.int64))


def popularity_table(world: World) -> Tensor:
    """(N,) standardised log popularity of each item, float32."""

    def make() -> np.ndarray:
        popularity = world.log_popularity
        return (popularity - popularity.mean()) / max(float(popularity.std()), 1e-6)

    return world_table(world, "popularity", make)
