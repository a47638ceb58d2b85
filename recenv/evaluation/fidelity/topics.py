"""The figures and checks of a report, topic by topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.report import Check, FidelityConfig, Figure, Status, Value
from recenv.evaluation.fidelity.resample import Compared, Draws, Resampler
from recenv.evaluation.fidelity.visits import Events, Ints
from recenv.users.provenance import Provenance

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RIGHT = "if the simulator were right"
HALVES = "halves of the log's users"
MIXES = (1, 3, 9)
"""Distractors for each real item."""


@dataclass
class Findings:
    """What a report is built up from.

    Attributes:
        laws: the world's, by name.
        config, resampler: shared by all topics.
        figures, checks, series: collected.
    """

    laws: dict[str, Provenance]
    config: FidelityConfig
    resampler: Resampler
    figures: list[Figure] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)

    def judge(
        self,
        name: str,
        value: float,
        tolerance: float,
        error: float,
        laws: Sequence[str],
        words: str,
        *,
        two_sided: bool = True,
        unknown: str = "",
    ) -> None:
        """Add a check: ``value`` is 0 for a perfect simulator, noise already taken off."""
        stated = [x for x in laws if x in self.laws and self.laws[x].source == "prior"]
        size = abs(value) if two_sided else value
        limit = tolerance + self.config.standard_errors * error
        status: Status = "fail" if size > limit else "pass"
        said = f"{words} (off by {value:+.3g}, allowed {tolerance:.3g}, standard error {error:.2g})"
        if unknown or not (np.isfinite(value) and np.isfinite(error)):
            status, said = "unknown", unknown or "the log has too little of it"
        elif stated:
            status, said = "prior", f"{said}; not judged: stated, not fitted: {', '.join(stated)}"
        self.checks.append(Check(name, status, value, tolerance, error, tuple(laws), said))

    def cannot_tell(
        self, topic: str, names: Sequence[str], checks: Sequence[str], why: str
    ) -> None:
        """Figures and checks that the log says nothing about."""
        note = f"the log cannot tell: {why}"
        self.figures += [Figure(topic, name, note=note) for name in names]
        self.checks += [Check(name, "unknown", np.nan, np.nan, np.nan, (), note) for name in checks]


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
        x = logit(m.clipped(p))
        return expit(x + m.level_shift(x, self.weight, self.weight @ self.outcome))


def answers(to: Findings, asked: Answers, level: Sequence[str]) -> None:
    """Discrimination, surprise and calibration of one question; ``level``: laws of its rate."""
    config, name = to.config, asked.name
    y = asked.outcome.astype(float)
    rate = float(asked.weight @ y) / float(asked.weight.sum()) if len(y) else np.nan
    checks = ("level", "calibration", "surprise", "against the trivial simulator")
    if not 0 < rate < 1:
        why = "no such answer, or no other, in the held-out part"
        to.cannot_tell(name, ["AUC"], [f"{name}: {c}" for c in checks], why)
        return
    own, trivial = asked.levelled(asked.own), asked.levelled(asked.trivial)
    everyone = np.ones(len(y), bool)
    groups = {"": everyone, ", users fitted on": ~asked.heldout, ", users held out": asked.heldout}
    found: dict[str, Draws] = {}
    losses: list[Draws] = []
    noise = np.nan, np.nan
    for suffix, rows in groups.items():
        if not (0 < (asked.weight * y)[rows].sum() < asked.weight[rows].sum()):
            why = "the log cannot tell: no such rows"
            to.figures += [Figure(name, f"{k}{suffix}", note=why) for k in ("AUC", "log-loss")]
            continue
        user, weight, outcome = asked.user[rows], asked.weight[rows], y[rows]
        names = ("AUC", "log-loss", "information gain", "calibration error", "mean bias")
        kinds = {}
        for side, p in (("own", own[rows]), ("trivial", trivial[rows])):
            scores = (
                m.auc(p, outcome),
                m.mean(-m.log_likelihood(p, outcome)),
                m.information_gain(p, outcome),
                m.calibration_error(p, outcome, weight, config.bins),
                m.ratio(p - outcome, np.ones(len(p))),
            )
            kinds[side] = [to.resampler.score(s, user, weight) for s in scores]
        floor, spread = _calibration_floor(own[rows], weight, config)
        right = (
            m.auc(own[rows], own[rows])(weight),
            m.mean(m.entropy(own[rows]))(weight),
            m.information_gain(own[rows], own[rows])(weight),
            floor,
            0.0,
        )
        best = ("1", "low", "1", "0", "0")
        for i, what in enumerate(names):
            to.figures.append(
                Figure(
                    name,
                    f"{what}{suffix}",
                    kinds["own"][i].interval,
                    kinds["trivial"][i].interval,
                    Value(right[i]),
                    RIGHT,
                    best[i],
                    "" if asked.level_known else "level moved to the sample's",
                )
            )
        if suffix == "":
            found = dict(zip(names, kinds["own"], strict=True))
            losses = [kinds["own"][1], kinds["trivial"][1]]
            noise = floor, spread
    stated = "" if asked.level_known else "without impressions the log tells no rate"
    bias, ece = found["mean bias"], found["calibration error"]
    to.judge(
        f"{name}: level",
        bias.value / rate,
        config.level_share,
        max(bias.error, _sampling_error(own, asked.weight, np.ones(len(own)))) / rate,
        level,
        f"the mean probability is {bias.value / rate:+.1%} off the held-out rate of {rate:.3g}",
        unknown=stated,
    )
    to.judge(
        f"{name}: calibration",
        (ece.value - noise[0]) / rate,
        config.calibration_share,
        float(np.hypot(ece.error, noise[1])) / rate,
        [*level, asked.law],
        f"probabilities miss the rates by {ece.value:.3g} on average, of which chance "
        f"{noise[0]:.3g}",
        two_sided=False,
    )
    surprise = to.resampler.score(
        m.ratio(-m.log_likelihood(own, y) - m.entropy(own), m.entropy(own)),
        asked.user,
        asked.weight,
    )
    to.judge(
        f"{name}: surprise",
        surprise.value,
        config.surprise_share,
        max(
            surprise.error,
            _sampling_error(own, asked.weight, logit(m.clipped(own)))
            / m.mean(m.entropy(own))(asked.weight),
        ),
        [*level, asked.law],
        f"log-loss is {surprise.value:+.1%} off what the probabilities claim for themselves",
    )
    gain = losses[0].drawn - losses[1].drawn
    worse, error = losses[0].value - losses[1].value, float(np.std(gain, ddof=1))
    to.judge(
        f"{name}: against the trivial simulator",
        worse,
        0.0,
        error,
        [asked.law],
        f"log-loss {losses[0].value:.4g} against {losses[1].value:.4g} of counts alone",
        two_sided=False,
        unknown=""
        if abs(worse) > config.standard_errors * error
        else "it cannot be told apart from the simulator that knows counts alone",
    )
    to.series[f"{name} reliability"] = {
        "simulator": m.reliability(own, y, asked.weight, config.bins // 2),
        "trivial": m.reliability(trivial, y, asked.weight, config.bins // 2),
    }


def _sampling_error(p: Floats, weight: Floats, slope: Floats) -> float:
    """SE of a weighted mean of ``slope * outcome`` if outcomes were drawn from ``p``.

    With a handful of clicks the bootstrap knows only those, and is too sure.
    """
    return float(np.sqrt((weight * slope) ** 2 @ (p * (1 - p)))) / float(weight.sum())


def _calibration_floor(p: Floats, weight: Floats, config: FidelityConfig) -> tuple[float, float]:
    """Mean and SD of the calibration error if outcomes were drawn from ``p``."""
    rng = np.random.default_rng(config.seed)
    bin_ = m.equal_count_bins(p, weight, config.bins)
    total = weight.sum()
    drawn = []
    for _ in range(50):
        gap = weight * (p - (rng.random(len(p)) < p))
        drawn.append(np.abs(np.bincount(bin_, gap)).sum() / total)
    return float(np.mean(drawn)), float(np.std(drawn, ddof=1))


def distractors(to: Findings, asked: Answers) -> None:
    """Real items among distractors: does the simulated user choose what the real one chose?"""
    topic = "real item among distractors"
    if not 0 < asked.outcome.sum() < len(asked.outcome):
        to.cannot_tell(topic, [f"F1 at 1:{k}" for k in MIXES], [], "nothing was chosen, or all")
        return
    for k in MIXES:
        own, trivial, right = (
            m.choice(p, real, k)
            for p, real in (
                (asked.own, asked.outcome),
                (asked.trivial, asked.outcome),
                (asked.own, asked.own),
            )
        )
        drawn = [to.resampler.score(x["F1"], asked.user, asked.weight) for x in (own, trivial)]
        expected = Value(right["F1"](asked.weight))
        for what in own:  # all three are equal: as many are expected to be chosen as are real
            to.figures.append(
                Figure(
                    topic,
                    f"{what} at 1:{k}",
                    drawn[0].interval,
                    drawn[1].interval,
                    expected,
                    RIGHT,
                    best="1",
                    note=f"chance has {1 / (1 + k):.2f}",
                )
            )


def gain(
    to: Findings,
    check: str,
    figure: tuple[str, str],
    own: Floats,
    other: Floats,
    asked: Answers,
    laws: Sequence[str],
    tolerance: float,
    words: str,
) -> None:
    """What knowing something adds to the likelihood, and what the simulator says it adds.

    Both are per row, in nats: of the probabilities that know it (``own``) over those that do not
    (``other``). For a true simulator they are equal on average.
    """
    y = asked.outcome.astype(float)
    seen = m.log_likelihood(own, y) - m.log_likelihood(other, y)
    claimed = m.log_likelihood(own, own) - m.log_likelihood(other, own)
    got = to.resampler.score(m.mean(seen), asked.user, asked.weight)
    said = to.resampler.score(m.mean(claimed), asked.user, asked.weight)
    short = to.resampler.score(m.mean(claimed - seen), asked.user, asked.weight)
    to.figures.append(
        Figure(*figure, got.interval, Value(0.0, 0.0, 0.0), said.interval, RIGHT, "as claimed")
    )
    change = logit(m.clipped(own)) - logit(m.clipped(other))
    error = max(short.error, _sampling_error(own, asked.weight, change))
    enough = said.value > to.config.standard_errors * error and said.value > 0
    scale = said.value if said.value > 0 else np.nan
    to.judge(
        check,
        short.value / scale,
        tolerance,
        error / scale,
        laws,
        f"{words}: it is worth {got.value:.3g} nats a row, and should be worth {said.value:.3g}",
        two_sided=False,
        unknown="" if enough else "too small to see in this log",
    )


def residual_slope(
    to: Findings,
    check: str,
    figure: tuple[str, str],
    feature: Floats,
    asked: Answers,
    laws: Sequence[str],
    words: str,
) -> None:
    """Log-odds per SD of a feature that the simulator still lacks: one Newton step from it.

    The score test of a logistic regression with the simulator's log-odds as offset (Cox 1958).
    It asks for what the log has and the simulator may not know of at all.
    """
    weight = asked.weight
    centre = feature - (weight @ feature) / weight.sum()
    spread = float(np.sqrt((weight @ centre**2) / weight.sum()))
    if not spread > 0:
        to.cannot_tell(figure[0], [figure[1]], [check], "it never varies")
        return
    x = centre / spread
    kinds = [
        to.resampler.score(m.ratio((asked.outcome - p) * x, p * (1 - p) * x**2), asked.user, weight)
        for p in (asked.own, asked.trivial)
    ]
    to.figures.append(Figure(*figure, kinds[0].interval, kinds[1].interval, best="0"))
    to.judge(
        check,
        kinds[0].value,
        to.config.log_odds,
        kinds[0].error,
        laws,
        f"{words}: the log has {kinds[0].value:+.3g} log-odds per SD beyond the simulator's",
    )


def distance(
    to: Findings,
    figure: tuple[str, str],
    found: Sequence[Compared],
    best: str = "0",
    note: str = "",
) -> None:
    """One distance between logged visits and those of the simulator, and of the trivial one."""
    own, trivial = found
    row = (own.interval, trivial.interval, own.halves, HALVES, best, note)
    to.figures.append(Figure(*figure, *row))


def both(log: Events, simulated: Events) -> tuple[Events, Bools]:
    """Rows of both sides together, simulated visits numbered after the logged ones."""
    count = len(log.visitor)
    joined = Events(
        np.concatenate([log.visitor, simulated.visitor]),
        np.concatenate([log.visit, simulated.visit + count]),
        *(
            np.concatenate([getattr(log, k), getattr(simulated, k)])
            for k in ("round", "slot", "item", "response", "value")
        ),
    )
    return joined, np.arange(len(joined.visit)) >= len(log.visit)
