# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201, ANN202
"""CPU kernels: loops of the game over rows [low, high) of a batch, compiled by numba.

``BEGIN`` to ``STEP`` are what a simulator calls: each loop for one thread, and for several
(``recenv.jit.threads``), who run the same loop on ranges of rows that are dealt out to them.
"""

from __future__ import annotations

from numba import uint64

from recenv import rng
from recenv.jit.atomics import apart, job, kept_job
from recenv.jit.compiled import inlined, kernel
from recenv.jit.memory import columns
from recenv.jit.prefetch import prefetch, prefetch_row
from recenv.jit.threads import Loop, share
from recenv.sim import candidates, game, screens
from recenv.sim.state import LIVE, USER, Screen
from recenv.users.duration_law import draw_duration

_LARGE = 8192  # rows that do not fit a core's own caches (measured: from here asking ahead pays)
_AHEAD, _PAIR = 4, 2  # rows
_ITEMS_AHEAD = 2  # rows
_LARGE_TABLE = 1 << 22  # numbers of all items' vectors (measured: smaller ones are found soon)
_LONG_ROW = 128  # numbers of one (measured: the processor itself follows longer ones)
_TILE = 64  # rows that go through a round together


@inlined
def _ask_first(b, ahead, high, state):
    """At every other row of a large batch, ask for what a round of later rows reads first."""
    if len(state.user) < _LARGE or b % _PAIR != 0:
        return
    start = min(b + ahead, high)
    stop = min(start + _PAIR, high)
    prefetch(state.interest, start, stop)
    prefetch(state.candidates, start, stop)
    prefetch(state.candidate_popularity, start, stop)
    prefetch(state.boredom, start, stop)


@inlined
def _ask_then(b, ahead, high, state):
    """The same for what it reads then."""
    if len(state.user) < _LARGE or b % _PAIR != 0:
        return
    start = min(b + ahead, high)
    stop = min(start + _PAIR, high)
    prefetch(state.last_slate, start, stop)
    prefetch(state.last_answer, start, stop)
    prefetch(state.history_items, start, stop)
    prefetch(state.history_responses, start, stop)
    prefetch(state.visit_interest, start, stop)


@inlined
def _ask_for_items(b, high, slates, tables, state):
    """Ask for the items of a slate that is shown soon, if the catalogue is large."""
    vectors = tables.item_vectors
    if vectors.size < _LARGE_TABLE or vectors.shape[1] > _LONG_ROW:
        return
    soon = b + _ITEMS_AHEAD
    if soon < high:
        for k in range(slates.shape[1]):
            index = slates[soon, k]
            if index >= 0:
                item = state.candidates[soon, index]
                prefetch_row(vectors, item)
                prefetch_row(tables.items, item)


@kernel
def begin(low, high, rows, seeds, sessions, users, tables, rules, state):
    """Begin visits in ``rows[low:high]``; users below 0 are drawn from the pool."""
    apart()
    for i in range(low, high):
        state.seed[rows[i]] = seeds[i]
        state.session[rows[i]] = sessions[i]
        game.begin(rows[i], users[i], tables, rules[0], state)
        candidates.draw_candidates(rows[i], tables, rules[0], state)
        screens.clear_screen(rows[i], state)


@kernel
def next_visits(low, high, rows, tables, rules, state):
    """Begin the visits that follow in ``rows[low:high]``."""
    apart()
    for i in range(low, high):
        game.next_visit(rows[i], tables, rules[0], state)
        candidates.draw_candidates(rows[i], tables, rules[0], state)
        screens.clear_screen(rows[i], state)


@kernel
def show(low, high, slates, tables, rules, state):
    """Show (B, K) slates of candidate indices."""
    apart()
    for b in range(low, high):
        _ask_first(b, _AHEAD, high, state)
        _ask_then(b, _AHEAD, high, state)
        _ask_for_items(b, high, slates, tables, state)
        screens.show(b, slates, tables, rules[0], state)


@kernel
def draw_answers(low, high, state, answers):
    """Fill (B, K + 1) answers with the fitted user's draws."""
    apart()
    for b in range(low, high):
        screens.draw_answer(b, state, answers)


@kernel
def respond(low, high, answers, tables, rules, state):
    """Take (B, K + 1) answers."""
    apart()
    for b in range(low, high):
        _ask_first(b, _AHEAD, high, state)
        _ask_then(b, _AHEAD, high, state)
        game.respond_row(b, answers, tables, rules[0], state)
        candidates.draw_candidates(b, tables, rules[0], state)
        screens.clear_screen(b, state)


@kernel
def step(low, high, slates, autoreset, tables, rules, state):
    """Show slates and let the fitted users answer; or begin the next visit where one has ended.

    In short loops over a few visits at a time, whose numbers stay in a core's own caches: one loop
    over all that a visit goes through is too long for a processor to look ahead in. What is on
    screen for as long as a step takes lies in a few rows' memory that all visits use in turn, the
    numbers of one slot side by side: vector instructions take a slot of many visits at once.
    """
    apart()
    if low == high:
        return
    height = min(_TILE, high - low)
    screen = Screen(
        slate=columns(state.slate, low, height),
        prices=columns(state.prices, low, height),
        utility=columns(state.utility, low, height),
        behaviour=columns(state.behaviour, low, height),
    )
    answers = screen.prices  # nobody asks for the prices
    for first in range(low, high, _TILE):
        stop = min(first + _TILE, high)
        for b in range(first, stop):
            if state.turn[b] == USER:
                screens.take_down(b, state)
        for b in range(first, stop):
            if autoreset and state.ended[b] != LIVE:
                game.next_visit(b, tables, rules[0], state)
            elif state.turn[b] == USER:
                screens.put_back(b, b - first, state, screen)
            else:
                _ask_for_items(b, stop, slates, tables, state)
                screens.put(b, b - first, slates, state, screen)
        of, to = uint64(first), uint64(stop)
        screens.weigh(of, to, of, tables, rules[0], state, screen)
        screens.draw_answers(of, to, of, state, screen, answers)
        for b in range(first, stop):  # where no slate is on screen, no answer is taken
            _ask_first(b, _TILE, high, state)
            left = screens.draw_leave(b, b - first, state, screen)
            game.respond(b, b - first, answers, left, tables, rules[0], state, screen)
        for b in range(first, stop):
            _ask_then(b, _TILE, high, state)
            candidates.draw_candidates(b, tables, rules[0], state)
    for b in range(low, low + height):
        screens.clear_screen(b, state)


@kernel
def step_alone(low, high, slates, autoreset, tables, rules, state):
    """``step`` of one visit after the other, each on its own screen: for a GPU's threads."""
    apart()
    for b in range(low, high):
        if autoreset and state.ended[b] != LIVE:
            game.next_visit(b, tables, rules[0], state)
        else:
            screens.show(b, slates, tables, rules[0], state)
            screens.draw_answer(b, state, state.answers)
            game.respond_row(b, state.answers, tables, rules[0], state)
        candidates.draw_candidates(b, tables, rules[0], state)
        screens.clear_screen(b, state)


@kernel
def return_days(low, high, days, baseline, effect, first, tables, rules, state):
    """Fill (B,) days with those until the user's next visit; -1 while this one goes on."""
    apart()
    for b in range(low, high):
        days[b] = -1
        if state.ended[b] != LIVE:
            drawn = rng.uniform(state.key[b], 0, rng.RETURN, 0)
            days[b] = draw_duration(baseline, effect[state.user[b]], first, drawn)


@kernel
def first_outside(actions, low, high, high_of_last):
    """Position of the first value of (B, n) actions that is out of bounds, or -1.

    Args:
        actions: (B, n) integers.
        low: the least that is legal.
        high: one more than the most that is legal.
        high_of_last: the same for the last column.
    """
    flat = actions.reshape(actions.size)
    bad = 0
    for i in range(len(flat)):  # no way out of this loop: it runs in vector instructions
        bad |= int(flat[i] < low) | int(flat[i] >= high)
    columns = actions.shape[1]
    for b in range(actions.shape[0]):
        bad |= int(actions[b, columns - 1] >= high_of_last)
    if bad == 0:
        return -1
    for i in range(len(flat)):
        most = high_of_last if i % columns == columns - 1 else high
        if flat[i] < low or flat[i] >= most:
            return i
    return -1


@kernel
def _begin_together(board, count, rows, seeds, sessions, users, tables, rules, state):
    function, arguments = job(begin, (rows, seeds, sessions, users, tables, rules, state))
    share(board, count, function, arguments)


@kernel
def _next_visits_together(board, count, rows, tables, rules, state):
    function, arguments = job(next_visits, (rows, tables, rules, state))
    share(board, count, function, arguments)


@kernel
def _show_together(board, count, slates, tables, rules, state):
    function, arguments = job(show, (slates, tables, rules, state))
    share(board, count, function, arguments)


@kernel
def _draw_answers_together(board, count, state, answers):
    function, arguments = job(draw_answers, (state, answers))
    share(board, count, function, arguments)


@kernel
def _respond_together(board, count, answers, tables, rules, state):
    function, arguments = job(respond, (answers, tables, rules, state))
    share(board, count, function, arguments)


@kernel
def _step_together(board, count, slates, autoreset, tables, rules, state):
    function, arguments = job(step, (slates, autoreset, tables, rules, state))
    share(board, count, function, arguments)


@kernel
def _return_days_together(board, count, days, baseline, effect, first, tables, rules, state):
    told = (days, baseline, effect, first, tables, rules, state)
    function, arguments = job(return_days, told)
    share(board, count, function, arguments)


@kernel
def _next_visits_kept(memory, rows, tables, rules, state):
    return kept_job(next_visits, (rows, tables, rules, state), memory)


@kernel
def _show_kept(memory, slates, tables, rules, state):
    return kept_job(show, (slates, tables, rules, state), memory)


@kernel
def _respond_kept(memory, answers, tables, rules, state):
    return kept_job(respond, (answers, tables, rules, state), memory)


@kernel
def _step_kept(memory, slates, autoreset, tables, rules, state):
    return kept_job(step, (slates, autoreset, tables, rules, state), memory)


@kernel
def _return_days_kept(memory, days, baseline, effect, first, tables, rules, state):
    told = (days, baseline, effect, first, tables, rules, state)
    return kept_job(return_days, told, memory)


BEGIN = Loop(begin, _begin_together)
NEXT_VISITS = Loop(next_visits, _next_visits_together, _next_visits_kept)
SHOW = Loop(show, _show_together, _show_kept)
DRAW_ANSWERS = Loop(draw_answers, _draw_answers_together)
RESPOND = Loop(respond, _respond_together, _respond_kept)
STEP = Loop(step, _step_together, _step_kept)
RETURN_DAYS = Loop(return_days, _return_days_together, _return_days_kept)
