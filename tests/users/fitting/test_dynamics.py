"""Leaving, boredom and drift recovered, with the planted vectors held fixed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from recenv.studies.recovery.laws import (
    FIT,
    MOVING,
    ROUNDS,
    leave_fit,
    make_world,
    refit,
    true_replay,
    with_model,
)
from recenv.synthetic import emit_log
from recenv.users.fitting import dynamics
from recenv.users.fitting.visit_replay import replay

CAP = ROUNDS.max_rounds


@pytest.fixture(scope="module")
def world():
    return make_world(4, moving=True)


@pytest.fixture(scope="module")
def log(world):
    """5 400 visits, about 27 000 rounds."""
    return emit_log(world, ROUNDS, visits_per_user=90, seed=11)


def replayed(world, log, **changes):
    planted = world.user_model.dynamics
    seen, vectors = true_replay(world, log)
    rates = {
        name: getattr(planted, name)
        for name in ("drift_rate", "boredom_weight", "boredom_gain", "boredom_decay")
    }
    return replay(seen, vectors, categories=len(world.catalog.category_names), **(rates | changes))


def test_the_leave_law_is_recovered(world, log):
    """Within four of its own standard errors, and those small enough to tell the law from none."""
    fit = leave_fit(world, log, CAP)
    for name in ("intercept", "length", "satisfaction", "boredom"):
        value, error = getattr(fit, name)
        assert abs(value - MOVING[f"leave_{name}"]) < 4 * error, (name, value, error)
    assert fit.length.error < 0.02
    assert fit.satisfaction.value > 8 * fit.satisfaction.error
    assert fit.satisfaction_decay == pytest.approx(MOVING["satisfaction_decay"], abs=0.15)
    assert fit.visits == 5400


def test_ignoring_that_visits_were_cut_is_noticed(world, log):
    """Visits of the greatest length were cut, not left: as leaving, they raise the hazard."""
    right, wrong = leave_fit(world, log, CAP), leave_fit(world, log, None)
    assert right.censored > 500
    assert wrong.censored == 0
    assert abs(right.length.value - MOVING["leave_length"]) < 0.06
    assert wrong.length.value - MOVING["leave_length"] > 0.2


def test_a_pile_of_visits_at_one_length_is_taken_for_the_cap(world, log):
    rounds = log.events.groupby("session")["time"].nunique().to_numpy()
    assert dynamics.visit_cap(rounds) == CAP
    assert dynamics.visit_cap(np.array([1] * 50 + [2] * 30 + [3] * 20 + [4] * 10)) is None


def test_the_logistic_regression_has_the_closed_form_of_two_groups():
    """One 0/1 column: coefficients are log-odds of the groups; errors are sqrt(sum 1 / count)."""
    group = np.repeat([0.0, 1.0], [400, 600])
    hit = np.concatenate([np.arange(400) < 100, np.arange(600) < 450])
    x, errors, likelihood = dynamics.logistic(
        np.stack([np.ones(1000), group], 1), hit, np.ones(1000)
    )
    np.testing.assert_allclose(x, [np.log(1 / 3), np.log(3) - np.log(1 / 3)], atol=1e-6)
    second = np.sqrt(1 / 100 + 1 / 300 + 1 / 450 + 1 / 150)
    np.testing.assert_allclose(errors, [np.sqrt(1 / 100 + 1 / 300), second], rtol=1e-5)
    expected = sum(n * np.log(p) for n, p in [(100, 0.25), (300, 0.75), (450, 0.75), (150, 0.25)])
    assert likelihood == pytest.approx(expected)


def test_weights_of_rounds_are_copies_of_users(world, log):
    """Multiplicities 0, 1, 2, 3 of the users against the log with the users that often."""
    counts = np.arange(60) % 4
    weighted = leave_fit(world, log, CAP, counts.astype(float))
    parts = []
    for copy in range(3):
        events = log.take(counts[log.column("user")] > copy).events.copy()
        events["session"] += copy * 10**6
        events["time"] += copy * 1e8
        parts.append(events)
    joined = dataclasses.replace(log, events=pd.concat(parts, ignore_index=True))
    copies = leave_fit(world, joined, CAP)
    for name in ("intercept", "length", "satisfaction", "boredom"):
        a, b = getattr(weighted, name), getattr(copies, name)
        assert a.value == pytest.approx(b.value, abs=1e-3)
        assert a.error == pytest.approx(b.error, rel=1e-3)


def test_reported_errors_of_leaving_are_those_of_the_bootstrap(world, log):
    """Standard deviation over resampled users, within a factor 2: 30 samples know it to 13 %."""
    part = log.take(log.column("session") < 30 * 60)
    fit, rng = leave_fit(world, part, CAP), np.random.default_rng(0)
    drawn = [
        leave_fit(world, part, CAP, np.bincount(rng.integers(60, size=60), minlength=60) * 1.0)
        for _ in range(30)
    ]
    for name in ("intercept", "length"):
        spread = np.std([getattr(d, name).value for d in drawn])
        assert 0.5 < spread / getattr(fit, name).error < 2


def test_boredom_is_recovered(world, log):
    planted = world.user_model.dynamics
    seen, vectors = true_replay(world, log)
    weight, decay = dynamics.fit_boredom(
        seen,
        vectors,
        categories=len(world.catalog.category_names),
        drift_rate=planted.drift_rate,
        gain=planted.boredom_gain,
    )
    # errors are stated with the other parameter held fixed, so that they are somewhat small
    assert abs(weight.value - planted.boredom_weight) < 5 * weight.error
    assert abs(decay.value - planted.boredom_decay) < 5 * decay.error
    assert weight.error < 0.2 * planted.boredom_weight
    assert weight.value > 0.5 * planted.boredom_weight


def test_the_likelihood_is_highest_at_the_planted_boredom(world, log):
    at = {w: replayed(world, log, boredom_weight=w)[0] for w in (0.0, 0.8, 1.6)}
    assert at[0.8] > at[0.0] + 10
    assert at[0.8] > at[1.6] + 10


def test_drift_is_recovered(world, log):
    planted = world.user_model.dynamics
    seen, vectors = true_replay(world, log)
    drift = dynamics.fit_drift(
        seen,
        vectors,
        categories=len(world.catalog.category_names),
        boredom_weight=planted.boredom_weight,
        boredom_gain=planted.boredom_gain,
        boredom_decay=planted.boredom_decay,
    )
    assert abs(drift.value - planted.drift_rate) < 4 * drift.error
    assert drift.error < 0.02


def test_no_drift_is_found_where_none_is_planted(world):
    still = with_model(world, dynamics=world.user_model.dynamics._replace(drift_rate=0.0))
    seen, vectors = true_replay(still, emit_log(still, ROUNDS, visits_per_user=60, seed=12))
    planted = still.user_model.dynamics
    drift = dynamics.fit_drift(
        seen,
        vectors,
        categories=len(still.catalog.category_names),
        boredom_weight=planted.boredom_weight,
        boredom_gain=planted.boredom_gain,
        boredom_decay=planted.boredom_decay,
    )
    assert drift.value < 0.025


def test_the_replay_repeats_what_the_simulator_did(world):
    """The simulator's click log-odds of one visit, redone with plain numpy from its answers."""
    log = emit_log(world, ROUNDS, visits_per_user=1, users=[7], seed=13)
    model, planted = world.user_model, world.user_model.dynamics
    theta = model.user_vectors[7].astype(float)
    bored = np.zeros(len(world.catalog.category_names))
    expected = []
    for _, slate in log.events.groupby("time", sort=True):
        item = slate["item"].to_numpy()
        gain = (theta - model.user_vectors[7]) * model.click_weight
        boredom = bored[world.catalog.category[item]]
        expected.extend(model.item_vectors[item] @ gain - planted.boredom_weight * boredom)
        bored *= planted.boredom_decay
        for i in item[slate["response"].to_numpy() > 0]:
            bored[world.catalog.category[i]] += planted.boredom_gain
            theta += planted.drift_rate * (model.item_vectors[i] - theta)
    _, moved, _ = replayed(world, log)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    assert np.abs(moved).max() > 0.1


def test_the_whole_fit_finds_the_laws_of_a_visit(world):
    """Vectors fitted as well: loose bounds; ``recenv.studies.recovery`` measures these errors."""
    log = emit_log(world, ROUNDS, visits_per_user=40, seed=14)
    model = refit(world, log)
    fitted = model.dynamics
    assert fitted.boredom_weight == pytest.approx(MOVING["boredom_weight"], rel=0.5)
    assert fitted.leave_length == pytest.approx(MOVING["leave_length"], abs=0.08)
    assert 0.3 < fitted.leave_satisfaction < 1.4
    assert {model.laws[name].source for name in ("boredom", "leave")} == {"fitted"}
    assert model.laws["drift"].source == "prior"  # no validation events
    assert fitted.drift_rate == FIT.drift_rate
