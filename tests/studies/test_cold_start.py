"""Cold-start predictions against a mixture written out by hand."""

import dataclasses

import numpy as np
import pytest

from recenv.errors import SchemaError
from recenv.schema import CLICK, PURCHASE
from recenv.studies.next_item.cold_start import cold_start_purchase_probs
from recenv.studies.recovery.laws import make_world


def of_two_users(click, purchase, responses):
    """A planted model cut to two users and two items with the given (2, 2) log-odds, and a log."""
    world = make_world(0)
    zeros = np.zeros(2, np.float32)
    model = dataclasses.replace(
        world.user_model,
        user_vectors=np.eye(2, dtype=np.float32),
        item_vectors=np.asarray(click, np.float32).T.copy(),
        click_weight=np.ones(2, np.float32),
        purchase_weight=np.full(2, purchase, np.float32),
        user_click_bias=zeros, user_purchase_bias=zeros,
        item_click_bias=zeros, item_purchase_bias=zeros,
    )  # fmt: skip
    log = world.train.take(np.arange(len(responses)))
    users, items, answers = (np.array(column) for column in zip(*responses, strict=True))
    events = log.events.assign(
        user=users.astype(np.int32), item=items.astype(np.int32), response=answers.astype(np.int8)
    )
    return model, dataclasses.replace(log, events=events)


def test_a_mixture_by_hand():
    """Weights by activity and click share; the level is then that of the log, one half."""
    rows = [(0, 0, PURCHASE), (0, 1, CLICK), (0, 0, CLICK), (1, 1, PURCHASE)]
    model, log = of_two_users([[1.0, -1.0], [0.0, 0.5]], 2.0, rows)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    click = sigmoid(np.array([[1.0, -1.0], [0.0, 0.5]]))
    weight = np.array([[3.0], [1.0]]) * click / click.sum(1, keepdims=True)
    weight /= weight.sum(0)
    odds = 2 * np.array([[1.0, -1.0], [0.0, 0.5]])
    levels = np.linspace(-5, 5, 200_001)
    both = [(weight[:, i, None] * sigmoid(odds[:, i, None] + levels)).sum(0) for i in (0, 1)]
    best = np.argmin(np.abs((both[0] + both[1]) / 2 - 0.5))
    got = cold_start_purchase_probs(model, log, [1, 0, 1])
    np.testing.assert_allclose(got, [both[1][best], both[0][best], both[1][best]], atol=1e-4)


def test_errors_name_what_is_wrong():
    model, log = of_two_users([[1.0, -1.0], [0.0, 0.5]], 2.0, [(0, 0, PURCHASE), (1, 1, CLICK)])
    with pytest.raises(SchemaError, match="no item 7; this model has items 0 to 1"):
        cold_start_purchase_probs(model, log, [0, 7])
    silent = dataclasses.replace(log, events=log.events.assign(response=np.int8(0)))
    with pytest.raises(SchemaError, match="the log has no click"):
        cold_start_purchase_probs(model, silent, [0])
