"""What each agent sees: plain dicts of float32 and int32 arrays, one row per visit.

The recommender sees what a platform knows and never the user's true state. The user sees its
own state, the slate on screen, and ``behaviour``: the fitted probabilities of every answer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.sim.state import EMPTY, UNLIMITED, State, Tables, relative_price
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
    return {
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


def user_leaves(world: World, game: GameConfig) -> dict[str, Leaf]:
    """Name, shape, dtype and bounds of each entry of the user's observation."""
    d, k = world.user_model.dim, game.slate_size
    model, n = world.user_model, len(world.catalog)
    slots = k * game.max_rounds  # the most items that a visit can consume
    price = _bound(relative_price(world))
    return {
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


def observe_recommender(
    world: World, tables: Tables, state: State, popularity: npt.NDArray[np.float32]
) -> Observation:
    """The recommender's observation, (B, ...) per leaf; new arrays at every call."""
    candidates = state.candidates
    clicks = np.maximum(state.visit_clicks, 1).astype(np.float32)
    return {
        "user": state.user[:, None].copy(),
        "interest": world.interests.users[state.user],
        "candidates": candidates.copy(),
        "candidate_vectors": tables.shown_vectors[candidates],
        "candidate_popularity": popularity[candidates],
        "last_slate": state.last_slate.copy(),
        "last_answer": state.last_answer.astype(np.int32),
        "history_items": state.history_items.copy(),
        "history_responses": state.history_responses.astype(np.int32),
        "visit_interest": state.visit_interest / clicks[:, None],
        "round": state.round[:, None].copy(),
        "turn": state.turn[:, None].astype(np.float32),
    }


def observe_user(tables: Tables, state: State) -> Observation:
    """The user's observation, (B, ...) per leaf; new arrays at every call."""
    slate = state.slate
    empty = slate == EMPTY
    vectors = tables.item_vectors[slate]
    vectors[empty] = 0
    return {
        "interest": state.interest.copy(),
        "boredom": state.boredom.copy(),
        "satisfaction": state.satisfaction[:, None].copy(),
        "spent": state.spent[:, None].copy(),
        "fulfilled": _fulfilled(state.need)[:, None],
        "slate": slate.copy(),
        "slate_vectors": vectors,
        "prices": np.where(empty, np.float32(0), tables.price[slate]),
        "utility": state.utility.copy(),
        "behaviour": state.behaviour.copy(),
        "round": state.round[:, None].copy(),
        "turn": state.turn[:, None].astype(np.float32),
    }


def _fulfilled(need: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """(B,) 1 / (1 + items still wanted): 1 when the visit has all it came for, 0 if unlimited."""
    wanted = 1 + np.maximum(need, 0).astype(np.float32)
    return np.where(need == UNLIMITED, np.float32(0), 1 / wanted)


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
