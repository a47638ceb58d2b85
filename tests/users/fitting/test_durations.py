"""Visits as durations: what is read from a log, and that a cut log does not bias the law."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from recenv.data.continuation import continuation
from recenv.schema import CLICK, IGNORE
from recenv.studies.recovery.laws import make_world, planted_duration
from recenv.synthetic.baskets import emit_baskets
from recenv.users.duration_law import DurationLaw
from recenv.users.fitting.visit_durations import (
    fit_lengths,
    fit_returns,
    return_times,
    visit_lengths,
)


@pytest.fixture(scope="module")
def world():
    return make_world(1, num_users=400, history_visits=1)


@pytest.fixture(scope="module")
def handmade(world):
    """User 0: three items on day 0, one on day 4, one later that day; user 1: one on day 6."""
    log = emit_baskets(world, visits_per_user=1, seed=0)
    days = np.array([0.1, 0.1, 0.2, 4.3, 4.9, 6.0])
    events = log.events.iloc[:6].assign(
        user=np.array([0, 0, 0, 0, 0, 1], np.int32),
        item=np.arange(6, dtype=np.int32),
        time=86_400 * days,
        session=np.array([5, 5, 5, 2, 9, 1]),
    )
    return dataclasses.replace(log, events=events)


def test_lengths_and_gaps_by_hand(handmade):
    lengths = visit_lengths(handmade, None)
    np.testing.assert_array_equal(lengths.length, [3, 1, 1, 1])
    assert lengths.ended.all()
    gaps = return_times(handmade, None)
    np.testing.assert_array_equal(gaps.length, [4, 0, 2, 0])  # then 6 - 4 and 6 - 6, not seen
    np.testing.assert_array_equal(gaps.ended, [True, True, False, False])
    np.testing.assert_array_equal(gaps.user, [0, 0, 0, 1])


def test_what_goes_on_is_known_by_its_length_alone(handmade):
    """The log cut after day 5: the visit named 9 takes 3 in all, user 0 is back on day 8."""
    whole = handmade.events.iloc[[0, 1, 2, 3, 4, 4, 4, 5, 5]].assign(
        time=86_400 * np.array([0.1, 0.1, 0.2, 4.3, 4.9, 5.1, 5.2, 6.0, 8.0]),
        session=np.array([5, 5, 5, 2, 9, 9, 9, 1, 8]),
        user=np.array([0, 0, 0, 0, 0, 0, 0, 1, 0], np.int32),
    )
    log = dataclasses.replace(handmade, events=whole.reset_index(drop=True))
    later = log.column("time") > 86_400 * 5
    goes_on = continuation(log, later, np.zeros(400, bool))
    before = log.take(~later)
    lengths = visit_lengths(before, goes_on)
    np.testing.assert_array_equal(lengths.length, [3, 1, 3])
    gaps = return_times(before, goes_on)
    np.testing.assert_array_equal(gaps.length, [4, 0, 4])
    assert gaps.ended.all()
    hidden = continuation(log, later, np.arange(400) == 0)  # nothing later may be known of user 0
    np.testing.assert_array_equal(visit_lengths(before, hidden).length, [3, 1])
    np.testing.assert_array_equal(return_times(before, hidden).length, [4, 0])


def test_visits_without_consumption_are_left_out(handmade):
    response = handmade.column("response").copy()
    response[3] = IGNORE
    log = dataclasses.replace(handmade, events=handmade.events.assign(response=response))
    np.testing.assert_array_equal(visit_lengths(log, None).length, [3, 1, 1])
    np.testing.assert_array_equal(return_times(log, None).length, [4, 2, 0])


def test_planted_lengths_and_gaps_are_recovered_from_a_log(world):
    """30 days of 400 users: about 2 500 visits; errors of hazards of .1 to .27 are about .02, and
    the end of the log adds what ``test_the_end_of_the_log_does_not_bias_gaps`` is about."""
    lengths = planted_duration(1, 6, 400, seed=1)
    returns = planted_duration(0, 10, 400, seed=2, spread=0.0)
    log = emit_baskets(
        world, visits_per_user=200, lengths=lengths, returns=returns, days=30, seed=3
    )
    nobody = np.zeros(400, bool)
    for law, fitted in ((lengths, fit_lengths), (returns, fit_returns)):
        fit = fitted(log, nobody, None, None)
        assert fit.provenance.source == "fitted"
        size = len(law.baseline) - 1
        error = expit(fit.law.baseline[:size]) - expit(law.baseline[:size])
        assert np.sqrt(np.mean(error**2)) < 0.04
    fit = fit_lengths(log, nobody, None, None).law
    visits = visit_lengths(log, None)
    mean = np.bincount(visits.user, visits.length, 400) / np.bincount(visits.user, minlength=400)
    assert np.corrcoef(fit.effect, mean)[0, 1] > 0.7  # who takes more has the larger effect


def hazard(durations, users, steps):
    law = DurationLaw.fit(*durations, users, first=0, longest=steps - 1, l2=1e6)
    return expit(law.baseline.astype(float))


def test_the_end_of_the_log_does_not_bias_gaps():
    """A constant hazard of 0.15 in 16 days: on the last day those who came are counted, so those
    who did not must be as well. Standard error of the pooled hazard about 0.002."""
    users = 4000
    world = make_world(1, num_users=users, history_visits=1)
    law = DurationLaw(
        np.full(5, np.log(0.15 / 0.85), np.float32), np.zeros(users, np.float32), 0, 1.0
    )
    some = planted_duration(1, 3, users, seed=0, spread=0.0)  # a visit without items is not seen
    log = emit_baskets(world, visits_per_user=100, lengths=some, returns=law, days=16, seed=5)
    gaps = return_times(log, None)
    assert np.abs(hazard(gaps, users, 2).mean() - 0.15) < 0.006


def test_logs_that_tell_nothing_say_so(world, handmade):
    nobody = np.zeros(400, bool)
    few = fit_returns(handmade, nobody, None, None)
    assert few.law is None
    assert "only 2 days to the next visit" in few.provenance.note
    nameless = dataclasses.replace(handmade, events=handmade.events.drop(columns="session"))
    assert "names no visits" in fit_lengths(nameless, nobody, None, None).provenance.note
    shown = fit_lengths(world.train, nobody, None, None)
    assert shown.law is None
    assert (world.train.column("response") >= CLICK).any()
    assert "hazard of each round" in shown.provenance.note
