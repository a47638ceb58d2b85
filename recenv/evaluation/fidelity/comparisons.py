"""Figures and checks of simulated visits beside logged ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recenv.config import RewardConfig
from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.report import Figure, Value
from recenv.evaluation.fidelity.resample import Compared, Draws
from recenv.evaluation.fidelity.topics import Findings, Floats, both, distance
from recenv.evaluation.fidelity.visits import Events, Ints
from recenv.schema import PURCHASE


@dataclass(frozen=True)
class Sides:
    """The same visits three times: as logged, as simulated, as the trivial simulator has them."""

    log: Events
    simulated: Events
    trivial: Events

    def consumed(self, least: int) -> Sides:
        """Only the rows with at least this response."""
        return Sides(
            *(e.take(e.response >= least) for e in (self.log, self.simulated, self.trivial))
        )


def per_visit(
    to: Findings,
    topic: str,
    what: str,
    values: Sequence[Floats],
    users: Ints,
    laws: Sequence[str],
    *,
    check: str | None = None,
    note: str = "",
    size: Sequence[Ints] | None = None,
) -> None:
    """Distribution of a value per visit (or gap): KS and Wasserstein distance, and the check.

    Args:
        to: collects.
        topic, what: of the figures.
        values: (V,) each: logged, simulated, trivial.
        users: (V,) of the logged and of the simulated ones alike.
        laws: that make the distribution.
        check: name of the check; by default ``what``.
        note: for the figures.
    """
    logged, own, trivial = values
    both_users = np.concatenate([users, users])
    simulated = np.arange(len(both_users)) >= len(users)
    found: dict[str, Compared] = {}
    for name, factory in (
        ("KS distance", m.kolmogorov_smirnov),
        ("Wasserstein distance", m.wasserstein),
    ):
        sides = [
            to.resampler.compare(factory(np.concatenate([logged, other])), both_users, simulated)
            for other in (own, trivial)
        ]
        found[name] = sides[0]
        distance(to, (topic, f"{what}: {name}"), sides, note=note)
    means = [Value(float(np.mean(v))) for v in values]
    to.figures.append(
        Figure(topic, f"{what}: mean", means[1], means[2], means[0], "the log", "the log's", note)
    )
    ks = found["KS distance"]
    to.judge(
        check or what,
        ks.value - ks.noise,
        to.config.distance,
        ks.error,
        laws,
        f"mean {means[1].value:.3g} against {means[0].value:.3g} in the log; KS {ks.value:.3f}, "
        f"of which chance {ks.noise:.3f}",
        two_sided=False,
    )
    to.series[what] = {"log": _thin(logged), "simulator": _thin(own), "trivial": _thin(trivial)}


def reward(
    to: Findings, sides: Sides, weights: RewardConfig, mean_price: float, laws: Sequence[str]
) -> None:
    """Reward of a visit by the recommender's weights, leaving aside."""
    values = [_reward(e, weights, mean_price) for e in (sides.log, sides.simulated, sides.trivial)]
    users = sides.log.visitor
    both_users = np.concatenate([users, users])
    simulated = np.arange(len(both_users)) >= len(users)
    joined = [np.concatenate([values[0], other]) for other in values[1:]]
    error = [to.resampler.compare(m.mean_difference(v), both_users, simulated) for v in joined]
    distance(to, ("reward", "mean error per visit"), error)
    count = int(users.max()) + 1
    visits = np.bincount(users, minlength=count)
    present = np.flatnonzero(visits)
    means = [(np.bincount(users, v, count) / np.maximum(visits, 1))[present] for v in values]
    ones = np.ones(len(present))
    for name, per in (
        ("mean absolute error per user", np.abs),
        ("root mean square error per user", np.square),
    ):
        draws = [to.resampler.score(m.mean(per(v - means[0])), present, ones) for v in means[1:]]
        shown = [d.interval for d in draws]
        if per is np.square:
            shown = [Value(*(float(np.sqrt(max(x, 0))) for x in v)) for v in shown]
        to.figures.append(
            Figure("reward", name, shown[0], shown[1], best="the noise of a user's own mean")
        )
    for name, get in (("mean per visit", np.mean), ("SD per visit", np.std)):
        numbers = [Value(float(get(v))) for v in values]
        to.figures.append(
            Figure("reward", name, numbers[1], numbers[2], numbers[0], "the log", "the log's")
        )
    scale = float(np.abs(values[0].mean()))
    to.judge(
        "reward",
        error[0].value / scale if scale else np.nan,
        to.config.level_share,
        error[0].error / scale if scale else np.nan,
        laws,
        f"{values[1].mean():.3g} a visit against {values[0].mean():.3g} in the log",
    )


def positions(to: Findings, sides: Sides, least: int) -> None:
    """Click rate of each slot, of simulated draws and of the log, and a z score for each."""
    joined, simulated = both(sides.log, sides.simulated)
    hit = joined.response >= least
    other, second = both(sides.log, sides.trivial)
    found = to.resampler.compare(m.chi_square(joined.slot, hit), joined.user, simulated)
    trivial = to.resampler.compare(
        m.chi_square(other.slot, other.response >= least), other.user, second
    )
    distance(to, ("position", "chi-square per position"), [found, trivial], best="about 1")
    rows = []
    for slot in np.unique(sides.log.slot):
        at = joined.slot == slot
        gap = to.resampler.compare(m.mean_difference(hit[at]), joined.user[at], simulated[at])
        rates = [
            float((e.response[e.slot == slot] >= least).mean())
            if (e.slot == slot).any()
            else np.nan
            for e in (sides.log, sides.simulated, sides.trivial)
        ]
        score = gap.value / gap.error if gap.error > 0 else 0.0
        spread = np.sqrt(rates[0] * (1 - rates[0]) / max(int((sides.log.slot == slot).sum()), 1))
        to.figures.append(
            Figure(
                "position",
                f"click rate in slot {slot + 1}",
                Value(rates[1], rates[1] - 1.96 * gap.error, rates[1] + 1.96 * gap.error),
                Value(rates[2]),
                Value(rates[0]),
                "the log",
                "the log's",
                f"z = {score:+.1f}",
            )
        )
        rows.append(
            {
                "slot": int(slot) + 1,
                "log": rates[0],
                "log error": float(spread),
                "simulator": rates[1],
                "trivial": rates[2],
                "z": score,
            }
        )
    to.series["click rate by position"] = rows
    shapes = [np.array([r[k] for r in rows]) for k in ("log", "simulator")]
    worst = max(rows, key=lambda r: abs(r["z"]))
    level = shapes[1].sum() / shapes[0].sum()
    to.judge(
        "position",
        found.value - found.noise,
        to.config.position,
        found.error,
        ["examination", "click level"],
        f"click rates by slot differ most in slot {worst['slot']} (z = {worst['z']:+.1f}); "
        f"over all slots they are {level:.2f} times the log's",
        two_sided=False,
    )


def items(to: Findings, consumed: Sides, size: int, laws: Sequence[str]) -> None:
    """Which items are consumed how often."""
    pairs = [both(consumed.log, e) for e in (consumed.simulated, consumed.trivial)]
    kl = [to.resampler.compare(m.kullback_leibler(e.item, size), e.user, side) for e, side in pairs]
    distance(to, ("items", "KL of item shares"), kl, note="log against simulator, nats")
    rank = [
        to.resampler.compare(m.rank_correlation(e.item, size), e.user, side) for e, side in pairs
    ]
    distance(to, ("items", "Spearman of item counts"), rank, best="1")
    to.judge(
        "item popularity",
        kl[0].value - kl[0].noise,
        to.config.divergence,
        kl[0].error,
        laws,
        f"KL {kl[0].value:.3f} nats, of which chance {kl[0].noise:.3f}",
        two_sided=False,
    )
    counts = [
        np.bincount(e.item, minlength=size)
        for e in (consumed.log, consumed.simulated, consumed.trivial)
    ]
    keep = np.flatnonzero(counts[0] + counts[1])
    keep = keep if len(keep) <= 3000 else np.random.default_rng(0).choice(keep, 3000, replace=False)
    names = ("log", "simulator", "trivial")
    to.series["item shares"] = {
        k: (c[keep] / max(c.sum(), 1)).tolist() for k, c in zip(names, counts, strict=True)
    }


def transitions(to: Findings, consumed: Sides, category: Ints, laws: Sequence[str]) -> None:
    """From one category to the next: consecutive consumed items of a visit."""
    groups = int(category.max()) + 1
    pairs = [both(consumed.log, e) for e in (consumed.simulated, consumed.trivial)]
    found = []
    for events, side in pairs:
        next_ = np.flatnonzero(events.visit[1:] == events.visit[:-1])
        code = category[events.item[next_]].astype(np.int64) * groups
        code += category[events.item[next_ + 1]]
        if not found and (not side[next_].any() or side[next_].all()):
            to.cannot_tell(
                "categories",
                ["TV distance of transitions"],
                ["category transitions"],
                "no visit consumes two items",
            )
            return
        found.append(to.resampler.compare(m.total_variation(code), events.user[next_], side[next_]))
    corrected = found[0].value - found[0].noise
    distance(to, ("categories", "TV distance of transitions"), found)
    to.figures.append(
        Figure(
            "categories",
            "TV distance beyond chance",
            Value(corrected, corrected - 1.96 * found[0].error, corrected + 1.96 * found[0].error),
            Value(found[1].value - found[1].noise),
            best="0",
        )
    )
    to.judge(
        "category transitions",
        corrected,
        to.config.distance,
        found[0].error,
        laws,
        f"total variation {found[0].value:.3f}, of which chance {found[0].noise:.3f}",
        two_sided=False,
    )


def repeats(to: Findings, consumed: Sides, past: Ints, size: int, laws: Sequence[str]) -> None:
    """Share of consumed items that the user had consumed before, by the log or in these visits.

    Args:
        to: collects.
        consumed: visits of a user in the order of time.
        past: (m,) user * size + item of what was consumed before these visits.
        size: N.
        laws: that make it.
    """
    pairs = [both(consumed.log, e) for e in (consumed.simulated, consumed.trivial)]
    found = []
    for events, side in pairs:
        again = np.concatenate(
            [_again(events.take(~side), past, size), _again(events.take(side), past, size)]
        )
        found.append(to.resampler.compare(m.mean_difference(again), events.user, side))
    rates = [
        Value(float(_again(e, past, size).mean()) if len(e.visit) else np.nan)
        for e in (consumed.log, consumed.simulated, consumed.trivial)
    ]
    to.figures.append(
        Figure(
            "repeats", "share consumed before", rates[1], rates[2], rates[0], "the log", "the log's"
        )
    )
    distance(to, ("repeats", "difference to the log"), found)
    to.judge(
        "repeat consumption",
        found[0].value,
        to.config.distance,
        found[0].error,
        laws,
        f"{rates[1].value:.1%} of items were consumed before, {rates[0].value:.1%} in the log",
    )


def persistence(to: Findings, lengths: Sequence[Floats], users: Ints, laws: Sequence[str]) -> None:
    """Do users who make long visits in the log make long ones in the simulator?

    Correlation over users of the mean log length, simulated against logged; the log against
    itself is every other visit against the rest, which has fewer visits on each side.
    """
    topic, what = "users", "persistence of visit length"
    x = [np.log(np.maximum(v, 1)) for v in lengths]
    order = np.argsort(users, kind="stable")
    nth = np.empty(len(users), np.int64)
    start = np.searchsorted(users[order], users[order])
    nth[order] = np.arange(len(users)) - start
    odd = nth % 2 == 1
    count = int(users.max()) + 1
    present = np.flatnonzero(np.bincount(users[odd], minlength=count))
    if len(present) < 20 or any(np.ptp(v) == 0 for v in x[:2]):
        to.cannot_tell(topic, [what], [what], "too few users with two visits, or lengths all alike")
        return

    def means(values: Floats, rows: np.ndarray) -> Floats:
        total = np.bincount(users[rows], values[rows], count)
        return (total / np.maximum(np.bincount(users[rows], minlength=count), 1))[present]

    second, first = means(x[0], odd), means(x[0], ~odd)
    # each simulated half against the other half of the log: as many visits as the log's own
    sides = [(means(v, ~odd), means(v, odd)) for v in x[1:]]

    ones = np.ones(len(present))

    def across(half: Floats, logged: Floats) -> Draws:
        return to.resampler.score(m.weighted_correlation(half, logged), present, ones)

    own, trivial = (_average(across(a, second), across(b, first)) for a, b in sides)
    itself = across(first, second)
    to.figures.append(
        Figure(
            topic,
            what,
            own.interval,
            trivial.interval,
            itself.interval,
            "every other visit of the log",
            "the log's own",
        )
    )
    gap = itself.value - own.value
    error = float(np.nanstd(itself.drawn - own.drawn, ddof=1))
    to.judge(
        what,
        gap,
        to.config.correlation,
        error,
        laws,
        f"correlation {own.value:.2f} with the log's users, {itself.value:.2f} within the log",
        two_sided=False,
    )


def _average(x: Draws, y: Draws) -> Draws:
    return Draws((x.value + y.value) / 2, (x.drawn + y.drawn) / 2)


def _again(events: Events, past: Ints, size: int) -> Floats:
    key = events.user.astype(np.int64) * size + events.item
    _, first = np.unique(key, return_index=True)
    again = np.ones(len(key), bool)
    again[first] = False
    return (again | np.isin(key, past)).astype(float)


def _reward(events: Events, weights: RewardConfig, mean_price: float) -> Floats:
    bought = events.response == PURCHASE
    worth = events.value / (mean_price or 1.0) if weights.purchase_by_value else 1.0
    return events.total(weights.click * (events.response > 0) + weights.purchase * bought * worth)


def _thin(values: Floats, most: int = 2000) -> list[float]:
    """Quantiles that draw the same distribution."""
    ordered = np.sort(values)
    if len(ordered) > most:
        ordered = ordered[np.linspace(0, len(ordered) - 1, most).astype(int)]
    return [float(v) for v in ordered]
