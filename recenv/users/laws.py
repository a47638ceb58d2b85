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
def utility(purchase_probability: np.float32) -> np.float32:
    """A user's utility of consuming an item: 2 P(purchase | click) - 1, in (-1, 1)."""
    return np.float32(2) * purchase_probability - _ONE


def examination_prior(slots: int, decay: float) -> npt.NDArray[np.float32]:
    """(slots,) P(slot k is looked at) = k ** -decay.

    The position-bias form of Joachims, Swaminathan & Schnabel (WSDM 2017).
    """
    return (np.arange(1, slots + 1) ** -decay).astype(np.float32)
