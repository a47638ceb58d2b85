# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201, ANN202
"""One visit of one user, as plain functions of a row number: the rules of the game.

``begin``, ``next_visit``, ``draw_candidates``, ``show``, ``draw_answer``, ``take_answer`` and
``clear_screen`` are the whole game. Each works on row ``b`` of the state alone, so rows can be
stepped in any order, by any number of threads, on any device, with the same bits. Loops over rows
are in ``recenv.sim.kernels`` (CPU) and ``recenv.sim.cuda`` (GPU); both compile these very
functions.

A slate and what its user makes of it are on screen from ``show`` to ``take_answer``. The functions
that these are made of take the ``screen`` too (``recenv.sim.state.Screen``), with the row ``on``
it, because a loop over whole rounds uses a few rows' screens for all. Two of them,
``weigh`` and ``draw_answers``, take several visits at once, slot by slot: [first, stop), of which
visit ``b`` is on screen ``b - before``. All three numbers are uint64.

How functions are written decides how fast they are: a loop that a compiler can turn into vector
instructions does nothing else (no draw and lookup in one loop, nothing read from the array that it
writes), and works on neighbouring numbers, whose indices cannot be negative.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint32, uint64

from recenv import rng
from recenv.compiled import inlined
from recenv.sim.rows import shift
from recenv.sim.state import EMPTY, LEFT, LIVE, RECOMMENDER, TRUNCATED, UNLIMITED, USER
from recenv.users import duration, laws, repeat

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_ATTEMPTS = 8  # draws of a candidate that the user has not had
_BITS = 64  # of an integer
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
def draw_candidates(b, tables, rules, state):
    """One candidate from each of C equal strata of the shuffled catalogue, turned at random.

    Systematic sampling: no repeats, every item is equally likely to be a candidate, and the
    cost is O(C) whatever the size of the catalogue. Where nothing is consumed twice, what the
    user has had is drawn anew, up to ``_ATTEMPTS`` times. Drawn once more in the same round, they
    are the same.
    """
    n, c = np.int32(len(tables.order)), state.candidates.shape[1]
    key, round_ = state.key[b], state.round[b]
    turned = np.int32(rng.integer(key, round_, rng.CANDIDATES, 0, n))
    for j in range(c):
        low, high = tables.strata[j], tables.strata[j + 1]
        drawn = rng.integer(key, round_, rng.CANDIDATES, j + 1, uint64(high - low))
        at = np.int32(np.int32(low + turned) + np.int32(drawn))
        state.candidates[b, j] = at - n if at >= n else at
    for j in range(c):
        item = tables.order[uint32(state.candidates[b, j])]
        state.candidates[b, j] = item
        state.candidate_popularity[b, j] = tables.popularity[uint32(item)]
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
            state.candidate_popularity[b, j] = tables.popularity[uint32(item)]
    for j in range(state.candidate_vectors.shape[1]):
        item = state.candidates[b, j]
        scale = tables.items[uint32(item)].shown_scale
        for d in range(state.candidate_vectors.shape[2]):
            state.candidate_vectors[b, j, d] = scale * np.float32(tables.shown_vectors[item, d])


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
    state.turn[b] = np.float32(RECOMMENDER)


@inlined
def next_visit(b, tables, rules, state):
    """Start the visit that follows in the same row."""
    state.session[b] += uint64(1)
    begin(b, -1, tables, rules, state)


@inlined
def _click_bias(b, item, tables, state):
    """What is added to the affinity to click for visit ``b``, apart from the past."""
    return tables.users[uint32(state.user[b])].click_bias + tables.items[uint32(item)].click_bias


@inlined
def _buy_bias(b, item, tables, state):
    """What is added to the affinity to buy for visit ``b``."""
    user, of_item = tables.users[uint32(state.user[b])], tables.items[uint32(item)]
    return user.purchase_bias + of_item.purchase_bias


@inlined
def _has_past(b, tables, rules, state):
    """Whether what the user has had can matter to a click."""
    user = state.user[b]
    return rules.again != _ZERO or tables.repeat_start[user + 1] > tables.repeat_start[user]


@inlined
def _with_past(b, item, bias, tables, rules, state):
    """``_click_bias`` and what the user has had of the item, before the visit and in it."""
    bias += _bonus(b, item, tables, state)
    if rules.again != _ZERO and _taken(b, item, state):
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
            odds[on, leave] = laws.sigmoid(odds[on, leave])
    else:
        for k in range(2 * slots + 1):
            for b in range(first, stop):
                odds[b - before, k] = laws.sigmoid(odds[b - before, k])


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
    """Take the answer to what is on screen ``on``: rewards, what it does to the user, next round.

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
        cost += rules.effort * (seen if filled > response else _ZERO)  # if it is ignored
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
    _remember(b, shown, state)
    own = gained - cost
    if rules.behaviour_weight != _ZERO:
        own += rules.behaviour_weight * _log_behaviour(b, on, left, state, screen)
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
    state.turn[b] = np.float32(RECOMMENDER)


@inlined
def take_answer(b, answers, tables, rules, state):
    """``respond`` with ``answers[b]`` to what is on the visit's own screen."""
    left = answers[b, state.slate.shape[1]] == 1
    respond(b, b, answers, left, tables, rules, state, state)
