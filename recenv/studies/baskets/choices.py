"""Choice of item types in a visit: probabilities and rankings by the model and by baselines.

A row is a visit and a type. A household goes on shopping between the training part and a held-out
visit, so its personal past is counted up to the visit (``recenv.users.repeat_law``); the rest is
as fitted on the training part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from recenv.evaluation.fidelity import measures
from recenv.evaluation.fidelity.resample import Draws, Resampler
from recenv.evaluation.fidelity.results import Value
from recenv.schema import CLICK, InteractionLog
from recenv.users.clipping import clipped
from recenv.users.fitting.dynamics import logistic
from recenv.users.repeat_law import NEVER, feature, past_frequency, visit_numbers
from recenv.world import World

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BINS = 20
COMMON = 1000
"""Types that the judged design knows. Among all, popularity alone makes a high AUC easy."""

CANDIDATES = 600
HALF_LIVES = (5.0, 20.0, 80.0, 320.0)
"""Visits; of these the personal frequency takes the best."""

TOP = (1, 5, 10, 20)
RESAMPLES = 200

MODEL, POPULARITY, PERSONAL, LOGISTIC = "model", "popularity", "personal frequency", "logistic"
_TINY = 1e-6


class BasketVisits(NamedTuple):
    """V visits, in the order of household and time."""

    user: Ints  # (V,)
    number: Ints  # (V,) within the user's own visits, from 0
    part: npt.NDArray[np.int8]  # (V,) 0 training, 1 validation, 2 test
    day: Ints  # (V,) whole days
    items: Ints  # (V,) types bought
    value: Floats  # (V,) paid

    def take(self, rows: Bools | npt.NDArray[np.integer]) -> BasketVisits:
        """Some of them (a mask or numbers)."""
        return BasketVisits._make(column[rows] for column in self)


class PurchaseHistory:
    """Purchases of users by visit.

    Args:
        log: its sessions are the visits; only what was consumed counts.
        part: (n,) part of each event.
        num_items: N.
    """

    def __init__(self, log: InteractionLog, part: npt.NDArray[np.integer], num_items: int) -> None:
        kept = np.flatnonzero(log.column("response") >= CLICK)
        log = log.take(kept)
        self.num_items = num_items
        self.user = log.column("user").astype(np.int64)
        self.item = log.column("item").astype(np.int64)
        self.time = log.column("time")
        self.visit = visit_numbers(self.user, log.column("session"), self.time)
        self._most = int(self.visit.max(initial=0)) + 2
        self._keys = np.unique(self._key(self.user, self.item, self.visit))
        self.visits = self._visits(log, part[kept])

    def _key(self, user: Ints, item: Ints, visit: Ints) -> Ints:
        return (user * self.num_items + item) * self._most + visit

    def _visits(self, log: InteractionLog, part: npt.NDArray[np.integer]) -> BasketVisits:
        code = self.user * self._most + self.visit
        key, at = np.unique(code, return_inverse=True)
        start = np.full(len(key), np.inf)
        np.minimum.at(start, at, self.time)
        of = np.zeros(len(key), np.int8)
        of[at] = part
        value = log.column("value") if "value" in log.events else np.zeros(len(at))
        return BasketVisits(
            user=key // self._most,
            number=key % self._most,
            part=of,
            day=np.floor(start / 86_400).astype(np.int64),
            items=np.bincount(at),
            value=np.bincount(at, value).astype(float),
        )

    def bought(self, visits: BasketVisits) -> Bools:
        """(V, N) whether each visit took each item."""
        user, item, number = self._ask(visits)
        key = self._key(user, item, number)
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return (self._keys[at] == key).reshape(-1, self.num_items)

    def frequency(self, visits: BasketVisits, half_life: float) -> npt.NDArray[np.float32]:
        """(V, N) recency-weighted share of the household's earlier visits with each item."""
        user, item, number = self._ask(visits)
        own = np.isin(self.user, visits.user)
        known = int(own.sum())
        found = past_frequency(
            np.concatenate([self.user[own], user]),
            np.concatenate([self.item[own], item]),
            np.concatenate([self.visit[own], number]),
            np.arange(known + len(user)) < known,
            self.num_items,
            half_life,
        )
        return found[known:].reshape(-1, self.num_items)

    def recency(self, visits: BasketVisits) -> npt.NDArray[np.float32]:
        """(V, N) 1 over the number of visits since the last one with the item; 0 for never."""
        user, item, number = self._ask(visits)
        key = self._key(user, item, number)
        at = np.searchsorted(self._keys, key) - 1
        before = self._keys[np.maximum(at, 0)]
        had = (at >= 0) & (before // self._most == key // self._most)
        since = np.where(had, key - before, 1)
        return np.where(had, 1 / since, 0).astype(np.float32).reshape(-1, self.num_items)

    def _ask(self, visits: BasketVisits) -> tuple[Ints, Ints, Ints]:
        user, number = (np.repeat(x, self.num_items) for x in (visits.user, visits.number))
        return user, np.tile(np.arange(self.num_items), len(visits.user)), number


def model_log_odds(
    world: World, past: PurchaseHistory, visits: BasketVisits
) -> npt.NDArray[np.float32]:
    """(V, N) log-odds that the fitted household takes the item in the visit.

    ``P(click) * P(purchase | click)``; nothing of it is examination, as the visit could choose
    from the whole catalogue. Of the repeat law only its weights are fitted: its features
    are counted anew.
    """
    model = world.user_model
    blank = dataclasses.replace(model, repeat=None)
    users, where = np.unique(visits.user, return_inverse=True)
    pair = np.repeat(users, past.num_items), np.tile(np.arange(past.num_items), len(users))
    p = blank.click_probs(*pair).astype(float) * blank.purchase_probs(*pair)
    odds = logit(clipped(p, 1e-12, 1 - 1e-9)).reshape(len(users), -1).astype(np.float32)[where]
    law = model.repeat
    if law is None:
        return odds
    if law.excludes:
        return odds + np.where(past.recency(visits) > 0, np.float32(NEVER), np.float32(0))
    for weight, half_life in zip(law.weights, law.half_lives, strict=True):
        odds = odds + (weight * feature(past.frequency(visits, half_life))).astype(np.float32)
    return odds


class Questions(NamedTuple):
    """Features before V visits, and what the visits took: (V, N) each, features by name."""

    visits: BasketVisits
    bought: Bools
    model: npt.NDArray[np.float32]  # log-odds
    features: dict[str, npt.NDArray[np.float32]]


def ask(world: World, past: PurchaseHistory, visits: BasketVisits, half_life: float) -> Questions:
    """Questions of all types; ``half_life`` is the personal frequency's."""
    train = past.visits.part[_visit_of(past)] == 0
    train &= ~world.heldout[past.user]
    count = np.bincount(past.item[train], minlength=past.num_items)
    share = (count + 0.5) / (count.sum() + 0.5 * past.num_items)
    model, user = world.user_model, visits.user
    affinity = (model.user_vectors[user] * model.click_weight) @ model.item_vectors.T
    features = {
        "log popularity": np.log(share).astype(np.float32),
        "log frequency": feature(past.frequency(visits, half_life)).astype(np.float32),
        "recency": past.recency(visits),
        "affinity": affinity,
        "user bias": model.user_click_bias[user][:, None],
        "item bias": model.item_click_bias,
    }
    return Questions(
        visits,
        past.bought(visits),
        model_log_odds(world, past, visits),
        {k: np.broadcast_to(v, affinity.shape) for k, v in features.items()},
    )


def _visit_of(past: PurchaseHistory) -> Ints:
    """(n,) index into ``past.visits`` of each purchase."""
    most = past.visits.number.max(initial=0) + 1
    key = past.visits.user * most + past.visits.number
    return np.searchsorted(key, past.user * most + past.visit)


class Design(NamedTuple):
    """Sampling design: which pairs of a visit and a type are rows.

    Attributes:
        name: for tables.
        rows: (V, N) mask.
        offset: log-odds that the choice of rows adds: what was bought is all in, of the rest a
            share q, so that ``logit P(bought | in) = logit P(bought) - log q``.
    """

    name: str
    rows: Bools
    offset: float


def designs(
    asked: Questions, seed: int, *, common: int = COMMON, most: int = CANDIDATES
) -> list[Design]:
    """The rows that are looked at; the first design is the one that is judged.

    Args:
        asked: V visits.
        seed: of what is drawn.
        common: the judged design knows so many of the most popular types.
        most: about so many rows for each visit.
    """
    shape = asked.bought.shape
    order = np.argsort(-asked.features["log popularity"][0], kind="stable")

    def top(count: int) -> Bools:
        out = np.zeros(shape[1], bool)
        out[order[:count]] = True
        return np.broadcast_to(out, shape)

    drawn = np.random.default_rng(seed).random(shape)
    out = []
    for count, name in ((common, f"the {common} most popular"), (shape[1], "all")):
        q = min(most / count, 1.0)
        rows = top(count) & (asked.bought | (drawn < q))
        out.append(Design(f"{name}: bought, and {q:.1%} of the rest", rows, -float(np.log(q))))
    out.append(Design(f"the {most} most popular", top(most), 0.0))
    out.append(Design("all", np.ones(shape, bool), 0.0))
    return out


def table_of(asked: Questions, rows: Bools, names: tuple[str, ...]) -> Floats:
    """(n, 1 + F) design matrix of a regression: a constant, then features; ``MODEL`` is one."""
    columns = [np.ones(int(rows.sum()))]
    for name in names:
        source = asked.model if name == MODEL else asked.features[name]
        columns.append(source[rows].astype(float))
    return np.stack(columns, axis=1)


PARTS = ("affinity", "user bias", "item bias", "log frequency")
FITTED: dict[str, tuple[str, ...]] = {
    POPULARITY: ("log popularity",),
    PERSONAL: ("log frequency",),
    LOGISTIC: ("log popularity", "log frequency", "recency"),
    "model, rescaled": (MODEL,),
    "model, parts rescaled": PARTS,
    "model + frequency": (MODEL, "log frequency"),
    "model + all features": (MODEL, "log popularity", "log frequency", "recency"),
}
"""Logistic regressions fitted on validation visits, by name: the baselines, and what shows
whether the model misses something that these know, or weighs its own parts wrongly."""


class MethodScore(NamedTuple):
    """Metrics of one method on one design: value with its interval, by name."""

    metrics: dict[str, Value]
    gain: dict[str, Value]  # minus the logistic regression's, paired
    coefficients: dict[str, float]


def probabilities(
    asked: Questions, design: Design, earlier: Questions, before: Design
) -> dict[str, tuple[Floats, dict[str, float]]]:
    """P(bought | the row is in the design) by each method, and its coefficients.

    Args:
        asked: visits to tell.
        design: rows of them.
        earlier: validation visits, which the regressions are fitted on.
        before: the same design of those.
    """
    y = earlier.bought[before.rows]
    rate = float(y.mean())
    n = int(design.rows.sum())
    out = {
        MODEL: (expit(asked.model[design.rows].astype(float) + design.offset), {}),
        "base rate": (np.full(n, rate), {}),
    }
    for name, features in FITTED.items():
        x = table_of(earlier, before.rows, features)
        beta = logistic(x, y, np.ones(len(y)))[0]
        p = expit(table_of(asked, design.rows, features) @ beta)
        out[name] = (p, dict(zip(("constant", *features), map(float, beta), strict=True)))
    return out


def score(
    asked: Questions,
    design: Design,
    methods: dict[str, tuple[Floats, dict[str, float]]],
    num_users: int,
) -> dict[str, MethodScore]:
    """AUC, log-loss, information gain, calibration error and mean bias of each method.

    Intervals are of a bootstrap over households. The information gain is 1 - log-loss over the
    log-loss of the rows' own base rate.
    """
    user = np.broadcast_to(asked.visits.user[:, None], asked.bought.shape)[design.rows]
    y = asked.bought[design.rows]
    ones = np.ones(len(y))
    resampler = Resampler(user, num_users, RESAMPLES, 0)
    makers: dict[str, Callable[[Floats], measures.Measure]] = {
        "AUC": lambda p: measures.auc(p, y),
        "information gain": lambda p: measures.information_gain(p, y),
        "ECE": lambda p: measures.calibration_error(p, y, ones, BINS),
        "log-loss": lambda p: measures.mean(-measures.log_likelihood(p, y)),
        "mean over rate": lambda p: measures.ratio(p, y),
    }
    drawn = {
        name: {k: resampler.score(make(p), user, ones) for k, make in makers.items()}
        for name, (p, _) in methods.items()
    }
    against = drawn[LOGISTIC]
    return {
        name: MethodScore(
            {k: d.interval for k, d in found.items()},
            {
                k: Draws(d.value - against[k].value, d.drawn - against[k].drawn).interval
                for k, d in found.items()
            },
            methods[name][1],
        )
        for name, found in drawn.items()
    }


def ece_by_bins(p: Floats, y: Bools) -> dict[int, float]:
    """The calibration error with other numbers of equal-count bins."""
    ones = np.ones(len(y))
    return {b: measures.calibration_error(p, y, ones, b)(ones) for b in (10, BINS, 50, 100)}


def hits(scores: npt.NDArray[np.floating], bought: Bools, top: int) -> Floats:
    """(V,) 1 where any of the ``top`` highest of (V, N) scores was bought, else 0."""
    top = min(top, scores.shape[1])
    best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
    return np.take_along_axis(bought, best, axis=1).any(axis=1).astype(float)


def best_half_life(past: PurchaseHistory, users: Bools) -> float:
    """Of the personal frequency: the best hit@10 in the last training visit of each household."""
    rows = (past.visits.part == 0) & users[past.visits.user]
    last = last_of(past.visits.take(rows))
    bought = past.bought(last)
    return max(HALF_LIVES, key=lambda h: float(hits(past.frequency(last, h), bought, 10).mean()))


def last_of(visits: BasketVisits) -> BasketVisits:
    """Each household's last visit."""
    end = np.ones(len(visits.user), bool)
    end[:-1] = visits.user[1:] != visits.user[:-1]
    return visits.take(end)


def first_of(visits: BasketVisits) -> BasketVisits:
    """Each household's first visit."""
    begin = np.ones(len(visits.user), bool)
    begin[1:] = visits.user[1:] != visits.user[:-1]
    return visits.take(begin)


def rankings(
    asked: Questions, fitted: dict[str, dict[str, float]]
) -> dict[str, npt.NDArray[np.floating]]:
    """(V, N) scores of each method; ties of the personal frequency go to the more popular.

    Args:
        asked: the visits.
        fitted: coefficients of the regressions, by method.
    """
    popular = asked.features["log popularity"]
    out = {
        MODEL: asked.model,
        PERSONAL: asked.features["log frequency"] + np.float32(_TINY) * popular,
        POPULARITY: popular,
    }
    for name in (LOGISTIC, "model, parts rescaled"):
        terms = [np.float32(fitted[name][k]) * asked.features[k] for k in FITTED[name]]
        out[name] = np.sum(terms, axis=0)
    return out
