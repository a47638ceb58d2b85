"""Estimators of boredom, drift and leaving, by maximum likelihood on replayed visits.

The logged visits are replayed (``recenv.users.fitting.visit_replay``) with the very laws that the
simulator steps; what the log answers at each round is then likelier or less likely under given
rates of boredom and drift, and those are chosen by maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from recenv.jit.compiled import compiled
from recenv.users import laws
from recenv.users.fitting.visit_replay import LoggedVisits, Rounds, Vectors, replay

Array = npt.NDArray[np.float64]
FEWEST_VISITS = 50
"""Fewer visits than this tell nothing of leaving, lengths or returns."""

_FEWEST_ROUNDS = 1000  # so many rounds tell how often users leave, even if hardly any does
_DECAYS = (0.02, 0.98)
_MOST_DRIFT = 0.3
_MOST_BOREDOM = 4.0


class Scalar(NamedTuple):
    """A fitted scalar and its standard error, from the observed information."""

    value: float
    error: float


def fit_boredom(
    visits: LoggedVisits, vectors: Vectors, *, categories: int, drift_rate: float, gain: float
) -> tuple[Scalar, Scalar]:
    """(weight, decay) under which the clicks are likeliest; the weight may be negative."""

    def loss(x: Array) -> float:
        value, _, _ = replay(
            visits,
            vectors,
            categories=categories,
            drift_rate=drift_rate,
            boredom_weight=x[0],
            boredom_gain=gain,
            boredom_decay=x[1],
        )
        return -value

    bounds = [(-_MOST_BOREDOM, _MOST_BOREDOM), _DECAYS]
    # the likelihood is nearly flat in the decay where boredom is weak: start from several
    starts = [
        minimize_scalar(
            lambda w, d=d: loss(np.array([w, d])),
            bounds=bounds[0],
            method="bounded",
            options={"xatol": 0.02},
        )
        for d in (0.5, 0.8)
    ]
    pairs = [np.array([s.x, d]) for s, d in zip(starts, (0.5, 0.8), strict=True)]
    start = min(pairs, key=loss)
    best = minimize(
        loss, start, method="Nelder-Mead", bounds=bounds, options={"xatol": 0.005, "fatol": 0.05}
    ).x
    errors = _standard_errors(loss, best, np.array([0.05, 0.05]), bounds)
    return Scalar(float(best[0]), errors[0]), Scalar(float(best[1]), errors[1])


def fit_drift(
    visits: LoggedVisits,
    vectors: Vectors,
    *,
    categories: int,
    boredom_weight: float,
    boredom_gain: float,
    boredom_decay: float,
) -> Scalar:
    """The rate under which held-out visits are likeliest.

    Vectors that are held near their prior by penalties know a user less than they could: then
    whatever the user consumes tells of a taste that was there before, and moving the interest
    towards it makes the rest likelier even if nobody's interest moves. So a second rate, by
    which interest moves for good, is fitted beside the first and left out: drift is what passes
    with the visit.
    """

    def loss(x: Array) -> float:
        value, _, _ = replay(
            visits,
            vectors,
            categories=categories,
            drift_rate=float(x[0]),
            learning_rate=float(x[1]),
            boredom_weight=boredom_weight,
            boredom_gain=boredom_gain,
            boredom_decay=boredom_decay,
        )
        return -value

    bounds = [(0.0, _MOST_DRIFT)] * 2
    learnt = minimize_scalar(
        lambda r: loss(np.array([0.0, r])),
        bounds=bounds[0],
        method="bounded",
        options={"xatol": 0.0005},
    ).x
    simplex = np.array([[0.0, learnt], [0.01, learnt], [0.0, max(learnt - 0.01, 0.0) + 0.002]])
    best = minimize(
        loss,
        simplex[0],
        method="Nelder-Mead",
        bounds=bounds,
        options={"initial_simplex": simplex, "xatol": 0.0003, "fatol": 0.05},
    ).x
    step = np.maximum(best / 4, 0.004)
    return Scalar(float(best[0]), float(_joint_errors(loss, best, step)[0]))


class LeaveFit(NamedTuple):
    """The leave law's coefficients, in the order of ``UserModelConfig``."""

    intercept: Scalar
    length: Scalar
    satisfaction: Scalar
    boredom: Scalar
    satisfaction_decay: float
    rounds: int
    visits: int
    censored: int


def fit_leaving(rounds: Rounds, weight: Array, censored: npt.NDArray[np.bool_]) -> LeaveFit | None:
    """Hazard of leaving per round, by maximum likelihood; None with too few visits.

    Args:
        rounds: of all visits, in order.
        weight: (r,) what each round counts.
        censored: (r,) for a visit's last round, whether it was cut off there by something else
            than the user: then that round tells nothing, the rounds before it do.
    """
    visit = np.cumsum(rounds.first) - 1
    last = np.ones(len(visit), bool)
    last[:-1] = rounds.first[1:]
    begin = np.maximum.accumulate(np.where(rounds.first, np.arange(len(visit)), 0))
    played = (np.arange(len(visit)) - begin).astype(float)
    kept = ~(last & censored)
    left = (last & ~censored)[kept]
    if left.sum() < FEWEST_VISITS or left.all():
        if kept.sum() < _FEWEST_ROUNDS or left.all():
            return None
        return _hardly_leaving(int(left.sum()), int(kept.sum()), rounds, last & censored)

    def design(decay: float) -> Array:
        before = _satisfaction(rounds.first, rounds.utility, decay)
        columns = [np.ones(len(visit)), played, -before, rounds.boredom]
        return np.stack(columns, axis=1)[kept]

    def loss(decay: float) -> float:
        return -logistic(design(decay), left, weight[kept])[2]

    decay = float(minimize_scalar(loss, bounds=_DECAYS, method="bounded").x)
    x, errors, _ = logistic(design(decay), left, weight[kept])
    estimates = [Scalar(float(v), float(e)) for v, e in zip(x, errors, strict=True)]
    return LeaveFit(
        *estimates,
        satisfaction_decay=decay,
        rounds=int(kept.sum()),
        visits=int(rounds.first.sum()),
        censored=int((last & censored).sum()),
    )


def _hardly_leaving(
    left: int, tried: int, rounds: Rounds, censored: npt.NDArray[np.bool_]
) -> LeaveFit:
    """Constant hazard, where too few leave to identify its covariates."""
    rate = (left + 0.5) / (tried + 1)
    intercept = Scalar(float(logit(rate)), float((tried * rate) ** -0.5))
    nothing = Scalar(0.0, 0.0)
    return LeaveFit(
        intercept,
        nothing,
        nothing,
        nothing,
        satisfaction_decay=0.0,
        rounds=tried,
        visits=int(rounds.first.sum()),
        censored=int(censored.sum()),
    )


def visit_cap(rounds: npt.NDArray[np.integer]) -> int | None:
    """The greatest number of rounds, if visits pile up there as at a limit; else None.

    Args:
        rounds: (v,) rounds of each visit.
    """
    count = np.bincount(rounds)
    if len(count) < 3:
        return None
    return len(count) - 1 if count[-1] > 3 * count[-2] + 5 else None


def logistic(
    design: Array, hit: npt.NDArray[np.bool_], weight: Array
) -> tuple[Array, Array, float]:
    """(coefficients, standard errors, log-likelihood) of a regression, by Newton's method."""
    x = np.zeros(design.shape[1])
    rate = np.average(hit, weights=weight)
    x[0] = logit(rate)
    ridge = 1e-6 * np.eye(len(x))
    information = ridge
    for _ in range(50):
        p = expit(design @ x)
        slope = design.T @ (weight * (hit - p))
        information = design.T @ (design * (weight * p * (1 - p))[:, None]) + ridge
        step = np.linalg.solve(information, slope)
        x = x + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    odds = design @ x
    likelihood = float(weight @ (hit * odds - np.logaddexp(0, odds)))
    return x, np.sqrt(np.diag(np.linalg.inv(information))), likelihood


def _standard_errors(
    loss: Callable[[Array], float], x: Array, step: Array, bounds: list[tuple[float, float]]
) -> list[float]:
    """Of each parameter, the others held fixed, from second differences of the loss."""
    out = []
    for j in range(len(x)):
        h = min(step[j], 0.5 * (bounds[j][1] - bounds[j][0]))
        middle = np.clip(x[j], bounds[j][0] + h, bounds[j][1] - h)
        at = [x.copy() for _ in range(3)]
        for k, shift in enumerate((-h, 0.0, h)):
            at[k][j] = middle + shift
        low, centre, high = (loss(a) for a in at)
        curvature = (low - 2 * centre + high) / h**2
        out.append(float(1 / np.sqrt(curvature)) if curvature > 0 else float("inf"))
    return out


def _joint_errors(loss: Callable[[Array], float], x: Array, step: Array) -> Array:
    """Standard errors of parameters fitted together, from the matrix of second differences."""
    centre = np.maximum(x, step)  # so that every point of the scheme is inside the bounds
    basis = np.diag(step)

    def at(*moves: Array) -> float:
        return loss(centre + np.sum(moves, axis=0))

    n = len(x)
    hessian = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            plus, minus = at(basis[i], basis[j]), at(basis[i], -basis[j])
            other, both = at(-basis[i], basis[j]), at(-basis[i], -basis[j])
            hessian[i, j] = (plus - minus - other + both) / (4 * step[i] * step[j])
    variance = np.diag(np.linalg.pinv(hessian))
    return np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), np.inf)


@compiled
def _satisfaction(first: npt.NDArray[np.bool_], utility: Array, decay: float) -> Array:
    """(r,) satisfaction before each round."""
    out = np.zeros(len(first))
    now = np.float32(0)
    for r in range(len(first)):
        if first[r]:
            now = np.float32(0)
        out[r] = now
        now = laws.satisfied(now, np.float32(decay), np.float32(utility[r]))
    return out
