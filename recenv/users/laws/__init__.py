"""Laws of the simulated user: pure functions from state to probabilities.

Each law is one scalar function over float32, compiled by numba and inlined into the
simulator's step; nothing here draws a random number. ``UserModel`` says where each law's
parameters come from.
"""

from recenv.users.laws.click_probability import (
    affinities,
    click_given_examined,
    click_log_odds,
    examination_prior,
    slate_affinities,
)
from recenv.users.laws.interest_dynamics import bored, drift
from recenv.users.laws.leaving import hazard, leave, leave_log_odds, satisfied
from recenv.users.laws.purchase_probability import (
    answer,
    funnel,
    purchase_given_click,
    purchase_log_odds,
    utility,
)

__all__ = [
    "affinities",
    "answer",
    "bored",
    "click_given_examined",
    "click_log_odds",
    "drift",
    "examination_prior",
    "funnel",
    "hazard",
    "leave",
    "leave_log_odds",
    "purchase_given_click",
    "purchase_log_odds",
    "satisfied",
    "slate_affinities",
    "utility",
]
