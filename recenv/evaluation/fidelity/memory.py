"""Memory within a visit: what its past tells of its answers, and what the simulator lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import RIGHT, Answers, Floats, sampling_error
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import Ints
from recenv.evaluation.fidelity.results import Figure, Value
from recenv.evaluation.fidelity.slates import Slates
from recenv.sim.state import EMPTY
from recenv.users.clipping import clipped
from recenv.users.model import UserModel

_PROBE = 0.05  # a rate of drift to look for where the world has none
_GAIN = "log-likelihood of knowing the visit's past, nats a row"
_SLOPES = ("drift left over, log-odds per SD", "same category again, log-odds per SD")
_CHECKS = ("drift", "boredom")
_FEATURES = ("drift towards what was consumed", "items of a category just consumed")


def no_memory(why: str) -> Findings:
    """The figures and checks of this page, where the log cannot tell them."""
    return untold("visits", [_GAIN, *_SLOPES], ["memory within a visit", *_CHECKS], why)


def memory(judge: Judge, asked: Answers, forgetful: Floats, features: Sequence[Floats]) -> Findings:
    """What a visit's past does to its user.

    Args:
        judge: tolerances and draws of users.
        asked: n rows.
        forgetful: (n,) probabilities of users who have no past in the visit.
        features: (n,) drift and same category, of ``consumed_so_far``.
    """
    found = gain(
        judge,
        "memory within a visit",
        ("visits", _GAIN),
        asked.own,
        forgetful,
        asked,
        ["boredom", "drift"],
        judge.config.memory_share,
        "knowing what the visit has brought so far",
    )
    for check, name, feature, said in zip(_CHECKS, _SLOPES, features, _FEATURES, strict=True):
        found += residual_slope(judge, check, ("visits", name), feature, asked, [check], said)
    return found


def gain(
    judge: Judge,
    check: str,
    figure: tuple[str, str],
    own: Floats,
    other: Floats,
    asked: Answers,
    laws: Sequence[str],
    tolerance: float,
    words: str,
) -> Findings:
    """What knowing something adds to the likelihood, and what the simulator says it adds.

    Both are per row, in nats: of the probabilities that know it (``own``) over those that do not
    (``other``). For a true simulator they are equal on average.
    """
    y = asked.outcome.astype(float)
    seen = m.log_likelihood(own, y) - m.log_likelihood(other, y)
    claimed = m.log_likelihood(own, own) - m.log_likelihood(other, own)
    got, said, short = (
        judge.resampler.score(m.mean(values), asked.user, asked.weight)
        for values in (seen, claimed, claimed - seen)
    )
    change = logit(clipped(own)) - logit(clipped(other))
    error = max(short.error, sampling_error(own, asked.weight, change))
    enough = said.value > judge.config.standard_errors * error and said.value > 0
    scale = said.value if said.value > 0 else np.nan
    return Findings(
        (Figure(*figure, got.interval, Value(0.0, 0.0, 0.0), said.interval, RIGHT, "as claimed"),),
        (
            judge.check(
                check,
                short.value / scale,
                tolerance,
                error / scale,
                laws,
                f"{words}: it is worth {got.value:.3g} nats a row, and should be worth "
                f"{said.value:.3g}",
                two_sided=False,
                unknown="" if enough else "too small to see in this log",
            ),
        ),
    )


def residual_slope(
    judge: Judge,
    check: str,
    figure: tuple[str, str],
    feature: Floats,
    asked: Answers,
    laws: Sequence[str],
    words: str,
) -> Findings:
    """Log-odds per SD of a feature that the simulator still lacks: one Newton step from it.

    The score test of a logistic regression with the simulator's log-odds as offset (Cox 1958).
    It asks for what the log has and the simulator may not know of at all.
    """
    weight = asked.weight
    centre = feature - (weight @ feature) / weight.sum()
    spread = float(np.sqrt((weight @ centre**2) / weight.sum()))
    if not spread > 0:
        return untold(figure[0], [figure[1]], [check], "it never varies")
    x = centre / spread
    own, trivial = (
        judge.resampler.score(
            m.ratio((asked.outcome - p) * x, p * (1 - p) * x**2), asked.user, weight
        )
        for p in (asked.own, asked.trivial)
    )
    return Findings(
        (Figure(*figure, own.interval, trivial.interval, best="0"),),
        (
            judge.check(
                check,
                own.value,
                judge.config.log_odds,
                own.error,
                laws,
                f"{words}: the log has {own.value:+.3g} log-odds per SD beyond the simulator's",
            ),
        ),
    )


def consumed_so_far(
    slates: Slates, least: int, model: UserModel, category: Ints
) -> tuple[Floats, Floats]:
    """What each row has to do with what its visit consumed in earlier rounds.

    Args:
        slates: n rows.
        least: the least response that counts as consumed.
        model: its vectors say in which direction consumption would move interest.
        category: (N,) codes.

    Returns:
        (n,) what drift of interest at the model's rate (``_PROBE`` where it has none) adds to
        the log-odds, less what a linear regression on the other feature explains; and (n,)
        log(1 + how many items of the row's category were consumed).
    """
    filled = slates.items != EMPTY
    took = filled & (slates.responses >= least)
    item = np.where(filled, slates.items, 0)
    same = np.log1p(_of_the_same_category(slates, took, category[item], category))
    drift = _drift(slates, took, item, model)
    known = np.stack([np.ones(len(same)), same], axis=1)
    return drift - known @ np.linalg.lstsq(known, drift, rcond=None)[0], same


def _of_the_same_category(
    slates: Slates, took: npt.NDArray[np.bool_], shown: Ints, category: Ints
) -> Floats:
    """(n,) items of the row's category that its visit consumed before; ``shown`` is (S, K)."""
    first = slates.first[slates.visit]
    of_row = category[slates.items[slates.slate, slates.slot]]
    same = np.zeros(len(slates.slate))
    for code in np.unique(of_row):
        count = (took & (shown == code)).sum(axis=1)
        total = np.cumsum(count) - count
        rows = of_row == code
        same[rows] = (total - total[first])[slates.slate[rows]]
    return same


def _drift(slates: Slates, took: npt.NDArray[np.bool_], item: Ints, model: UserModel) -> Floats:
    """(n,) log-odds that drift of interest has added by each row's round."""
    rate = model.dynamics.drift_rate or _PROBE
    began = model.user_vectors[slates.user].astype(float)  # (V, D)
    interest = began.copy()
    moved = np.zeros((len(slates.items), model.dim))
    for round_ in range(int(slates.rounds.max(initial=0))):
        visit = np.flatnonzero(slates.rounds > round_)
        slate = slates.first[visit] + round_
        moved[slate] = interest[visit] - began[visit]
        for slot in range(slates.items.shape[1]):
            who = took[slate, slot]
            target = model.item_vectors[item[slate[who], slot]]
            interest[visit[who]] += rate * (target - interest[visit[who]])
    moved *= model.click_weight
    row_item = slates.items[slates.slate, slates.slot]
    return (moved[slates.slate] * model.item_vectors[row_item]).sum(axis=1)
