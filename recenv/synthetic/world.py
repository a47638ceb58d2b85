"""Planted worlds: users with known parameters, and logs drawn from them.

Every estimator must recover these parameters before it sees a real log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.config import Config, GameConfig, UserModelConfig
from recenv.encoders.interest_vectors import InterestVectors
from recenv.schema import EVENT_COLUMNS, OPTIONAL_EVENT_COLUMNS, Catalog, InteractionLog
from recenv.synthetic.log import emit_log
from recenv.users.laws import examination_prior
from recenv.users.model import MAX_SLOTS, Dynamics, UserModel
from recenv.users.provenance import Provenance
from recenv.world import World

_COLUMNS = {**EVENT_COLUMNS, **OPTIONAL_EVENT_COLUMNS}


@dataclass(frozen=True)
class PlantedConfig(Config):
    """Sizes and spreads of a planted world. Biases are in log-odds.

    Attributes:
        num_users: users, 1 or more.
        num_items: items, 1 or more.
        num_categories: categories of the items, 1 or more.
        dim: values of a user's or an item's vector, 1 or more.
        affinity: standard deviation of the click affinity over user-item pairs.
        item_bias: standard deviation of the items' click and purchase biases.
        user_bias: standard deviation of the users' click and purchase biases.
        click_intercept: mean of the items' click biases.
        purchase_intercept: mean of the items' purchase biases.
        platform_noise: standard deviation of the noise on the platform's item vectors, relative
            to theirs.
        heldout_users: share of the users who are held out, from 0 to below 1.
        history_visits: visits of each user in the world's log.
        seed: of all that is drawn.
    """

    num_users: int = 200
    num_items: int = 200
    num_categories: int = 8
    dim: int = 8
    affinity: float = 1.5
    item_bias: float = 0.7
    user_bias: float = 0.3
    click_intercept: float = -2.0
    purchase_intercept: float = -0.5
    platform_noise: float = 0.3
    heldout_users: float = 0.25
    history_visits: int = 5
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("num_users", "num_items", "num_categories", "dim"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(0 <= self.heldout_users < 1, "heldout_users", "in [0, 1)")


def planted_world(config: PlantedConfig | None = None, *, name: str = "toy") -> World:
    """A world whose parameters are drawn, not fitted, with the history that its users left.

    Items lie around category centres; the platform knows their vectors with noise, and a
    user's interest as the mean platform vector of what the user clicked in ``history_visits``
    visits to uniformly random slates.
    """
    config = config or PlantedConfig()
    rng = np.random.default_rng(config.seed)
    u, n, d, g = config.num_users, config.num_items, config.dim, config.num_categories
    centres = rng.normal(size=(g, d))
    category = rng.integers(g, size=n).astype(np.int32)
    items = (centres[category] + 0.7 * rng.normal(size=(n, d))) / np.sqrt(1.5)
    users = rng.normal(size=(u, d))
    weight = np.full(d, config.affinity / np.sqrt(d))
    model = UserModel(
        user_vectors=_f32(users),
        item_vectors=_f32(items),
        user_click_bias=_f32(config.user_bias * rng.normal(size=u)),
        user_purchase_bias=_f32(config.user_bias * rng.normal(size=u)),
        item_click_bias=_f32(config.click_intercept + config.item_bias * rng.normal(size=n)),
        item_purchase_bias=_f32(config.purchase_intercept + config.item_bias * rng.normal(size=n)),
        click_weight=_f32(weight),
        purchase_weight=_f32(weight * rng.uniform(0.2, 1.0, size=d)),
        examination=examination_prior(MAX_SLOTS, UserModelConfig().examination_decay),
        dynamics=Dynamics.from_config(UserModelConfig()),
        laws={
            law: Provenance("planted", "drawn, not fitted")
            for law in (
                "click",
                "click level",
                "purchase",
                "examination",
                "leave",
                "boredom",
                "drift",
            )
        },
    )
    known = items + config.platform_noise * rng.normal(size=(n, d))
    catalog = Catalog(
        item_ids=_objects([f"item {i}" for i in range(n)]),
        text=_objects([f"Item {i} of category {c}" for i, c in enumerate(category)]),
        category=category,
        category_names=tuple(f"category {c}" for c in range(g)),
        price=_f32(np.exp(rng.normal(size=n) * 0.5)),
    )
    blank = World(
        name=name,
        catalog=catalog,
        user_model=model,
        interests=InterestVectors(
            items=_f32(known),
            users=np.zeros((u, d), np.float32),
            is_language_model=False,
            encoder="planted vectors with noise",
        ),
        train=_empty_log(u, name),
        heldout=rng.permutation(u) < int(config.heldout_users * u),
        notes=("A planted world: its parameters are drawn at random, not fitted to a log.",),
    )
    game = GameConfig(slate_size=min(5, n), num_candidates=min(20, n))
    history = emit_log(blank, game, visits_per_user=config.history_visits, seed=config.seed)
    return World(
        name=name,
        catalog=catalog,
        user_model=model,
        interests=InterestVectors(
            items=blank.interests.items,
            users=_mean_clicked(history, blank.interests.items, u),
            is_language_model=False,
            encoder=blank.interests.encoder,
        ),
        train=history,
        heldout=blank.heldout,
        notes=blank.notes,
    )


def _empty_log(num_users: int, name: str) -> InteractionLog:
    columns = {c: np.empty(0, t) for c, t in _COLUMNS.items()}
    ids = _objects([f"user {u}" for u in range(num_users)])
    return InteractionLog(pd.DataFrame(columns), ids, name=name, has_impressions=True)


def _mean_clicked(
    log: InteractionLog, vectors: npt.NDArray[np.float32], num_users: int
) -> npt.NDArray[np.float32]:
    clicked = log.column("response") > 0
    user, item = log.column("user")[clicked], log.column("item")[clicked]
    total = np.zeros((num_users, vectors.shape[1]))
    np.add.at(total, user, vectors[item])
    count = np.bincount(user, minlength=num_users)
    return _f32(total / np.maximum(count, 1)[:, None])


def _f32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _objects(values: list[str]) -> npt.NDArray[np.object_]:
    out = np.empty(len(values), object)
    out[:] = values
    return out
