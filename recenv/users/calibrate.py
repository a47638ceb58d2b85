"""Calibration of the fitted laws on validation events.

A fit that is right on the events it saw is too sure of later ones: tastes move on, and penalties
that suit one law need not suit the other. Two numbers per law, a slope and a shift of its
log-odds, are fitted to what the model, as it will be used, says of the validation events (Platt
1999, "Probabilistic outputs for support vector machines"), and folded into its parameters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

F32 = npt.NDArray[np.float32]
_TINY = 1e-7
_PRIOR = 10.0  # observations' worth of belief that the slope is 1 and the shift 0


class Scale(NamedTuple):
    """What a law's log-odds are multiplied by, then moved by."""

    slope: float = 1.0
    shift: float = 0.0


def fit_scale(
    logits: npt.NDArray[np.floating],
    hit: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
    examined: npt.NDArray[np.floating] | None = None,
    *,
    shifts: bool = True,
) -> Scale:
    """Maximum likelihood of ``P(hit) = examined * logistic(slope * logit + shift)``.

    Args:
        logits: (n,) log-odds that the model gives.
        hit: (n,) what came.
        weight: (n,) what each counts.
        examined: (n,) probability of a look; 1 by default.
        shifts: whether the shift is wanted; it is fitted in any case.
    """
    x = np.asarray(logits, float)
    y, w = hit.astype(float), np.asarray(weight, float)
    seen = np.ones(len(x)) if examined is None else np.asarray(examined, float)
    if len(x) == 0 or y.min() == y.max():
        return Scale()

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        p = np.clip(seen * expit(parameters[0] * x + parameters[1]), _TINY, 1 - _TINY)
        value = -(w @ (y * np.log(p) + (1 - y) * np.log1p(-p)))
        return float(value + 0.5 * _PRIOR * ((parameters[0] - 1) ** 2 + parameters[1] ** 2))

    best = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, 5), (-5, 5)]).x
    return Scale(float(best[0]), float(best[1]) if shifts else 0.0)


def apply_scale(arrays: dict[str, F32], law: str, scale: Scale) -> None:
    """Fold a scale into the arrays of a law, "click" or "purchase", in place."""
    for name in (f"{law}_weight", f"user_{law}_bias", f"item_{law}_bias"):
        arrays[name] = (arrays[name] * np.float32(scale.slope)).astype(np.float32)
    arrays[f"item_{law}_bias"] += np.float32(scale.shift)
