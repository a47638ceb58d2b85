# numba infers the types of the compiled functions
# ruff: noqa: ANN001, ANN201
"""Rewards of both agents for an answer, slot by slot.

``RewardConfig`` has the formulas. The compiled functions are of one slot or one visit and serve
the game and the oracle; the functions of arrays serve training and reports.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recenv.config import RewardConfig
from recenv.jit.compiled import inlined
from recenv.schema import CLICK, PURCHASE

_ONE, _HALF = np.float32(1), np.float32(0.5)


@inlined
def of_ignoring(seen, rules):
    """Cost to the user of ignoring a slot that is looked at with probability ``seen``."""
    return rules.effort * seen


@inlined
def of_click(utility, rules):
    """(recommender's gain, user's gain, user's cost) of a click on an item of this utility."""
    return rules.click, rules.click_utility * utility, rules.effort


@inlined
def of_purchase(utility, price, rules):
    """The same three of a purchase, beside its click; ``price`` is over the mean price."""
    worth = price if rules.purchase_by_value else _ONE
    return rules.purchase * worth, rules.purchase_utility * utility, rules.price_sensitivity * price


@inlined
def shares(rules):
    """(own, other's) share of the rewards that an agent is paid: (1 - |c|/2, c/2)."""
    mix = _HALF * rules.cooperation
    return _ONE - abs(mix), mix


def recommender_gain(
    clicked: npt.NDArray[np.bool_],
    bought: npt.NDArray[np.bool_],
    prices: npt.NDArray[np.floating] | float,
    weights: RewardConfig,
) -> npt.NDArray[np.floating]:
    """(...) what items earn the recommender before rewards are mixed, leaving aside.

    Args:
        clicked: (...) whether each item was clicked; a bought one was.
        bought: (...) whether it was bought.
        prices: (...) over the mean price.
        weights: of the rewards.
    """
    worth = prices if weights.purchase_by_value else 1.0
    return weights.click * clicked + weights.purchase * bought * worth


def slot_rewards(
    responses: npt.NDArray[np.integer], prices: npt.NDArray[np.floating], weights: RewardConfig
) -> npt.NDArray[np.float32]:
    """(B, K) what each slot's answer adds to the reward that the recommender is paid.

    Args:
        responses: (B, K) 0 ignored, 1 clicked, 2 bought.
        prices: (B, K) over the mean price.
        weights: of the rewards.
    """
    own = recommender_gain(responses >= CLICK, responses == PURCHASE, prices, weights)
    return (own_share(weights) * own).astype(np.float32)


def own_share(weights: RewardConfig) -> float:
    """Share of its own rewards that an agent is paid: 1 - |cooperation| / 2."""
    return 1 - abs(weights.cooperation) / 2
