"""Greedy oracle: slates of highest expected immediate reward, given the users' true state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from recenv.jit.compiled import compiled
from recenv.sim import rewards, screens
from recenv.sim.simulator import Simulator
from recenv.sim.state import LIVE, RECOMMENDER, State
from recenv.users import laws

_ZERO, _ONE = np.float32(0), np.float32(1)


class OracleRecommender:
    """Slot by slot, the candidate that adds most to the true expected reward of this round.

    Privileged: it reads the users' true parameters, present interest and boredom, and the
    game's reward weights (``RewardConfig``, cooperation included). The reward of a slate is
    additive over slots but for the leave cost, which depends on the slate's mean boredom; so
    with ``cooperation = 0`` its slate is the best of all slates when ``leave_cost`` is 0, and
    nearly so otherwise.

    It frames a table, but it is no upper bound: it is greedy. A policy that plans ahead, that
    avoids boredom and keeps the user in the visit, can earn more. It assumes that the user
    answers as the fitted user does, so against a learned user it is no oracle at all.

    Args:
        name: for reports.
    """

    def __init__(self, name: str = "oracle (greedy)") -> None:
        self.name = name

    def recommend_privileged(self, simulator: Simulator, state: State) -> npt.NDArray[np.int64]:
        """(B, K) candidate index per slot; zeros where it is not the recommender's turn."""
        slates = np.zeros(state.slate.shape, np.int64)
        _choose(simulator.tables, simulator.rules, state, slates)
        return slates


@compiled
def _answer_value(
    click: np.float32, buy: np.float32, examination: np.float32, price: np.float32, rules: Any
) -> np.float32:
    """Expected reward of one slot to the recommender, over the fitted user's three answers.

    Args:
        click: P(click), examination included.
        buy: P(purchase | click).
        examination: P(slot is looked at).
        price: over the mean price.
        rules: the record of the game's scalars.
    """
    keep, mix = rewards.shares(rules)
    utility = laws.utility(buy)
    clicked, click_gain, effort = rewards.of_click(utility, rules)
    bought, purchase_gain, paid = rewards.of_purchase(utility, price, rules)
    value = _ZERO
    for response in range(3):
        recommender, own = _ZERO, _ZERO
        if response == 0:
            probability = _ONE - click
            own -= rewards.of_ignoring(examination, rules)
        else:
            probability = click * (buy if response == 2 else _ONE - buy)
            recommender += clicked
            own += click_gain - effort
        if response == 2:
            recommender += bought
            own += purchase_gain - paid
        if probability <= _ZERO:
            continue
        own += rules.behaviour_weight * np.float32(math.log(probability))
        value += probability * (keep * recommender + mix * own)
    return value


@compiled
def _leave_value(leave: np.float32, rules: Any) -> np.float32:
    """Expected reward to the recommender from the user's choice to leave or stay."""
    keep, mix = rewards.shares(rules)
    value = -keep * rules.leave_cost * leave
    for probability in (leave, _ONE - leave):
        if probability > _ZERO:
            log = np.float32(math.log(probability))
            value += mix * rules.behaviour_weight * probability * log
    return value


@compiled
def _choose(tables, record, state, slates):  # noqa: ANN001, ANN202
    rules = record[0]
    slots, count = state.slate.shape[1], state.candidates.shape[1]
    click, buy = np.empty(count, np.float32), np.empty(count, np.float32)
    bored, used = np.empty(count, np.float32), np.empty(count, np.bool_)
    for b in range(len(slates)):
        if state.ended[b] != LIVE or state.turn[b] != RECOMMENDER:
            continue
        for c in range(count):
            used[c] = False
            click[c], buy[c], bored[c] = screens.score(
                b, state.candidates[b, c], tables, rules, state
            )
        total = _ZERO
        for k in range(slots):
            best, best_value = -1, -np.inf
            for c in range(count):
                if used[c]:
                    continue
                leave = laws.leave(
                    rules.leave_intercept,
                    rules.leave_length * np.float32(state.round[b]),
                    rules.leave_satisfaction * state.satisfaction[b],
                    rules.leave_boredom * (total + bored[c]) / np.float32(k + 1),
                )
                seen = tables.examination[k]
                price = tables.items[state.candidates[b, c]].price
                value = _answer_value(seen * click[c], buy[c], seen, price, rules)
                value += _leave_value(leave, rules)
                if value > best_value:
                    best, best_value = c, value
            slates[b, k] = best
            used[best] = True
            total += bored[best]
