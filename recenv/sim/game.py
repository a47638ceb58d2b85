# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201, ANN202
"""Rules of the game: one visit of one user, as plain functions of a row number.

A visit starts with ``begin`` (or ``next_visit``). One round of it is:

1. ``candidates.draw_candidates``: C items of the catalogue become the round's candidates.
2. ``screens.put``: the recommender's slate, K indices of candidates, goes on screen.
3. ``screens.weigh``: the laws give the fitted probability of every answer (``recenv.users.laws``).
4. ``screens.draw_answers`` and ``screens.draw_leave`` draw the fitted user's answer: ignore, click
   or buy in each slot, stay or leave. A learning user gives its answer instead.
5. ``respond``: the answer pays both agents (``recenv.sim.rewards``), changes interest, boredom,
   satisfaction and history, and may end the visit.
6. ``screens.clear_screen``: the screen is empty; the next round begins with step 1.

``screens.show`` is steps 2 and 3 on the visit's screen, ``screens.draw_answer`` step 4,
``respond_row`` step 5. Each function works on row ``b`` of the state alone, so rows can be stepped
in any order, by any number of threads, on any device, with the same bits. Loops over rows are in
``recenv.sim.kernels`` (CPU) and ``recenv.sim.cuda`` (GPU); both compile these very functions.

How functions are written decides how fast they are: a loop that a compiler can turn into vector
instructions does nothing else (no draw and lookup in one loop, nothing read from the array that it
writes), and works on neighbouring numbers, whose indices cannot be negative.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint32, uint64

from recenv import rng
from recenv.jit.compiled import inlined
from recenv.jit.memory import shift
from recenv.sim import rewards
from recenv.sim.state import EMPTY, LEFT, LIVE, RECOMMENDER, TRUNCATED, UNLIMITED, USER
from recenv.users import duration_law as duration
from recenv.users import laws

_ZERO, _ONE = np.float32(0), np.float32(1)
_SMALLEST = np.float32(1e-8)  # floor of a probability inside a logarithm


@inlined
def _clear_outcome(b, state):
    state.clicks[b] = 0
    state.purchases[b] = 0
    state.rewards[b, 0] = _ZERO
    state.rewards[b, 1] = _ZERO
    for k in range(state.answers.shape[1]):
        state.answers[b, k] = 0


@inlined
def _fulfilled(need):
    """1 / (1 + items still wanted): 1 when the visit has all it came for, 0 if unlimited."""
    return _ZERO if need == UNLIMITED else _ONE / np.float32(1 + max(need, 0))


@inlined
def begin(b, user, tables, rules, state):
    """Start the visit that row ``b``'s seed and number name; a ``user`` below 0 is drawn."""
    key = rng.session_key(state.seed[b], state.session[b])
    state.key[b] = key
    if user < 0:
        u = np.float64(rng.uniform(key, 0, rng.USER, 0))
        user = tables.pool[int(u * len(tables.pool))]
    state.user[b] = user
    state.round[b] = 0
    state.ended[b] = LIVE
    for d in range(state.interest.shape[1]):
        state.interest[b, d] = tables.user_vectors[user, d]
    for g in range(state.boredom.shape[1]):
        state.boredom[b, g] = _ZERO
    state.satisfaction[b] = _ZERO
    state.spent[b] = _ZERO
    state.need[b] = UNLIMITED
    if len(tables.need_baseline) > 0:
        state.need[b] = duration.draw_duration(
            tables.need_baseline,
            tables.users[user].need_effect,
            1,
            rng.uniform(key, 0, rng.NEED, 0),
        )
    state.fulfilled[b] = _fulfilled(state.need[b])
    state.taken_count[b] = 0
    for k in range(state.last_slate.shape[1]):
        state.last_slate[b, k] = EMPTY
        state.last_answer[b, k] = 0
    for h in range(state.history_items.shape[1]):
        state.history_items[b, h] = EMPTY
        state.history_responses[b, h] = -1
    for d in range(state.visit_interest.shape[1]):
        state.encoded[b, d] = tables.encoded_users[user, d]
        state.visit_interest[b, d] = _ZERO
    state.visit_clicks[b] = 0
    _clear_outcome(b, state)
    state.turn[b] = np.float32(RECOMMENDER)


@inlined
def next_visit(b, tables, rules, state):
    """Start the visit that follows in the same row."""
    state.session[b] += uint64(1)
    begin(b, -1, tables, rules, state)


@inlined
def _remember(b, shown, state):
    """Put the round's slate at the front of the visit's history, the last slot first."""
    history, slots = state.history_items.shape[1], state.last_slate.shape[1]
    shift(state.history_items, b, shown)
    shift(state.history_responses, b, shown)
    h = 0
    for k in range(slots - 1, -1, -1):
        item = state.last_slate[b, k]
        if item != EMPTY and h < history:
            state.history_items[b, uint64(h)] = item
            state.history_responses[b, uint64(h)] = state.last_answer[b, k]
            h += 1


@inlined
def _consume(b, item, response, tables, rules, state):
    """Consumption of an item: its effect on interest, boredom, need and past, rewards apart."""
    state.clicks[b] += 1
    state.visit_clicks[b] += 1
    share = _ONE / np.float32(state.visit_clicks[b])
    scale = tables.items[uint32(item)].shown_scale
    for d in range(state.visit_interest.shape[1]):
        known = scale * np.float32(tables.shown_vectors[item, d])
        state.visit_interest[b, d] += share * (known - state.visit_interest[b, d])
    state.boredom[b, tables.items[uint32(item)].category] += rules.boredom_gain
    scale = tables.items[uint32(item)].scale
    for d in range(state.interest.shape[1]):
        state.interest[b, d] = laws.drift(
            state.interest[b, d], scale * np.float32(tables.item_vectors[item, d]), rules.drift_rate
        )
    # by a log of purchases alone, only a purchase is consumption
    if response == 2 or rules.funnel == _ONE:
        if state.need[b] != UNLIMITED:
            state.need[b] -= 1
            state.fulfilled[b] = _fulfilled(state.need[b])
        if state.taken.shape[1] > 0:
            state.taken[b, state.taken_count[b]] = item
            state.taken_count[b] += 1
    if response == 2:
        state.purchases[b] += 1
        state.spent[b] += tables.items[uint32(item)].price


@inlined
def _log_behaviour(b, on, left, state, screen):
    """Log probability of the answer in ``state.last_answer[b]`` under the fitted user."""
    slots = screen.slate.shape[1]
    total = math.log(max(screen.behaviour[on, 3 * slots + (1 if left else 0)], _SMALLEST))
    for k in range(slots):
        if state.last_slate[b, k] != EMPTY:
            chosen = screen.behaviour[on, 3 * k + state.last_answer[b, k]]
            total += math.log(max(chosen, _SMALLEST))
    return np.float32(total)


@inlined
def respond(b, on, answers, left, tables, rules, state, screen):
    """Answer of a round to the slate on screen ``on``: rewards, and the user's next state.

    The answer is ``answers[on]``, the slots' part, and whether the user left.
    """
    slots = screen.slate.shape[1]
    if state.ended[b] != LIVE or state.turn[b] != USER:
        _clear_outcome(b, state)
        return
    state.answers[b, slots] = 1 if left else 0
    state.clicks[b] = 0
    state.purchases[b] = 0
    gained, cost, satisfaction = _ZERO, _ZERO, _ZERO
    recommender = -rules.leave_cost if left else _ZERO
    shown, consumed = 0, 0
    for k in range(slots):
        item, seen = screen.slate[on, k], tables.examination[k]
        filled = np.int32(item != EMPTY)
        response = filled * np.int32(answers[on, k])
        state.last_slate[b, k] = item
        state.last_answer[b, k] = response
        state.answers[b, k] = response
        shown += filled
        cost += rewards.of_ignoring(seen if filled > response else _ZERO, rules)
        # what was consumed is noted in the part of the slate that was read: nobody needs it now
        screen.slate[on, uint64(consumed)] = k
        consumed += int(response > 0)
    for g in range(state.boredom.shape[1]):
        state.boredom[b, g] = laws.bored(state.boredom[b, g], rules.boredom_decay)
    for n in range(consumed):
        k = uint32(screen.slate[on, n])
        item, response, utility = (
            state.last_slate[b, k],
            state.last_answer[b, k],
            screen.utility[on, k],
        )
        earned, gain, effort = rewards.of_click(utility, rules)
        recommender, gained, cost = recommender + earned, gained + gain, cost + effort
        satisfaction += utility
        if response == 2:
            price = tables.items[uint32(item)].price
            earned, gain, paid = rewards.of_purchase(utility, price, rules)
            recommender, gained, cost = recommender + earned, gained + gain, cost + paid
        _consume(b, item, response, tables, rules, state)
    _remember(b, shown, state)
    own = gained - cost
    if rules.behaviour_weight != _ZERO:
        own += rules.behaviour_weight * _log_behaviour(b, on, left, state, screen)
    keep, mix = rewards.shares(rules)
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
    state.turn[b] = np.float32(RECOMMENDER)


@inlined
def respond_row(b, answers, tables, rules, state):
    """``respond`` with ``answers[b]`` to what is on the visit's own screen."""
    left = answers[b, state.slate.shape[1]] == 1
    respond(b, b, answers, left, tables, rules, state, state)
