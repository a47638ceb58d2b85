"""Calibration of the fitted laws on validation events.

A fit is overconfident on later events: tastes drift, and vectors, biases and the personal past are
confounded, fitted to the same events. A
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

from recenv.schema import CLICK, PURCHASE
from recenv.users.clipping import clipped
from recenv.users.fitting.identification import Evidence
from recenv.users.fitting.network import LawsNetwork
from recenv.users.fitting.training_rows import Rows
from recenv.users.repeat_law import feature

F32 = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
_TINY = 1e-7
_PRIOR = 10.0  # observations' worth of belief that nothing is to be changed
_SCALARS = ("personal", "level", "user", "shift")
_SLOPES, _SHIFTS = (0.05, 5.0), (-5.0, 5.0)


class Scale(NamedTuple):
    """Slopes of the parts of a law's log-odds, and a shift of their sum.

    Every user's affinity holds the mean user's: how much an item is liked in general. So what is
    ``personal`` is the affinity less the mean user's, and the item's ``level`` is its bias and
    the mean user's affinity. ``user`` is the user's own bias. ``repeat`` is added to the weights
    of the personal past.
    """

    personal: float = 1.0
    level: float = 1.0
    user: float = 1.0
    shift: float = 0.0
    repeat: tuple[float, ...] = ()

    def choices(self, law: str) -> dict[str, float]:
        """The numbers by name, to be stored."""
        named = {name: getattr(self, name) for name in _SCALARS}
        named |= {f"repeat {k}": v for k, v in enumerate(self.repeat)}
        return {f"{law} {name}": value for name, value in named.items()}

    @classmethod
    def chosen(cls, law: str, choices: dict[str, float]) -> Scale:
        """The inverse of ``choices``."""
        repeat = sorted(name for name in choices if name.startswith(f"{law} repeat "))
        first = (choices[f"{law} {name}"] for name in _SCALARS)
        return cls(*first, repeat=tuple(choices[name] for name in repeat))


class Parts(NamedTuple):
    """The log-odds of n rows, part by part."""

    personal: npt.NDArray[np.floating]  # (n,)
    level: npt.NDArray[np.floating]  # (n,)
    user: npt.NDArray[np.floating]  # (n,)
    fixed: npt.NDArray[np.floating]  # (n,) all else, which is not scaled
    past: npt.NDArray[np.floating]  # (n, H) features of the personal past; H may be 0


def fit_scale(
    parts: Parts,
    hit: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
    examined: npt.NDArray[np.floating],
    cold: npt.NDArray[np.bool_],
) -> Scale:
    """Maximum likelihood of ``P(hit) = examined * logistic(scaled parts + shift + fixed)``.

    Cold-start users inform the slopes but not the shift: their level is not from their own events.

    Args:
        parts: what the model says.
        hit: (n,) what came.
        weight: (n,) what each counts.
        examined: (n,) probability of a look.
        cold: (n,) whether the user has no event in what the parts were fitted to.
    """
    columns = [*parts[:3], ~cold, parts.past, cold]
    x = np.column_stack(columns).astype(float)
    fixed, y, w = np.asarray(parts.fixed, float), hit.astype(float), np.asarray(weight, float)
    seen = np.asarray(examined, float)
    if len(y) == 0 or y.min() == y.max():
        return Scale()
    more = parts.past.shape[1]
    start = np.array([1.0, 1.0, 1.0, 0.0] + [0.0] * (more + 1))

    def loss(scale: Array) -> tuple[float, Array]:
        s = expit(x @ scale + fixed)
        p = clipped(seen * s, _TINY)
        value = -(w @ (y * np.log(p) + (1 - y) * np.log1p(-p)))
        slope = w * (p - y) / (1 - p) * (1 - s)  # d loss / d log-odds
        away = scale - start
        return float(value + 0.5 * _PRIOR * away @ away), x.T @ slope + _PRIOR * away

    bounds = [_SLOPES] * 3 + [_SHIFTS] * (more + 2)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    personal, level, user, shift, *repeat, _ = map(float, best)
    return Scale(personal, level, user, shift, tuple(repeat))


def apply_scale(arrays: dict[str, F32], law: str, scale: Scale, mean: F32) -> None:
    """Fold a scale into the arrays of a law, "click" or "purchase", in place.

    Args:
        arrays: of the user model.
        law: which of the two.
        scale: but for its repeats, which no array holds.
        mean: (D,) the mean user's vector.
    """
    weight, bias, user = f"{law}_weight", f"item_{law}_bias", f"user_{law}_bias"
    common = arrays["item_vectors"] @ (mean * arrays[weight])
    level = scale.level * (arrays[bias] + common) + scale.shift
    arrays[bias] = (level - scale.personal * common).astype(np.float32)
    arrays[user] = (scale.user * arrays[user]).astype(np.float32)
    arrays[weight] = (arrays[weight] * np.float32(scale.personal)).astype(np.float32)


def calibrate(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, late: Rows | None, seed: int
) -> dict[str, Scale]:
    """Scale both laws to the validation events; a no-op without any.

    Args:
        arrays: of the user model; changed in place.
        evidence: of the training events.
        network: fitted.
        late: training and validation rows.
        seed: of the contrast.
    """
    scales = {"click": Scale(), "purchase": Scale()}
    if late is None:
        return scales
    rows = evidence.problem(late).draw(np.random.default_rng(seed + 4))
    rows = rows.take(rows.late)
    mean = evidence.mean_user(arrays["user_vectors"])
    clicks, purchases = _parts(arrays, evidence, network, rows, mean)
    taken, cold = rows.response >= CLICK, evidence.per_user[rows.user] == 0
    # weighted instead of with an offset: what is misfitted is to be right on average over all
    counts = rows.weight * np.where(taken, 1, np.exp(rows.offset))
    scales["click"] = fit_scale(clicks, taken, counts, network.examined(rows.slot), cold)
    apply_scale(arrays, "click", scales["click"], mean)
    if evidence.purchases == "fitted":
        bought = rows.response[taken] == PURCHASE
        every, new = np.ones(len(bought)), cold[taken]
        purchases = Parts(*(part[taken] for part in purchases))
        scales["purchase"] = fit_scale(purchases, bought, rows.weight[taken], every, new)
        apply_scale(arrays, "purchase", scales["purchase"], mean)
    return scales


def take_over(
    arrays: dict[str, F32], evidence: Evidence, chosen: dict[str, float]
) -> dict[str, Scale]:
    """Scale both laws, in place, as another fit's validation events said."""
    scales = {law: Scale.chosen(law, chosen) for law in ("click", "purchase")}
    mean = evidence.mean_user(arrays["user_vectors"])
    for law, scale in scales.items():
        apply_scale(arrays, law, scale, mean)
    return scales


def _parts(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, rows: Rows, mean: F32
) -> tuple[Parts, Parts]:
    """Log-odds of both laws on the rows, part by part."""
    user, item = rows.user, rows.item
    vectors = arrays["item_vectors"][item]
    personal, common = vectors * (arrays["user_vectors"][user] - mean), vectors * mean
    past, weights = feature(rows.past), network.repeat_weight.detach().numpy()
    click = Parts(
        personal=personal @ arrays["click_weight"],
        level=arrays["item_click_bias"][item] + common @ arrays["click_weight"],
        user=arrays["user_click_bias"][user],
        fixed=past @ weights,
        past=past if evidence.repeat_share > 0 else past[:, :0],
    )
    purchase = Parts(
        personal=personal @ arrays["purchase_weight"],
        level=arrays["item_purchase_bias"][item] + common @ arrays["purchase_weight"],
        user=arrays["user_purchase_bias"][user],
        fixed=np.zeros(rows.size),
        past=past[:, :0],
    )
    return click, purchase
