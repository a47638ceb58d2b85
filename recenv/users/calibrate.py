"""Calibration of the fitted laws on validation events.

A fit that is right on the events it saw is too sure of later ones: tastes move on, and vectors,
biases and the personal past, fitted to the same events, share what belongs to one of them. A
slope for each part of a law's log-odds, and a shift, are fitted to what the model, as it will be
used, says of the validation events (Platt 1999, "Probabilistic outputs for support vector
machines", with one slope per part), and folded into its parameters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

F32 = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
_TINY = 1e-7
_PRIOR = 10.0  # observations' worth of belief that the slopes are 1 and the shift 0
_SLOPES, _SHIFTS = (0.05, 5.0), (-5.0, 5.0)


class Scale(NamedTuple):
    """What the parts of a law's log-odds are multiplied by, and what is added to their sum."""

    affinity: float = 1.0
    item_bias: float = 1.0
    repeat: float = 1.0
    shift: float = 0.0


class Parts(NamedTuple):
    """The log-odds of n rows, part by part."""

    affinity: npt.NDArray[np.floating]  # (n,)
    item_bias: npt.NDArray[np.floating]  # (n,)
    repeat: npt.NDArray[np.floating]  # (n,)
    fixed: npt.NDArray[np.floating]  # (n,) what is not scaled: users' biases, sampling offsets


def fit_scale(
    parts: Parts,
    hit: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
    examined: npt.NDArray[np.floating] | None = None,
) -> Scale:
    """Maximum likelihood of ``P(hit) = examined * logistic(scaled parts + shift + fixed)``.

    Args:
        parts: what the model says.
        hit: (n,) what came.
        weight: (n,) what each counts.
        examined: (n,) probability of a look; 1 by default.
    """
    x = np.stack([*parts[:3], np.ones(len(hit))], axis=1).astype(float)
    fixed, y, w = np.asarray(parts.fixed, float), hit.astype(float), np.asarray(weight, float)
    seen = np.ones(len(y)) if examined is None else np.asarray(examined, float)
    if len(y) == 0 or y.min() == y.max():
        return Scale()
    start = np.array([1.0, 1.0, 1.0, 0.0])

    def loss(scale: Array) -> tuple[float, Array]:
        s = expit(x @ scale + fixed)
        p = np.clip(seen * s, _TINY, 1 - _TINY)
        value = -(w @ (y * np.log(p) + (1 - y) * np.log1p(-p)))
        slope = w * (p - y) / (1 - p) * (1 - s)  # d loss / d log-odds
        away = scale - start
        return float(value + 0.5 * _PRIOR * away @ away), x.T @ slope + _PRIOR * away

    bounds = [_SLOPES] * 3 + [_SHIFTS]
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Scale(*(float(v) for v in best))


def apply_scale(arrays: dict[str, F32], law: str, scale: Scale) -> None:
    """Fold a scale into the arrays of a law, "click" or "purchase", in place."""
    weight, bias = f"{law}_weight", f"item_{law}_bias"
    arrays[weight] = (arrays[weight] * np.float32(scale.affinity)).astype(np.float32)
    scaled = arrays[bias] * np.float32(scale.item_bias) + np.float32(scale.shift)
    arrays[bias] = scaled.astype(np.float32)
