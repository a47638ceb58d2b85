"""State of the game: named tuples of arrays that numba compiles against.

Shapes: B sessions, K slots, C candidates, D dimensions of the true interest, P dimensions of the
platform's vectors, G categories, H history, U users, N items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import typeof

from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.users.model import UserModel
from recenv.users.repeat_law import RepeatLaw
from recenv.world import World

LIVE, LEFT, TRUNCATED = 0, 1, 2
RECOMMENDER, USER = 0, 1
EMPTY = -1
"""Item code of an empty slot."""
UNLIMITED = np.iinfo(np.int32).max
"""What a visit needs where no law says when it has enough."""

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
ItemTable = Literal["float32", "int16", "int8"]
I8 = npt.NDArray[np.int8]
U64 = npt.NDArray[np.uint64]


class Tables(NamedTuple):
    """The world's parameters, shared by all sessions; no array can be written to."""

    users: npt.NDArray[np.void]  # (U,) records, see _users
    items: npt.NDArray[np.void]  # (N,) records, see _items
    user_vectors: F32  # (U, D)
    item_vectors: npt.NDArray[Any]  # (N, D) float32, or whole numbers of the item's scale
    click_weight: F32  # (D,)
    purchase_weight: F32  # (D,)
    examination: F32  # (K,) probability
    shown_vectors: npt.NDArray[Any]  # (N, P) items as the platform knows them
    encoded_users: F32  # (U, P) users as the platform knows them
    popularity: F32  # (N,) items as the platform knows them
    pool: I32  # users that visitors are drawn from
    order: I32  # (N,) a fixed shuffle of the catalogue, for stratified candidates
    strata: I32  # (C + 1,) where each candidate's stratum of the shuffle begins
    need_baseline: F32  # (M,) log-odds that a visit needs no more; empty: no such law
    repeat_start: npt.NDArray[np.int64]  # (U + 1,) rows of what users consumed before
    repeat_items: I32  # (R,) ascending within a user
    repeat_bonus: F32  # (R,) log-odds
    repeat_filter_start: npt.NDArray[np.int64]  # (U + 1,) see recenv.users.repeat_law.past_filter
    repeat_filter: npt.NDArray[np.uint32]

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickled arrays could be written to, and the step be compiled anew for them."""
        return _read_only_tables, (tuple(self),)


def _read_only_tables(arrays: tuple[npt.NDArray[Any], ...]) -> Tables:
    return Tables(*map(_read_only, arrays))


def make_rules(model: UserModel, game: GameConfig) -> np.ndarray:
    """The scalars of the game, dynamics of the user and weights of the rewards: one record.

    Returns:
        (1,) with a field for each of ``Dynamics`` and of ``RewardConfig``, ``max_rounds``, and
        ``exclude_consumed``, whether nothing is consumed twice. A record reaches a compiled
        function at once, scalar by scalar they would take ten times as long.
    """
    values: dict[str, float | int | bool] = {
        **model.dynamics._asdict(),
        **game.reward.to_dict(),
        "max_rounds": game.max_rounds,
        "exclude_consumed": model.repeat is not None and model.repeat.excludes,
    }
    dtypes = {bool: np.bool_, int: np.int64}
    fields = [(name, dtypes.get(type(value), np.float32)) for name, value in values.items()]
    rules = np.zeros(1, np.dtype(fields, align=True))
    for name, value in values.items():
        rules[name] = value
    return rules


class _Arrays(NamedTuple):
    """Fields of ``State``."""

    seed: U64  # (B,) of the last reset
    session: U64  # (B,) number of the visit since then
    key: U64  # (B,) random key of the visit
    user: I32  # (B,)
    round: I32  # (B,) rounds completed
    turn: F32  # (B,) RECOMMENDER or USER
    ended: I8  # (B,) LIVE, LEFT or TRUNCATED
    interest: F32  # (B, D) the user's true interest now
    boredom: F32  # (B, G)
    satisfaction: F32  # (B,)
    need: I32  # (B,) items that the visit still wants; UNLIMITED: no such law
    fulfilled: F32  # (B,) 1 / (1 + need), 0 if unlimited
    taken: I32  # (B, T) items consumed in the visit; T is 0 where no law asks
    taken_count: I32  # (B,)
    spent: F32  # (B,) in mean prices
    candidates: I32  # (B, C)
    candidate_popularity: F32  # (B, C)
    candidate_vectors: F32  # (B, C, P), or (B, 0, 0) where they are not observed
    slate: I32  # (B, K) on screen; EMPTY between rounds
    slate_vectors: F32  # (B, K, D) on screen, or (B, 0, 0) where they are not observed
    prices: F32  # (B, K) of the slots on screen
    utility: F32  # (B, K) of the slots on screen
    behaviour: F32  # (B, 3K + 2) fitted P(ignore, click, purchase) per slot, P(stay, leave)
    last_slate: I32  # (B, K) of the round before
    last_answer: I32  # (B, K)
    history_items: I32  # (B, H) latest first
    history_responses: I32  # (B, H) latest first; -1 where empty
    encoded: F32  # (B, P) the user as the platform knows it
    visit_interest: F32  # (B, P) mean of the platform's vectors of the items clicked
    visit_clicks: I32  # (B,)
    answers: I8  # (B, K + 1) of the last round as taken, 0 in an empty slot; then leave
    clicks: I32  # (B,) in the last round
    purchases: I32  # (B,) in the last round
    rewards: F32  # (B, 2) recommender's and user's, of the last round


class State(_Arrays):
    """B visits. The step updates the arrays in place; agents observe some of them as they are."""

    @cached_property
    def kind(self) -> Any:
        """The arrays' types, one object for all states that are stepped by the same code."""
        return typeof(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has arrays of its own, laid out as ``make_state`` does; nothing else is kept."""
        return _laid_out, (tuple(self),)


def rows_of(state: State, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> State:
    """Some of the visits, in arrays of their own.

    Args:
        state: of B visits.
        rows: (B,) which, or their row numbers.
    """
    return State._make(leaf[rows] for leaf in state)


class Screen(NamedTuple):
    """What is on screen for as long as a step takes, in memory that several visits use in turn.

    Fields are those of ``State``, which is itself such a thing: every visit's own screen.
    """

    slate: I32
    prices: F32
    utility: F32
    behaviour: F32


def tables_of(world: World, game: GameConfig) -> Tables:
    """The world's parameters in the layout of the step, made once for all simulators."""
    key = ("tables", game.slate_size, game.num_candidates, game.users, game.item_table)
    return world.derive(key, lambda: make_tables(world, game))


def make_tables(world: World, game: GameConfig) -> Tables:
    """The world's parameters in the layout of the step.

    Numba compiles functions of their own for arrays that cannot be written to. All tables are
    such arrays, so that memory shared between processes is read by the same ones.
    """
    model = world.user_model
    n = len(world.catalog)
    items, item_scale = stored(model.item_vectors, game.item_table)
    shown, shown_scale = stored(world.interests.items, game.item_table)
    tables = Tables(
        users=_users(model),
        items=_items(world, item_scale, shown_scale),
        user_vectors=model.user_vectors,
        item_vectors=items,
        click_weight=model.click_weight,
        purchase_weight=model.purchase_weight,
        examination=model.examination[: game.slate_size].copy(),
        shown_vectors=shown,
        encoded_users=world.interests.users,
        popularity=world.log_popularity,
        pool=world.pool(game.users),
        order=np.random.default_rng(0).permutation(n).astype(np.int32),
        strata=(np.arange(game.num_candidates + 1) * n // game.num_candidates).astype(np.int32),
        need_baseline=np.empty(0, np.float32)
        if model.visit_length is None
        else model.visit_length.baseline,
        **_repeat(model),
    )
    return _read_only_tables(tables)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def stored(vectors: F32, table: ItemTable) -> tuple[npt.NDArray[Any], F32]:
    """Vectors as an item table holds them: (N, D) numbers, and (N,) what one of them counts.

    Integers are symmetric fixed-point numbers with a scale for each row, so that an entry is off
    by at most half of its row's largest over 127 ("int8") or 32767 ("int16"; for the entries that
    weigh most that is far closer than a half-precision float of the same size).
    """
    if table == "float32":
        return vectors, np.ones(len(vectors), np.float32)
    dtype = np.dtype(table)
    most = np.abs(vectors).max(axis=1, initial=0) / np.iinfo(dtype).max
    scale = np.where(most > 0, most, 1).astype(np.float32)
    return np.rint(vectors / scale[:, None]).astype(dtype), scale


def _users(model: UserModel) -> npt.NDArray[np.void]:
    """(U,) what a user's numbers are: log-odds that add to a click, to a purchase, to a length."""
    law = model.visit_length
    fields = {
        "click_bias": model.user_click_bias,
        "purchase_bias": model.user_purchase_bias,
        "need_effect": np.zeros_like(model.user_click_bias) if law is None else law.effect,
    }
    return _records(fields)


def _items(world: World, scale: F32, shown_scale: F32) -> npt.NDArray[np.void]:
    """(N,) what an item's numbers are. They lie side by side: one item is one line of cache.

    What is read of every candidate, ``popularity``, is better off in an array of its own.
    """
    model = world.user_model
    fields: dict[str, np.ndarray] = {
        "scale": scale,  # of its row of item_vectors
        "shown_scale": shown_scale,  # of its row of shown_vectors
        "click_bias": model.item_click_bias,  # log-odds
        "purchase_bias": model.item_purchase_bias,
        "price": relative_price(world),  # over the catalogue's mean price
        "category": world.catalog.category.astype(np.int32),
    }
    return _records(fields)


def _records(fields: dict[str, np.ndarray]) -> npt.NDArray[np.void]:
    dtype = np.dtype([(name, values.dtype) for name, values in fields.items()], align=True)
    records = np.zeros(len(next(iter(fields.values()))), dtype)
    for name, values in fields.items():
        records[name] = values
    return records


def _repeat(model: UserModel) -> dict[str, np.ndarray]:
    law = model.repeat
    if law is None:
        law = RepeatLaw.nothing(len(model.user_vectors))
    filter_start, words = law.filter
    return {
        "repeat_start": law.start,
        "repeat_items": law.items,
        "repeat_bonus": law.bonus,
        "repeat_filter_start": filter_start,
        "repeat_filter": words,
    }


def relative_price(world: World) -> F32:
    """(N,) price over the catalogue's mean price; zeros where the log has no prices."""
    price = world.catalog.price
    mean = float(price.mean())
    return (price / mean if mean > 0 else price).astype(np.float32)


class Field(NamedTuple):
    """One array of the state: what comes after the batch dimension, and what it starts as."""

    shape: tuple[int, ...]
    dtype: type[np.generic]
    blank: int = 0

    @property
    def bytes(self) -> int:
        """For one visit."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def state_fields(world: World, game: GameConfig, *, user_sees: bool = True) -> dict[str, Field]:
    """Shape and dtype of each array of the state, without the batch dimension.

    Args:
        world: users, items and laws.
        game: rules of a visit.
        user_sees: keep the vectors of the slate, which only the user's observation has.
    """
    k, c, h = game.slate_size, game.num_candidates, game.history_length
    d, p = world.user_model.dim, world.interests.items.shape[1]
    g = len(world.catalog.category_names)
    vectors = game.vectors
    # only a law about consuming the same item again looks at what the visit took
    taken = k * game.max_rounds if world.user_model.dynamics.again != 0 else 0
    f, i = np.float32, np.int32
    return {
        "seed": Field((), np.uint64),
        "session": Field((), np.uint64),
        "key": Field((), np.uint64),
        "user": Field((), i),
        "round": Field((), i),
        "turn": Field((), f),
        "ended": Field((), np.int8, LEFT),
        "interest": Field((d,), f),
        "boredom": Field((g,), f),
        "satisfaction": Field((), f),
        "need": Field((), i, UNLIMITED),
        "fulfilled": Field((), f),
        "taken": Field((taken,), i, EMPTY),
        "taken_count": Field((), i),
        "spent": Field((), f),
        "candidates": Field((c,), i),
        "candidate_popularity": Field((c,), f),
        "candidate_vectors": Field((c, p) if vectors else (0, 0), f),
        "slate": Field((k,), i, EMPTY),
        "slate_vectors": Field((k, d) if vectors and user_sees else (0, 0), f),
        "prices": Field((k,), f),
        "utility": Field((k,), f),
        "behaviour": Field((3 * k + 2,), f),
        "last_slate": Field((k,), i, EMPTY),
        "last_answer": Field((k,), i),
        "history_items": Field((h,), i, EMPTY),
        "history_responses": Field((h,), i, -1),
        "encoded": Field((p,), f),
        "visit_interest": Field((p,), f),
        "visit_clicks": Field((), i),
        "answers": Field((k + 1,), np.int8),
        "clicks": Field((), i),
        "purchases": Field((), i),
        "rewards": Field((2,), f),
    }


def make_state(fields: dict[str, Field], batch: int) -> State:
    """State of ``batch`` visits that have not begun.

    Raises:
        ConfigError: they do not fit into memory.
    """
    shapes = {name: ((batch, *field.shape), field.dtype) for name, field in fields.items()}
    state = _allocated(shapes)
    for name, field in fields.items():
        if field.blank:
            getattr(state, name)[...] = field.blank
    return state


def _laid_out(arrays: tuple[np.ndarray, ...]) -> State:
    """A state that holds the same as some arrays."""
    named = zip(State._fields, arrays, strict=True)
    state = _allocated({name: (array.shape, array.dtype) for name, array in named})
    for own, given in zip(state, arrays, strict=True):
        own[...] = given
    return state


def _allocated(shapes: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> State:
    """A state of zeros, its arrays in one stretch of memory: see ``_places``.

    Raises:
        ConfigError: it does not fit into memory.
    """
    places = _places(shapes)
    size = max(place.stop for place in places.values())
    try:
        memory = np.zeros(size + _LINE, np.uint8)
    except (MemoryError, ValueError) as error:
        raise ConfigError(
            f"The state of these visits takes {size / 2**30:.3g} GiB, which cannot be had. Play "
            "fewer visits at once, or make history_length, max_rounds or num_candidates smaller."
        ) from error
    memory = memory[-memory.ctypes.data % _LINE :]  # so that arrays begin with a line of cache
    arrays = {
        name: memory[places[name]].view(dtype).reshape(shape)
        for name, (shape, dtype) in shapes.items()
    }
    return State(**arrays)


def _places(shapes: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> dict[str, slice]:
    """Where in memory each array of the state lies, in bytes.

    Of many visits each array begins on another line of a page: a row's parts would otherwise lie
    at the same places of their pages, compete for the same few lines of cache, and be taken for
    one another by a processor that compares the places alone.

    Of a single visit the arrays follow one another, what an agent observes side by side: its
    observation is then copied in one piece.
    """
    alone = all(shape[0] == 1 for shape, _ in shapes.values())
    names = [*_SIDE_BY_SIDE, *(n for n in shapes if n not in _SIDE_BY_SIDE)] if alone else shapes
    places, at = {}, 0
    for number, name in enumerate(names):
        shape, dtype = shapes[name]
        if alone:
            start = -(-at // _LINE) * _LINE
        else:
            start = -(-at // _PAGE) * _PAGE + number * _STAGGER % _PAGE
        at = start + math.prod(shape) * np.dtype(dtype).itemsize
        places[name] = slice(start, at)
    return places


_LINE, _PAGE = 64, 4096  # bytes
_STAGGER = 5 * _LINE
_SIDE_BY_SIDE = (
    # what the recommender observes
    "user",
    "encoded",
    "candidates",
    "candidate_vectors",
    "candidate_popularity",
    "last_slate",
    "last_answer",
    "history_items",
    "history_responses",
    "visit_interest",
    "round",
    "turn",  # from "round" on, what the user observes
    "interest",
    "boredom",
    "satisfaction",
    "spent",
    "fulfilled",
    "slate",
    "slate_vectors",
    "prices",
    "utility",
    "behaviour",
)
