"""Calibration, discrimination and surprise of the probabilities of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logit

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.answers import RIGHT, Answers, Floats, sampling_error
from recenv.evaluation.fidelity.config import FidelityConfig
from recenv.evaluation.fidelity.findings import Findings, Judge, untold
from recenv.evaluation.fidelity.heldout import Bools
from recenv.evaluation.fidelity.resample import Draws, Resampler
from recenv.evaluation.fidelity.results import Check, Figure, Value
from recenv.users.clipping import clipped

_CHECKS = ("level", "calibration", "surprise", "against the trivial simulator")
_BEST = {
    "AUC": "1",
    "log-loss": "low",
    "information gain": "1",
    "calibration error": "0",
    "mean bias": "0",
}
_FLOOR_DRAWS = 50


class _Scores(NamedTuple):
    """Scores of some users' rows, by name."""

    own: dict[str, Draws]
    trivial: dict[str, Draws]
    right: dict[str, float]  # what they would be if the simulator were right
    chance: float  # standard deviation of the calibration error there


def calibration(judge: Judge, asked: Answers, level: Sequence[str]) -> Findings:
    """Discrimination, surprise and calibration of one question.

    Args:
        judge: tolerances and draws of users.
        asked: n rows.
        level: laws of the overall rate.
    """
    y = asked.outcome.astype(float)
    rate = float(asked.weight @ y) / float(asked.weight.sum()) if len(y) else np.nan
    if not 0 < rate < 1:
        why = "no such answer, or no other, in the held-out part"
        return untold(asked.name, ["AUC"], [f"{asked.name}: {c}" for c in _CHECKS], why)
    own, trivial = asked.levelled(asked.own), asked.levelled(asked.trivial)
    everyone = np.ones(len(y), bool)
    groups = {"": everyone, ", users fitted on": ~asked.heldout, ", users held out": asked.heldout}
    figures: list[Figure] = []
    scores: dict[str, _Scores] = {}
    for suffix, rows in groups.items():
        if not (0 < (asked.weight * y)[rows].sum() < asked.weight[rows].sum()):
            why = "the log cannot tell: no such rows"
            figures += [Figure(asked.name, f"{k}{suffix}", note=why) for k in ("AUC", "log-loss")]
            continue
        scores[suffix] = _scores(judge, asked, own, trivial, rows)
        figures += _figures(asked, scores[suffix], suffix)
    checks = (
        _level(judge, asked, own, rate, level, scores[""]),
        _calibration(judge, asked, rate, level, scores[""]),
        _surprise(judge, asked, own, y, level),
        _against_trivial(judge, asked, scores[""]),
    )
    bins = judge.config.bins // 2
    curves = {
        "simulator": m.reliability(own, y, asked.weight, bins),
        "trivial": m.reliability(trivial, y, asked.weight, bins),
    }
    return Findings(tuple(figures), checks, {f"{asked.name} reliability": curves})


def _scores(judge: Judge, asked: Answers, own: Floats, trivial: Floats, rows: Bools) -> _Scores:
    user, weight = asked.user[rows], asked.weight[rows]
    outcome, config = asked.outcome[rows].astype(float), judge.config
    own_scores, trivial_scores = (
        _drawn(judge.resampler, p[rows], outcome, user, weight, config) for p in (own, trivial)
    )
    floor, spread = _calibration_floor(own[rows], weight, config)
    right = {
        "AUC": m.auc(own[rows], own[rows])(weight),
        "log-loss": m.mean(m.entropy(own[rows]))(weight),
        "information gain": m.information_gain(own[rows], own[rows])(weight),
        "calibration error": floor,
        "mean bias": 0.0,
    }
    return _Scores(own_scores, trivial_scores, right, spread)


def _drawn(
    resampler: Resampler,
    p: Floats,
    outcome: Floats,
    user: np.ndarray,
    weight: Floats,
    config: FidelityConfig,
) -> dict[str, Draws]:
    measured = {
        "AUC": m.auc(p, outcome),
        "log-loss": m.mean(-m.log_likelihood(p, outcome)),
        "information gain": m.information_gain(p, outcome),
        "calibration error": m.calibration_error(p, outcome, weight, config.bins),
        "mean bias": m.ratio(p - outcome, np.ones(len(p))),
    }
    return {name: resampler.score(measure, user, weight) for name, measure in measured.items()}


def _figures(asked: Answers, scores: _Scores, suffix: str) -> list[Figure]:
    return [
        Figure(
            asked.name,
            f"{what}{suffix}",
            scores.own[what].interval,
            scores.trivial[what].interval,
            Value(scores.right[what]),
            RIGHT,
            best,
            "" if asked.level_known else "level moved to the sample's",
        )
        for what, best in _BEST.items()
    ]


def _level(
    judge: Judge, asked: Answers, own: Floats, rate: float, level: Sequence[str], scores: _Scores
) -> Check:
    """The mean probability beside the held-out rate."""
    bias = scores.own["mean bias"]
    return judge.check(
        f"{asked.name}: level",
        bias.value / rate,
        judge.config.level_share,
        max(bias.error, sampling_error(own, asked.weight, np.ones(len(own)))) / rate,
        level,
        f"the mean probability is {bias.value / rate:+.1%} off the held-out rate of {rate:.3g}",
        unknown="" if asked.level_known else "without impressions the log tells no rate",
    )


def _calibration(
    judge: Judge, asked: Answers, rate: float, level: Sequence[str], scores: _Scores
) -> Check:
    """The calibration error beyond chance, over the rate."""
    ece, floor = scores.own["calibration error"], scores.right["calibration error"]
    return judge.check(
        f"{asked.name}: calibration",
        (ece.value - floor) / rate,
        judge.config.calibration_share,
        float(np.hypot(ece.error, scores.chance)) / rate,
        [*level, asked.law],
        f"probabilities miss the rates by {ece.value:.3g} on average, of which chance {floor:.3g}",
        two_sided=False,
    )


def _surprise(judge: Judge, asked: Answers, own: Floats, y: Floats, level: Sequence[str]) -> Check:
    """Log-loss beyond the probabilities' own entropy."""
    found = judge.resampler.score(
        m.ratio(-m.log_likelihood(own, y) - m.entropy(own), m.entropy(own)),
        asked.user,
        asked.weight,
    )
    by_chance = sampling_error(own, asked.weight, logit(clipped(own)))
    return judge.check(
        f"{asked.name}: surprise",
        found.value,
        judge.config.surprise_share,
        max(found.error, by_chance / m.mean(m.entropy(own))(asked.weight)),
        [*level, asked.law],
        f"log-loss is {found.value:+.1%} off what the probabilities claim for themselves",
    )


def _against_trivial(judge: Judge, asked: Answers, scores: _Scores) -> Check:
    """Log-loss beside that of counts alone."""
    own, trivial = scores.own["log-loss"], scores.trivial["log-loss"]
    worse = own.value - trivial.value
    error = float(np.std(own.drawn - trivial.drawn, ddof=1))
    alike = abs(worse) <= judge.config.standard_errors * error
    return judge.check(
        f"{asked.name}: against the trivial simulator",
        worse,
        0.0,
        error,
        [asked.law],
        f"log-loss {own.value:.4g} against {trivial.value:.4g} of counts alone",
        two_sided=False,
        unknown="it cannot be told apart from the simulator that knows counts alone"
        if alike
        else "",
    )


def _calibration_floor(p: Floats, weight: Floats, config: FidelityConfig) -> tuple[float, float]:
    """Mean and SD of the calibration error if outcomes were drawn from ``p``."""
    rng = np.random.default_rng(config.seed)
    bin_ = m.equal_count_bins(p, weight, config.bins)
    total = weight.sum()
    drawn = []
    for _ in range(_FLOOR_DRAWS):
        gap = weight * (p - (rng.random(len(p)) < p))
        drawn.append(np.abs(np.bincount(bin_, gap)).sum() / total)
    return float(np.mean(drawn)), float(np.std(drawn, ddof=1))
