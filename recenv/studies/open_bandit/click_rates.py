"""Baselines for a policy's click rate from another policy's log, without a user model.

A click model of item and position, and off-policy estimates (``recenv.studies.open_bandit.study``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from recenv.errors import ConfigError
from recenv.evaluation.off_policy import (
    PolicyValue,
    direct_method,
    doubly_robust,
    inverse_propensity,
    self_normalised,
)
from recenv.schema import CLICK, InteractionLog

Floats = npt.NDArray[np.float64]
SLOTS = 3

ITEM_SPREAD = 0.5
SLOT_SPREAD = 0.5
"""Prior standard deviations of item and position effects, in log-odds. Stated, as 40 clicks cannot
tell them: with 0.5 the odds of 19 items in 20 lie within a factor 2.7 of the average."""

FOLDS = 5


class ClickModel(NamedTuple):
    """logit P(click) = level + item effect + position effect.

    Attributes:
        coefficients: (1 + N + SLOTS,) in log-odds.
        covariance: of the coefficients, from the curvature at the posterior mode.
        num_items: N.
    """

    coefficients: Floats
    covariance: Floats
    num_items: int

    def probabilities(self) -> Floats:
        """(N, SLOTS) P(click)."""
        items = self.coefficients[1 : 1 + self.num_items]
        return expit(self.coefficients[0] + items[:, None] + self.coefficients[-SLOTS:])

    def rate(self, shares: Floats) -> tuple[float, float]:
        """Mean click probability under (N, SLOTS) shares of impressions, and its error.

        The error is the delta method's: gradient of the mean times the coefficients' covariance.
        """
        p = self.probabilities()
        slope = shares * p * (1 - p)
        gradient = np.concatenate([[slope.sum()], slope.sum(1), slope.sum(0)])
        return float((shares * p).sum()), float(np.sqrt(gradient @ self.covariance @ gradient))


class Prediction(NamedTuple):
    """A predicted click-through rate and its standard error."""

    value: float
    standard_error: float


def fit_click_model(shown: Floats, clicks: Floats) -> ClickModel:
    """Posterior mode of a logistic model with normal priors on item and position effects.

    Args:
        shown: (N, SLOTS) impressions.
        clicks: (N, SLOTS) clicks among them.

    Raises:
        ConfigError: there is no click, or nothing else: the level cannot be fitted.
    """
    total = float(clicks.sum())
    if not 0 < total < float(shown.sum()):
        raise ConfigError(
            f"A click model needs impressions with and without a click, but {total:g} of "
            f"{shown.sum():g} have one. Give a larger log."
        )
    n = len(shown)
    item, slot = np.divmod(np.arange(n * SLOTS), SLOTS)
    rows = np.zeros((n * SLOTS, 1 + n + SLOTS))
    rows[:, 0] = 1
    rows[np.arange(len(rows)), 1 + item] = 1
    rows[np.arange(len(rows)), 1 + n + slot] = 1
    prior = np.concatenate([[0.0], np.full(n, ITEM_SPREAD**-2), np.full(SLOTS, SLOT_SPREAD**-2)])
    m, y = shown.ravel(), clicks.ravel()
    beta = np.zeros(rows.shape[1])
    beta[0] = math.log(total / (float(m.sum()) - total))
    covariance = np.empty(0)
    for _ in range(100):  # Newton's method on a concave function, from its level
        p = expit(rows @ beta)
        covariance = np.linalg.inv((rows * (m * p * (1 - p))[:, None]).T @ rows + np.diag(prior))
        step = covariance @ (rows.T @ (y - m * p) - prior * beta)
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    return ClickModel(beta, covariance, n)


def predict_ctr(train: InteractionLog, target: InteractionLog, num_items: int) -> Prediction:
    """CTR on the target's impressions, from the training log's clicks alone.

    Of the target only which item stood in which position is read.
    """
    model = fit_click_model(*cells(train, num_items))
    shown, _ = cells(target, num_items)
    return Prediction(*model.rate(shown / shown.sum()))


def cells(log: InteractionLog, num_items: int) -> tuple[Floats, Floats]:
    """(N, SLOTS) impressions and clicks by item and position."""
    cell = log.column("item").astype(np.int64) * SLOTS + log.column("position") - 1
    shape = (num_items, SLOTS)
    shown = np.bincount(cell, minlength=num_items * SLOTS).astype(np.float64)
    clicked = np.bincount(cell[log.column("response") >= CLICK], minlength=num_items * SLOTS)
    return shown.reshape(shape), clicked.reshape(shape).astype(np.float64)


def off_policy(log: InteractionLog, wanted: Floats, *, seed: int = 0) -> dict[str, PolicyValue]:
    """Estimates of a target policy's CTR by name.

    Args:
        log: of another policy, with positions and propensities.
        wanted: (N, SLOTS) the target's pi(item | position); columns sum to one.
        seed: of the folds that the model in DM and DR is cross-fitted on.
    """
    num_items = len(wanted)
    item, slot = log.column("item").astype(np.int64), log.column("position").astype(np.int64) - 1
    reward = (log.column("response") >= CLICK).astype(np.float64)
    fold = np.random.default_rng(seed).permutation(len(log)) % FOLDS
    predicted, expected = np.empty(len(log)), np.empty(len(log))
    for one in range(FOLDS):
        rest, own = fold != one, fold == one
        probability = fit_click_model(*cells(log.take(rest), num_items)).probabilities()
        predicted[own] = probability[item[own], slot[own]]
        expected[own] = (wanted * probability).sum(0)[slot[own]]
    logged, target = log.column("propensity"), wanted[item, slot]
    return {
        "IPS": inverse_propensity(reward, logged, target),
        "SNIPS": self_normalised(reward, logged, target),
        "DM": direct_method(expected),
        "DR": doubly_robust(reward, logged, target, predicted, expected),
    }
