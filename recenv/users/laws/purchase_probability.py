"""Law of the purchase of what was clicked, and the split of a funnel into click and purchase."""

from __future__ import annotations

import math

import numpy as np

from recenv.jit.compiled import inlined
from recenv.jit.logistic import sigmoid

_ONE = np.float32(1)


@inlined
def purchase_log_odds(affinity: np.float32, bias: np.float32) -> np.float32:
    """Log-odds of a purchase if clicked: affinity + biases."""
    return affinity + bias


@inlined
def purchase_given_click(affinity: np.float32, bias: np.float32) -> np.float32:
    """P(purchase | click) = logistic(affinity + biases)."""
    return sigmoid(purchase_log_odds(affinity, bias))


@inlined
def funnel(probability: np.float32, share: np.float32) -> tuple[np.float32, np.float32]:
    """P(click | looked at) and P(purchase | click) whose product is ``probability``.

    A log of purchases alone identifies only the product p; the split ``p ** share`` and
    ``p ** (1 - share)`` is a stated prior. What is likelier bought is likelier clicked.
    """
    return (
        np.float32(math.pow(probability, share)),
        np.float32(math.pow(probability, _ONE - share)),
    )


@inlined
def answer(
    to_click: np.float32, to_buy: np.float32, share: np.float32
) -> tuple[np.float32, np.float32]:
    """Answer probabilities, P(click | looked at) and P(purchase | click), from log-odds.

    ``logistic(to_click)`` and ``logistic(to_buy)``; with ``share`` below 1, ``funnel`` of the
    first.
    """
    click = sigmoid(to_click)
    if share < _ONE:
        return funnel(click, share)
    return click, sigmoid(to_buy)


@inlined
def utility(purchase_probability: np.float32) -> np.float32:
    """A user's utility of consuming an item: 2 P(purchase | click) - 1, in (-1, 1)."""
    return np.float32(2) * purchase_probability - _ONE
