"""The simulator that knows nothing but counts: what every figure has to beat."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from recenv.evaluation.fidelity.heldout import consumed_from, visit_numbers
from recenv.schema import CLICK, PURCHASE, InteractionLog
from recenv.users.clipping import clipped
from recenv.users.duration_law import DurationLaw
from recenv.users.model import MAX_SLOTS, UserModel
from recenv.world import World

Floats = npt.NDArray[np.float64]

_PRIOR_ROWS = 20.0
"""Rows at the mean rate that every item's own rate is shrunk with."""

_SURE = 12.0  # log-odds


def trivial_world(world: World, train: InteractionLog) -> World:
    """The same world with users who are all alike: mean rates by item and by position.

    No interest, boredom or drift. Visits end at a constant hazard: geometric lengths, with the
    log's mean; days between visits likewise. Examination is each position's click rate over
    that of the best one, where the log has positions, and 1 otherwise.

    Args:
        world: what the figures are about.
        train: the events that are counted.
    """
    model = world.user_model
    users, items = len(model.user_vectors), len(world.catalog)
    examination = _examination(train)
    click = _click_log_odds(world, train, examination)
    buy = _purchase_log_odds(train, items)
    hazard = _round_hazard(train)
    dynamics = model.dynamics._replace(
        boredom_weight=0.0, drift_rate=0.0, leave_boredom=0.0, leave_satisfaction=0.0
    )
    dynamics = dynamics._replace(again=0.0, funnel=1.0)
    if hazard is not None:
        dynamics = dynamics._replace(leave_intercept=_log_odds(hazard), leave_length=0.0)
    length = None
    if model.visit_length is not None:
        length = _geometric(_lengths(train), users, 1)
    back = None
    if model.return_time is not None:
        back = _geometric(_days(train), users, 0)
    trivial = UserModel(
        user_vectors=np.zeros_like(model.user_vectors),
        item_vectors=np.zeros_like(model.item_vectors),
        user_click_bias=np.zeros(users, np.float32),
        user_purchase_bias=np.zeros(users, np.float32),
        item_click_bias=click.astype(np.float32),
        item_purchase_bias=buy.astype(np.float32),
        click_weight=np.zeros_like(model.click_weight),
        purchase_weight=np.zeros_like(model.purchase_weight),
        examination=examination.astype(np.float32),
        dynamics=dynamics,
        laws=model.laws,
        visit_length=length,
        return_time=back,
    )
    return dataclasses.replace(world, name=f"{world.name}, trivial", user_model=trivial)


def _examination(train: InteractionLog) -> Floats:
    rate = np.ones(MAX_SLOTS)
    if not (train.has_impressions and "position" in train.events) or not len(train):
        return rate
    slot = np.minimum(train.column("position").astype(np.int64), MAX_SLOTS) - 1
    shown = np.bincount(slot, minlength=MAX_SLOTS)
    clicked = np.bincount(slot, train.column("response") >= CLICK, MAX_SLOTS)
    mean = clicked.sum() / shown.sum()
    rate = (clicked + _PRIOR_ROWS * mean) / (shown + _PRIOR_ROWS)
    return rate / rate.max()


def _click_log_odds(world: World, train: InteractionLog, examination: Floats) -> Floats:
    items = len(world.catalog)
    item = train.column("item")
    hit = train.column("response") >= consumed_from(train)
    count = np.bincount(item[hit], minlength=items)
    if train.has_impressions:
        looked = np.ones(len(train))
        if "position" in train.events:
            slot = np.minimum(train.column("position").astype(np.int64), MAX_SLOTS) - 1
            looked = examination[slot]
        seen = np.bincount(item, looked, items)
        mean = count.sum() / seen.sum()
        return _log_odds((count + _PRIOR_ROWS * mean) / (seen + _PRIOR_ROWS))
    share = (count + 0.5) / (count + 0.5).mean()
    if train.exposes_catalog:
        number, visitor = visit_numbers(train)
        pair = np.unique(number[hit] * items + item[hit])
        return _log_odds((np.bincount(pair % items, minlength=items) + 0.5) / len(visitor))
    rng = np.random.default_rng(0)
    users = rng.integers(world.num_users, size=20_000)
    level = world.user_model.click_probs(users, rng.integers(items, size=20_000)).mean()
    return _log_odds(share * float(level))


def _purchase_log_odds(train: InteractionLog, items: int) -> Floats:
    if consumed_from(train) == PURCHASE:
        return np.full(items, _SURE)
    clicked = train.column("response") >= CLICK
    item = train.column("item")[clicked]
    bought = train.column("response")[clicked] == PURCHASE
    mean = bought.mean()
    count = np.bincount(item, minlength=items)
    rate = (np.bincount(item, bought, items) + _PRIOR_ROWS * mean) / (count + _PRIOR_ROWS)
    return _log_odds(rate)


def _round_hazard(train: InteractionLog) -> float | None:
    """1 over the mean rounds of a visit; None where the log shows no rounds."""
    if not train.has_impressions or "session" not in train.events or not len(train):
        return None
    visit, visitor = visit_numbers(train)
    _, round_ = np.unique(train.column("time"), return_inverse=True)
    rounds = len(np.unique(visit * (round_.max() + 1) + round_))
    return min(len(visitor) / rounds, 0.999)


def _lengths(train: InteractionLog) -> Floats:
    visit, visitor = visit_numbers(train)
    hit = train.column("response") >= consumed_from(train)
    return np.maximum(np.bincount(visit[hit], minlength=len(visitor)), 1).astype(float)


def _days(train: InteractionLog) -> Floats:
    visit, visitor = visit_numbers(train)
    start = np.full(len(visitor), np.inf)
    np.minimum.at(start, visit, train.column("time"))
    order = np.lexsort((start, visitor))
    same = visitor[order][1:] == visitor[order][:-1]
    return np.diff(np.floor(start[order] / 86_400))[same]


def _geometric(durations: Floats, users: int, first: int) -> DurationLaw:
    mean = float(durations.mean()) if len(durations) else 1.0
    hazard = 1 / max(mean - first + 1, 1.001)
    return DurationLaw(
        baseline=np.array([_log_odds(hazard)], np.float32),
        effect=np.zeros(users, np.float32),
        first=first,
        l2=1.0,
    )


def _log_odds(p: Floats | float) -> Floats:
    return logit(clipped(p, most=0.95))
