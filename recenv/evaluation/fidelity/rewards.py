"""Reward of a visit, by the recommender's weights, on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recenv.config import RewardConfig
from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import Floats
from recenv.evaluation.fidelity.distances import Sides, beside_the_log, distance, paired
from recenv.evaluation.fidelity.events import Events
from recenv.evaluation.fidelity.findings import Findings, Judge
from recenv.evaluation.fidelity.heldout import Ints
from recenv.evaluation.fidelity.results import Figure, Value
from recenv.schema import PURCHASE


def reward(
    judge: Judge, sides: Sides, weights: RewardConfig, mean_price: float, laws: Sequence[str]
) -> Findings:
    """Error of the mean reward of a visit, of each user's mean, and the spread over visits.

    Rewards are those of the recommender, leaving aside.
    """
    values = [visit_rewards(e, weights, mean_price) for e in sides.all]
    users = sides.log.visitor
    error = [paired(judge, m.mean_difference, values[0], v, users) for v in values[1:]]
    moments = [
        beside_the_log(("reward", name), [Value(float(get(v))) for v in values])
        for name, get in (("mean per visit", np.mean), ("SD per visit", np.std))
    ]
    scale = float(np.abs(values[0].mean()))
    check = judge.check(
        "reward",
        error[0].value / scale if scale else np.nan,
        judge.config.level_share,
        error[0].error / scale if scale else np.nan,
        laws,
        f"{values[1].mean():.3g} a visit against {values[0].mean():.3g} in the log",
    )
    first = distance(("reward", "mean error per visit"), error)
    return Findings((first, *_errors_per_user(judge, values, users), *moments), (check,))


def visit_rewards(events: Events, weights: RewardConfig, mean_price: float) -> Floats:
    """(V,) rewards; ``mean_price`` is the unit of money if purchases count by value."""
    bought = events.response == PURCHASE
    worth = events.value / (mean_price or 1.0) if weights.purchase_by_value else 1.0
    return events.total(weights.click * (events.response > 0) + weights.purchase * bought * worth)


def _errors_per_user(judge: Judge, values: Sequence[Floats], users: Ints) -> list[Figure]:
    count = int(users.max()) + 1
    visits = np.bincount(users, minlength=count)
    present = np.flatnonzero(visits)
    means = [(np.bincount(users, v, count) / np.maximum(visits, 1))[present] for v in values]
    ones = np.ones(len(present))
    figures = []
    for name, per in (
        ("mean absolute error per user", np.abs),
        ("root mean square error per user", np.square),
    ):
        measured = [m.mean(per(v - means[0])) for v in means[1:]]
        shown = [judge.resampler.score(x, present, ones).interval for x in measured]
        if per is np.square:
            shown = [Value(*(float(np.sqrt(max(x, 0))) for x in v)) for v in shown]
        figures.append(
            Figure("reward", name, shown[0], shown[1], best="the noise of a user's own mean")
        )
    return figures
