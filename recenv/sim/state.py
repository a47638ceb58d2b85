"""What a step reads and writes, as named tuples of arrays that numba compiles against.

Shapes: B sessions, K slots, C candidates, D dimensions, G categories, H history, U users,
N items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.users.model import UserModel
from recenv.users.repeat import RepeatLaw
from recenv.world import World

LIVE, LEFT, TRUNCATED = 0, 1, 2
RECOMMENDER, USER = 0, 1
EMPTY = -1
"""Item code of an empty slot."""
UNLIMITED = np.iinfo(np.int32).max
"""What a visit needs where no law says when it has enough."""

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]


class Tables(NamedTuple):
    """The world's parameters; read only, shared by all sessions."""

    user_vectors: F32  # (U, D)
    item_vectors: F32  # (N, D)
    user_click_bias: F32  # (U,) log-odds
    user_purchase_bias: F32  # (U,)
    item_click_bias: F32  # (N,)
    item_purchase_bias: F32  # (N,)
    click_weight: F32  # (D,)
    purchase_weight: F32  # (D,)
    examination: F32  # (K,) probability
    category: I32  # (N,)
    price: F32  # (N,) price over the catalogue's mean price
    shown_vectors: F32  # (N, P) item vectors as the platform knows them
    order: I32  # (N,) a fixed shuffle of the catalogue, for stratified candidates
    need_baseline: F32  # (M,) log-odds that a visit needs no more; empty: no such law
    need_effect: F32  # (U,)
    repeat_start: npt.NDArray[np.int64]  # (U + 1,) rows of what users consumed before
    repeat_items: I32  # (R,) ascending within a user
    repeat_bonus: F32  # (R,) log-odds


class Rules(NamedTuple):
    """The scalars of the game: dynamics of the user and weights of the rewards."""

    leave_intercept: np.float32
    leave_length: np.float32
    leave_satisfaction: np.float32
    leave_boredom: np.float32
    satisfaction_decay: np.float32
    boredom_weight: np.float32
    boredom_gain: np.float32
    boredom_decay: np.float32
    drift_rate: np.float32
    again: np.float32
    funnel: np.float32
    exclude_consumed: bool
    max_rounds: int
    click: np.float32
    purchase: np.float32
    purchase_by_value: bool
    leave_cost: np.float32
    click_utility: np.float32
    purchase_utility: np.float32
    effort: np.float32
    price_sensitivity: np.float32
    behaviour_weight: np.float32
    cooperation: np.float32


class State(NamedTuple):
    """B visits. Arrays are updated in place by the step."""

    key: npt.NDArray[np.uint64]  # (B,) random key of the visit
    user: I32  # (B,)
    round: I32  # (B,) rounds completed
    turn: I8  # (B,) RECOMMENDER or USER
    ended: I8  # (B,) LIVE, LEFT or TRUNCATED
    interest: F32  # (B, D) the user's true interest now
    boredom: F32  # (B, G)
    satisfaction: F32  # (B,)
    need: I32  # (B,) items that the visit still wants; UNLIMITED: no such law
    taken: I32  # (B, T) items consumed in the visit; T is 0 where no law asks
    taken_count: I32  # (B,)
    spent: F32  # (B,) in mean prices
    candidates: I32  # (B, C)
    slate: I32  # (B, K) on screen; EMPTY between rounds
    utility: F32  # (B, K) of the slots on screen
    behaviour: F32  # (B, 3K + 2) fitted P(ignore, click, purchase) per slot, P(stay, leave)
    last_slate: I32  # (B, K) of the round before
    last_answer: I8  # (B, K)
    history_items: I32  # (B, H) latest first
    history_responses: I8  # (B, H) latest first; -1 where empty
    visit_interest: F32  # (B, P) sum of the platform's vectors of the items clicked
    visit_clicks: I32  # (B,)
    clicks: I32  # (B,) in the last round
    purchases: I32  # (B,) in the last round
    rewards: F32  # (B, 2) recommender's and user's, of the last round


def make_tables(world: World, game: GameConfig) -> Tables:
    """The world's parameters in the layout of the step."""
    model = world.user_model
    n = len(world.catalog)
    return Tables(
        user_vectors=model.user_vectors,
        item_vectors=model.item_vectors,
        user_click_bias=model.user_click_bias,
        user_purchase_bias=model.user_purchase_bias,
        item_click_bias=model.item_click_bias,
        item_purchase_bias=model.item_purchase_bias,
        click_weight=model.click_weight,
        purchase_weight=model.purchase_weight,
        examination=model.examination[: game.slate_size].copy(),
        category=world.catalog.category.astype(np.int32),
        price=relative_price(world),
        shown_vectors=world.interests.items,
        order=np.random.default_rng(0).permutation(n).astype(np.int32),
        **_need(model),
        **_repeat(model),
    )


def _need(model: UserModel) -> dict[str, F32]:
    law = model.visit_length
    if law is None:
        return {"need_baseline": np.empty(0, np.float32), "need_effect": np.empty(0, np.float32)}
    return {"need_baseline": law.baseline, "need_effect": law.effect}


def _repeat(model: UserModel) -> dict[str, np.ndarray]:
    law = model.repeat
    if law is None:
        law = RepeatLaw.nothing(len(model.user_vectors))
    return {"repeat_start": law.start, "repeat_items": law.items, "repeat_bonus": law.bonus}


def relative_price(world: World) -> F32:
    """(N,) price over the catalogue's mean price; zeros where the log has no prices."""
    price = world.catalog.price
    mean = float(price.mean())
    return (price / mean if mean > 0 else price).astype(np.float32)


def make_rules(model: UserModel, game: GameConfig) -> Rules:
    """The game's scalars in the layout of the step."""
    reward = game.reward
    floats = {name: np.float32(value) for name, value in model.dynamics._asdict().items()}
    weights = {
        name: np.float32(value)
        for name, value in reward.to_dict().items()
        if name != "purchase_by_value"
    }
    return Rules(
        **floats,
        exclude_consumed=model.repeat is not None and model.repeat.excludes,
        max_rounds=game.max_rounds,
        purchase_by_value=reward.purchase_by_value,
        **weights,
    )


def make_state(world: World, game: GameConfig, batch: int) -> State:
    """State of ``batch`` visits that have not begun."""
    b, k, c, h = batch, game.slate_size, game.num_candidates, game.history_length
    d, p = world.user_model.dim, world.interests.items.shape[1]
    g = len(world.catalog.category_names)
    # only a law about consuming the same item again looks at what the visit took
    taken = k * game.max_rounds if world.user_model.dynamics.again != 0 else 0
    return State(
        key=np.zeros(b, np.uint64),
        user=np.zeros(b, np.int32),
        round=np.zeros(b, np.int32),
        turn=np.zeros(b, np.int8),
        ended=np.full(b, LEFT, np.int8),
        interest=np.zeros((b, d), np.float32),
        boredom=np.zeros((b, g), np.float32),
        satisfaction=np.zeros(b, np.float32),
        need=np.full(b, UNLIMITED, np.int32),
        taken=np.full((b, taken), EMPTY, np.int32),
        taken_count=np.zeros(b, np.int32),
        spent=np.zeros(b, np.float32),
        candidates=np.zeros((b, c), np.int32),
        slate=np.full((b, k), EMPTY, np.int32),
        utility=np.zeros((b, k), np.float32),
        behaviour=np.zeros((b, 3 * k + 2), np.float32),
        last_slate=np.full((b, k), EMPTY, np.int32),
        last_answer=np.zeros((b, k), np.int8),
        history_items=np.full((b, h), EMPTY, np.int32),
        history_responses=np.full((b, h), -1, np.int8),
        visit_interest=np.zeros((b, p), np.float32),
        visit_clicks=np.zeros(b, np.int32),
        clicks=np.zeros(b, np.int32),
        purchases=np.zeros(b, np.int32),
        rewards=np.zeros((b, 2), np.float32),
    )
