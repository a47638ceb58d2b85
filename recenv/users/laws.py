"""The laws of a simulated user: pure functions from state to probabilities.

Each law is one scalar function over float32, compiled by numba and inlined into the
simulator's step; nothing here draws a random number. ``UserModel`` says where each law's
parameters come from.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

_ONE = np.float32(1)


@njit(cache=True)
def sigmoid(x: np.float32) -> np.float32:
    """Logistic function."""
    return _ONE / (_ONE + np.float32(math.exp(-x)))


@njit(cache=True)
def affinities(
    interest: npt.NDArray[np.float32],
    item: npt.NDArray[np.float32],
    click_weight: npt.NDArray[np.float32],
    purchase_weight: npt.NDArray[np.float32],
) -> tuple[np.float32, np.float32]:
    """Weighted inner products of (D,) vectors: (click affinity, purchase affinity).

    ``sum_d weight[d] * interest[d] * item[d]``, each law with its own weights over the shared
    dimensions (a diagonal bilinear form, as in DistMult, Yang et al. 2015).
    """
    click = np.float32(0)
    purchase = np.float32(0)
    for d in range(len(interest)):
        product = interest[d] * item[d]
        click += click_weight[d] * product
        purchase += purchase_weight[d] * product
    return click, purchase


@njit(cache=True)
def click_given_examined(affinity: np.float32, bias: np.float32, boredom: np.float32) -> np.float32:
    """P(click | slot looked at) = logistic(affinity + biases - boredom).

    The examination hypothesis (Richardson et al. 2007): P(click) is this times the
    examination probability of the slot.
    """
    return sigmoid(affinity + bias - boredom)


@njit(cache=True)
def funnel(probability: np.float32, share: np.float32) -> tuple[np.float32, np.float32]:
    """P(click | looked at) and P(purchase | click) whose product is ``probability``.

    A log of purchases alone tells only the product p; the split ``p ** share`` and
    ``p ** (1 - share)`` is a stated prior. What is likelier bought is likelier clicked.
    """
    return (
        np.float32(math.pow(probability, share)),
        np.float32(math.pow(probability, _ONE - share)),
    )


@njit(cache=True)
def purchase_given_click(affinity: np.float32, bias: np.float32) -> np.float32:
    """P(purchase | click) = logistic(affinity + biases)."""
    return sigmoid(affinity + bias)


@njit(cache=True)
def leave(
    intercept: np.float32,
    length: np.float32,
    satisfaction: np.float32,
    boredom: np.float32,
) -> np.float32:
    """P(leave after this round): a discrete-time logistic hazard (Allison 1982).

    Args:
        intercept: log-odds in the first round of a neutral visit.
        length: weight times the rounds played.
        satisfaction: weight times satisfaction (lowers the hazard).
        boredom: weight times the mean boredom of the slate's categories.
    """
    return sigmoid(intercept + length - satisfaction + boredom)


@njit(cache=True)
def answer(
    to_click: np.float32,
    click_bias: np.float32,
    boredom: np.float32,
    to_buy: np.float32,
    purchase_bias: np.float32,
    share: np.float32,
) -> tuple[np.float32, np.float32]:
    """(P(click | looked at), P(purchase | click)); with ``share`` below 1 see ``funnel``."""
    click = click_given_examined(to_click, click_bias, boredom)
    if share < _ONE:
        return funnel(click, share)
    return click, purchase_given_click(to_buy, purchase_bias)


@njit(cache=True)
def hazard(baseline: np.float32, effect: np.float32) -> np.float32:
    """P(a duration ends now, if it has lasted so long): logistic(baseline - user's effect)."""
    return sigmoid(baseline - effect)


@njit(cache=True)
def bored(boredom: np.float32, decay: np.float32) -> np.float32:
    """Boredom of a category one round later, before what the round added."""
    return decay * boredom


@njit(cache=True)
def drift(interest: np.float32, item: np.float32, rate: np.float32) -> np.float32:
    """One coordinate of the interest after consuming an item: a step of ``rate`` towards it."""
    return interest + rate * (item - interest)


@njit(cache=True)
def satisfied(satisfaction: np.float32, decay: np.float32, consumed: np.float32) -> np.float32:
    """Satisfaction after a round that brought ``consumed`` utility."""
    return decay * satisfaction + consumed


@njit(cache=True)
def utility(purchase_probability: np.float32) -> np.float32:
    """A user's utility of consuming an item: 2 P(purchase | click) - 1, in (-1, 1)."""
    return np.float32(2) * purchase_probability - _ONE


def examination_prior(slots: int, decay: float) -> npt.NDArray[np.float32]:
    """(slots,) P(slot k is looked at) = k ** -decay.

    The position-bias form of Joachims, Swaminathan & Schnabel (WSDM 2017).
    """
    return (np.arange(1, slots + 1) ** -decay).astype(np.float32)
