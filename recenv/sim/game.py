# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201, ANN202
"""One visit of one user, as plain scalar functions of a row number: the rules of the game.

``begin``, ``next_visit``, ``show``, ``draw_answer`` and ``respond`` are the whole game. Each works
on row ``b`` of the state alone, so rows can be stepped in any order, by any number of threads, on
any device, with the same bits. Loops over rows are in ``recenv.sim.kernels`` (CPU) and
``recenv.sim.cuda`` (GPU); both compile these very functions.

How they are written decides how fast they are: a loop that a compiler can turn into vector
instructions does nothing else (no draw and lookup in one loop), and works on contiguous rows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint32, uint64

from recenv import rng
from recenv.compiled import inlined
from recenv.sim.state import EMPTY, LEFT, LIVE, RECOMMENDER, TRUNCATED, UNLIMITED, USER
from recenv.users import duration, laws, repeat

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_ATTEMPTS = 8  # draws of a candidate that the user has not had
_SMALLEST = np.float32(1e-8)  # floor of a probability inside a logarithm


@inlined
def _taken(b, item, state):
    """Whether the visit consumed the item."""
    for j in range(min(state.taken_count[b], state.taken.shape[1])):
        if state.taken[b, j] == item:
            return True
    return False


@inlined
def _bonus(b, item, tables, state):
    """Log-odds that the user's past adds to the item; 0 for what the user never had."""
    return repeat.bonus_of(
        tables.repeat_start,
        tables.repeat_items,
        tables.repeat_bonus,
        tables.repeat_filter_start,
        tables.repeat_filter,
        state.user[b],
        item,
    )


@inlined
def _draw_candidates(b, tables, rules, state):
    """One candidate from each of C equal strata of the shuffled catalogue, turned at random.

    Systematic sampling: no repeats, every item is equally likely to be a candidate, and the
    cost is O(C) whatever the size of the catalogue. Where nothing is consumed twice, what the
    user has had is drawn anew, up to ``_ATTEMPTS`` times.
    """
    n, c = np.int32(len(tables.order)), state.candidates.shape[1]
    key, round_ = state.key[b], state.round[b]
    turned = np.int32(rng.integer(key, round_, rng.CANDIDATES, 0, n))
    for j in range(c):
        low, high = tables.strata[j], tables.strata[j + 1]
        drawn = rng.integer(key, round_, rng.CANDIDATES, j + 1, uint64(high - low))
        at = low + np.int32(drawn) + turned
        state.candidates[b, j] = at - n if at >= n else at
    for j in range(c):
        state.candidates[b, j] = tables.order[uint32(state.candidates[b, j])]
    if rules.exclude_consumed:
        for j in range(c):
            item = state.candidates[b, j]
            for attempt in range(1, _ATTEMPTS):
                if _bonus(b, item, tables, state) == _ZERO and not _taken(b, item, state):
                    break
                low, high = tables.strata[j], tables.strata[j + 1]
                slot = attempt * (c + 1) + j + 1
                drawn = rng.integer(key, round_, rng.CANDIDATES, slot, uint64(high - low))
                at = low + np.int32(drawn) + turned
                item = tables.order[at - n if at >= n else at]
            state.candidates[b, j] = item
    for j in range(c):
        state.candidate_popularity[b, j] = tables.popularity[uint32(state.candidates[b, j])]
    for j in range(state.candidate_vectors.shape[1]):
        item = state.candidates[b, j]
        scale = tables.items[uint32(item)].shown_scale
        for d in range(state.candidate_vectors.shape[2]):
            state.candidate_vectors[b, j, d] = scale * np.float32(tables.shown_vectors[item, d])


@inlined
def _clear_screen(b, state):
    state.turn[b] = np.float32(RECOMMENDER)
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
    """Start a visit of the session that row ``b`` names; a ``user`` below 0 is drawn."""
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
    _clear_screen(b, state)
    _draw_candidates(b, tables, rules, state)


@inlined
def next_visit(b, tables, rules, state):
    """Start the visit that follows in the same row."""
    state.session[b] += uint64(1)
    begin(b, -1, tables, rules, state)


@inlined
def _biases(b, item, has_past, tables, rules, state):
    """(what is added to the click affinity, to the purchase affinity, boredom) for visit ``b``."""
    user, of_item = tables.users[uint32(state.user[b])], tables.items[uint32(item)]
    bias = user.click_bias + of_item.click_bias
    if has_past:
        bias += _bonus(b, item, tables, state)
    if rules.again != _ZERO and _taken(b, item, state):
        bias += rules.again
    return (
        bias,
        user.purchase_bias + of_item.purchase_bias,
        state.boredom[b, uint32(of_item.category)],
    )


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
    click_bias, buy_bias, boredom = _biases(b, item, True, tables, rules, state)
    click, buy = laws.answer(
        laws.click_log_odds(to_click, click_bias, rules.boredom_weight * boredom),
        laws.purchase_log_odds(to_buy, buy_bias),
        rules.funnel,
    )
    return click, buy, boredom


@inlined
def show(b, slates, tables, rules, state):
    """Put candidate indices ``slates[b]`` on screen and score every possible answer.

    A repeated candidate, or index EMPTY, leaves its slot empty. A visit that has what it needs
    looks at nothing more and ends.
    """
    if state.ended[b] != LIVE or state.turn[b] != RECOMMENDER:
        return
    state.turn[b] = np.float32(USER)
    done = state.need[b] <= 0
    slots = state.slate.shape[1]
    shown, bored = 0, _ZERO
    for k in range(slots):  # a candidate that is on the slate is away for as long as this takes
        item, index = EMPTY, slates[b, k]
        if index >= 0:
            item = state.candidates[b, index]
            state.candidates[b, index] = EMPTY
        state.slate[b, k] = item
    for k in range(slots):
        if state.slate[b, k] != EMPTY:
            state.candidates[b, slates[b, k]] = state.slate[b, k]
    # affinities to click in the first K places, to buy in the next: then log-odds, probabilities
    odds = state.behaviour
    laws.slate_affinities(
        state.interest,
        b,
        tables.item_vectors,
        state.slate,
        tables.click_weight,
        tables.purchase_weight,
        odds,
    )
    user = state.user[b]
    has_past = tables.repeat_start[user + 1] > tables.repeat_start[user]
    for k in range(slots):
        item = state.slate[b, k]
        if item == EMPTY:
            continue
        scale = tables.items[uint32(item)].scale
        state.prices[b, k] = tables.items[uint32(item)].price
        click_bias, buy_bias, boredom = _biases(b, item, has_past, tables, rules, state)
        odds[b, k] = laws.click_log_odds(
            scale * odds[b, k], click_bias, rules.boredom_weight * boredom
        )
        buy = uint64(slots + k)
        odds[b, buy] = laws.purchase_log_odds(scale * odds[b, buy], buy_bias)
        shown += 1
        bored += boredom
    if rules.funnel < _ONE:
        for k in range(slots):
            buy = uint64(slots + k)
            odds[b, k], odds[b, buy] = laws.answer(odds[b, k], odds[b, buy], rules.funnel)
    else:
        for k in range(2 * slots):
            odds[b, k] = laws.sigmoid(odds[b, k])
    looks = _ZERO if done else _ONE
    for k in range(slots):
        filled = _ZERO if state.slate[b, k] == EMPTY else _ONE
        odds[b, k] = filled * looks * tables.examination[k] * odds[b, k]
    for k in range(slots):
        state.utility[b, k] = odds[b, uint64(slots + k)]
    for k in range(slots - 1, -1, -1):  # from the end: none is written over before it is read
        click, buy, first = odds[b, k], state.utility[b, k], uint64(3 * k)
        odds[b, first] = _ONE - click
        odds[b, first + uint64(1)] = click * (_ONE - buy)
        odds[b, first + uint64(2)] = click * buy
    for k in range(slots):
        filled = _ZERO if state.slate[b, k] == EMPTY else _ONE
        state.utility[b, k] = filled * laws.utility(state.utility[b, k])
    for k in range(state.slate_vectors.shape[1]):
        item = state.slate[b, k]
        if item != EMPTY:
            scale = tables.items[uint32(item)].scale
            for d in range(state.slate_vectors.shape[2]):
                state.slate_vectors[b, k, d] = scale * np.float32(tables.item_vectors[item, d])
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


@inlined
def draw_answer(b, state, answers):
    """Draw the fitted user's answer from ``state.behaviour[b]`` into ``answers[b]``."""
    key, round_ = state.key[b], state.round[b]
    slots = state.slate.shape[1]
    for k in range(slots):
        u = rng.uniform(key, round_, rng.ANSWER, k)
        first = uint64(3 * k)
        buy = state.behaviour[b, first + uint64(2)]
        click = buy + state.behaviour[b, first + uint64(1)]
        answers[b, k] = int(u < buy) + int(u < click)
    u = rng.uniform(key, round_, rng.LEAVE, 0)
    answers[b, slots] = int(u < state.behaviour[b, uint64(3 * slots + 1)])


@inlined
def _remember(b, state):
    """Put the round's slate at the front of the visit's history, the last slot first."""
    history, slots = state.history_items.shape[1], state.last_slate.shape[1]
    shown = 0
    for k in range(slots):
        if state.last_slate[b, k] != EMPTY:
            shown += 1
    stop = history
    while shown > 0 and stop > shown:  # from the end, in blocks that do not overlap
        start = max(stop - shown, shown)
        to, of = uint64(start), uint64(start - shown)
        for n in range(stop - start):
            at = uint64(n)
            state.history_items[b, to + at] = state.history_items[b, of + at]
        for n in range(stop - start):
            at = uint64(n)
            state.history_responses[b, to + at] = state.history_responses[b, of + at]
        stop = start
    if shown == slots and slots <= history:
        last = uint64(slots - 1)
        for k in range(slots):
            state.history_items[b, k] = state.last_slate[b, last - uint64(k)]
        for k in range(slots):
            state.history_responses[b, k] = state.last_answer[b, last - uint64(k)]
        return
    h = 0
    for k in range(slots - 1, -1, -1):
        if state.last_slate[b, k] != EMPTY and h < history:
            state.history_items[b, h] = state.last_slate[b, k]
            state.history_responses[b, h] = state.last_answer[b, k]
            h += 1


@inlined
def _consume(b, item, response, tables, rules, state):
    """What a click or a purchase does to the visit, apart from the rewards."""
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
def _log_behaviour(b, left, state):
    """Log probability of the answer in ``state.last_answer[b]`` under the fitted user."""
    slots = state.slate.shape[1]
    total = math.log(max(state.behaviour[b, 3 * slots + (1 if left else 0)], _SMALLEST))
    for k in range(slots):
        if state.last_slate[b, k] != EMPTY:
            chosen = state.behaviour[b, 3 * k + state.last_answer[b, k]]
            total += math.log(max(chosen, _SMALLEST))
    return np.float32(total)


@inlined
def respond(b, answers, tables, rules, state):
    """Take answer ``answers[b]``: rewards, then what it does to the user, then the next round."""
    slots = state.slate.shape[1]
    if state.ended[b] != LIVE or state.turn[b] != USER:
        _clear_outcome(b, state)
        return
    left = answers[b, slots] == 1
    state.answers[b, slots] = 1 if left else 0
    state.clicks[b] = 0
    state.purchases[b] = 0
    for k in range(slots):
        state.last_slate[b, k] = state.slate[b, k]
    for k in range(slots):
        state.last_answer[b, k] = answers[b, k] if state.last_slate[b, k] != EMPTY else 0
    for k in range(slots):
        state.answers[b, k] = state.last_answer[b, k]
    gained, cost, satisfaction = _ZERO, _ZERO, _ZERO
    recommender = -rules.leave_cost if left else _ZERO
    for g in range(state.boredom.shape[1]):
        state.boredom[b, g] = laws.bored(state.boredom[b, g], rules.boredom_decay)
    consumed = 0
    for k in range(slots):  # what was consumed is noted in the slate, which nobody needs now
        response = state.last_answer[b, k]
        ignored = response == 0 and state.last_slate[b, k] != EMPTY
        cost += rules.effort * (tables.examination[k] if ignored else _ZERO)
        state.slate[b, uint64(consumed)] = k
        consumed += int(response > 0)
    for n in range(consumed):
        k = uint32(state.slate[b, n])
        item, response, utility = (
            state.last_slate[b, k],
            state.last_answer[b, k],
            state.utility[b, k],
        )
        cost += rules.effort
        gained += rules.click_utility * utility
        recommender += rules.click
        satisfaction += utility
        if response == 2:
            price = tables.items[uint32(item)].price
            gained += rules.purchase_utility * utility
            cost += rules.price_sensitivity * price
            recommender += rules.purchase * (price if rules.purchase_by_value else _ONE)
        _consume(b, item, response, tables, rules, state)
    _remember(b, state)
    own = gained - cost
    if rules.behaviour_weight != _ZERO:
        own += rules.behaviour_weight * _log_behaviour(b, left, state)
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
