"""Initial values of the recommender's user and item tables.

U users, N items, P dimensions of the tables.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from recenv.recommenders import ALSConfig, ALSRecommender
from recenv.schema import CLICK
from recenv.world import World
from training.config.network import NetworkConfig

Table = npt.NDArray[np.float32]


class Seeds(NamedTuple):
    """Tables whose inner products rank items for users.

    Over the users not held out and all items, ``users @ items.T`` has mean 0 and standard
    deviation 1, whatever the tables begin as: a weight means the same for all of them.

    Attributes:
        users: (U, P); who is not known stands at the mean of those not held out.
        items: (N, P), centred; what is not known stands at the mean, which is 0.
        platform: so many of the first dimensions are the world's interest vectors, in which the
            platform observes what a visit clicked.
        scale: (1,) what those vectors of items were multiplied by.
    """

    users: Table
    items: Table
    platform: int
    scale: Table


def make_seeds(world: World, config: NetworkConfig) -> Seeds:
    """The tables of ``config.init``.

    "lm": the world's interest vectors: what a language model says of the items' texts, mapped
    and added to by what the training log tells. Every user and item has them.

    "cf": factors of the training log by implicit-feedback ALS (Hu, Koren & Volinsky, ICDM 2008;
    ``recenv.recommenders.ALSRecommender``). Held-out users are folded in from their own training
    history. A user without one, and an item without clicks of users not held out, is not known.

    "hybrid": both side by side, as predictions that are added. An item without clicks has its
    text alone.

    "random": normal numbers in as many dimensions as "lm" has, from PyTorch's generator; the
    control. Held-out users are not known: no training ever moves their rows.

    Raises:
        MissingDependencyError: "cf" and "hybrid" need the package ``implicit``.
    """
    own, width = ~world.heldout, world.interests.items.shape[1]
    if config.init == "random":
        drawn = torch.randn(world.num_users + len(world.catalog), width).numpy()
        users, items = drawn[: world.num_users], drawn[world.num_users :]
        return _joined(own, [_scaled(own, users, items, known=own)])
    parts = []
    if config.init in ("lm", "hybrid"):
        parts.append(_scaled(own, world.interests.users, world.interests.items))
    platform = width if parts else 0
    if config.init in ("cf", "hybrid"):
        parts.append(_collaborative(world, config))
    return _joined(own, parts, platform)


def blank_seeds(world: World, config: NetworkConfig) -> Seeds:
    """Zeros of the same shapes, to be overwritten; needs no fit."""
    width = world.interests.items.shape[1]
    platform = width if config.init in ("lm", "hybrid") else 0
    whole = {"lm": width, "random": width, "cf": 0, "hybrid": width}[config.init]
    if config.init in ("cf", "hybrid"):
        whole += config.factors
    shapes = ((world.num_users, whole), (len(world.catalog), whole), (1,))
    users, items, scale = (np.zeros(shape, np.float32) for shape in shapes)
    return Seeds(users, items, platform, scale)


class _Part(NamedTuple):
    users: npt.NDArray[np.floating]
    items: npt.NDArray[np.floating]
    scale: float


def _collaborative(world: World, config: NetworkConfig) -> _Part:
    def fit() -> tuple[Table, Table]:
        fitted = ALSRecommender(world, ALSConfig(factors=config.factors))
        return fitted.user_factors, fitted.item_factors

    # once: a network is made for every evaluation
    users, items = world.derive(("factors", config.factors), fit)
    clicked = world.train.column("response") >= CLICK
    user, item = world.train.column("user")[clicked], world.train.column("item")[clicked]
    own = ~world.heldout
    return _scaled(
        own,
        users,
        items,
        known=np.bincount(user, minlength=world.num_users) > 0,
        seen=np.bincount(item[own[user]], minlength=len(world.catalog)) > 0,
    )


def _scaled(
    own: npt.NDArray[np.bool_],
    users: npt.NDArray[np.floating],
    items: npt.NDArray[np.floating],
    *,
    known: npt.NDArray[np.bool_] | None = None,
    seen: npt.NDArray[np.bool_] | None = None,
) -> _Part:
    """Tables scaled to products of unit spread; rows without data are the mean of the others.

    Args:
        own: (U,) users not held out.
        users: (U, P).
        items: (N, P).
        known: (U,) users with a row of their own; default all.
        seen: (N,) items with one; default all.
    """
    users = users.astype(np.float64)
    if known is not None:
        users[~known] = users[own & known].mean(0)
    items = items - (items if seen is None else items[seen]).mean(0, dtype=np.float64)
    if seen is not None:
        items[~seen] = 0
    scale = 1 / np.sqrt(max(_spread(users[own], items), 1e-6))
    return _Part(users * scale, items * scale, scale)


def _spread(users: npt.NDArray[np.floating], items: npt.NDArray[np.floating]) -> float:
    """Standard deviation of all products with centred items, without making them all."""
    return float(np.sqrt(((users.T @ users) * (items.T @ items)).sum() / (len(users) * len(items))))


def _joined(own: npt.NDArray[np.bool_], parts: list[_Part], platform: int = 0) -> Seeds:
    """Tables side by side, with products of unit spread in all.

    Each part alone has unit spread, so each counts alike in the sum; how much the sum spreads
    depends on how far the parts agree.
    """
    users = np.concatenate([part.users for part in parts], 1)
    items = np.concatenate([part.items for part in parts], 1)
    again = 1 / np.sqrt(max(_spread(users[own], items), 1e-6)) if len(parts) > 1 else 1.0
    scale = np.array([again * parts[0].scale], np.float32)
    return Seeds(
        (again * users).astype(np.float32), (again * items).astype(np.float32), platform, scale
    )
