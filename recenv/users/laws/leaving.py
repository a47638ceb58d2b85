"""Law of leaving: when a user leaves a visit, and how satisfaction, which keeps one, moves."""

from __future__ import annotations

import numpy as np

from recenv.jit.compiled import inlined
from recenv.jit.logistic import sigmoid


@inlined
def leave_log_odds(
    intercept: np.float32,
    length: np.float32,
    satisfaction: np.float32,
    boredom: np.float32,
) -> np.float32:
    """Log-odds of leaving after this round: intercept + length - satisfaction + boredom."""
    return intercept + length - satisfaction + boredom


@inlined
def leave(
    intercept: np.float32,
    length: np.float32,
    satisfaction: np.float32,
    boredom: np.float32,
) -> np.float32:
    """P(leave after this round): a discrete-time logistic hazard (Allison 1982).

    ``logistic(intercept + length - satisfaction + boredom)``.

    Args:
        intercept: log-odds in the first round of a neutral visit.
        length: weight times the rounds played.
        satisfaction: weight times satisfaction (lowers the hazard).
        boredom: weight times the mean boredom of the slate's categories.
    """
    return sigmoid(leave_log_odds(intercept, length, satisfaction, boredom))


@inlined
def hazard(baseline: np.float32, effect: np.float32) -> np.float32:
    """P(a duration ends now, if it has lasted so long): logistic(baseline - user's effect)."""
    return sigmoid(baseline - effect)


@inlined
def satisfied(satisfaction: np.float32, decay: np.float32, consumed: np.float32) -> np.float32:
    """Satisfaction after a round of utility ``consumed``: ``decay * satisfaction + consumed``."""
    return decay * satisfaction + consumed
