"""Recovery of each law: one planted law, one log, one estimate.

Each function draws a log of about ``size`` times its base from planted parameters, fits, and
returns the error of each estimate.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from recenv.config import GameConfig, UserModelConfig
from recenv.schema import CLICK, PURCHASE, InteractionLog
from recenv.synthetic.baskets import emit_baskets
from recenv.synthetic.log import LoggingPolicy, PopularityLogging, UniformLogging, emit_log
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.users.duration_law import DurationLaw
from recenv.users.fitting import dynamics, fit_user_model, visit_replay
from recenv.users.fitting import visit_durations as visits
from recenv.users.fitting.training_rows import make_rows
from recenv.users.model import UserModel
from recenv.world import World

Floats = npt.NDArray[np.float64]

FIT = UserModelConfig(
    epochs=10,
    learning_rate=0.02,
    user_l2=1.0,
    item_l2=1.0,
    bias_l2=0.3,
    map_l2=0.1,
    l2_ladder=(1.0,),
)
"""Little shrinkage and many steps: what is measured is the likelihood, not the prior."""

EXAMINATION = np.array([1.0, 0.55, 0.5, 0.3, 0.25], np.float32)
PRICE, TENURE = -0.6, -0.4
MOVING = {
    "leave_intercept": -2.0,
    "leave_length": 0.1,
    "leave_satisfaction": 0.8,
    "leave_boredom": 0.8,
    "satisfaction_decay": 0.7,
    "boredom_weight": 0.8,
    "boredom_decay": 0.7,
    "drift_rate": 0.05,
}
STILL = dict.fromkeys(MOVING, 0.0) | {"leave_intercept": -20.0}
REPEAT = (0.3, 0.6)  # weights of the half-lives
ONE_ROUND = GameConfig(slate_size=5, num_candidates=20, max_rounds=1)
ROUNDS = GameConfig(slate_size=5, num_candidates=20, max_rounds=8)


class Found(NamedTuple):
    """Error of one estimate against the planted value.

    ``error`` is signed for a scalar and a root mean square for an array; ``reported`` is the
    estimator's own standard error, where it states one.
    """

    error: float
    reported: float | None = None
    scalar: bool = True


class Measured(NamedTuple):
    """Result of one cell: quantities by name, and the number of events (or durations)."""

    events: int
    found: dict[str, Found]


def rms(difference: npt.ArrayLike) -> Found:
    """Root mean square of an array of errors."""
    return Found(float(np.sqrt(np.mean(np.square(difference, dtype=float)))), scalar=False)


def make_world(seed: int, *, moving: bool = False, **changes: float) -> World:
    """A planted world of 60 users and 40 items, ``changes`` to its ``PlantedConfig``."""
    sizes = {"num_users": 60, "num_items": 40, "dim": 3, "purchase_intercept": 0.0, "seed": seed}
    world = planted_world(PlantedConfig.from_dict(sizes | changes))
    model = world.user_model
    examination = np.full_like(model.examination, EXAMINATION[-1])
    examination[: len(EXAMINATION)] = EXAMINATION
    stated = model.dynamics._replace(**(MOVING if moving else STILL))
    return with_model(world, examination=examination, dynamics=stated)


def with_model(world: World, **changes: object) -> World:
    """The world with changes to its user model."""
    model = dataclasses.replace(world.user_model, **changes)
    return dataclasses.replace(world, user_model=model)


def standard_price(world: World) -> npt.NDArray[np.float32]:
    """(N,) standardised log price."""
    log = np.log(world.catalog.price)
    return ((log - log.mean()) / log.std()).astype(np.float32)


def pairs(world: World) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """All users and items, paired."""
    users, items = np.meshgrid(np.arange(world.num_users), np.arange(len(world.catalog)))
    return users.ravel(), items.ravel()


def refit(world: World, log: InteractionLog, valid: InteractionLog | None = None) -> UserModel:
    """The whole fit, as of any log."""
    return fit_user_model(log, world.catalog, world.interests, FIT, valid=valid, progress=False)


def _shown(size: int, seed: int, policy: LoggingPolicy) -> Measured:
    world = make_world(seed, item_bias=0.7)
    biases = world.user_model.item_purchase_bias
    planted = (PRICE * standard_price(world)).astype(biases.dtype)
    world = with_model(world, item_purchase_bias=planted)
    log = emit_log(world, ONE_ROUND, policy, visits_per_user=40 * size, seed=seed)
    model, truth = refit(world, log), world.user_model
    users, items = pairs(world)
    spread = list(model.laws["examination"].spread.values())
    slots = np.arange(1, len(EXAMINATION))
    examined = rms(model.examination[slots] - EXAMINATION[slots])
    return Measured(
        len(log),
        {
            "examination": examined._replace(reported=float(np.sqrt(np.mean(np.square(spread))))),
            "click probability": rms(
                model.click_probs(users, items) - truth.click_probs(users, items)
            ),
            "purchase probability": rms(
                model.purchase_probs(users, items) - truth.purchase_probs(users, items)
            ),
            "price coefficient": Found(model.coefficients["price in purchase"] - PRICE),
        },
    )


def shown_uniform(size: int, seed: int) -> Measured:
    """Clicks, purchases, positions and prices from uniformly random slates."""
    return _shown(size, seed, UniformLogging())


def shown_popularity(size: int, seed: int) -> Measured:
    """The same from slates that prefer what is popular, with propensities."""
    return _shown(size, seed, PopularityLogging(mix=0.3, temperature=0.5))


def with_tenure(world: World, log: InteractionLog, weight: float, seed: int) -> InteractionLog:
    """Purchases drawn anew, ``weight`` on log(1 + items the user clicked before) less 4."""
    clicked = np.flatnonzero(log.column("response") >= CLICK)
    user, item = log.column("user")[clicked], log.column("item")[clicked]
    before, count = np.zeros(len(user)), np.zeros(log.num_users)
    for row, u in enumerate(user):  # the log is in time order
        before[row] = count[u]
        count[u] += 1
    p = world.user_model.purchase_probs(user, item).astype(float)
    odds = logit(p) + weight * (np.log1p(before) - 4)
    bought = np.random.default_rng(seed).random(len(p)) < expit(odds)
    events = log.events.copy()
    response = log.column("response").copy()
    response[clicked] = np.where(bought, PURCHASE, CLICK)
    events["response"] = response
    return dataclasses.replace(log, events=events)


def tenure_of(model: UserModel) -> tuple[float, float]:
    """(weight, standard error) of tenure in the purchase law."""
    law = model.laws["purchase"]
    match = re.search(r"([+-][\d.]+) log-odds per unit", law.note)
    return (float(match[1]) if match else float("nan")), law.spread["tenure"]


def tenure(size: int, seed: int) -> Measured:
    """A purchase rate that falls the more a user has consumed."""
    world = make_world(seed)
    log = emit_log(world, ONE_ROUND, visits_per_user=40 * size, seed=seed)
    log = with_tenure(world, log, TENURE, seed)
    value, error = tenure_of(refit(world, log))
    return Measured(len(log), {"tenure": Found(value - TENURE, error)})


def true_replay(
    world: World, log: InteractionLog
) -> tuple[visit_replay.LoggedVisits, visit_replay.Vectors]:
    """The log's visits, ready to be replayed with the planted vectors and biases."""
    model, rows = world.user_model, make_rows(log, FIT)
    arrays = {name: getattr(model, name) for name in model._ARRAYS}
    none = np.zeros(rows.size, np.float32)
    seen = visit_replay.prepare(rows, world.catalog.category, model.examination, arrays, none)
    names = ("user_vectors", "item_vectors", "click_weight", "purchase_weight")
    return seen, visit_replay.Vectors(*(arrays[name] for name in names))


def leave_fit(
    world: World, log: InteractionLog, cap: int | None, weight: Floats | None = None
) -> dynamics.LeaveFit | None:
    """The leave law with everything else as planted; visits of ``cap`` rounds are censored."""
    seen, vectors = true_replay(world, log)
    d = world.user_model.dynamics
    _, _, rounds = visit_replay.replay(
        seen,
        vectors,
        categories=len(world.catalog.category_names),
        drift_rate=d.drift_rate,
        boredom_weight=d.boredom_weight,
        boredom_gain=d.boredom_gain,
        boredom_decay=d.boredom_decay,
    )
    number = np.cumsum(rounds.first) - 1
    count = np.bincount(number)
    censored = np.zeros(len(count), bool) if cap is None else count >= cap
    each = np.ones(len(number)) if weight is None else weight[seen.user[seen.new_round]]
    return dynamics.fit_leaving(rounds, each, censored[number])


def _leave_errors(fit: dynamics.LeaveFit | None, prefix: str) -> dict[str, Found]:
    if fit is None:
        return {}
    found = {}
    for name in ("intercept", "length", "satisfaction", "boredom"):
        value, error = getattr(fit, name)
        found[f"{prefix}: {name}"] = Found(value - MOVING[f"leave_{name}"], error)
    found[f"{prefix}: satisfaction decay"] = Found(
        fit.satisfaction_decay - MOVING["satisfaction_decay"]
    )
    return found


def within(size: int, seed: int) -> Measured:
    """Leaving, boredom and drift, with the planted vectors held fixed."""
    world = make_world(seed, moving=True)
    log = emit_log(world, ROUNDS, visits_per_user=10 * size, seed=seed)
    planted, groups = world.user_model.dynamics, len(world.catalog.category_names)
    found = _leave_errors(leave_fit(world, log, ROUNDS.max_rounds), "leave")
    naive = leave_fit(world, log, None)
    if naive is not None:
        shift = naive.length.value - planted.leave_length
        found["leave: length, censoring ignored"] = Found(shift, naive.length.error)
    seen, vectors = true_replay(world, log)
    weight, decay = dynamics.fit_boredom(
        seen,
        vectors,
        categories=groups,
        drift_rate=planted.drift_rate,
        gain=planted.boredom_gain,
    )
    found["boredom: weight"] = Found(weight.value - planted.boredom_weight, weight.error)
    found["boredom: decay"] = Found(decay.value - planted.boredom_decay, decay.error)
    drift = dynamics.fit_drift(
        seen,
        vectors,
        categories=groups,
        boredom_weight=planted.boredom_weight,
        boredom_gain=planted.boredom_gain,
        boredom_decay=planted.boredom_decay,
    )
    found["drift"] = Found(drift.value - planted.drift_rate, drift.error)
    return Measured(len(log), found)


def whole(size: int, seed: int) -> Measured:
    """Boredom, drift and leaving as the whole fit finds them, vectors fitted as well."""
    world = make_world(seed, moving=True)
    log = emit_log(world, ROUNDS, visits_per_user=10 * size, seed=seed)
    late = log.column("time") >= np.quantile(log.column("time"), 0.8)
    model = refit(world, log.take(~late), log.take(late))
    fitted, laws = model.dynamics._asdict(), model.laws
    reported = {
        "boredom_weight": laws["boredom"].spread.get("weight"),
        "boredom_decay": laws["boredom"].spread.get("decay"),
        "drift_rate": laws["drift"].spread.get("rate"),
    }
    for name in ("intercept", "length", "satisfaction", "boredom"):
        reported[f"leave_{name}"] = laws["leave"].spread.get(name)
    return Measured(
        len(log),
        {
            f"whole fit, {name.replace('_', ' ')}": Found(fitted[name] - MOVING[name], error)
            for name, error in reported.items()
        },
    )


def planted_duration(
    first: int, steps: int, users: int, seed: int, spread: float = 0.7
) -> DurationLaw:
    """A hazard with a bump, and centred effects of users."""
    m = np.arange(steps)
    baseline = -2.2 + 1.2 * np.exp(-0.5 * ((m - steps / 3) / (steps / 8)) ** 2)
    effect = np.random.default_rng(seed).normal(size=users) * spread
    effect -= effect.mean()
    return DurationLaw(baseline.astype(np.float32), effect.astype(np.float32), first, 1.0)


def draw_durations(
    law: DurationLaw, user: npt.NDArray[np.integer], seed: int
) -> npt.NDArray[np.int64]:
    """(n,) durations drawn step by step from their hazards."""
    rng = np.random.default_rng(seed)
    hazard = expit(law.baseline.astype(float) - law.effect[user, None])
    out, lasting, m = np.zeros(len(user), np.int64), np.ones(len(user), bool), 0
    while lasting.any():
        ends = lasting & (rng.random(len(user)) < hazard[:, min(m, hazard.shape[1] - 1)])
        out[ends] = law.first + m
        lasting &= ~ends
        m += 1
    return out


def _duration(size: int, seed: int, first: int, steps: int, each: int) -> Measured:
    users = 60
    law = planted_duration(first, steps, users, seed)
    user = np.repeat(np.arange(users), each * size)
    lasted = draw_durations(law, user, seed + 1)
    # a third is watched for so long only; hazards at that very step are judged apart
    limit = np.where(np.arange(len(user)) % 3 == 0, first + steps // 2, 10_000)
    ended = lasted <= limit
    fit = DurationLaw.fit(
        np.minimum(lasted, limit), ended, user, users, first=first, longest=first + steps - 1
    )
    judged = np.arange(steps) != steps // 2
    centre = float(fit.effect.mean())  # planted effects have mean 0; only differences are told
    errors = expit(fit.baseline.astype(float) - centre) - expit(law.baseline.astype(float))
    name = "visit length" if first == 1 else "return time"
    return Measured(
        len(user),
        {
            f"{name}: hazard": rms(errors[judged]),
            f"{name}: users' effects": rms(fit.effect - centre - law.effect),
        },
    )


def visit_length(size: int, seed: int) -> Measured:
    """Items per visit, a third of the visits censored."""
    return _duration(size, seed, first=1, steps=12, each=20)


def return_time(size: int, seed: int) -> Measured:
    """Days to the next visit, likewise."""
    return _duration(size, seed, first=0, steps=24, each=60)


def window(size: int, seed: int) -> Measured:
    """Return times read from a log of 40 days, whose end censors each user's last."""
    steps, users = 12, 60 * size
    world = make_world(seed, num_users=users, history_visits=1)
    law = planted_duration(0, steps, users, seed, spread=0.0)
    some = planted_duration(1, 3, users, seed, spread=0.0)  # a visit without items is not seen
    log = emit_baskets(world, visits_per_user=400, lengths=some, returns=law, days=40, seed=seed)
    seen = visits.return_times(log, None)
    fit = DurationLaw.fit(*seen, users, first=0, longest=steps - 1, l2=1e4)
    errors = expit(fit.baseline.astype(float)) - expit(law.baseline.astype(float))
    return Measured(len(seen.length), {"return time: hazard, from a log of 40 days": rms(errors)})


def baskets(size: int, seed: int) -> Measured:
    """The repeat law and the level, from baskets of a shop."""
    world = make_world(seed, affinity=0.8, click_intercept=-4.6, user_bias=0.2, num_items=300)
    log = emit_baskets(world, visits_per_user=10 * size, repeat_weights=REPEAT, seed=seed)
    model = refit(world, log)
    if model.repeat is None:
        return Measured(len(log), {})
    users, items = pairs(world)
    still = dataclasses.replace(model, repeat=None)
    got = still.click_probs(users, items) * still.purchase_probs(users, items)
    wanted = world.user_model.click_probs(users, items)
    level = got.mean() / wanted.mean()
    errors = model.laws["repeat"].spread.items()
    found = zip(model.repeat.weights, REPEAT, errors, strict=True)
    weights = {f"repeat: {name}": Found(got - put, e) for got, put, (name, e) in found}
    return Measured(
        len(log),
        {
            **weights,
            "baskets: level, log(fitted / planted)": Found(float(np.log(level))),
            "baskets: probability": rms(got - wanted),
        },
    )


LAWS: dict[str, Callable[[int, int], Measured]] = {
    "shown, uniform": shown_uniform,
    "shown, popularity": shown_popularity,
    "tenure": tenure,
    "within visits": within,
    "visit length": visit_length,
    "return time": return_time,
    "window": window,
    "baskets": baskets,
    "whole fit": whole,
}
"""What makes a log and an estimate from a size and a seed, by name."""
