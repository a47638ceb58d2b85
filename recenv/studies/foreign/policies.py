"""Policies that play by observable facts alone, in another's simulator and in a fitted world.

A policy gives every item a priority; a slate holds the items of highest priority, equal ones in
random order. So the chance of an item in a slot is known exactly. The tables that a policy reads
come from the log; in a visit it sees what was shown and clicked. Imports numpy alone: the worker
loads this file inside the other simulator's environment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Tables = dict[str, Array]


class Facts(NamedTuple):
    """Facts of B visits before a round, with slates of K of N items."""

    user: Array  # (B,) number of the user
    round: Array  # (B,) rounds completed
    last_click: Array  # (B,) item clicked last in the visit, -1 if none was
    last_slate: Array  # (B, K) items of the round before, -1 in the first
    clicked: Array  # (B,) whether the round before had a click


def begin(user: Array, slots: int) -> Facts:
    """Facts of visits that begin."""
    visits = len(user)
    return Facts(
        user,
        np.zeros(visits, np.int64),
        np.full(visits, -1),
        np.full((visits, slots), -1),
        np.zeros(visits, bool),
    )


def after(facts: Facts, slate: Array, click: Array) -> Facts:
    """Facts after a round: (B, K) items shown and whether each was clicked."""
    clicked: Array = np.any(click, axis=1)
    slot = click.shape[1] - 1 - click[:, ::-1].argmax(axis=1)  # the lowest of several
    last = np.where(clicked, slate[np.arange(len(slate)), slot], facts.last_click)
    return Facts(facts.user, facts.round + 1, last, slate, clicked)


def rows(facts: Facts, which: Array) -> Facts:
    """Facts of some of the visits."""
    return Facts(*(leaf[which] for leaf in facts))


def _ranks(scores: Array) -> Array:
    """(N,) rank of each item, 0 for the highest score."""
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return rank


def derived(tables: Tables) -> Tables:
    """Tables with what several policies need, computed once: ranks and places by category."""
    rate, category = tables["rate"], tables["category"]
    rank = _ranks(rate)
    better = rank < rank[:, None]
    within = (better & (category == category[:, None])).sum(axis=1)
    return {**tables, "rank": rank, "within": within}


def _all(scores: Array, facts: Facts) -> Array:
    return np.broadcast_to(scores, (len(facts.user), len(scores)))


def _random(tables: Tables, facts: Facts) -> Array:
    return _all(np.zeros(len(tables["rate"])), facts)


def _least_clicked(tables: Tables, facts: Facts) -> Array:
    return _all(-tables["clicks"], facts)


def _most_clicked(tables: Tables, facts: Facts) -> Array:
    return _all(tables["clicks"], facts)


def _best_rate(tables: Tables, facts: Facts) -> Array:
    return _all(tables["rate"], facts)


def _middling(tables: Tables, facts: Facts) -> Array:
    return _all(-np.abs(tables["rank"] - len(tables["rank"]) / 2), facts)


def _top_fifth(tables: Tables, facts: Facts) -> Array:
    return _all(1.0 * (tables["rank"] < len(tables["rank"]) / 5), facts)


def _rotation(tables: Tables, facts: Facts) -> Array:
    size = facts.last_slate.shape[1]
    return -((tables["rank"] - facts.round[:, None] * size) % len(tables["rank"])).astype(float)


def _categories_in_turn(tables: Tables, facts: Facts) -> Array:
    groups = int(tables["category"].max()) + 1
    size = facts.last_slate.shape[1]
    turn = (tables["category"] - facts.round[:, None] * size) % groups
    return -(tables["within"] * groups + turn).astype(float)


def _last_clicked(tables: Tables, facts: Facts) -> Array:
    return 1.0 * (np.arange(len(tables["rate"])) == facts.last_click[:, None])


def _same_category(tables: Tables, facts: Facts) -> Array:
    category = np.where(facts.last_click >= 0, tables["category"][facts.last_click], -1)
    return 1.0 * (tables["category"] == category[:, None])


def _other_category(tables: Tables, facts: Facts) -> Array:
    return -_same_category(tables, facts)


def _like_last_clicked(tables: Tables, facts: Facts) -> Array:
    near = tables["similar"][facts.last_click]
    return np.where(facts.last_click[:, None] >= 0, near, tables["rate"])


def _same_slate(tables: Tables, facts: Facts) -> Array:
    items, slots = np.arange(len(tables["rate"])), facts.last_slate.shape[1]
    place = facts.last_slate[:, :, None] == items  # (B, K, N)
    return (place * np.arange(slots, 0, -1)[:, None]).sum(axis=1).astype(float)


def _same_slate_if_clicked(tables: Tables, facts: Facts) -> Array:
    return _same_slate(tables, facts) * facts.clicked[:, None]


def _co_clicks(tables: Tables, facts: Facts) -> Array:
    return tables["personal"][facts.user]


def _own_categories(tables: Tables, facts: Facts) -> Array:
    return tables["taste"][facts.user]


def _most_viewed(tables: Tables, facts: Facts) -> Array:
    return _all(tables["views"].sum(axis=0), facts)


def _own_views(tables: Tables, facts: Facts) -> Array:
    return tables["views"][facts.user]


def _like_own_views(tables: Tables, facts: Facts) -> Array:
    return tables["co_views"][facts.user]


POLICIES = {
    "random": _random,
    "least clicked": _least_clicked,
    "most clicked": _most_clicked,
    "best click rate": _best_rate,
    "best click rate, half random": _best_rate,
    "top fifth at random": _top_fifth,
    "middling click rate": _middling,
    "all items in turn": _rotation,
    "categories in turn": _categories_in_turn,
    "last clicked again": _last_clicked,
    "same category as last click": _same_category,
    "another category than last click": _other_category,
    "like the last clicked": _like_last_clicked,
    "same slate again": _same_slate,
    "same slate if clicked": _same_slate_if_clicked,
    "item-based co-clicks": _co_clicks,
    "own categories": _own_categories,
    "most viewed": _most_viewed,
    "own views": _own_views,
    "like own views": _like_own_views,
}
"""Priorities by name: ``(tables, facts)`` to (B, N)."""

HALF_RANDOM = ("best click rate, half random",)
"""Policies whose whole slate is random in half of the rounds."""
CATEGORIES = (
    "categories in turn",
    "same category as last click",
    "another category than last click",
    "own categories",
)
"""Policies for items that have categories."""
VIEWS = ("most viewed", "own views", "like own views")
"""Policies for logs with views."""


def names(tables: Tables) -> list[str]:
    """Names of the policies that the tables are enough for."""
    without = () if tables["category"].max() > 0 else CATEGORIES
    without += () if "views" in tables else VIEWS
    return [name for name in POLICIES if name not in without]


def slates(name: str, tables: Tables, facts: Facts, draws: Array) -> Array:
    """(B, K) items, from (B, N + 1) uniforms."""
    priority = POLICIES[name](tables, facts)
    if name in HALF_RANDOM:
        priority = priority * (draws[:, -1:] >= 0.5)
    order = np.lexsort((draws[:, :-1], -priority), axis=-1)
    return order[:, : facts.last_slate.shape[1]]


def chances(name: str, tables: Tables, facts: Facts, slate: Array) -> Array:
    """(B, K) probability that the policy shows the items of some slates in these slots."""
    priority = POLICIES[name](tables, facts)
    own = np.take_along_axis(priority, slate, axis=1)
    out = np.empty(slate.shape)
    for slot in range(slate.shape[1]):
        above = (priority > own[:, slot, None]).sum(axis=1)
        equal = (priority == own[:, slot, None]).sum(axis=1)
        out[:, slot] = ((above <= slot) & (slot < above + equal)) / equal
    return _mixed(name, out, 1 / priority.shape[1])


def expected(name: str, tables: Tables, facts: Facts, values: Array) -> Array:
    """(B, K) mean of (B, N) values of the item that the policy shows in each slot."""
    priority = POLICIES[name](tables, facts)
    level = -np.sort(-priority, axis=1)
    out = np.empty(facts.last_slate.shape)
    for slot in range(facts.last_slate.shape[1]):
        equal = priority == level[:, slot, None]
        out[:, slot] = (equal * values).sum(axis=1) / equal.sum(axis=1)
    return _mixed(name, out, values.mean(axis=1, keepdims=True))


def _mixed(name: str, own: Array, random: Any) -> Array:
    return (own + random) / 2 if name in HALF_RANDOM else own
