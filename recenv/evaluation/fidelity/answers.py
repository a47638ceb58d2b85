"""Answers to one yes-or-no question over held-out rows, beside their probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.heldout import Bools, Ints
from recenv.users.clipping import clipped

Floats = npt.NDArray[np.float64]
RIGHT = "if the simulator were right"


@dataclass(frozen=True)
class Answers:
    """One yes-or-no question over held-out rows.

    Attributes:
        name: what is asked: "click", "purchase given click", or "purchase" of what was shown.
        law: the law that answers.
        user, weight, outcome: (n,) of the log.
        own, trivial: (n,) probabilities of the simulator and of the trivial one.
        heldout: (n,) whether the user was held out from all fitting.
        level_known: whether the log tells the overall rate; if not, both simulators' log-odds
            were moved to the rate of the sample.
    """

    name: str
    law: str
    user: Ints
    weight: Floats
    outcome: Bools
    own: Floats
    trivial: Floats
    heldout: Bools
    level_known: bool

    def levelled(self, p: Floats) -> Floats:
        """Log-odds moved so that the mean is the outcomes'; the same where the level is known."""
        if self.level_known:
            return p
        x = logit(clipped(p))
        return expit(x + m.level_shift(x, self.weight, self.weight @ self.outcome))


def sampling_error(p: Floats, weight: Floats, slope: Floats) -> float:
    """SE of a weighted mean of ``slope * outcome`` if outcomes were drawn from ``p``.

    With a handful of clicks the bootstrap knows only those, and is too sure.
    """
    return float(np.sqrt((weight * slope) ** 2 @ (p * (1 - p)))) / float(weight.sum())
