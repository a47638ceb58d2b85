# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201
"""Loops of the game over rows [low, high) of a batch, compiled by numba for the CPU.

Threads run the same machine code on ranges of their own (``recenv.sim.threads``): there is no
second, parallel version that could round otherwise.
"""

from __future__ import annotations

from recenv.compiled import kernel
from recenv.sim import game
from recenv.sim.state import LIVE


@kernel
def begin(low, high, rows, users, tables, rules, state):
    """Begin visits in ``rows[low:high]``; users below 0 are drawn from the pool."""
    for i in range(low, high):
        game.begin(rows[i], users[i], tables, rules[0], state)


@kernel
def next_visits(low, high, rows, tables, rules, state):
    """Begin the visits that follow in ``rows[low:high]``."""
    for i in range(low, high):
        game.next_visit(rows[i], tables, rules[0], state)


@kernel
def show(low, high, slates, tables, rules, state):
    """Show (B, K) slates of candidate indices."""
    for b in range(low, high):
        game.show(b, slates, tables, rules[0], state)


@kernel
def draw_answers(low, high, state, answers):
    """Fill (B, K + 1) answers with the fitted user's draws."""
    for b in range(low, high):
        game.draw_answer(b, state, answers)


@kernel
def respond(low, high, answers, tables, rules, state):
    """Take (B, K + 1) answers."""
    for b in range(low, high):
        game.respond(b, answers, tables, rules[0], state)


@kernel
def step(low, high, slates, autoreset, tables, rules, state):
    """Show slates and let the fitted users answer; or begin the next visit where one has ended."""
    for b in range(low, high):
        if autoreset and state.ended[b] != LIVE:
            game.next_visit(b, tables, rules[0], state)
        else:
            game.show(b, slates, tables, rules[0], state)
            game.draw_answer(b, state, state.answers)
            game.respond(b, state.answers, tables, rules[0], state)


@kernel
def first_outside(actions, bounds):
    """Position of the first value of (B, n) actions outside [low, high) of its column, or -1.

    Args:
        actions: (B, n) integers.
        bounds: (n, 2) low and high of each column.
    """
    for b in range(actions.shape[0]):
        for j in range(actions.shape[1]):
            if actions[b, j] < bounds[j, 0] or actions[b, j] >= bounds[j, 1]:
                return b * actions.shape[1] + j
    return -1
