"""Rows to fit on: weights, tenure, rounds, negatives; and what of the click log they recover."""

import dataclasses

import numpy as np
import pytest

from recenv.config import UserModelConfig
from recenv.schema import CLICK, IGNORE, PURCHASE
from recenv.studies.recovery import laws
from recenv.synthetic import emit_log
from recenv.synthetic.baskets import emit_baskets
from recenv.synthetic.log import PopularityLogging
from recenv.users.fitting.training_rows import Negatives, make_rows, purchase_source, repeats

CONFIG = UserModelConfig()


@pytest.fixture(scope="module")
def world():
    return laws.make_world(3)


@pytest.fixture(scope="module")
def shop(world):
    return emit_baskets(world, visits_per_user=12, repeat_weights=[0.2, 0.3], seed=1)


def test_tenure_counts_what_the_user_took_before(world):
    log = emit_log(world, laws.ROUNDS, visits_per_user=1, users=[3, 8], seed=2)
    rows = make_rows(log, CONFIG)
    taken = {3: 0, 8: 0}
    for row in range(rows.size):
        user = int(rows.user[row])
        assert rows.tenure[row] == pytest.approx(np.log1p(taken[user]))
        taken[user] += int(rows.response[row] >= CLICK)
    assert min(taken.values()) > 0


def test_a_round_is_a_slate(world):
    log = emit_log(world, laws.ROUNDS, visits_per_user=2, seed=2)
    rows = make_rows(log, CONFIG)
    time = log.column("time")
    for number in np.unique(rows.round)[::50]:
        mine = rows.round == number
        assert mine.sum() == laws.ROUNDS.slate_size
        assert len(np.unique(time[mine])) == len(np.unique(rows.user[mine])) == 1
        np.testing.assert_array_equal(np.sort(rows.slot[mine]), np.arange(5))
    same = rows.user == 5
    order = np.argsort(time[same], kind="stable")
    assert (np.diff(rows.round[same][order]) >= 0).all()


def test_negatives_are_what_the_visit_did_not_take(world, shop):
    rows = make_rows(shop, CONFIG)
    assert shop.exposure == "catalogue"
    drawn = Negatives(rows, 40, 4, within_visit=True, known_level=True).draw(
        rows, np.random.default_rng(0)
    )
    taken = set(zip(rows.user.tolist(), rows.visit.tolist(), rows.item.tolist(), strict=True))
    got = list(zip(drawn.user.tolist(), drawn.visit.tolist(), drawn.item.tolist(), strict=True))
    assert not taken & set(got)
    assert (drawn.response == IGNORE).all()
    each = np.unique(drawn.user * 12 + drawn.visit, return_counts=True)[1]
    assert each.min() == each.max()  # equally many of every visit
    pairs = {(u, i) for u, _, i in taken}
    assert any((u, i) in pairs for u, _, i in got)  # taken in another visit
    never = Negatives(rows, 40, 4, within_visit=False, known_level=False).draw(
        rows, np.random.default_rng(0)
    )
    assert not pairs & set(zip(never.user.tolist(), never.item.tolist(), strict=True))


def test_the_offset_for_sampling_keeps_the_level():
    """One visit each of 400 users takes 2 of 100 items, 8 are drawn of the 98 passed over.

    Odds in the sample are 2 / 8, odds among all 2 / 98; the difference in logs is the offset.
    """
    world = laws.make_world(0, num_users=400, num_items=100, history_visits=1)
    lengths = dataclasses.replace(
        laws.planted_duration(1, 2, 400, 0, spread=0.0), baseline=np.array([-30, 30], np.float32)
    )
    rows = make_rows(emit_baskets(world, visits_per_user=1, lengths=lengths), CONFIG)
    assert rows.size == 800
    negatives = Negatives(rows, 100, 4, within_visit=True, known_level=True)
    drawn = negatives.draw(rows, np.random.default_rng(0))
    sample = np.log(rows.size / drawn.size)
    offset = np.unique(negatives.offset())
    assert len(offset) == 1
    assert sample - offset[0] == pytest.approx(np.log(2 / 98), abs=1e-6)


def test_repeats_and_sources_by_hand(shop):
    events = shop.events.iloc[:6].assign(
        user=np.array([0, 0, 0, 0, 1, 1], np.int32),
        item=np.array([1, 2, 1, 3, 1, 1], np.int32),
        session=np.array([0, 0, 1, 1, 2, 2]),
        time=np.arange(6.0),
    )
    log = dataclasses.replace(shop, events=events)
    assert repeats(make_rows(log, CONFIG)) == pytest.approx(1 / 6)  # once within a visit is none
    assert purchase_source(log) == "funnel"
    clicks = np.full(6, CLICK, np.int8)
    assert purchase_source(dataclasses.replace(log, events=events.assign(response=clicks))) == (
        "prior"
    )
    clicks[0] = PURCHASE
    assert purchase_source(dataclasses.replace(log, events=events.assign(response=clicks))) == (
        "fitted"
    )


@pytest.fixture(scope="module")
def priced():
    """Item purchase biases that are price alone."""
    world = laws.make_world(6)
    biases = (laws.PRICE * laws.standard_price(world)).astype(np.float32)
    return laws.with_model(world, item_purchase_bias=biases)


@pytest.fixture(scope="module")
def fitted(priced):
    """60 000 uniformly drawn impressions."""
    return laws.refit(priced, emit_log(priced, laws.ONE_ROUND, visits_per_user=200, seed=7))


def rmse(world, model, law):
    users, items = laws.pairs(world)
    truth = getattr(world.user_model, law)(users, items)
    return float(np.sqrt(np.mean((getattr(model, law)(users, items) - truth) ** 2)))


def test_planted_examination_is_recovered(fitted):
    """It is not the prior's: k ** -0.5 would be off by up to .2. Within four standard errors."""
    errors = list(fitted.laws["examination"].spread.values())
    got = fitted.examination[1:5]
    assert (np.abs(got - laws.EXAMINATION[1:]) < 4 * np.array(errors)).all()
    assert max(errors) < 0.03
    assert np.abs(np.arange(2, 6) ** -0.5 - laws.EXAMINATION[1:]).max() > 0.15


def test_planted_probabilities_are_recovered(priced, fitted):
    """1 000 impressions a user and 1 500 an item; ``recenv.studies.recovery`` measures more."""
    assert rmse(priced, fitted, "click_probs") < 0.06
    assert rmse(priced, fitted, "purchase_probs") < 0.10


def test_what_price_adds_is_recovered(priced, fitted):
    """Items' biases on price and on their vectors, by least squares: -0.6 within 0.12.

    8 000 clicks would know it to sqrt(1 / (8000 * .2)) = .03 if all else were known.
    """
    columns = [np.ones(40), laws.standard_price(priced), *priced.interests.items.T]
    found = np.linalg.lstsq(np.stack(columns, 1), fitted.item_purchase_bias, rcond=None)[0]
    assert found[1] == pytest.approx(laws.PRICE, abs=0.12)


def test_planted_price_coefficient_is_recovered(fitted):
    assert fitted.coefficients["price in purchase"] == pytest.approx(laws.PRICE, abs=0.1)


def test_planted_probabilities_are_recovered_from_a_popularity_log(priced, fitted):
    """Slates that prefer popular items tell as much of what they show, weighted or not."""
    policy = PopularityLogging(mix=0.3, temperature=0.5)
    log = emit_log(priced, laws.ONE_ROUND, policy, visits_per_user=100, seed=7)
    model = laws.refit(priced, log)
    assert rmse(priced, model, "click_probs") < 2.5 * rmse(priced, fitted, "click_probs")
    np.testing.assert_allclose(model.examination[1:5], laws.EXAMINATION[1:], atol=0.08)


def test_planted_tenure_is_recovered(world):
    log = emit_log(world, laws.ONE_ROUND, visits_per_user=80, seed=8)
    value, error = laws.tenure_of(
        laws.refit(world, laws.with_tenure(world, log, laws.TENURE, seed=9))
    )
    assert error < 0.15
    assert abs(value - laws.TENURE) < 4 * error
