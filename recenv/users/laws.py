"""Laws of the simulated user: pure functions from state to probabilities.

Each law is one scalar function over float32, compiled by numba and inlined into the
simulator's step; nothing here draws a random number. ``UserModel`` says where each law's
parameters come from.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from recenv.jit.compiled import inlined
from recenv.jit.dot import slate_sums, weighted_sums

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)

# exp(x) = 2**n exp(r) with x = n log 2 + r: log 2 in two parts, so that n times the first is exact
_LOG2_E = np.float32(1.44269504088896341)
_LOG2_HIGH, _LOG2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912.0)
"""1.5 * 2**23: added to a float32 and taken away again, it rounds to the nearest integer."""
_BIAS = np.int32(127 << 23)
_LARGEST = np.float32(87.0)
"""exp of more (less) than this is not a normal float32."""


@inlined
def exp(x: np.float32) -> np.float32:
    """The exponential function in float32, the same bits on every processor.

    Argument reduction and the degree-5 polynomial of Cephes' ``expf`` (Moshier, "Methods and
    programs for mathematical functions", 1989), in plain arithmetic, so that a compiler can
    evaluate many at once. Relative error below 1.2e-7. Arguments beyond +-87 count as +-87.
    """
    x = min(max(x, -_LARGEST), _LARGEST)
    shifted = np.float32(x * _LOG2_E + _ROUND)
    n = shifted - _ROUND
    r = x - n * _LOG2_HIGH - n * _LOG2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power = np.int32(np.int32(shifted.view(np.int32)) << np.int32(23))
    return (p * r * r + r + _ONE) * np.int32(power + _BIAS).view(np.float32)


@inlined
def sigmoid(x: np.float32) -> np.float32:
    """Logistic function, ``1 / (1 + exp(-x))``."""
    return _ONE / (_ONE + exp(-x))


@inlined
def affinities(
    interests: npt.NDArray[np.float32],
    visitor: int,
    items: npt.NDArray[np.float32],
    item: int,
    scale: np.float32,
    click_weight: npt.NDArray[np.float32],
    purchase_weight: npt.NDArray[np.float32],
) -> tuple[np.float32, np.float32]:
    """Weighted inner products of (D,) vectors: (click affinity, purchase affinity).

    ``sum_d weight[d] * interest[d] * item[d]``, each law with its own weights over the shared
    dimensions (a diagonal bilinear form, as in DistMult, Yang et al. 2015).

    Args:
        interests: (B, D).
        visitor: row of ``interests``.
        items: (N, D).
        item: row of ``items``.
        scale: what the numbers in that row count (1 in a table of float32).
        click_weight: (D,).
        purchase_weight: (D,).
    """
    click, purchase = weighted_sums(interests, visitor, items, item, click_weight, purchase_weight)
    return scale * click, scale * purchase


slate_affinities = slate_sums
"""``affinities`` of a whole slate, before the items' scales; see ``recenv.jit.dot``."""


@inlined
def click_log_odds(affinity: np.float32, bias: np.float32, boredom: np.float32) -> np.float32:
    """Log-odds that a slot is clicked if it is looked at: affinity + biases - boredom."""
    return affinity + bias - boredom


@inlined
def click_given_examined(affinity: np.float32, bias: np.float32, boredom: np.float32) -> np.float32:
    """P(click | slot looked at) = logistic(affinity + biases - boredom).

    The examination hypothesis (Richardson et al. 2007): P(click) is this times the
    examination probability of the slot.
    """
    return sigmoid(click_log_odds(affinity, bias, boredom))


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
def purchase_log_odds(affinity: np.float32, bias: np.float32) -> np.float32:
    """Log-odds of a purchase if clicked: affinity + biases."""
    return affinity + bias


@inlined
def purchase_given_click(affinity: np.float32, bias: np.float32) -> np.float32:
    """P(purchase | click) = logistic(affinity + biases)."""
    return sigmoid(purchase_log_odds(affinity, bias))


@inlined
def leave_log_odds(
    intercept: np.float32,
    length: np.float32,
    satisfaction: np.float32,
    boredom: np.float32,
) -> np.float32:
    """Log-odds of leaving after this round: intercept + length - satisfaction + boredom."""
    return intercept + length - satisfaction + boredom


@inlined
def leave(
    intercept: np.float32,
    length: np.float32,
    satisfaction: np.float32,
    boredom: np.float32,
) -> np.float32:
    """P(leave after this round): a discrete-time logistic hazard (Allison 1982).

    ``logistic(intercept + length - satisfaction + boredom)``.

    Args:
        intercept: log-odds in the first round of a neutral visit.
        length: weight times the rounds played.
        satisfaction: weight times satisfaction (lowers the hazard).
        boredom: weight times the mean boredom of the slate's categories.
    """
    return sigmoid(leave_log_odds(intercept, length, satisfaction, boredom))


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
def hazard(baseline: np.float32, effect: np.float32) -> np.float32:
    """P(a duration ends now, if it has lasted so long): logistic(baseline - user's effect)."""
    return sigmoid(baseline - effect)


@inlined
def bored(boredom: np.float32, decay: np.float32) -> np.float32:
    """Boredom of a category one round later, ``decay * boredom``, before what the round added."""
    return decay * boredom


@inlined
def drift(interest: np.float32, item: np.float32, rate: np.float32) -> np.float32:
    """Drift of one coordinate of the interest towards a consumed item.

    ``interest + rate * (item - interest)``.
    """
    return interest + rate * (item - interest)


@inlined
def satisfied(satisfaction: np.float32, decay: np.float32, consumed: np.float32) -> np.float32:
    """Satisfaction after a round of utility ``consumed``: ``decay * satisfaction + consumed``."""
    return decay * satisfaction + consumed


@inlined
def utility(purchase_probability: np.float32) -> np.float32:
    """A user's utility of consuming an item: 2 P(purchase | click) - 1, in (-1, 1)."""
    return np.float32(2) * purchase_probability - _ONE


def examination_prior(slots: int, decay: float) -> npt.NDArray[np.float32]:
    """(slots,) P(slot k is looked at) = k ** -decay.

    The position-bias form of Joachims, Swaminathan & Schnabel (WSDM 2017).
    """
    return (np.arange(1, slots + 1) ** -decay).astype(np.float32)
