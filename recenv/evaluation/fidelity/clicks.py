"""Clicks and purchases: probabilities of the answers to what was shown, on held-out rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from recenv.evaluation.fidelity.answers import Answers, Floats
from recenv.evaluation.fidelity.calibration import calibration
from recenv.evaluation.fidelity.choice import choice
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import Bools, Ints, limit
from recenv.evaluation.fidelity.inputs import Inputs
from recenv.evaluation.fidelity.memory import consumed_so_far, gain, memory, no_memory
from recenv.evaluation.fidelity.replay import answer_probabilities
from recenv.evaluation.fidelity.slates import Slates, contrasts, logged_slates
from recenv.schema import CLICK, PURCHASE, Exposure


def click_findings(inputs: Inputs, judge: Judge, rng: np.random.Generator) -> Findings:
    """Probabilities of clicks and purchases, who they are of, and what a visit changes."""
    slates = slates_to_score(inputs, rng)
    own, trivial = (answer_probabilities(inputs.make, w, slates)[0] for w in inputs.worlds)
    at = (slates.slate, slates.slot)
    scored = slates.scored & np.isfinite(own[*at, 0])
    found = Findings(
        counts={
            "rows scored": int(scored.sum()),
            "users scored": len(np.unique(slates.user[slates.visit])),
        }
    )
    click = _clicks(inputs, slates, own, trivial, scored)
    shown = inputs.exposure == Exposure.IMPRESSIONS
    level = ["click level", "click", "examination"] if shown else ["click"]
    found += calibration(judge, click, level)
    if inputs.least == CLICK:
        clicked = scored & (slates.responses[at] >= CLICK)
        bought = _purchases(inputs, slates, own, trivial, clicked)
        found += calibration(judge, bought, ["purchase"])
    else:
        why = "it has purchases only, so their split into click and purchase is stated"
        found += untold("purchase given click", ["AUC"], ["purchase given click: level"], why)
    found += choice(judge, click)
    found += _personal(inputs, judge, rng, slates, click, scored)
    return found + _within_visits(inputs, judge, slates, click, scored)


def slates_to_score(inputs: Inputs, rng: np.random.Generator) -> Slates:
    """Slates of the visits that have held-out rows, or of those rows beside other items."""
    held = inputs.held
    inside = np.bincount(held.visit, held.rows, len(held.visitor)) > 0
    chosen = limit(inside, inputs.config.max_visits, rng)
    if inputs.exposure == Exposure.IMPRESSIONS:
        return logged_slates(inputs.log, held, chosen)
    some = dataclasses.replace(held, rows=held.rows & chosen[held.visit])
    items, each = len(inputs.world.catalog), inputs.config.passed_over
    return contrasts(inputs.log, some, items, each, rng)


def _personal(
    inputs: Inputs,
    judge: Judge,
    rng: np.random.Generator,
    slates: Slates,
    click: Answers,
    scored: Bools,
) -> Findings:
    """What knowing who the user is adds: the same answers by another user's probabilities."""
    users = _others(slates.user, inputs.world.num_users, rng)
    other, _ = answer_probabilities(inputs.make, inputs.world, slates, users)
    return gain(
        judge,
        "users are themselves",
        ("users", "log-likelihood of own over another user's answers, nats a row"),
        click.levelled(click.own),
        click.levelled(_consumed(inputs, other)[slates.slate, slates.slot][scored]),
        click,
        ["click"],
        judge.config.personal_share,
        "knowing who the user is",
    )


def _within_visits(
    inputs: Inputs, judge: Judge, slates: Slates, click: Answers, scored: Bools
) -> Findings:
    if inputs.exposure != Exposure.IMPRESSIONS or not inputs.sessions:
        return no_memory(
            "no impressions" if inputs.exposure != Exposure.IMPRESSIONS else "no sessions"
        )
    world = inputs.world
    fresh, _ = answer_probabilities(inputs.make, world, slates.alone())
    forgetful = _consumed(inputs, fresh)[slates.slate, slates.slot][scored]
    features = consumed_so_far(slates, inputs.least, world.user_model, world.catalog.category)
    return memory(judge, click, forgetful, [feature[scored] for feature in features])


def _consumed(inputs: Inputs, answer: Floats) -> Floats:
    """(S, K) probability of what counts as consumed."""
    return answer[..., 2] if inputs.least == PURCHASE else answer[..., 1] + answer[..., 2]


def _clicks(inputs: Inputs, slates: Slates, own: Floats, trivial: Floats, rows: Bools) -> Answers:
    slate, slot = slates.slate[rows], slates.slot[rows]
    user = slates.user[slates.visit[slate]]
    return Answers(
        name="click" if inputs.least == CLICK else "purchase",
        law="click",
        user=user,
        weight=slates.weight[rows],
        outcome=slates.responses[slate, slot] >= inputs.least,
        own=_consumed(inputs, own)[slate, slot],
        trivial=_consumed(inputs, trivial)[slate, slot],
        heldout=inputs.split.heldout[user],
        level_known=inputs.exposure != Exposure.CONSUMPTION,
    )


def _purchases(
    inputs: Inputs, slates: Slates, own: Floats, trivial: Floats, rows: Bools
) -> Answers:
    slate, slot = slates.slate[rows], slates.slot[rows]
    user = slates.user[slates.visit[slate]]

    def given_click(answer: Floats) -> Floats:
        p = answer[slate, slot]
        return p[:, 2] / np.maximum(p[:, 1] + p[:, 2], 1e-12)

    return Answers(
        name="purchase given click",
        law="purchase",
        user=user,
        weight=np.ones(len(slate)),
        outcome=slates.responses[slate, slot] == PURCHASE,
        own=given_click(own),
        trivial=given_click(trivial),
        heldout=inputs.split.heldout[user],
        level_known=True,
    )


def _others(users: Ints, num_users: int, rng: np.random.Generator) -> Ints:
    """Each visitor replaced by another one, the same for all of a user's visits."""
    present = rng.permutation(np.unique(users))
    another = np.arange(num_users)
    another[present] = np.roll(present, 1)
    return another[users]
