"""Discrete-time hazard model of durations, with a random effect per user.

One law serves two of them: how many items a visit takes, and how many days pass before the
next visit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from recenv.artifacts import check_array
from recenv.errors import ArtifactError, SchemaError
from recenv.jit.compiled import compiled, inlined
from recenv.users import laws

Array = npt.NDArray[np.float64]

LONGEST = 10_000
"""Draws stop here."""

L2_LADDER = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Precisions of the users' effects to choose from."""

_SMOOTHNESS = 10.0  # penalty on jumps of the baseline between neighbouring steps, per jump
_KEPT_FROM_FIT = 0.2  # share of the durations that choose the precision


@dataclass(frozen=True)
class DurationLaw:
    """``logit P(duration = d | duration >= d) = baseline[d] - effect[user]``.

    The discrete-time logistic hazard of Allison (1982), "Discrete-time methods for the analysis
    of event histories", with a normal user effect (frailty), so that users differ lastingly.

    Attributes:
        baseline: (M,) log-odds of ending at ``first + m``; the last one holds for ever after.
        effect: (U,) log-odds; positive means longer.
        first: the shortest duration.
        l2: precision of the users' effects (chosen on durations kept from the fit).
    """

    baseline: npt.NDArray[np.float32]
    effect: npt.NDArray[np.float32]
    first: int
    l2: float

    def hazards(self, users: npt.ArrayLike) -> Array:
        """(n, M) P(it ends at ``first + m``, if it has lasted so long)."""
        effect = self.effect[np.asarray(users)]
        logits = self.baseline - effect.astype(np.float64)[:, None]
        return cast("Array", expit(logits))

    def cdf(self, users: npt.ArrayLike) -> Array:
        """(n, M) P(duration <= ``first + m``)."""
        return cast("Array", 1 - np.cumprod(1 - self.hazards(users), axis=1))

    def sample(self, users: npt.ArrayLike, uniforms: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """(n,) durations by inversion of (n,) uniforms on [0, 1)."""
        users = np.asarray(users, np.int64)
        return _sample(
            self.baseline, self.effect, self.first, users, np.asarray(uniforms, np.float32)
        )

    @classmethod
    def fit(
        cls,
        duration: npt.NDArray[np.integer],
        ended: npt.NDArray[np.bool_],
        user: npt.NDArray[np.integer],
        num_users: int,
        *,
        first: int,
        folded: npt.NDArray[np.bool_] | None = None,
        weight: npt.NDArray[np.floating] | None = None,
        longest: int = 200,
        l2: float | None = None,
    ) -> DurationLaw:
        """Penalised maximum likelihood; what had not ended when it was last seen is censored.

        Args:
            duration: (n,) how long each lasted, or had lasted when last seen.
            ended: (n,) False where it was seen to last beyond ``duration`` (censored).
            user: (n,) codes.
            num_users: U.
            first: the shortest possible duration.
            folded: (U,) users who get an effect but do not touch the baseline.
            weight: (U,) what each user counts (a bootstrap's multiplicities).
            longest: durations up to this have a baseline of their own, if any was seen.
            l2: precision of the effects; by default chosen from ``L2_LADDER`` by the likelihood
                of each user's last fifth.

        Raises:
            SchemaError: no duration is left to fit on, or one is shorter than ``first``.
        """
        folded = np.zeros(num_users, bool) if folded is None else folded
        own = ~folded[user]
        if not (own & ended).any():
            raise SchemaError("No finished duration is left to fit on. Give a longer log.")
        if (duration < first).any():
            raise SchemaError(
                f"A duration is {int(duration.min())}, but the shortest possible is {first}."
            )
        seen = duration[own & ended]
        size = int(min(seen.max(), longest)) - first + 1
        counts = np.ones(num_users) if weight is None else np.asarray(weight, np.float64)

        def cells(rows: npt.NDArray[np.bool_]) -> _Cells:
            return _count(duration[rows] - first, ended[rows], user[rows], size, num_users)

        if l2 is None:
            kept = own & _last_share(user, _KEPT_FROM_FIT)
            l2 = _choose(cells(own & ~kept), cells(kept), counts)
        baseline, effect = _maximise(cells(own), counts, l2)
        if folded.any():
            _, other = _maximise(cells(~own), np.ones(num_users), l2, baseline)
            effect = np.where(folded, other, effect)
        return cls(baseline.astype(np.float32), effect.astype(np.float32), first, l2)

    def standard_errors(
        self,
        duration: npt.NDArray[np.integer],
        ended: npt.NDArray[np.bool_],
        user: npt.NDArray[np.integer],
    ) -> Array:
        """(M,) of the baseline, from the observed information, users' effects held fixed."""
        cells = _count(duration - self.first, ended, user, len(self.baseline), len(self.effect))
        p = expit(self.baseline[cells.step] - self.effect[cells.user])
        information = np.bincount(cells.step, cells.at_risk * p * (1 - p), len(self.baseline))
        return 1 / np.sqrt(np.maximum(information, 1e-12))

    def to_artifact(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, meta) to store."""
        return (
            {"baseline": self.baseline, "effect": self.effect},
            {"first": self.first, "l2": self.l2},
        )

    @classmethod
    def from_artifact(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], *, num_users: int
    ) -> DurationLaw:
        """The inverse of ``to_artifact``.

        Raises:
            ArtifactError: the arrays do not fit together, or not so many users.
        """
        baseline = check_array(arrays, "baseline", np.float32, (None,))
        effect = check_array(arrays, "effect", np.float32, (num_users,))
        first, l2 = int(meta["first"]), float(meta["l2"])
        if len(baseline) == 0 or not 0 <= first < LONGEST or not l2 > 0:
            raise ArtifactError(
                f"A duration law needs a baseline, a shortest duration below {LONGEST} and a "
                f"positive precision, but has {len(baseline)} steps, {first} and {l2}."
            )
        return cls(baseline, effect, first, l2)


@inlined
def draw_duration(
    baseline: npt.NDArray[np.float32], effect: np.float32, first: int, uniform: np.float32
) -> int:
    """The duration at quantile ``uniform``; compiled into the simulator."""
    survival = np.float32(1) - uniform
    last = len(baseline) - 1
    left = np.float32(1)
    for d in range(LONGEST - first):
        left *= np.float32(1) - laws.hazard(baseline[min(d, last)], effect)
        if left <= survival:
            return first + d
    return LONGEST


@compiled
def _sample(baseline, effect, first, users, uniforms):  # noqa: ANN001, ANN202
    out = np.empty(len(users), np.int32)
    for n in range(len(users)):
        out[n] = draw_duration(baseline, effect[users[n]], first, uniforms[n])
    return out


class _Cells:
    """Durations as counts per (user, step): how many could have ended there, how many did."""

    def __init__(
        self,
        user: npt.NDArray[np.integer],
        step: npt.NDArray[np.integer],
        at_risk: Array,
        ended: Array,
    ) -> None:
        self.user, self.step = user, step
        self.at_risk, self.ended = at_risk, ended


def _count(
    index: npt.NDArray[np.integer],
    ended: npt.NDArray[np.bool_],
    user: npt.NDArray[np.integer],
    size: int,
    num_users: int,
) -> _Cells:
    """Cells that were at risk. Steps from ``size - 1`` on share the last one."""
    finished = np.bincount(
        user[ended] * size + np.minimum(index[ended], size - 1), minlength=num_users * size
    ).reshape(num_users, size)
    here = np.bincount(
        user * size + np.minimum(index, size - 1), minlength=num_users * size
    ).reshape(num_users, size)
    # what was last seen at a step without ending could have ended there (Kaplan & Meier 1958)
    at_risk = np.cumsum(here[:, ::-1], axis=1)[:, ::-1].astype(float)
    beyond = np.maximum(index - (size - 1), 0)  # further tries at the last, constant step
    at_risk[:, -1] += np.bincount(user, beyond, num_users)
    row, step = np.nonzero(at_risk)
    return _Cells(row, step, at_risk[row, step], finished[row, step].astype(float))


def _maximise(
    cells: _Cells, weight: Array, l2: float, baseline: Array | None = None
) -> tuple[Array, Array]:
    """(baseline, effects); with a given baseline, effects only."""
    size = int(cells.step.max()) + 1 if baseline is None else len(baseline)
    users = len(weight)
    w = weight[cells.user]
    n, y = w * cells.at_risk, w * cells.ended
    by_step = [np.asarray(np.bincount(cells.step, k, size), np.float64) for k in (n, y)]
    fixed = baseline is not None
    start = np.log((by_step[1] + 0.5) / (by_step[0] - by_step[1] + 0.5)) if not fixed else baseline

    def loss(x: Array) -> tuple[float, Array]:
        base, effect = (start, x) if fixed else (x[:size], x[size:])
        logit = base[cells.step] - effect[cells.user]
        p = expit(logit)
        jumps = np.diff(base)
        smooth = 0.0 if fixed else 0.5 * _SMOOTHNESS * float(_thin(by_step[1]) @ jumps**2)
        value = float((n @ np.logaddexp(0, logit)) - y @ logit)
        value += 0.5 * l2 * float(weight @ effect**2) + smooth
        slope = n * p - y
        to_effect = np.asarray(l2 * weight * effect - np.bincount(cells.user, slope, users))
        if fixed:
            return value, to_effect.astype(np.float64)
        to_base = np.bincount(cells.step, slope, size)
        pull = _SMOOTHNESS * _thin(by_step[1]) * jumps
        to_base[1:] += pull
        to_base[:-1] -= pull
        return value, np.concatenate([to_base, to_effect]).astype(np.float64)

    x0 = np.zeros(users) if fixed else np.concatenate([start, np.zeros(users)])
    found = minimize(loss, x0, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    x = np.asarray(found, np.float64)
    if fixed:
        return start, x
    # at the optimum the effects sum to 0; the optimiser stops a little before
    middle = float(np.average(x[size:], weights=weight))
    return x[:size] - middle, x[size:] - middle


def _thin(events: Array) -> Array:
    """(M - 1,) how much neighbouring steps are tied: fully where few events were seen."""
    fewer = np.minimum(events[1:], events[:-1])
    return 1 / (1 + fewer / 20)


def _choose(fit: _Cells, kept: _Cells, weight: Array) -> float:
    """The precision under which what was kept is likeliest."""

    def likelihood(l2: float) -> float:
        baseline, effect = _maximise(fit, weight, l2)
        step = np.minimum(kept.step, len(baseline) - 1)
        logit = baseline[step] - effect[kept.user]
        w = weight[kept.user]
        return float((w * kept.ended) @ logit - (w * kept.at_risk) @ np.logaddexp(0, logit))

    return max(L2_LADDER, key=likelihood)


def _last_share(user: npt.NDArray[np.integer], share: float) -> npt.NDArray[np.bool_]:
    """(n,) each user's last durations, at least one where there are two or more."""
    order = np.argsort(user, kind="stable")
    count = np.bincount(user)
    end = np.cumsum(count)
    later = np.empty(len(user), np.int64)
    later[order] = end[user[order]] - np.arange(len(user)) - 1
    kept = np.ceil(share * count).astype(np.int64)
    kept[count < 2] = 0
    return later < kept[user]
