"""Observations of both agents: plain dicts of float32 and int32 arrays, one row per visit.

The recommender sees what a platform knows and never the user's true state. The user sees its
own state, the slate on screen, and ``behaviour``: the fitted probabilities of every answer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.sim.state import EMPTY, State, relative_price
from recenv.world import World

Observation = dict[str, np.ndarray]


class Leaf(NamedTuple):
    """One entry of an observation."""

    shape: tuple[int, ...]
    dtype: type[np.float32] | type[np.int32]
    low: float
    high: float


def recommender_leaves(world: World, game: GameConfig) -> dict[str, Leaf]:
    """Name, shape, dtype and bounds of each entry of the recommender's observation."""
    n, p = world.interests.items.shape
    k, c, h = game.slate_size, game.num_candidates, game.history_length
    known = _bound(world.interests.items)
    leaves = {
        "user": _ints((1,), 0, world.num_users - 1),
        "interest": _floats((p,), _bound(world.interests.users)),
        "candidates": _ints((c,), 0, n - 1),
        "candidate_vectors": _floats((c, p), known),
        "candidate_popularity": _counts((c,), _bound(world.log_popularity)),
        "last_slate": _ints((k,), EMPTY, n - 1),
        "last_answer": _ints((k,), 0, 2),
        "history_items": _ints((h,), EMPTY, n - 1),
        "history_responses": _ints((h,), -1, 2),
        "visit_interest": _floats((p,), known),
        "round": _ints((1,), 0, game.max_rounds),
        "turn": _counts((1,), 1),
    }
    return _visible(leaves, game)


def user_leaves(world: World, game: GameConfig) -> dict[str, Leaf]:
    """Name, shape, dtype and bounds of each entry of the user's observation."""
    d, k = world.user_model.dim, game.slate_size
    model, n = world.user_model, len(world.catalog)
    slots = k * game.max_rounds  # the most items that a visit can consume
    price = _bound(relative_price(world))
    leaves = {
        # drift keeps an interest between where it began and the items
        "interest": _floats((d,), max(_bound(model.user_vectors), _bound(model.item_vectors))),
        "boredom": _counts(
            (len(world.catalog.category_names),), slots * model.dynamics.boredom_gain
        ),
        "satisfaction": _floats((1,), slots),
        "spent": _counts((1,), slots * price),
        "fulfilled": _counts((1,), 1),
        "slate": _ints((k,), EMPTY, n - 1),
        "slate_vectors": _floats((k, d), _bound(model.item_vectors)),
        "prices": _counts((k,), price),
        "utility": _floats((k,), 1),
        "behaviour": _counts((3 * k + 2,), 1),
        "round": _ints((1,), 0, game.max_rounds),
        "turn": _counts((1,), 1),
    }
    return _visible(leaves, game)


def _visible(leaves: dict[str, Leaf], game: GameConfig) -> dict[str, Leaf]:
    """The leaves that the game's agents observe."""
    if game.vectors:
        return leaves
    return {k: v for k, v in leaves.items() if k not in ("candidate_vectors", "slate_vectors")}


RECOMMENDER_FIELDS = {"interest": "encoded"}
"""Field of the state that holds an entry of the recommender's observation, if not its namesake."""


def observe_recommender(leaves: dict[str, Leaf], state: State, *, copy: bool) -> Observation:
    """The recommender's observation, (B, ...) per leaf; with ``copy``, in arrays of its own."""
    return _observe(leaves, RECOMMENDER_FIELDS, state, copy)


def observe_user(leaves: dict[str, Leaf], state: State, *, copy: bool) -> Observation:
    """The user's observation; as ``observe_recommender``."""
    return _observe(leaves, {}, state, copy)


def _observe(
    leaves: dict[str, Leaf], fields: dict[str, str], state: State, copy: bool
) -> Observation:
    out: Observation = {}
    for name, leaf in leaves.items():
        values: np.ndarray = getattr(state, fields.get(name, name))
        values = values.reshape(len(values), *leaf.shape)
        out[name] = values.copy() if copy else values
    return out


def layout(leaves: dict[str, Leaf]) -> dict[str, slice]:
    """Where each leaf lies in the flat vector: leaves in order, each in C order."""
    out: dict[str, slice] = {}
    start = 0
    for name, leaf in leaves.items():
        size = math.prod(leaf.shape)
        out[name] = slice(start, start + size)
        start += size
    return out


def flatten(leaves: dict[str, Leaf], observation: Observation) -> npt.NDArray[np.float32]:
    """(B, ...) leaves to (B, F) float32; ids below 2**24 survive exactly."""
    parts = [observation[name].reshape(len(observation[name]), -1) for name in leaves]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")


def unflatten(leaves: dict[str, Leaf], flat: npt.NDArray[np.float32]) -> Observation:
    """The inverse of ``flatten``: (B, F) to (B, ...) leaves."""
    return {
        name: flat[:, where].reshape(-1, *leaves[name].shape).astype(leaves[name].dtype)
        for name, where in layout(leaves).items()
    }


def _bound(values: npt.NDArray[np.float32]) -> float:
    """A bound on absolute values, with room for rounding (and for a table of zeros)."""
    return float(np.abs(values).max(initial=0)) * 1.001 + 1e-3


def _floats(shape: tuple[int, ...], bound: float) -> Leaf:
    return Leaf(shape, np.float32, -bound, bound)


def _counts(shape: tuple[int, ...], bound: float) -> Leaf:
    return Leaf(shape, np.float32, 0, bound)


def _ints(shape: tuple[int, ...], low: int, high: int) -> Leaf:
    return Leaf(shape, np.int32, low, high)
