"""Whole visits: the logged ones beside the same users' simulated ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recenv.evaluation.fidelity.consumption import popularity, repeats, transitions
from recenv.evaluation.fidelity.distances import Sides, distribution
from recenv.evaluation.fidelity.events import Events, logged_events
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import Bools, Ints, limit
from recenv.evaluation.fidelity.inputs import Inputs
from recenv.evaluation.fidelity.past import Past
from recenv.evaluation.fidelity.positions import positions
from recenv.evaluation.fidelity.replay import consume, play_slates
from recenv.evaluation.fidelity.rewards import reward
from recenv.evaluation.fidelity.slates import logged_slates
from recenv.evaluation.fidelity.visit_lengths import no_lengths, rounds_of, visit_lengths
from recenv.schema import CLICK, PURCHASE, Exposure
from recenv.world import World

_VISIT = ("leave", "visit length")
_CONTENT = ("click", "click level", "examination")
_WITHIN = ("boredom", "drift", *_VISIT)


def visit_findings(inputs: Inputs, judge: Judge, rng: np.random.Generator) -> Findings:
    """Whole visits: length, content, reward."""
    if inputs.exposure == Exposure.IMPRESSIONS:
        return _slate_visits(inputs, judge, rng)
    return _consuming_visits(inputs, judge, rng)


def _slate_visits(inputs: Inputs, judge: Judge, rng: np.random.Generator) -> Findings:
    """The logged slates are shown; users answer and leave by themselves."""
    log, held = inputs.log, inputs.held
    whole = limit(held.whole, inputs.config.max_visits, rng)
    slates = logged_slates(log, held, whole)
    kept = np.zeros(len(log), bool)
    kept[slates.row] = True
    seed = inputs.config.seed
    sides = Sides(
        logged_events(log, held, kept),
        *(play_slates(inputs.make, world, slates, seed=seed) for world in inputs.worlds),
    )
    users = sides.log.visitor
    found = _sizes(inputs, sides.log)
    if inputs.sessions:
        found += visit_lengths(judge, "rounds", rounds_of(sides), users, _VISIT, later=held.later)
    else:
        found += no_lengths("no sessions")
    if "position" in log.events:
        found += positions(judge, sides, inputs.least)
    else:
        found += untold("position", ["click rate"], ["position"], "no positions")
    laws = [*_CONTENT, *(_WITHIN if inputs.sessions else ())]
    if inputs.least == CLICK:
        clicks = [e.total(e.response >= CLICK) for e in sides.all]
        found += distribution(
            judge, "visits", "clicks", clicks, users, laws, check="clicks per visit"
        )
    found += _purchases(inputs, judge, sides, [*laws, "purchase"])
    past = _past(inputs, whole[held.visit])
    return found + _content(inputs, judge, sides, sides.consumed(inputs.least), past, laws)


def _consuming_visits(inputs: Inputs, judge: Judge, rng: np.random.Generator) -> Findings:
    """Logged and simulated visits of equal size; then visits of the users' own length."""
    held = inputs.held
    inside = np.bincount(held.visit, held.rows, len(held.visitor)) > 0
    some = limit(inside, inputs.config.max_single_visits, rng)
    rows = held.rows & some[held.visit] & (inputs.log.column("response") >= inputs.least)
    log = logged_events(inputs.log, held, rows)
    quota = log.total(np.ones(len(log.visit))).astype(np.int64)
    past = _past(inputs, rows)
    sides = Sides(log, *(_consume(inputs, w, log.visitor, quota, past) for w in inputs.worlds))
    laws = ["click"]
    found = _sizes(inputs, log)
    found += _purchases(
        inputs, judge, sides, ["purchase", *laws] if inputs.least == CLICK else laws
    )
    found += _content(inputs, judge, sides, sides, past, laws)
    found += untold("position", ["click rate"], ["position"], "no impressions")
    if not inputs.sessions:
        return found + no_lengths("no sessions")
    if inputs.world.user_model.visit_length is None:
        return found + no_lengths("the world has no law of how much a visit takes")
    return found + _own_length(inputs, judge, rng)


def _own_length(inputs: Inputs, judge: Judge, rng: np.random.Generator) -> Findings:
    """Visits that end by the users' own law."""
    held = inputs.held
    whole = limit(held.whole, inputs.config.max_single_visits, rng)
    rows = whole[held.visit] & (inputs.log.column("response") >= inputs.least)
    log = logged_events(inputs.log, held, rows)
    past = _past(inputs, rows)
    sides = [_consume(inputs, world, log.visitor, None, past) for world in inputs.worlds]
    lengths = [e.total(np.ones(len(e.visit))) for e in (log, *sides)]
    found = visit_lengths(judge, "items", lengths, log.visitor, ["visit length"], later=held.later)
    return Findings(counts={"visits compared in length": len(log.visitor)}) + found


def _past(inputs: Inputs, rows: Bools) -> Past:
    """What was consumed before the visits that ``rows`` make up."""
    size = len(inputs.world.catalog)
    return Past.of(inputs.log, inputs.held.visit, rows, least=inputs.least, size=size)


def _consume(inputs: Inputs, world: World, users: Ints, quota: Ints | None, past: Past) -> Events:
    return consume(
        inputs.make,
        world,
        users,
        quota=quota,
        seen=past if _once(inputs) else None,
        least=inputs.least,
        seed=inputs.config.seed,
    )


def _once(inputs: Inputs) -> bool:
    """Whether the train part never has an item consumed twice by one user."""
    log = inputs.log
    rows = inputs.split.rows("train", "all") & (log.column("response") >= inputs.least)
    user = log.column("user")[rows].astype(np.int64)
    pairs = user * len(inputs.world.catalog) + log.column("item")[rows]
    return len(pairs) > 0 and len(np.unique(pairs)) == len(pairs)


def _purchases(inputs: Inputs, judge: Judge, sides: Sides, laws: Sequence[str]) -> Findings:
    """Purchases and money per visit."""
    users = sides.log.visitor
    fixed = "" if inputs.exposure == Exposure.IMPRESSIONS else "visits of the logged size"
    if inputs.least == PURCHASE and inputs.exposure != Exposure.IMPRESSIONS:
        found = untold("visits", ["purchases"], [], "visits are compared at equal size")
    else:
        bought = [e.total(e.response == PURCHASE) for e in sides.all]
        check = "purchases per visit"
        found = distribution(
            judge, "visits", "purchases", bought, users, laws, check=check, note=fixed
        )
    if "value" not in inputs.log.events or not inputs.world.catalog.price.any():
        return found + untold("visits", ["value"], ["value per visit"], "no prices")
    value = [e.total(e.value) for e in sides.all]
    return found + distribution(
        judge, "visits", "value", value, users, laws, check="value per visit", note=fixed
    )


def _content(
    inputs: Inputs, judge: Judge, sides: Sides, consumed: Sides, past: Past, laws: Sequence[str]
) -> Findings:
    """What is consumed, and what it earns."""
    catalog = inputs.world.catalog
    # what is clicked nearly always is consumed no more often than what is clicked often: a
    # level that is too high flattens the shares
    click = ["click", "click level"] if inputs.exposure == Exposure.CONSUMPTION else ["click"]
    found = popularity(judge, consumed, len(catalog), click)
    found += transitions(judge, consumed, catalog.category, [*click, "boredom", "drift"])
    found += repeats(judge, consumed, past, ["click", "repeat"])
    counted = inputs.least == PURCHASE and inputs.exposure != Exposure.IMPRESSIONS
    if counted and not inputs.reward.purchase_by_value:
        why = "visits of equal size bring equal rewards"
        return found + untold("reward", ["mean error per visit"], ["reward"], why)
    more = ["purchase"] if inputs.least == CLICK else []
    price = float(catalog.price.mean())
    return found + reward(judge, sides, inputs.reward, price, [*laws, *more])


def _sizes(inputs: Inputs, log: Events) -> Findings:
    """How many visits and users are compared."""
    notes = ()
    if not inputs.held.later:
        notes = (
            "The split cuts through most visits, so whole visits are those of the held-out "
            "users over the whole log: what was fitted to these users themselves has seen "
            "the train part of them.",
        )
    counts = {
        "visits compared": len(log.visitor),
        "users compared": len(np.unique(log.visitor)),
    }
    return Findings(counts=counts, notes=notes)
