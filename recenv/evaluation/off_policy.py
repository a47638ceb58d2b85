"""Off-policy estimators: the value of a policy from the log of another one.

Each of n logged events has a context x, an action a drawn from the logging policy with
probability (propensity) ``p = pi_0(a | x)``, and a reward r. The value of a target policy pi is
its mean reward over the same contexts. With ``w = pi(a | x) / p`` and a model ``q(x, a)`` of the
mean reward:

===== ============================================== =====================================
name  estimate                                       source
===== ============================================== =====================================
IPS   mean of w r                                    Horvitz & Thompson (1952), JASA 47
SNIPS sum of w r over sum of w                       Swaminathan & Joachims (2015), NeurIPS
DM    mean of sum_a pi(a | x) q(x, a)                e.g. Dudik, Langford & Li (2011), ICML
DR    DM + mean of w (r - q(x, a))                   Dudik, Langford & Li (2011), ICML
===== ============================================== =====================================

IPS and DR are unbiased where the propensities are right and every action that the target may
take had a chance; SNIPS has a bias of order 1/n and is steadier when the weights do not average
to one; DM is as good as its model.

Where a slate has several positions and each row is one of them, the position belongs to the
context: pi(a | x) is the probability of the item in that position, and the value is the mean
reward of a slot. That says nothing about how items of one slate act on each other.

Rows count as independent. Where a user has many, make the intervals over users instead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from recenv.errors import SchemaError
from recenv.evaluation.statistics import CONFIDENCE

Floats = npt.NDArray[np.float64]


class PolicyValue(NamedTuple):
    """An estimated mean reward per event of a target policy.

    Attributes:
        value: the estimate.
        standard_error: of the estimate, large-sample.
        low, high: normal interval with ``CONFIDENCE`` (0.95).
        effective_sample_size: as many target events of equal weight tell as much.
        max_weight: the largest w; one such event moves IPS by ``max_weight * r / n``.
        events: n.
    """

    value: float
    standard_error: float
    low: float
    high: float
    effective_sample_size: float
    max_weight: float
    events: int


def importance_weights(propensity: npt.ArrayLike, target: npt.ArrayLike) -> Floats:
    """(n,) ``target / propensity``, both the probability of the logged action.

    Raises:
        SchemaError: a propensity is not in (0, 1], a target probability not in [0, 1], or the
            lengths differ.
    """
    logged, wanted = _arrays(propensity=propensity, target=target)
    _refuse(
        ~((logged > 0) & (logged <= 1)), logged, "propensity", "a probability in (0, 1]",
        "An action that the logging policy could not take tells nothing; drop these events, or "
        "mend the propensities.",
    )  # fmt: skip
    _refuse(
        ~((wanted >= 0) & (wanted <= 1)), wanted, "target", "a probability in [0, 1]",
        "Give the target policy's probability of the logged action.",
    )  # fmt: skip
    return wanted / logged


def effective_sample_size(weight: npt.ArrayLike) -> float:
    """``(sum w)^2 / sum w^2`` (Kish 1965, "Survey Sampling"); 0 where all weights are 0."""
    (w,) = _arrays(weight=weight)
    squares = float((w**2).sum())
    return float(w.sum()) ** 2 / squares if squares > 0 else 0.0


def inverse_propensity(
    reward: npt.ArrayLike, propensity: npt.ArrayLike, target: npt.ArrayLike
) -> PolicyValue:
    """IPS: the mean of weighted rewards.

    Args:
        reward: (n,) logged rewards.
        propensity: (n,) logging policy's probability of the logged action, in (0, 1].
        target: (n,) target policy's probability of the same action.

    Raises:
        SchemaError: see ``importance_weights``; or fewer than two events.
    """
    w = importance_weights(propensity, target)
    r, w = _arrays(reward=reward, weight=w)
    return _mean(w * r, w)


def self_normalised(
    reward: npt.ArrayLike, propensity: npt.ArrayLike, target: npt.ArrayLike
) -> PolicyValue:
    """SNIPS: the weighted mean of rewards; adding a constant to them adds it to the value.

    The standard error is the delta method's, ``sqrt(sum w^2 (r - value)^2) / sum w``. Arguments
    and errors as in ``inverse_propensity``.

    Raises:
        SchemaError: also where the target policy takes none of the logged actions.
    """
    w = importance_weights(propensity, target)
    r, w = _arrays(reward=reward, weight=w)
    total = float(w.sum())
    if total == 0:
        raise SchemaError(
            "The target policy gives every logged action probability 0, so the log tells nothing "
            "of its value. Log with a policy that takes its actions too."
        )
    value = float(w @ r) / total
    error = float(np.sqrt((w**2 * (r - value) ** 2).sum())) / total
    return _value(value, error, w)


def direct_method(expected: npt.ArrayLike) -> PolicyValue:
    """DM: the mean of a model's predictions.

    The standard error is that of the contexts alone. What the model may be wrong by is not in
    it: do not read the interval as one of the policy's value.

    Args:
        expected: (n,) ``sum_a pi(a | x) q(x, a)`` for each logged context.

    Raises:
        SchemaError: a value is not finite, or there are fewer than two.
    """
    (q,) = _arrays(expected=expected)
    return _mean(q, np.ones(len(q)))


def doubly_robust(
    reward: npt.ArrayLike,
    propensity: npt.ArrayLike,
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    expected: npt.ArrayLike,
) -> PolicyValue:
    """DR: the model's mean, corrected by the weighted residuals of the log.

    Unbiased where the propensities or the model are right. Fit the model on other events than
    these (cross-fitting), or the residuals are too small.

    Args:
        reward: as in ``inverse_propensity``.
        propensity: as in ``inverse_propensity``.
        target: as in ``inverse_propensity``.
        predicted: (n,) ``q(x, a)`` of the logged action.
        expected: (n,) ``sum_a pi(a | x) q(x, a)``.

    Raises:
        SchemaError: see ``inverse_propensity``.
    """
    w = importance_weights(propensity, target)
    r, q, v, w = _arrays(reward=reward, predicted=predicted, expected=expected, weight=w)
    return _mean(v + w * (r - q), w)


def _mean(terms: Floats, weight: Floats) -> PolicyValue:
    return _value(float(terms.mean()), float(stats.sem(terms)), weight)


def _value(value: float, error: float, weight: Floats) -> PolicyValue:
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return PolicyValue(
        value=value,
        standard_error=error,
        low=value - half,
        high=value + half,
        effective_sample_size=effective_sample_size(weight),
        max_weight=float(weight.max()),
        events=len(weight),
    )


def _arrays(**given: npt.ArrayLike) -> list[Floats]:
    """The arguments as float64 vectors of one length."""
    made = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    shapes = {values.shape for values in made.values()}
    if len(shapes) > 1 or next(iter(shapes)) == () or len(next(iter(shapes))) > 1:
        told = ", ".join(f"{name} {values.shape}" for name, values in made.items())
        raise SchemaError(
            f"Off-policy estimates want one value per event in every array, but got {told}. Give "
            "vectors of one length."
        )
    for name, values in made.items():
        if len(values) < 2:
            raise SchemaError(f"{name} has {len(values)} events; an estimate needs at least 2.")
        _refuse(~np.isfinite(values), values, name, "a finite number", "Mend or drop these events.")
    return list(made.values())


def _refuse(bad: npt.NDArray[np.bool_], values: Floats, name: str, wanted: str, do: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SchemaError(
            f"{name}, event {row}: {values[row]} is not {wanted} ({int(bad.sum())} such events). "
            + do
        )
