# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201, ANN202
"""Screen of a visit: the slate shown, and the probabilities of every answer to it.

Rules are in ``recenv.sim.game``, which says how these functions are written and why. They take the
``screen`` (``recenv.sim.state.Screen``) with the row ``on`` it, because a loop over whole rounds
uses a few rows' screens for all. Two of them, ``weigh`` and ``draw_answers``, take several visits
at once, slot by slot: [first, stop), of which visit ``b`` is on screen ``b - before``. All three
numbers are uint64.
"""

from __future__ import annotations

import numpy as np
from numba import uint32, uint64

from recenv import rng
from recenv.jit.compiled import inlined
from recenv.jit.logistic import sigmoid
from recenv.sim.state import EMPTY, LIVE, RECOMMENDER, USER
from recenv.users import laws, repeat_law

_ZERO, _ONE = np.float32(0), np.float32(1)
_BITS = 64  # of an integer


@inlined
def taken(b, item, state):
    """Whether the visit consumed the item."""
    for j in range(min(state.taken_count[b], state.taken.shape[1])):
        if state.taken[b, j] == item:
            return True
    return False


@inlined
def bonus_of_past(b, item, tables, state):
    """Log-odds that the user's past adds to the item; 0 for what the user never had."""
    return repeat_law.bonus_of(
        tables.repeat_start,
        tables.repeat_items,
        tables.repeat_bonus,
        tables.repeat_filter_start,
        tables.repeat_filter,
        state.user[b],
        item,
    )


@inlined
def clear_screen(b, state):
    """Take everything off a screen."""
    slots = state.slate.shape[1]
    for k in range(slots):
        state.slate[b, k] = EMPTY
        state.utility[b, k] = _ZERO
        state.prices[b, k] = _ZERO
    for k in range(3 * slots + 2):
        state.behaviour[b, k] = _ZERO
    for k in range(slots + 1):
        state.behaviour[b, 3 * k] = _ONE
    for k in range(state.slate_vectors.shape[1]):
        for d in range(state.slate_vectors.shape[2]):
            state.slate_vectors[b, k, d] = _ZERO


@inlined
def _click_bias(b, item, tables, state):
    """Bias of the click law for visit ``b``, without the user's past."""
    return tables.users[uint32(state.user[b])].click_bias + tables.items[uint32(item)].click_bias


@inlined
def _buy_bias(b, item, tables, state):
    """Bias of the purchase law for visit ``b``."""
    user, of_item = tables.users[uint32(state.user[b])], tables.items[uint32(item)]
    return user.purchase_bias + of_item.purchase_bias


@inlined
def _has_past(b, tables, rules, state):
    """Whether what the user has had can matter to a click."""
    user = state.user[b]
    return rules.again != _ZERO or tables.repeat_start[user + 1] > tables.repeat_start[user]


@inlined
def _with_past(b, item, bias, tables, rules, state):
    """``_click_bias`` plus the effect of having consumed the item, before and in the visit."""
    bias += bonus_of_past(b, item, tables, state)
    if rules.again != _ZERO and taken(b, item, state):
        bias += rules.again
    return bias


@inlined
def _boredom(b, item, tables, state):
    return state.boredom[b, uint32(tables.items[uint32(item)].category)]


@inlined
def score(b, item, tables, rules, state):
    """(P(click | looked at), P(purchase | click), boredom) of an item for visit ``b`` now."""
    to_click, to_buy = laws.affinities(
        state.interest,
        b,
        tables.item_vectors,
        item,
        tables.items[uint32(item)].scale,
        tables.click_weight,
        tables.purchase_weight,
    )
    boredom = _boredom(b, item, tables, state)
    bias = _with_past(b, item, _click_bias(b, item, tables, state), tables, rules, state)
    click, buy = laws.answer(
        laws.click_log_odds(to_click, bias, rules.boredom_weight * boredom),
        laws.purchase_log_odds(to_buy, _buy_bias(b, item, tables, state)),
        rules.funnel,
    )
    return click, buy, boredom


@inlined
def put(b, on, slates, state, screen):
    """Put candidate indices ``slates[b]`` on screen ``on``; whether it was this visit's turn.

    A repeated candidate, or index EMPTY, leaves its slot empty.
    """
    if state.ended[b] != LIVE or state.turn[b] != RECOMMENDER:
        return False
    state.turn[b] = np.float32(USER)
    if state.candidates.shape[1] <= _BITS:
        seen = uint64(0)  # a bit for each candidate
        for k in range(screen.slate.shape[1]):
            index = uint64(max(slates[b, k], 0))
            bit = uint64(slates[b, k] >= 0) << index
            screen.slate[on, k] = EMPTY if bit & ~seen == 0 else state.candidates[b, index]
            seen |= bit
        return True
    for k in range(screen.slate.shape[1]):  # a candidate on the slate is away until all are there
        item, index = EMPTY, slates[b, k]
        if index >= 0:
            item = state.candidates[b, index]
            state.candidates[b, index] = EMPTY
        screen.slate[on, k] = item
    for k in range(screen.slate.shape[1]):
        if screen.slate[on, k] != EMPTY:
            state.candidates[b, slates[b, k]] = screen.slate[on, k]
    return True


@inlined
def take_down(b, state):
    """Clear a screen whose answer is awaited; the slate is kept where it goes after the answer."""
    for k in range(state.slate.shape[1]):
        state.last_slate[b, k] = state.slate[b, k]
    clear_screen(b, state)


@inlined
def put_back(b, on, state, screen):
    """Put what was taken down on screen ``on``; weighed again, it is what it was."""
    for k in range(state.last_slate.shape[1]):
        screen.slate[on, k] = state.last_slate[b, k]


@inlined
def _log_odds(first, stop, before, tables, rules, state, screen):
    """Log-odds: of K clicks (if looked at), of K purchases (if clicked), of leaving.

    They are in the first places of ``screen.behaviour``. Those of an empty slot mean nothing.
    """
    slots, odds = screen.slate.shape[1], screen.behaviour
    for b in range(first, stop):
        laws.slate_affinities(
            state.interest,
            b,
            tables.item_vectors,
            screen.slate,
            b - before,
            tables.click_weight,
            tables.purchase_weight,
            odds,
        )
    for b in range(first, stop):
        on, past = b - before, _has_past(b, tables, rules, state)
        shown, bored = 0, _ZERO
        for k in range(slots):
            item = screen.slate[on, k]
            if item == EMPTY:
                continue
            bias, buy = _click_bias(b, item, tables, state), uint64(slots + k)
            if past:
                bias = _with_past(b, item, bias, tables, rules, state)
            scale, boredom = tables.items[uint32(item)].scale, _boredom(b, item, tables, state)
            odds[on, k] = laws.click_log_odds(
                scale * odds[on, k], bias, rules.boredom_weight * boredom
            )
            odds[on, buy] = laws.purchase_log_odds(
                scale * odds[on, buy], _buy_bias(b, item, tables, state)
            )
            shown += 1
            bored += boredom
        if shown > 0:
            bored /= np.float32(shown)
        odds[on, uint64(2 * slots)] = laws.leave_log_odds(
            rules.leave_intercept,
            rules.leave_length * np.float32(state.round[b]),
            rules.leave_satisfaction * state.satisfaction[b],
            rules.leave_boredom * bored,
        )


@inlined
def _probabilities(first, stop, before, rules, screen):
    """From log-odds to P(click | looked at), P(purchase | click) and P(leave), in their places."""
    slots, odds = screen.slate.shape[1], screen.behaviour
    if rules.funnel < _ONE:
        for k in range(slots):
            for b in range(first, stop):
                on, buy = b - before, uint64(slots + k)
                odds[on, k], odds[on, buy] = laws.answer(odds[on, k], odds[on, buy], rules.funnel)
        for b in range(first, stop):
            on, leave = b - before, uint64(2 * slots)
            odds[on, leave] = sigmoid(odds[on, leave])
    else:
        for k in range(2 * slots + 1):
            for b in range(first, stop):
                odds[b - before, k] = sigmoid(odds[b - before, k])


@inlined
def weigh(first, stop, before, tables, rules, state, screen):
    """The fitted probability of every possible answer to what is on screen, and utilities.

    A visit that has what it needs looks at nothing more and ends. The screen's prices are used
    for P(click).
    """
    _log_odds(first, stop, before, tables, rules, state, screen)
    _probabilities(first, stop, before, rules, screen)
    slots, behaviour = screen.slate.shape[1], screen.behaviour
    for k in range(slots):
        for b in range(first, stop):
            on = b - before
            filled = _ZERO if screen.slate[on, k] == EMPTY else _ONE
            looks = _ZERO if state.need[b] <= 0 else _ONE
            screen.prices[on, k] = filled * looks * tables.examination[k] * behaviour[on, k]
            screen.utility[on, k] = behaviour[on, uint64(slots + k)]
    for b in range(first, stop):
        on = b - before
        leave = _ONE if state.need[b] <= 0 else behaviour[on, uint64(2 * slots)]
        behaviour[on, uint64(3 * slots)] = _ONE - leave
        behaviour[on, uint64(3 * slots + 1)] = leave
    for k in range(slots):
        for b in range(first, stop):
            behaviour[b - before, uint64(3 * k)] = _ONE - screen.prices[b - before, k]
        for b in range(first, stop):
            click, buy = screen.prices[b - before, k], screen.utility[b - before, k]
            behaviour[b - before, uint64(3 * k + 1)] = click * (_ONE - buy)
        for b in range(first, stop):
            click, buy = screen.prices[b - before, k], screen.utility[b - before, k]
            behaviour[b - before, uint64(3 * k + 2)] = click * buy
    for k in range(slots):
        for b in range(first, stop):
            on = b - before
            filled = _ZERO if screen.slate[on, k] == EMPTY else _ONE
            screen.utility[on, k] = filled * laws.utility(screen.utility[on, k])


@inlined
def _label(b, tables, state):
    """Put the prices and the vectors of the slate on screen, which only an agent looks at."""
    for k in range(state.slate.shape[1]):
        item = state.slate[b, k]
        state.prices[b, k] = _ZERO if item == EMPTY else tables.items[uint32(item)].price
    for k in range(state.slate_vectors.shape[1]):
        item = state.slate[b, k]
        if item != EMPTY:
            scale = tables.items[uint32(item)].scale
            for d in range(state.slate_vectors.shape[2]):
                state.slate_vectors[b, k, d] = scale * np.float32(tables.item_vectors[item, d])


@inlined
def show(b, slates, tables, rules, state):
    """Put candidate indices ``slates[b]`` on the visit's own screen; see ``put`` and ``weigh``."""
    if put(b, b, slates, state, state):
        weigh(uint64(b), uint64(b + 1), uint64(0), tables, rules, state, state)
        _label(b, tables, state)


@inlined
def draw_answers(first, stop, before, state, screen, answers):
    """Draw the fitted users' answers to what is on screen, but for leaving; see ``weigh``."""
    for k in range(screen.slate.shape[1]):
        for b in range(first, stop):
            on = b - before
            u = rng.uniform(state.key[b], state.round[b], rng.ANSWER, k)
            buy = screen.behaviour[on, uint64(3 * k + 2)]
            click = buy + screen.behaviour[on, uint64(3 * k + 1)]
            answers[on, k] = int(u < buy) + int(u < click)


@inlined
def draw_leave(b, on, state, screen):
    """Draw whether the fitted user leaves after this round."""
    u = rng.uniform(state.key[b], state.round[b], rng.LEAVE, 0)
    return u < screen.behaviour[on, uint64(3 * screen.slate.shape[1] + 1)]


@inlined
def draw_answer(b, state, answers):
    """Draw the fitted user's answer to what is on the visit's own screen into ``answers[b]``."""
    draw_answers(uint64(b), uint64(b + 1), uint64(0), state, state, answers)
    answers[b, state.slate.shape[1]] = draw_leave(b, b, state, state)
