"""Logs of consumption alone: visit lengths, returns and content, truth and broken laws.

The log is drawn by numpy straight from the laws' closed forms; the simulator has no part in it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from recenv.config import SplitConfig
from recenv.data.split import make_split
from recenv.evaluation.fidelity import FidelityConfig, FidelityReport, fidelity
from recenv.schema import EVENT_COLUMNS, InteractionLog
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.users.duration_law import DurationLaw
from recenv.world import World

USERS, ITEMS, VISITS, DAY = 120, 60, 16, 86_400.0
TOLD = {
    "visit length",
    "persistence of visit length",
    "inter-visit time",
    "item popularity",
    "category transitions",
    "purchases per visit",
    "repeat consumption",
    "reward",
    "purchase given click: level",
    "users are themselves",
}


@pytest.fixture(scope="module")
def world() -> World:
    """Users who do not change within a visit, so that what they consume has a closed form."""
    made = planted_world(
        PlantedConfig(num_users=USERS, num_items=ITEMS, item_bias=1.0, click_intercept=-1.0)
    )
    rng = np.random.default_rng(5)
    effects = rng.normal(size=(2, USERS)).astype(np.float32)
    still = made.user_model.dynamics._replace(boredom_weight=0.0, drift_rate=0.0)
    length, back = (
        DurationLaw(np.array(baseline, np.float32), effect, first, 1.0)
        for baseline, effect, first in (
            ([-2.0, -1.5, -1.2], effects[0], 1),
            ([-1.0, -1.5, -1.8, -1.0], 0.3 * effects[1], 0),
        )
    )
    model = dataclasses.replace(
        made.user_model, dynamics=still, visit_length=length, return_time=back
    )
    return dataclasses.replace(made, user_model=model)


def durations(law: DurationLaw, user: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Trial by trial: it ends at each step with the hazard of that step."""
    hazard = 1 / (1 + np.exp(-(law.baseline - law.effect[user])))
    out = []
    for _ in range(count):
        step = 0
        while rng.random() >= hazard[min(step, len(hazard) - 1)]:
            step += 1
        out.append(law.first + step)
    return np.array(out)


@pytest.fixture(scope="module")
def log(world: World) -> InteractionLog:
    rng = np.random.default_rng(11)
    model = world.user_model
    assert model.visit_length is not None
    assert model.return_time is not None
    everything = np.arange(ITEMS)
    parts = []
    for user in range(USERS):
        share = model.click_probs(np.full(ITEMS, user), everything).astype(float)
        buy = model.purchase_probs(np.full(ITEMS, user), everything)
        size = durations(model.visit_length, user, VISITS, rng)
        gap = durations(model.return_time, user, VISITS, rng)
        visit = np.repeat(np.arange(VISITS), size)
        item = rng.choice(ITEMS, size=len(visit), p=share / share.sum())
        # whole days apart, and one more second each, so that no two visits coincide
        start = np.cumsum(gap) * DAY + np.arange(VISITS)
        parts.append(
            pd.DataFrame(
                {
                    "user": user,
                    "item": item,
                    "time": start[visit] + np.arange(len(visit)) * 1e-4,
                    "response": 1 + (rng.random(len(visit)) < buy[item]),
                    "session": user * VISITS + visit,
                }
            )
        )
    events = pd.concat(parts).sort_values("time", kind="stable", ignore_index=True)
    columns = {**EVENT_COLUMNS, "session": np.dtype(np.int64)}
    return InteractionLog(events.astype(columns), world.train.user_ids, "consumption")


def judged(world: World, log: InteractionLog, **changes: object) -> FidelityReport:
    model = dataclasses.replace(world.user_model, **changes)
    split = make_split(log, SplitConfig(test_fraction=0.5))
    broken = dataclasses.replace(world, user_model=model)
    return fidelity(broken, log, split, FidelityConfig(resamples=100))


def passed(report: FidelityReport) -> set[str]:
    return {check.name for check in report.checks if check.status == "pass"}


def test_the_truth_passes(world: World, log: InteractionLog) -> None:
    report = judged(world, log)
    assert TOLD - passed(report) == set()
    assert report.check("click: level").status == "unknown"
    lengths = report.figure("visits", "items: mean")
    # the split cuts each user's boundary visit, a long one, and leaves it out of the log's mean
    assert lengths.simulator.value == pytest.approx(lengths.reference.value, rel=0.15)


def test_each_broken_law_is_named(world: World, log: InteractionLog) -> None:
    model = world.user_model
    length, back = model.visit_length, model.return_time
    assert length is not None
    assert back is not None
    order = np.random.default_rng(0).permutation(max(USERS, ITEMS))
    shifted = dataclasses.replace(length, baseline=length.baseline + 0.7)
    mixed = dataclasses.replace(length, effect=length.effect[order[order < USERS]])
    sooner = dataclasses.replace(back, baseline=back.baseline + 1)
    biases = model.item_click_bias[order[order < ITEMS]]
    for changes, caught in (
        ({"visit_length": shifted}, {"visit length"}),
        ({"visit_length": mixed}, {"persistence of visit length"}),
        ({"return_time": sooner}, {"inter-visit time"}),
        ({"item_click_bias": biases}, {"item popularity"}),
        (
            {
                "item_click_bias": model.item_click_bias
                + np.float32(3) * (world.catalog.category == 0)
            },
            {"category transitions", "item popularity"},
        ),
        (
            {"item_purchase_bias": model.item_purchase_bias + np.float32(1)},
            {"purchases per visit", "purchase given click: level"},
        ),
    ):
        report = judged(world, log, **changes)
        assert caught <= set(report.failed), (caught, report.broken)
        others = {"visit length", "persistence of visit length", "inter-visit time"} - caught
        assert others <= passed(report)
