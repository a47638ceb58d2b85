"""Choice of penalties, and of inverse-propensity weighting, on validation events."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recenv.config import UserModelConfig
from recenv.schema import CLICK
from recenv.users.fitting.identification import Evidence
from recenv.users.fitting.network import LawsNetwork
from recenv.users.fitting.optimise import Problem, mean_loss
from recenv.users.fitting.training_rows import Rows, some_users

_FEWEST_CHOOSING = 50  # validation clicks; fewer choose nothing
_FEWEST_TASTES = 500  # clicks; fewer tell hardly any taste, so the strongest penalties are used
_MOST_ROWS = 400_000  # on which is chosen


def choose(
    evidence: Evidence,
    late: Rows | None,
    config: UserModelConfig,
    fitted: Callable[[Problem, UserModelConfig], LawsNetwork],
) -> tuple[float, bool]:
    """The step of the L2 ladder, and whether to weight impressions by inverse propensity.

    Both by the likelihood of the validation events, which count by inverse propensity where
    the log has it: that is the likelihood under uniform exposure (Schnabel et al. 2016).
    Climbs the ladder from the middle as long as it gets better. With too few validation
    events it stays there, or goes to the strongest if the whole log tells hardly any taste.

    Args:
        evidence: of the training events.
        late: training and validation rows, if there are any.
        config: the ladder, and whether the weighting is stated.
        fitted: fits a network to a problem.
    """
    ladder, stated = sorted(config.l2_ladder), config.propensity_weights
    known = bool(np.ptp(evidence.rows.importance) > 0)
    middle = ladder[len(ladder) // 2]
    if late is None or (late.late & (late.response >= CLICK)).sum() < _FEWEST_CHOOSING:
        few = (evidence.rows.response[evidence.own] >= CLICK).sum() < _FEWEST_TASTES
        return ladder[-1] if few else middle, bool(stated) and known
    late = some_users(late, _MOST_ROWS)
    judged = evidence.problem(late)._replace(by_propensity=True)
    rows = judged.draw(np.random.default_rng(config.seed + 1))
    batch = judged.batch(rows.take(rows.late))

    def loss(factor: float, weighted: bool) -> float:
        problem = evidence.problem(late.take(~late.late))._replace(by_propensity=weighted)
        return mean_loss(fitted(problem, stronger(config, factor)), batch)

    weighted = bool(stated) and known
    if known and stated is None:
        weighted = loss(middle, True) < loss(middle, False)
    if len(ladder) == 1:
        return middle, weighted
    return _climb(ladder, lambda factor: loss(factor, weighted)), weighted


def stronger(config: UserModelConfig, factor: float) -> UserModelConfig:
    """The config with its L2 weights on the ids' vectors times ``factor``."""
    names = ("user_l2", "item_l2")
    return config.replace(**{name: factor * getattr(config, name) for name in names})


def _climb(ladder: list[float], loss: Callable[[float], float]) -> float:
    """The lowest step reached from the middle, going first up, then down."""
    at = len(ladder) // 2
    known = {at: loss(ladder[at])}
    for direction in (1, -1):
        step = at + direction
        while 0 <= step < len(ladder):
            known[step] = loss(ladder[step])
            if known[step] >= known[step - direction]:
                break
            step += direction
        if min(known, key=known.__getitem__) != at:
            break
    return ladder[min(known, key=known.__getitem__)]
