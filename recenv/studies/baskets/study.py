"""Basket study: purchases of the fitted Complete Journey world beside those of later weeks.

    python -m recenv.studies.baskets [--out folder]

The log is cut by time; figures are of what comes after the training part, for the households
fitted on and for those held out, apart. (The files are called simulated by their publisher.)

- **choice**: P(a visit buys a type), on test visits drawn at random. The past is counted up to
  the visit. Regressions beside it are fitted on validation visits of the households fitted on.
  Judged on the ``COMMON`` most popular types: all that the visit bought of them, and a share of
  the rest, which every probability is corrected for. The other designs are shown beside it.
- **next basket**: the first visit after the training part, all types ranked; hit@k is whether
  any of the k highest was bought.
- **visits**: items, days between visits and value of simulated visits beside the held-out ones;
  see ``recenv.studies.baskets.visits``.

Intervals are 95 %, over households. The exit code is 1 if a threshold is missed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recenv.benchmark.tables import markdown, write_study
from recenv.config import InterestConfig, SplitConfig, UserModelConfig, WorldConfig
from recenv.data import load
from recenv.data.split import make_split
from recenv.encoders.items import encode_items
from recenv.errors import ConfigError
from recenv.evaluation.fidelity.results import Value
from recenv.evaluation.fidelity.trivial_models import trivial_world
from recenv.evaluation.statistics import Estimate, mean_interval, paired_difference
from recenv.progress import Progress
from recenv.schema import InteractionLog
from recenv.studies.baskets import choices, visits
from recenv.studies.baskets.choices import (
    LOGISTIC,
    MODEL,
    PERSONAL,
    MethodScore,
    PurchaseHistory,
    Questions,
)
from recenv.world import World, build_world

GROUPS = {"fitted": False, "held out": True}
LIMITS: dict[str, tuple[str, float]] = {
    "AUC": (">=", 0.87),
    "information gain": (">=", 0.22),
    "ECE": ("<=", 0.0025),
    "KS of items per visit": ("<=", 0.03),
    "KS of days between visits": ("<=", 0.03),
    "persistence of visit length": (">=", 0.7),
}
JUDGED_TOP = 20
"""k of the hit@k that is judged, over all households: a few hundred alone tell no hundredth."""

NEXT = "next basket, model minus personal frequency"
ALL_LIMITS: dict[str, tuple[str, float]] = {NEXT: (">=", 0.0)}
"""What is judged of both groups together."""

CONFIG = WorldConfig(
    split=SplitConfig(by="time"),
    interest=InterestConfig(epochs=1),
    user_model=UserModelConfig(leave_intercept=-4.0, leave_length=0.0),
)


class Options(NamedTuple):
    """Sizes of the samples drawn."""

    asked: int = 1200  # visits of each group whose choices are told
    rolled: int = 3000  # visits of each group that are rolled out item by item
    seed: int = 0


class HouseholdGroup(NamedTuple):
    """All figures of one group of households."""

    rows: dict[str, dict[str, Any]]  # of each design: rows, rate
    choice: dict[str, dict[str, MethodScore]]  # by design, then method
    bins: dict[int, float]  # ECE of the model on the judged design by number of bins
    hits: dict[str, dict[str, dict[int, Estimate]]]  # by visit, method, k
    gains: dict[str, dict[int, Estimate]]  # model minus personal frequency, by visit, k
    simulated: visits.VisitComparison

    def judged(self) -> dict[str, float]:
        """The figures that have a threshold."""
        metrics = next(iter(self.choice.values()))[MODEL].metrics
        found = self.simulated.distances
        own = next(iter(self.simulated.persistence.values()))
        return {
            "AUC": metrics["AUC"].value,
            "information gain": metrics["information gain"].value,
            "ECE": metrics["ECE"].value,
            "KS of items per visit": found["items per visit"][0].ks.value,
            "KS of days between visits": found["days between visits"][0].ks.value,
            "persistence of visit length": next(iter(own.values())).value,
        }


def evaluate(world: World, log: InteractionLog, options: Options) -> dict[str, HouseholdGroup]:
    """Every figure, by group.

    Args:
        world: built from the log with a split by time.
        log: all of it.
        options: how much is drawn.

    Raises:
        ConfigError: the world has no law of how much a visit takes, or of when users return.
    """
    if world.user_model.visit_length is None or world.user_model.return_time is None:
        raise ConfigError(
            f"The world {world.name!r} lacks a law of how much a visit takes or of when users "
            "return, and both are judged here. Fit it to a log of baskets with sessions."
        )
    config = (world.config or CONFIG).split
    past = PurchaseHistory(log, make_split(log, config).part, len(world.catalog))
    half_life = choices.best_half_life(past, ~world.heldout)
    rng = np.random.default_rng(options.seed)
    own = ~world.heldout[past.visits.user]
    earlier = _drawn(world, past, own & (past.visits.part == 1), half_life, options.asked, rng)
    trivial = trivial_world(world, world.train)
    out = {}
    for name, heldout in GROUPS.items():
        mine = own != heldout
        asked = _drawn(world, past, mine & (past.visits.part == 2), half_life, options.asked, rng)
        rows, scored, fitted, bins = _choices(asked, earlier, world, options.seed)
        hits, gains = {}, {}
        for part, what in ((1, "first after training"), (2, "first of the test part")):
            first = choices.first_of(past.visits.take(mine & (past.visits.part >= part)))
            told = choices.ask(world, past, first, half_life)
            hits[what], gains[what] = _next_basket(told, fitted)
        compared = visits.simulate(
            world, trivial, past.visits, heldout, rolled=options.rolled, seed=options.seed
        )
        out[name] = HouseholdGroup(rows, scored, bins, hits, gains, compared)
    return out


def _drawn(
    world: World,
    past: PurchaseHistory,
    mask: choices.Bools,
    half_life: float,
    most: int,
    rng: np.random.Generator,
) -> Questions:
    rows = np.sort(rng.permutation(np.flatnonzero(mask))[:most])
    return choices.ask(world, past, past.visits.take(rows), half_life)


def _choices(
    asked: Questions, earlier: Questions, world: World, seed: int
) -> tuple[dict[str, Any], dict[str, dict[str, MethodScore]], dict[str, Any], dict[int, float]]:
    rows, scored = {}, {}
    fitted: dict[str, dict[str, float]] = {}
    bins: dict[int, float] = {}
    both = zip(choices.designs(asked, seed), choices.designs(earlier, seed + 1), strict=True)
    for design, before in both:
        methods = choices.probabilities(asked, design, earlier, before)
        y = asked.bought[design.rows]
        if not bins:
            bins = choices.ece_by_bins(methods[MODEL][0], y)
        if design.name.startswith("all:"):
            fitted = {k: beta for k, (_, beta) in methods.items()}
        rows[design.name] = {"rows": len(y), "rate": float(y.mean())}
        scored[design.name] = choices.score(asked, design, methods, world.num_users)
    return rows, scored, fitted, bins


def _next_basket(
    asked: Questions, fitted: dict[str, dict[str, float]]
) -> tuple[dict[str, dict[int, Estimate]], dict[int, Estimate]]:
    user = asked.visits.user
    hit = {
        name: {k: choices.hits(scores, asked.bought, k) for k in choices.TOP}
        for name, scores in choices.rankings(asked, fitted).items()
    }
    means = {n: {k: mean_interval(v, user) for k, v in h.items()} for n, h in hit.items()}
    gains = {k: paired_difference(hit[MODEL][k], hit[PERSONAL][k], user) for k in choices.TOP}
    return means, gains


def judged(groups: dict[str, HouseholdGroup]) -> list[tuple[str, str, float, str, float]]:
    """(figure, households, value, sign, limit) of everything that has a threshold."""
    out = [
        (what, name, value, *LIMITS[what])
        for name, group in groups.items()
        for what, value in group.judged().items()
    ]
    gains = [next(iter(group.gains.values()))[JUDGED_TOP] for group in groups.values()]
    gain = sum(g.mean * g.users for g in gains) / sum(g.users for g in gains)
    return [*out, (NEXT, "all", gain, *ALL_LIMITS[NEXT])]


def _met(value: float, sign: str, limit: float) -> bool:
    return value >= limit if sign == ">=" else value <= limit


def missed(groups: dict[str, HouseholdGroup]) -> list[str]:
    """Sentences on the thresholds that are missed."""
    return [
        f"{what}, households {name}: {value:.4f}, wanted {sign} {limit:g}"
        for what, name, value, sign, limit in judged(groups)
        if not _met(value, sign, limit)
    ]


def _shown(value: Value, scale: float = 1.0, digits: int = 3) -> str:
    half = (value.high - value.low) / 2
    return f"{scale * value.value:.{digits}f} ± {scale * half:.{digits}f}"


def _choice_table(group: HouseholdGroup, design: str) -> str:
    heads = ["method", "AUC", "gain %", "ECE %", "log-loss", "mean / rate", "AUC - logistic"]
    lines = []
    for name, one in group.choice[design].items():
        m = one.metrics
        weights = ", ".join(f"{k} {v:.2f}" for k, v in one.coefficients.items() if k != "constant")
        lines.append(
            [
                f"{name} ({weights})" if weights else name,
                _shown(m["AUC"]),
                _shown(m["information gain"], 100, 1),
                _shown(m["ECE"], 100, 2),
                _shown(m["log-loss"], 1, 4),
                _shown(m["mean over rate"], 1, 2),
                "" if name == LOGISTIC else _shown(one.gain["AUC"]),
            ]
        )
    return markdown(heads, lines)


def _hit_table(group: HouseholdGroup, what: str) -> str:
    heads = ["ranked by", *(f"hit@{k}" for k in choices.TOP)]
    lines = [
        [name, *(f"{e.mean:.3f} ± {(e.high - e.low) / 2:.3f}" for e in row.values())]
        for name, row in group.hits[what].items()
    ]
    gains = [f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]" for e in group.gains[what].values()]
    return markdown(heads, [*lines, [f"{MODEL} minus {PERSONAL}, paired", *gains]])


def _visit_table(group: HouseholdGroup) -> str:
    heads = ["quantity", "beside the held-out visits", "KS", "by chance", "mean", "count"]
    lines = []
    for what, found in group.simulated.distances.items():
        lines.append([what, "(held out)", "", "", f"{group.simulated.mean[what]:.2f}", ""])
        lines += [
            ["", d.name, _shown(d.ks), f"{d.chance:.3f}", f"{d.mean:.2f}", str(d.rows)]
            for d in found
        ]
    return markdown(heads, lines)


def _persistence_table(group: HouseholdGroup) -> str:
    found = group.simulated.persistence
    heads = ["mean log items, against held-out", *(f"{k} or more visits" for k in found)]
    names = list(next(iter(found.values())))
    return markdown(heads, [[n, *(_shown(found[k][n]) for k in found)] for n in names])


def report(groups: dict[str, HouseholdGroup]) -> str:
    """All tables as Markdown."""
    out = []
    for name, group in groups.items():
        out.append(f"## Households {name}")
        for k, design in enumerate(group.choice):
            facts = group.rows[design]
            mark = ", judged" if k == 0 else ""
            out.append(
                f"P(buy), {design} ({facts['rows']} rows, base rate {facts['rate']:.2%}{mark}; "
                f"ECE in {choices.BINS} equal-count bins)"
            )
            out.append(_choice_table(group, design))
        told = ", ".join(f"{100 * v:.2f} % in {b}" for b, v in group.bins.items())
        out.append(f"ECE of the model on the judged rows by number of bins: {told}.")
        for what in group.hits:
            count = next(iter(group.gains[what].values())).users
            out += [f"Next basket, {what} ({count} visits)", _hit_table(group, what)]
        out += ["Visits", _visit_table(group), "Persistence", _persistence_table(group)]
        counts = group.simulated.counts.items()
        out.append("; ".join(f"{k} {v:.2f}" if v % 1 else f"{k} {v:.0f}" for k, v in counts))
    return "\n\n".join(out)


def summary(
    groups: dict[str, HouseholdGroup], members: Sequence[dict[str, HouseholdGroup]] = ()
) -> str:
    """The judged figures, and how far they move over bootstrap members of the world."""
    lines = []
    for row, *others in zip(*map(judged, [groups, *members]), strict=True):
        what, name, value, sign, limit = row
        met = "yes" if _met(value, sign, limit) else "NO"
        cells = [what, name, f"{value:.4f}", f"{sign} {limit:g}", met]
        lines.append([*cells, *(f"{other[2]:.4f}" for other in others)])
    heads = ["figure", "households", "value", "wanted", "met"]
    return markdown([*heads, *(f"member {k + 1}" for k in range(len(members)))], lines)


def plain(value: Any) -> Any:
    """JSON-able copy of tuples, dicts and numpy numbers."""
    fields = getattr(value, "_fields", None)
    if fields is not None:
        value = dict(zip(fields, value, strict=True))
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.baskets")
    parser.add_argument("--out", type=Path, help="folder for baskets.json and baskets.md")
    parser.add_argument("--config", type=Path, help="TOML of a WorldConfig with a split by time")
    parser.add_argument("--visits", type=int, default=Options().asked, help="asked, per group")
    parser.add_argument(
        "--rolled", type=int, default=Options().rolled, help="rolled out, per group"
    )
    parser.add_argument("--members", type=int, default=0, help="bootstrap members to repeat it on")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn here")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    given = parser.parse_args(arguments)
    config = CONFIG if given.config is None else WorldConfig.from_toml(given.config)
    log, catalog = load("complete-journey", progress=not given.quiet)
    encode_items(catalog, config.encoder, progress=not given.quiet)  # kept, so not timed below
    began, busy = time.monotonic(), time.process_time()
    world = build_world(log, catalog, config, progress=not given.quiet)
    built, busy = time.monotonic() - began, time.process_time() - busy
    options = Options(given.visits, given.rolled, given.seed)
    found: list[dict[str, HouseholdGroup]] = []
    stage = Progress("members", given.members + 1, unit="members", shown=given.members > 0)
    for index in stage.of(range(given.members + 1)):
        member = world.member(index, progress=not given.quiet)
        found.append(evaluate(member, log, options))
    lacking = missed(found[0])
    parts = [world.describe(), report(found[0]), "## Thresholds", summary(found[0], found[1:])]
    parts.append("\n".join(f"MISSED: {line}" for line in lacking) or "All thresholds are met.")
    parts.append(
        f"World built, or read back, in {built:.0f} s ({busy:.0f} s of processor time), item texts "
        "encoded before."
    )
    text = "\n\n".join(parts)
    print(text)
    if given.out is not None:
        made = {
            "world": world.hash,
            "log": log.hash,
            "config": config.to_dict(),
            "options": options._asdict(),
            "seconds to build": round(built),
            "processor seconds to build": round(busy),
            "missed": lacking,
            "groups": [plain(g) for g in found],
        }
        title = "Complete Journey: what households buy, how much, and when they return"
        write_study(given.out, "baskets", title, text, made)
    return 1 if lacking else 0
