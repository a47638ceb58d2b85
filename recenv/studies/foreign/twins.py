"""Fitted worlds: users fitted to another simulator's log, and what they do in its users' place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv import rng
from recenv.config import GameConfig, WorldConfig
from recenv.data.split import make_split
from recenv.sim.simulator import Simulator
from recenv.sim.state import LIVE, State, rows_of
from recenv.studies.foreign import policies
from recenv.studies.foreign.logs import (
    Arrays,
    Floats,
    Setting,
    item_rates,
    logged_rounds,
    read_log,
    users_of,
)
from recenv.world import World, fit_vectors, fit_world

_GENEROUS = 8
"""A visit that only the user ends may last so many mean visits of the log, or its longest."""
_FIFTHS, _TERCILES = 5, 3
_EACH = 8
"""Visits of every user under the logging policy."""
_SEED, _LOGGING_SEED = 2, 3

Chooser = Callable[[policies.Facts, npt.NDArray[np.floating]], np.ndarray]


class Played(NamedTuple):
    """One round of the visits that still went on."""

    visit: np.ndarray  # (R,) which of them
    slate: np.ndarray  # (R, K) items
    chance: Floats  # (R, K) the fitted user's probability of a click
    click: npt.NDArray[np.bool_]  # (R, K)


def fitted(setting: Setting, arrays: Arrays, config: WorldConfig) -> World:
    """The world of a log, by the steps of ``build_world`` but without its cache of worlds."""
    log, catalog = read_log(setting, arrays)
    split = make_split(log, config.split)
    split.check_no_leak(log)
    interests = fit_vectors(log, catalog, split, config, progress=False)
    return fit_world(log, catalog, split, interests, config, progress=False)


def seeded(config: WorldConfig, seed: int) -> WorldConfig:
    """The config with another seed of the split, the vectors and the fit."""
    own = {"seed": seed}
    return config.replace(split=own, interest=own, user_model=own)


class Twin:
    """Visits in a fitted world, under the rules of the simulator whose log it was fitted to.

    Args:
        setting: of the simulator.
        arrays: its log.
        world: fitted to it.
    """

    def __init__(self, setting: Setting, arrays: Arrays, world: World) -> None:
        self.setting, self.world = setting, world
        facts, log = logged_rounds(arrays)
        longest = max(int(facts.round.max()) + 1, round(_GENEROUS * _mean_rounds(log)))
        self.game = GameConfig(
            slate_size=setting.slate,
            num_candidates=setting.items,
            max_rounds=setting.rounds or longest,
            history_length=1,
            users="all",
            vectors=False,
        )
        self._simulator = Simulator(world, self.game)
        self._number = users_of(world.train)

    def visitors(self, visits: int) -> npt.NDArray[np.int32]:
        """(V,) codes of evenly chosen users."""
        users = self.world.num_users
        return (np.arange(visits) * users // visits).astype(np.int32)

    def play(self, choose: Chooser, visitor: npt.NDArray[np.int32], seed: int) -> Iterator[Played]:
        """Whole visits, a round of all that go on at a time.

        The draws of a visit are a function of ``seed`` and its place in ``visitor``: two policies
        are compared on the same ones.

        Args:
            choose: (B, K) items from the facts and (B, N + 1) uniforms.
            visitor: (V,) user codes.
            seed: zero or more.
        """
        number = np.arange(len(visitor))
        state = self._simulator.reset(
            np.full(len(visitor), seed), visitor, sessions=number.astype(np.uint64)
        )
        facts = policies.begin(self._number[visitor], self.setting.slate)
        while len(number):
            draws = rng.uniforms(state.key, state.round, rng.POLICY, self.setting.items + 1)
            slate = choose(facts, draws)
            self._simulator.show(state, _places(state, slate))
            chance = _click_chance(state, self.setting.slate)
            answers = self._simulator.respond_fitted(state).answers
            click = answers[:, :-1] > 0
            yield Played(number, slate, chance, click)
            facts = policies.after(facts, slate, click)
            live = state.ended == LIVE
            if not live.all():
                number, facts = number[live], policies.rows(facts, live)
                state = rows_of(state, live)


def _places(state: State, slate: np.ndarray) -> npt.NDArray[np.int64]:
    """(B, K) where among the candidates the items of slates stand; all items are candidates."""
    place = np.argsort(state.candidates, axis=1)
    return np.take_along_axis(place, slate, axis=1)


def _click_chance(state: State, slots: int) -> Floats:
    ignore = state.behaviour[:, : 3 * slots : 3]
    return 1 - ignore.astype(np.float64)


def policy_values(twin: Twin, tables: Arrays, visits: int) -> dict[str, Any]:
    """Mean clicks and rounds per visit under each policy, (P,) lists, in the fitted world."""
    tables = policies.derived(tables)
    visitor = twin.visitors(visits)
    out: dict[str, Any] = {"value": [], "rounds": []}
    for name in policies.names(tables):

        def choose(facts: policies.Facts, draws: np.ndarray, name: str = name) -> np.ndarray:
            return policies.slates(name, tables, facts, draws)

        played = list(_sums(twin.play(choose, visitor, _SEED)))
        out["value"].append(sum(clicks for clicks, _ in played) / visits)
        out["rounds"].append(sum(count for _, count in played) / visits)
    return out


def _sums(rounds: Iterator[Played]) -> Iterator[tuple[float, int]]:
    for one in rounds:
        yield float(one.chance.sum()), len(one.visit)


def logging_measures(twin: Twin, arrays: Arrays) -> dict[str, Any]:
    """The fitted users under the logging policy, beside the log and a later log.

    Args:
        twin: the fitted world.
        arrays: see ``logs.emitted``.

    Returns:
        rounds: mean of a visit, logged and simulated; fifths: the same of users by their own
        simulated mean (of other visits); slope: of the later log's item click rates on simulated
        ones, with its standard error; loss: nats per later impression by simulated item rates, by
        empirical-Bayes rates of the log and by the log's mean; two_clicks: share of slates with
        two or more; neighbour: click rate over what the item's rate lets expect, by terciles of
        the mean rate of the others on the slate.
    """
    setting, weight = twin.setting, arrays["weight"]
    visitor = np.repeat(np.arange(twin.world.num_users, dtype=np.int32), _EACH)

    def choose(_: policies.Facts, draws: np.ndarray) -> np.ndarray:
        # the largest of weighted exponential keys: Plackett and Luce's order by weight
        keys = np.log(weight) - np.log(-np.log(np.clip(draws[:, :-1], 1e-9, 1 - 1e-7)))
        return np.argsort(-keys, axis=1)[:, : setting.slate]

    count = np.zeros(len(visitor), np.int64)
    slates, clicks = [], []
    shown, chance = np.zeros(setting.items), np.zeros(setting.items)
    for one in twin.play(choose, visitor, _LOGGING_SEED):
        count[one.visit] += 1
        slates.append(one.slate.copy())  # not a view that keeps the order of all items
        clicks.append(one.click)
        shown += np.bincount(one.slate.ravel(), minlength=setting.items)
        chance += np.bincount(
            one.slate.ravel(), weights=one.chance.ravel(), minlength=setting.items
        )
    facts, log = logged_rounds(arrays)
    later = {k.removeprefix("later_"): v for k, v in arrays.items() if k.startswith("later_")}
    _, later = logged_rounds(later)
    rate = item_rates(log["item"], log["click"], setting.items)
    slate, click = np.concatenate(slates), np.concatenate(clicks)
    return {
        "rounds": {"logged": _mean_rounds(log), "simulated": float(count.mean())},
        "fifths": _fifths(twin, facts, log, count.reshape(-1, _EACH)),
        "item_rates": _item_rates(later, chance / np.maximum(shown, 1), rate, log["click"].mean()),
        "two_clicks": {
            "logged": float((log["click"].sum(axis=1) > 1).mean()),
            "simulated": float((click.sum(axis=1) > 1).mean()),
        },
        "neighbour": {
            "logged": _neighbours(log["item"], log["click"], rate),
            "simulated": _neighbours(slate, click, chance / np.maximum(shown, 1)),
        }
        if setting.slate > 1
        else None,
    }


def _mean_rounds(log: Arrays) -> float:
    return len(log["session"]) / len(np.unique(log["session"]))


def _fifths(
    twin: Twin, facts: policies.Facts, log: Arrays, count: npt.NDArray[np.int64]
) -> list[dict[str, float]]:
    """Mean rounds of fifths of the users, chosen by one half of the simulated visits.

    Told by the others: what users differ in by chance alone moves neither mean.
    """
    users = twin.setting.users
    rounds = np.bincount(facts.user, minlength=users)
    first = np.unique(log["session"], return_index=True)[1]
    visits = np.bincount(facts.user[first], minlength=users)
    number = users_of(twin.world.train)
    half = count.shape[1] // 2
    order = np.argsort(count[:, :half].mean(axis=1), kind="stable")
    out = []
    for part in np.array_split(order, _FIFTHS):
        own = number[part]
        out.append(
            {
                "logged": float(rounds[own].sum() / visits[own].sum()),
                "simulated": float(count[part, half:].mean()),
            }
        )
    return out


def _item_rates(later: Arrays, simulated: Floats, rate: Floats, mean: float) -> dict[str, float]:
    """Slope of later item rates on simulated ones (weighted by impressions), and losses."""
    items = len(simulated)
    shown = np.bincount(later["item"].ravel(), minlength=items)
    hits = np.bincount(later["item"].ravel(), weights=later["click"].ravel(), minlength=items)
    seen = shown > 0
    weight, x, y = shown[seen], simulated[seen], hits[seen] / shown[seen]
    x_mean, y_mean = np.average(x, weights=weight), np.average(y, weights=weight)
    square = (weight * (x - x_mean) ** 2).sum()
    slope = (weight * (x - x_mean) * (y - y_mean)).sum() / max(square, 1e-12)
    noise = np.sqrt((weight * (x - x_mean) ** 2 * y_mean * (1 - y_mean)).sum())

    def loss(p: Floats) -> float:
        p = np.clip(p, 1e-6, 1 - 1e-6)
        return float(-(hits * np.log(p) + (shown - hits) * np.log1p(-p)).sum() / shown.sum())

    return {
        "slope": float(slope),
        "slope_error": float(noise / max(square, 1e-12)),
        "loss_simulated": loss(simulated),
        "loss_item_rates": loss(rate),
        "loss_mean": loss(np.full(items, mean)),
    }


def _neighbours(slate: np.ndarray, click: npt.NDArray[np.bool_], rate: Floats) -> list[float]:
    """Clicks over those expected by the item's rate, by terciles of the neighbours' mean rate."""
    own = rate[slate]
    others = (own.sum(axis=1, keepdims=True) - own) / (slate.shape[1] - 1)
    edges = np.quantile(others, np.arange(1, _TERCILES) / _TERCILES)
    tercile = np.searchsorted(edges, others.ravel(), side="right")
    hits = np.bincount(tercile, weights=click.ravel(), minlength=_TERCILES)
    wanted = np.bincount(tercile, weights=own.ravel(), minlength=_TERCILES)
    return (hits / np.maximum(wanted, 1e-12)).tolist()
