"""Law of the click: affinity of a user to an item, and the probability of a click on a slot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recenv.jit.compiled import inlined
from recenv.jit.dot import slate_sums, weighted_sums
from recenv.jit.logistic import sigmoid


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


def examination_prior(slots: int, decay: float) -> npt.NDArray[np.float32]:
    """(slots,) P(slot k is looked at) = k ** -decay.

    The position-bias form of Joachims, Swaminathan & Schnabel (WSDM 2017).
    """
    return (np.arange(1, slots + 1) ** -decay).astype(np.float32)
