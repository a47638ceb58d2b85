"""What users had consumed before: logs whose share of repeats is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from recenv.config import RewardConfig, SplitConfig
from recenv.data.split import make_split
from recenv.evaluation.fidelity import FidelityConfig, fidelity
from recenv.evaluation.fidelity.inputs import Inputs
from recenv.evaluation.fidelity.past import Past
from recenv.evaluation.fidelity.replay import consume
from recenv.schema import CLICK, EVENT_COLUMNS, InteractionLog
from recenv.sim import Simulator
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.world import World

USERS, ITEMS, DAY = 40, 30, 86_400.0
CONFIG = FidelityConfig(resamples=10)


@pytest.fixture(scope="module")
def world() -> World:
    return planted_world(PlantedConfig(num_users=USERS, num_items=ITEMS))


def log_of(world: World, visits: Sequence[Sequence[int]], *, ignored: bool) -> InteractionLog:
    """Every user makes the same visits; each click has, if ``ignored``, an item passed over."""
    rows = []
    for user in range(USERS):
        for number, items in enumerate(visits):
            for round_, item in enumerate(items):
                time = number * DAY + round_ * 60 + user * 1e-3
                session = user * len(visits) + number
                rows.append((user, item, time, 1, session))
                if ignored:
                    rows.append((user, ITEMS - 1 - round_, time, 0, session))
    events = pd.DataFrame(rows, columns=["user", "item", "time", "response", "session"])
    events = events.sort_values("time", kind="stable", ignore_index=True)
    types = {**EVENT_COLUMNS, "session": np.dtype(np.int64)}
    ids = world.train.user_ids
    return InteractionLog(events.astype(types), ids, "known", has_impressions=ignored)


CUT = [[0, 1, 2, 3, 4, 5], [0, 6]]
"""Half of the events are the last visit and a third of the first: the split cuts every user."""


def test_compared_visits_are_no_past_of_their_own(world: World) -> None:
    """One of eight clicks is of an item clicked before."""
    log = log_of(world, CUT, ignored=True)
    split = make_split(log, SplitConfig(test_fraction=0.5))
    report = fidelity(world, log, split, CONFIG)
    assert report.figure("repeats", "share consumed before").reference.value == 1 / 8
    assert "12.5% in the log" in report.check("repeat consumption").words
    # the users' own train part is in the lengths that would be compared
    assert "the split cuts through" in report.check("persistence of visit length").words


def test_counts_leave_out_users_whose_whole_visits_are_compared(world: World) -> None:
    log = log_of(world, CUT, ignored=True)
    split = make_split(log, SplitConfig(test_fraction=0.5))
    heldout = np.flatnonzero(split.heldout[log.column("user")] & (log.column("item") == 1))
    events = log.events.copy()
    events.loc[heldout, "item"] = 20  # a click that only held-out users make, in the train part
    changed = dataclasses.replace(log, events=events)

    def rates(of: InteractionLog) -> np.ndarray:
        inputs = Inputs.of(world, of, split, Simulator, RewardConfig(), CONFIG)
        assert not inputs.held.later
        return inputs.trivial.user_model.item_click_bias

    np.testing.assert_array_equal(rates(changed), rates(log))


@pytest.mark.parametrize("ignored", [True, False])
def test_visits_that_were_not_sampled_are_a_past(world: World, ignored: bool) -> None:
    """Half of every later visit is what the visit before it had anew."""
    visits = [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    log = log_of(world, visits, ignored=ignored)
    split = make_split(log, SplitConfig(test_fraction=0.75, valid_fraction=0.0))
    config = CONFIG.replace(max_visits=30, max_single_visits=30)
    report = fidelity(world, log, split, config)
    assert report.counts["visits compared"] == 30
    assert report.figure("repeats", "share consumed before").reference.value == 0.5


def test_past_is_earlier_and_elsewhere(world: World) -> None:
    log = log_of(world, [[0, 1], [2], [3, 0]], ignored=False)
    visit = log.column("session")
    first = {user: 3 * user for user in range(USERS)}
    compared = np.isin(visit, [first[u] + 1 for u in range(USERS)])  # the middle visit of each
    past = Past.of(log, visit, compared, least=CLICK, size=ITEMS)
    at = np.zeros(4, np.int64)
    np.testing.assert_array_equal(
        past.holds(at, at, np.array([0, 1, 2, 3])), [True, True, False, False]
    )
    nothing = Past.of(log, visit, np.ones(len(log), bool), least=CLICK, size=ITEMS)
    assert not nothing.holds(at, at, np.arange(4)).any()


def test_what_is_consumed_once_is_never_taken_twice() -> None:
    """Two visits of one user are played side by side; item 0 is of their past."""
    world = planted_world(PlantedConfig(num_users=4, num_items=5, click_intercept=4.0))
    users = np.repeat(np.arange(4), 2)
    pair = np.arange(4, dtype=np.int64) * 5
    past = Past(pair, np.zeros(4, np.int64), np.ones(len(users), np.int64), 5)
    events = consume(Simulator, world, users, quota=np.full(8, 2), seen=past, least=CLICK, seed=0)
    taken = events.user * 5 + events.item
    assert len(taken) == 16
    assert len(np.unique(taken)) == 16
    assert (events.item > 0).all()
