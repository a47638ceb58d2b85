"""Synthetic logs of baskets: purchases of planted users in a shop with its catalogue exposed.

A visit takes each item independently, or a drawn number of items, and repeat purchases are more
likely than first ones. The personal past is carried forward visit by visit
here, not looked up from a log, so that an estimator of it is compared with other code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from recenv.errors import ConfigError
from recenv.schema import EVENT_COLUMNS, OPTIONAL_EVENT_COLUMNS, PURCHASE, InteractionLog
from recenv.users.duration_law import DurationLaw
from recenv.users.repeat_law import FLOOR, HALF_LIVES, PRIOR_VISITS
from recenv.world import World

_DAY = 86_400.0  # seconds
_COLUMNS = {**EVENT_COLUMNS, **OPTIONAL_EVENT_COLUMNS}

Floats = npt.NDArray[np.float64]


def emit_baskets(
    world: World,
    *,
    visits_per_user: int = 20,
    repeat_weights: Sequence[float] = (),
    half_lives: Sequence[float] = HALF_LIVES,
    lengths: DurationLaw | None = None,
    returns: DurationLaw | None = None,
    days: int | None = None,
    seed: int = 0,
) -> InteractionLog:
    """Purchases alone, in visits; the log exposes its catalogue to every visit.

    Without ``lengths`` a visit takes item i with ``logit p = affinity + biases + sum over
    half-lives of weight * log(1 + share / FLOOR)``, each item by itself, where ``share`` is of
    the user's earlier visits, the latest counting most (``recenv.users.repeat_law``). With
    ``lengths`` it takes that many items, drawn one after the other by these odds
    (Plackett-Luce). A visit that takes nothing leaves no trace, as in a shop's own log.

    Args:
        world: its click law is the law of purchase; its purchase law is not used.
        visits_per_user: of every user, a day apart; with ``returns``, the most of them.
        repeat_weights: see above; one for each half-life, or none.
        half_lives: visits after which a visit counts half.
        lengths: of visits, in items.
        returns: days to the next visit. Users begin on a day of the first week; what falls after
            ``days`` days is not in the log.
        days: needed with ``returns``.
        seed: of all draws.

    Raises:
        ConfigError: there is no visit, only one of ``returns`` and ``days`` is given, or weights
            and half-lives differ in number.
    """
    if visits_per_user < 1:
        raise ConfigError(f"visits_per_user must be at least 1, but is {visits_per_user}.")
    if repeat_weights and len(repeat_weights) != len(half_lives):
        raise ConfigError(
            f"Give a weight for each of the half-lives {tuple(half_lives)}, or none; got "
            f"repeat_weights={tuple(repeat_weights)}."
        )
    if (returns is None) != (days is None):
        raise ConfigError(
            "Return times need a number of days to watch, and only they do. Give both returns "
            f"and days, or neither; got days={days}."
        )
    rng = np.random.default_rng(seed)
    model, users = world.user_model, world.num_users
    logits = (model.user_vectors * model.click_weight).astype(float) @ model.item_vectors.T
    logits += model.user_click_bias[:, None] + model.item_click_bias  # (U, N)
    pasts = [_Past(w, h, logits.shape) for w, h in zip(repeat_weights, half_lives, strict=False)]
    day = rng.integers(7, size=users) if returns is not None else np.zeros(users, np.int64)
    parts: list[pd.DataFrame] = []
    for visit in range(visits_per_user):
        here = np.ones(users, bool) if days is None else day < days
        if not here.any():
            break
        odds = logits.astype(np.float64)  # a copy
        for past in pasts:
            odds += past.log_odds()
        taken = _taken(odds, lengths, rng) & here[:, None]
        user, item = np.nonzero(taken)
        parts.append(
            pd.DataFrame(
                {
                    "user": user,
                    "item": item,
                    "time": day[user] * _DAY + visit,
                    "response": np.full(len(user), PURCHASE),
                    "session": visit * users + user,
                    "value": world.catalog.price[item],
                }
            )
        )
        came: npt.NDArray[np.bool_] = np.asarray(taken.any(axis=1))  # without a trace: no visit
        for past in pasts:
            past.go_on(came, taken)
        if returns is None:
            day = day + 1
        else:
            day = day + returns.sample(np.arange(users), rng.random(users))
    events = pd.concat(parts).sort_values("time", kind="stable", ignore_index=True)
    return InteractionLog(
        events=events.astype({name: _COLUMNS[name] for name in events.columns}),
        user_ids=world.train.user_ids,
        name=f"baskets of {world.name}",
        notes=("Emitted by a planted law of baskets.",),
        exposes_catalog=True,
    )


class _Past:
    """Past purchases of U users, discounted by visits since."""

    def __init__(self, weight: float, half_life: float, shape: tuple[int, ...]) -> None:
        self._weight, self._ratio = weight, 0.5 ** (1 / half_life)
        self._bought, self._visits = np.zeros(shape), np.zeros(shape[0])

    def log_odds(self) -> Floats:
        """(U, N) what it adds to the next visit's."""
        share = self._bought / (self._visits + PRIOR_VISITS)[:, None]
        return self._weight * np.log1p(share / FLOOR)

    def go_on(self, came: npt.NDArray[np.bool_], taken: npt.NDArray[np.bool_]) -> None:
        """After a visit of some of the users."""
        self._bought[came] = self._ratio * (self._bought[came] + taken[came])
        self._visits[came] = self._ratio * (self._visits[came] + 1)


def _taken(
    odds: Floats, lengths: DurationLaw | None, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """(U, N) what one visit of each user takes."""
    if lengths is None:
        return rng.random(odds.shape) < expit(odds)
    users = np.arange(len(odds))
    count = lengths.sample(users, rng.random(len(users)))
    # the largest of log-odds plus Gumbel noise are a draw without replacement by the odds
    order = np.argsort(-(odds + rng.gumbel(size=odds.shape)), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(odds.shape[1])[None], axis=1)
    return rank < count[:, None]
