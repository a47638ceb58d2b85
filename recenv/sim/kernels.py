# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201, ANN202
"""The step of one visit, as plain functions of a row number, compiled by numba.

``begin``, ``show``, ``draw_answer`` and ``respond`` are the whole game. Each works on row ``b``
of the state alone, so the loop over rows can run on any number of threads with the same bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from recenv import rng
from recenv.sim.state import EMPTY, LEFT, LIVE, RECOMMENDER, TRUNCATED, UNLIMITED, USER
from recenv.users import duration, laws, repeat

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_ATTEMPTS = 8  # draws of a candidate that the user has not had
_SMALLEST = np.float32(1e-8)  # floor of a probability inside a logarithm


@njit(cache=True)
def _taken(b, item, state):
    """Whether the visit consumed the item."""
    for j in range(min(state.taken_count[b], state.taken.shape[1])):
        if state.taken[b, j] == item:
            return True
    return False


@njit(cache=True)
def _consumed(b, item, tables, state):
    """Whether the user consumed the item, in this visit or by the log."""
    user = state.user[b]
    past = repeat.bonus_of(
        tables.repeat_start, tables.repeat_items, tables.repeat_bonus, user, item
    )
    return past != _ZERO or _taken(b, item, state)


@njit(cache=True)
def _draw_candidates(b, tables, rules, state):
    """One candidate from each of C equal strata of the shuffled catalogue, turned at random.

    Systematic sampling: no repeats, every item is equally likely to be a candidate, and the
    cost is O(C) whatever the size of the catalogue. Where nothing is consumed twice, what the
    user has had is drawn anew, up to ``_ATTEMPTS`` times.
    """
    n, c = len(tables.order), state.candidates.shape[1]
    key, round_ = state.key[b], state.round[b]
    turned = rng.integer(key, round_, rng.CANDIDATES, 0, n)
    for j in range(c):
        low, high = j * n // c, (j + 1) * n // c
        item = EMPTY
        for attempt in range(_ATTEMPTS if rules.exclude_consumed else 1):
            slot = attempt * (c + 1) + j + 1
            at = low + rng.integer(key, round_, rng.CANDIDATES, slot, high - low) + turned
            item = tables.order[at - n if at >= n else at]
            if rules.exclude_consumed and not _consumed(b, item, tables, state):
                break
        state.candidates[b, j] = item


@njit(cache=True)
def _clear_screen(b, state):
    state.turn[b] = RECOMMENDER
    state.slate[b] = EMPTY
    state.utility[b] = _ZERO
    state.behaviour[b] = _ZERO
    slots = state.slate.shape[1]
    for k in range(slots):
        state.behaviour[b, 3 * k] = _ONE
    state.behaviour[b, 3 * slots] = _ONE


@njit(cache=True)
def _begin(b, tables, rules, state):
    """Start a visit of ``state.user[b]`` with ``state.key[b]``."""
    state.round[b] = 0
    state.ended[b] = LIVE
    state.interest[b] = tables.user_vectors[state.user[b]]
    state.boredom[b] = _ZERO
    state.satisfaction[b] = _ZERO
    state.spent[b] = _ZERO
    state.need[b] = UNLIMITED
    if len(tables.need_baseline) > 0:
        state.need[b] = duration.draw_duration(
            tables.need_baseline,
            tables.need_effect[state.user[b]],
            1,
            rng.uniform(state.key[b], 0, rng.NEED, 0),
        )
    state.taken_count[b] = 0
    state.last_slate[b] = EMPTY
    state.last_answer[b] = 0
    state.history_items[b] = EMPTY
    state.history_responses[b] = -1
    state.visit_interest[b] = _ZERO
    state.visit_clicks[b] = 0
    state.clicks[b] = 0
    state.purchases[b] = 0
    state.rewards[b] = _ZERO
    _clear_screen(b, state)
    _draw_candidates(b, tables, rules, state)


@njit(cache=True)
def score(b, item, tables, rules, state):
    """(P(click | looked at), P(purchase | click), boredom) of an item for visit ``b`` now."""
    user = state.user[b]
    to_click, to_buy = laws.affinities(
        state.interest[b],
        tables.item_vectors[item],
        tables.click_weight,
        tables.purchase_weight,
    )
    boredom = state.boredom[b, tables.category[item]]
    bias = tables.user_click_bias[user] + tables.item_click_bias[item]
    bias += repeat.bonus_of(
        tables.repeat_start, tables.repeat_items, tables.repeat_bonus, user, item
    )
    if rules.again != _ZERO and _taken(b, item, state):
        bias += rules.again
    click, buy = laws.answer(
        to_click,
        bias,
        rules.boredom_weight * boredom,
        to_buy,
        tables.user_purchase_bias[user] + tables.item_purchase_bias[item],
        rules.funnel,
    )
    return click, buy, boredom


@njit(cache=True)
def _show(b, slates, tables, rules, state):
    """Put candidate indices ``slates[b]`` on screen and score every possible answer.

    A repeated candidate, or index EMPTY, leaves its slot empty. A visit that has what it needs
    looks at nothing more and ends.
    """
    state.clicks[b] = 0
    state.purchases[b] = 0
    state.rewards[b] = _ZERO
    if state.ended[b] != LIVE or state.turn[b] != RECOMMENDER:
        return
    state.turn[b] = USER
    done = state.need[b] <= 0
    slots = state.slate.shape[1]
    shown, bored = 0, _ZERO
    for k in range(slots):
        item = EMPTY
        if slates[b, k] >= 0:
            item = state.candidates[b, slates[b, k]]
            for earlier in range(k):
                if state.slate[b, earlier] == item:
                    item = EMPTY
                    break
        state.slate[b, k] = item
        if item == EMPTY:
            continue
        seen, buy, boredom = score(b, item, tables, rules, state)
        click = _ZERO if done else tables.examination[k] * seen
        state.utility[b, k] = laws.utility(buy)
        state.behaviour[b, 3 * k] = _ONE - click
        state.behaviour[b, 3 * k + 1] = click * (_ONE - buy)
        state.behaviour[b, 3 * k + 2] = click * buy
        shown += 1
        bored += boredom
    if shown > 0:
        bored /= np.float32(shown)
    leave = laws.leave(
        rules.leave_intercept,
        rules.leave_length * np.float32(state.round[b]),
        rules.leave_satisfaction * state.satisfaction[b],
        rules.leave_boredom * bored,
    )
    if done:
        leave = _ONE
    state.behaviour[b, 3 * slots] = _ONE - leave
    state.behaviour[b, 3 * slots + 1] = leave


@njit(cache=True)
def _draw_answer(b, state, answers):
    """Draw the fitted user's answer from ``state.behaviour[b]`` into ``answers[b]``."""
    key, round_ = state.key[b], state.round[b]
    slots = state.slate.shape[1]
    for k in range(slots):
        u = rng.uniform(key, round_, rng.ANSWER, k)
        buy = state.behaviour[b, 3 * k + 2]
        click = buy + state.behaviour[b, 3 * k + 1]
        answers[b, k] = 2 if u < buy else (1 if u < click else 0)
    u = rng.uniform(key, round_, rng.LEAVE, 0)
    answers[b, slots] = 1 if u < state.behaviour[b, 3 * slots + 1] else 0


@njit(cache=True)
def _remember(b, item, response, state):
    """Put an event at the front of the visit's history."""
    for h in range(state.history_items.shape[1] - 1, 0, -1):
        state.history_items[b, h] = state.history_items[b, h - 1]
        state.history_responses[b, h] = state.history_responses[b, h - 1]
    state.history_items[b, 0] = item
    state.history_responses[b, 0] = response


@njit(cache=True)
def _respond(b, answers, tables, rules, state):
    """Take answer ``answers[b]``: rewards, then what it does to the user, then the next round."""
    state.clicks[b] = 0
    state.purchases[b] = 0
    state.rewards[b] = _ZERO
    if state.ended[b] != LIVE or state.turn[b] != USER:
        return
    slots = state.slate.shape[1]
    left = answers[b, slots] == 1
    gained, cost, satisfaction = _ZERO, _ZERO, _ZERO
    recommender = -rules.leave_cost if left else _ZERO
    log_behaviour = math.log(max(state.behaviour[b, 3 * slots + (1 if left else 0)], _SMALLEST))
    for g in range(state.boredom.shape[1]):
        state.boredom[b, g] = laws.bored(state.boredom[b, g], rules.boredom_decay)
    for k in range(slots):
        item = state.slate[b, k]
        response = answers[b, k] if item != EMPTY else 0
        state.last_slate[b, k] = item
        state.last_answer[b, k] = response
        if item == EMPTY:
            continue
        log_behaviour += math.log(max(state.behaviour[b, 3 * k + response], _SMALLEST))
        _remember(b, item, response, state)
        if response == 0:
            cost += rules.effort * tables.examination[k]
            continue
        utility = state.utility[b, k]
        cost += rules.effort
        gained += rules.click_utility * utility
        recommender += rules.click
        satisfaction += utility
        state.clicks[b] += 1
        state.visit_clicks[b] += 1
        state.visit_interest[b] += tables.shown_vectors[item]
        state.boredom[b, tables.category[item]] += rules.boredom_gain
        for d in range(state.interest.shape[1]):
            state.interest[b, d] = laws.drift(
                state.interest[b, d], tables.item_vectors[item, d], rules.drift_rate
            )
        # by a log of purchases alone, only a purchase is consumption
        if response == 2 or rules.funnel == _ONE:
            if state.need[b] != UNLIMITED:
                state.need[b] -= 1
            if state.taken.shape[1] > 0:
                state.taken[b, state.taken_count[b]] = item
                state.taken_count[b] += 1
        if response == 2:
            price = tables.price[item]
            gained += rules.purchase_utility * utility
            cost += rules.price_sensitivity * price
            recommender += rules.purchase * (price if rules.purchase_by_value else _ONE)
            state.purchases[b] += 1
            state.spent[b] += price
    own = gained - cost + rules.behaviour_weight * np.float32(log_behaviour)
    mix = _HALF * rules.cooperation
    keep = _ONE - abs(mix)
    state.rewards[b, 0] = keep * recommender + mix * own
    state.rewards[b, 1] = keep * own + mix * recommender
    state.satisfaction[b] = laws.satisfied(
        state.satisfaction[b], rules.satisfaction_decay, satisfaction
    )
    state.round[b] += 1
    if left:
        state.ended[b] = LEFT
    elif state.round[b] >= rules.max_rounds:
        state.ended[b] = TRUNCATED
    _clear_screen(b, state)
    _draw_candidates(b, tables, rules, state)


@njit(cache=True)
def begin(rows, tables, rules, state):
    """Begin visits in the given rows."""
    for b in rows:
        _begin(b, tables, rules, state)


@njit(cache=True)
def show(slates, tables, rules, state):
    """Show (B, K) slates of candidate indices."""
    for b in range(len(slates)):
        _show(b, slates, tables, rules, state)


@njit(cache=True, parallel=True)
def show_parallel(slates, tables, rules, state):
    """``show`` on all threads."""
    for b in prange(len(slates)):
        _show(b, slates, tables, rules, state)


@njit(cache=True)
def draw_answers(state, answers):
    """Fill (B, K + 1) answers with the fitted user's draws."""
    for b in range(len(answers)):
        _draw_answer(b, state, answers)


@njit(cache=True)
def respond(answers, tables, rules, state):
    """Take (B, K + 1) answers."""
    for b in range(len(answers)):
        _respond(b, answers, tables, rules, state)


@njit(cache=True, parallel=True)
def respond_parallel(answers, tables, rules, state):
    """``respond`` on all threads."""
    for b in prange(len(answers)):
        _respond(b, answers, tables, rules, state)
