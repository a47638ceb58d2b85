"""Simulated beside held-out visits: number of items, their cost, and days to the next visit.

A held-out window is finite: long gaps between visits are censored. So every household starts on the
day of its first visit there and goes on by the world's law to the window's last day, and the gaps
that ended are compared with the log's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.config import RewardConfig
from recenv.evaluation.fidelity import measures
from recenv.evaluation.fidelity.replay import MakeSimulator, consume, game_for
from recenv.evaluation.fidelity.resample import Resampler
from recenv.evaluation.fidelity.results import Value
from recenv.schema import PURCHASE
from recenv.sim.simulator import Simulator
from recenv.studies.baskets.choices import RESAMPLES, BasketVisits, first_of
from recenv.world import World

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SESSIONS = 1 << 60
"""Numbers of the visits drawn here begin at this one: no other use of a world shares a draw."""

RUNS = 20
FEWEST = (5, 1, 10)
"""Held-out visits of the households whose persistence is looked at; the first is judged."""

_MOST_VISITS = 10_000  # of one household in a window


class Gaps(NamedTuple):
    """Gaps that ended in a window, and the visits of each household in it."""

    user: Ints  # (n,)
    days: Ints  # (n,)
    visits: Ints  # (U,)


class Distance(NamedTuple):
    """One distribution beside the held-out one."""

    name: str
    ks: Value  # 95 % interval over households
    chance: float  # the mean KS distance where labels of random households are swapped
    mean: float
    rows: int


def needs(
    world: World, users: Ints, *, seed: int, make: MakeSimulator = Simulator
) -> npt.NDArray[np.int32]:
    """(V,) items that the environment lets each of (V,) visits want."""
    simulator = make(world, game_for(1, 1, RewardConfig()))
    sessions = _SESSIONS + np.arange(len(users))
    return simulator.reset(np.full(len(users), seed), users, sessions=sessions).need.copy()


def logged_gaps(visits: BasketVisits, num_users: int) -> Gaps:
    """Days from each of the given visits to the household's next one among them."""
    same = visits.user[1:] == visits.user[:-1]
    days = np.diff(visits.day)[same]
    return Gaps(visits.user[1:][same], days, np.bincount(visits.user, minlength=num_users))


def window_gaps(
    world: World, first: BasketVisits, last_day: int, *, seed: int, make: MakeSimulator = Simulator
) -> Gaps:
    """Gaps that end by ``last_day``, of households that begin with their ``first`` visit."""
    simulator = make(world, game_for(1, 1, RewardConfig()))
    day, alive = first.day.copy(), np.arange(len(first.user))
    visits = np.bincount(first.user, minlength=world.num_users)
    users, days = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number in range(_MOST_VISITS):
        sessions = _SESSIONS + number * len(first.user) + alive
        state = simulator.reset(np.full(len(alive), seed), first.user[alive], sessions=sessions)
        gap = simulator.return_days(state)
        if gap is None:
            break
        day[alive] += gap
        ended = day[alive] <= last_day
        alive, gap = alive[ended], gap[ended]
        users.append(first.user[alive])
        days.append(gap.astype(np.int64))
        np.add.at(visits, first.user[alive], 1)
        if len(alive) == 0:
            break
    return Gaps(np.concatenate(users), np.concatenate(days), visits)


def distance(
    name: str,
    logged: npt.NDArray[np.number],
    owners: Ints,
    other: npt.NDArray[np.number],
    others: Ints,
    num_users: int,
) -> Distance:
    """KS distance of two samples whose rows belong to households."""
    user = np.concatenate([owners, others])
    simulated = np.arange(len(user)) >= len(owners)
    values = np.concatenate([logged, other])
    resampler = Resampler(user, num_users, RESAMPLES, 0)
    found = resampler.compare(measures.kolmogorov_smirnov(values), user, simulated)
    return Distance(name, found.interval, found.noise, float(np.mean(other)), len(other))


def persistence(
    first: tuple[Ints, npt.NDArray[np.number]],
    second: tuple[Ints, npt.NDArray[np.number]],
    present: Ints,
    num_users: int,
) -> Value:
    """Correlation over households of the mean log items per visit on two sides.

    Args:
        first: (n,) households and (n,) items of visits.
        second: the other side.
        present: households that are looked at; those without a visit on either side are not.
        num_users: U.
    """
    counts = [np.bincount(u, minlength=num_users) for u, _ in (first, second)]
    present = present[(counts[0][present] > 0) & (counts[1][present] > 0)]
    means = [
        (np.bincount(u, np.log(np.maximum(x, 1)), num_users) / np.maximum(n, 1))[present]
        for (u, x), n in zip((first, second), counts, strict=True)
    ]
    resampler = Resampler(present, num_users, RESAMPLES, 0)
    measure = measures.weighted_correlation(*means)
    return resampler.score(measure, present, np.ones(len(present))).interval


def last_visits(visits: BasketVisits, counts: Ints) -> BasketVisits:
    """The last ``counts[u]`` visits of each household u."""
    total = np.bincount(visits.user, minlength=len(counts))
    end = np.cumsum(total)
    left = end[visits.user] - np.arange(len(visits.user))
    return visits.take(left <= counts[visits.user])


def _persistences(
    world: World, trivial: World, train: BasketVisits, later: BasketVisits, least: int, seed: int
) -> dict[str, Value]:
    """Each side against the held-out visits of households with at least ``least`` of these."""
    size = world.num_users
    counts = np.bincount(later.user, minlength=size)
    present = np.flatnonzero(counts >= least)
    logged = (later.user, later.items)
    users = np.tile(later.user, RUNS)
    few = last_visits(train, counts)
    sides = {
        f"simulated, mean of {RUNS} runs": (users, needs(world, users, seed=seed)),
        "simulated, one run": (later.user, needs(world, later.user, seed=seed)),
        "training part": (train.user, train.items),
        "training part, as many visits": (few.user, few.items),
        "geometric sizes": (later.user, needs(trivial, later.user, seed=seed)),
    }
    return {k: persistence(side, logged, present, size) for k, side in sides.items()}


class VisitComparison(NamedTuple):
    """Of one group of households: distances by quantity, correlations by name, and counts."""

    mean: dict[str, float]  # of the held-out visits, by quantity
    distances: dict[str, list[Distance]]
    persistence: dict[int, dict[str, Value]]  # by the fewest held-out visits of a household
    counts: dict[str, Any]


def _line_values(world: World, items: npt.NDArray[np.integer], seed: int) -> Floats:
    """(n,) paid for each item in a training purchase of it, drawn at random; its price if none."""
    item = world.train.column("item").astype(np.int64)
    order = np.argsort(item, kind="stable")
    paid = world.train.column("value")[order].astype(float)
    count = np.bincount(item, minlength=len(world.catalog))
    start = np.cumsum(count) - count
    u = np.random.default_rng(seed).random(len(items))
    at = start[items] + (u * count[items]).astype(np.int64)
    at = np.minimum(at, len(paid) - 1)
    return np.where(count[items] > 0, paid[at], world.catalog.price[items])


def simulate(
    world: World,
    trivial: World,
    visits: BasketVisits,
    heldout: bool,
    *,
    rolled: int,
    seed: int,
) -> VisitComparison:
    """Everything about the visits of one group of households.

    Args:
        world: whose users visit.
        trivial: the same with constant hazards for all alike.
        visits: all of the log.
        heldout: which households.
        rolled: how many visits at most are rolled out item by item, for their value.
        seed: of the draws.
    """
    size = world.num_users
    visits = visits.take(world.heldout[visits.user] == heldout)
    train, later = visits.take(visits.part == 0), visits.take(visits.part > 0)
    items = needs(world, later.user, seed=seed)
    plain = needs(trivial, later.user, seed=seed)

    def beside(what: str, other: BasketVisits) -> list[Distance]:
        column = getattr(later, what)
        return [
            distance("training part", column, later.user, getattr(other, what), other.user, size)
        ]

    def own(name: str, drawn: npt.NDArray[np.number]) -> Distance:
        return distance(name, later.items, later.user, drawn, later.user, size)

    lengths = [own("simulated", items), *beside("items", train), own("geometric sizes", plain)]

    last = int(later.day.max())
    window = last - int(later.day.min())
    logged = logged_gaps(later, size)
    before = logged_gaps(train.take(train.day >= int(train.day.max()) - window), size)
    start = first_of(later)
    found = [
        ("simulated", window_gaps(world, start, last, seed=seed)),
        ("training part", before),
        ("exponential gaps", window_gaps(trivial, start, last, seed=seed)),
    ]
    gaps = [distance(name, logged.days, logged.user, g.days, g.user, size) for name, g in found]

    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(later.user))[:rolled])
    sample = later.take(some)
    events = consume(
        Simulator, world, sample.user, quota=None, seen=None, least=PURCHASE, seed=seed
    )
    took, paid = events.total(np.ones(len(events.visit))), events.total(events.value)
    lines = _line_values(world, events.item[events.response == PURCHASE], seed)
    redrawn = np.bincount(events.visit[events.response == PURCHASE], lines, len(sample.user))
    values = [
        distance(name, sample.value, sample.user, v, sample.user, size)
        for name, v in (
            ("simulated, at catalogue prices", paid),
            ("simulated, at values drawn from the training part", redrawn),
        )
    ]
    values += beside("value", train)
    return VisitComparison(
        {
            "items per visit": float(later.items.mean()),
            "days between visits": float(logged.days.mean()),
            "value per visit": float(later.value.mean()),
        },
        {"items per visit": lengths, "days between visits": gaps, "value per visit": values},
        {k: _persistences(world, trivial, train, later, k, seed) for k in FEWEST},
        {
            "households": len(np.unique(later.user)),
            "held-out visits": len(later.user),
            "window days": window + 1,
            "visits rolled out": len(sample.user),
            "items taken when rolled out": float(took.mean()),
            "items logged in these": float(sample.items.mean()),
            "value logged in these": float(sample.value.mean()),
            "visits per household, logged": float(logged.visits[start.user].mean()),
            "visits per household, simulated": float(found[0][1].visits[start.user].mean()),
        },
    )
