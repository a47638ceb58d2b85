"""Estimators from the log alone: what IPS, SNIPS, DM and DR say of each policy's value.

They estimate the mean clicks of a slot (``recenv.evaluation.off_policy``). A visit's value is that
times the slots of a mean logged visit: where what is shown decides how long a visit lasts, or what
state its user is in, they do not know it. A policy's choices within a visit are those that it
would have made after what the log had shown before. The model of DM and DR is the empirical-Bayes
click rate of the item times that of the user in the item's category. The model, and the tables
that a policy reads, are of one half of the log's rounds where the estimate is of the other
(cross-fitting): a policy that knew the very clicks that it is judged by would look too good, or,
where it avoids what was shown, too bad.
"""

from __future__ import annotations

import numpy as np

from recenv.errors import SchemaError
from recenv.evaluation import off_policy
from recenv.studies.foreign import policies
from recenv.studies.foreign.logs import COLUMNS, Arrays, Floats, Setting, logged_rounds, tables_of

NAMES = ("IPS", "SNIPS", "DM", "DR")
_CHUNK = 20_000  # rounds at a time


def estimates(setting: Setting, arrays: Arrays) -> dict[str, list[float]]:
    """Clicks per visit of each policy by each of ``NAMES``; NaN where nothing matches the log.

    Args:
        setting: of the log.
        arrays: the log, see ``logs.emitted``.
    """
    facts, log = logged_rounds(arrays)
    halves = [_Half(setting, arrays, own) for own in (0, 1)]
    half = _half(facts.round)
    slots = log["item"].size / len(np.unique(log["session"]))  # of a mean visit
    out: dict[str, list[float]] = {name: [] for name in NAMES}
    for name in policies.names(halves[0].tables):
        target, wanted, predicted = (np.empty(log["item"].shape) for _ in range(3))
        for own, model in enumerate(halves):
            rounds = np.flatnonzero(half == own)
            for start in range(0, len(rounds), _CHUNK):
                rows = rounds[start : start + _CHUNK]
                known, item = policies.rows(facts, rows), log["item"][rows]
                values = model.values(known.user)
                target[rows] = policies.chances(name, model.tables, known, item)
                wanted[rows] = policies.expected(name, model.tables, known, values)
                predicted[rows] = np.take_along_axis(values, item, axis=1)
        for method, value in _values(log, target, predicted, wanted).items():
            out[method].append(value * slots)
    return out


class _Half:
    """What the rounds of the other half tell: the policies' tables, and a model of clicks."""

    def __init__(self, setting: Setting, arrays: Arrays, own: int) -> None:
        other = _half(arrays["round"]) != own
        rows = {name: arrays[name][other] for name in COLUMNS}
        self.tables = policies.derived(tables_of(setting, {**arrays, **rows}))

    def values(self, user: np.ndarray) -> Floats:
        """(B, N) click rates of items for users."""
        return self.tables["taste"][user]


def _values(log: Arrays, target: Floats, predicted: Floats, wanted: Floats) -> dict[str, float]:
    reward, logged = log["click"].ravel().astype(float), log["propensity"].ravel()
    # a slot's chance given those above is compared with the policy's chance over all of them
    chance = target.ravel()
    try:
        snips = off_policy.self_normalised(reward, logged, chance).value
    except SchemaError:  # it shows nothing that the log showed
        snips = float("nan")
    return {
        "IPS": off_policy.inverse_propensity(reward, logged, chance).value,
        "SNIPS": snips,
        "DM": off_policy.direct_method(wanted.ravel()).value,
        "DR": off_policy.doubly_robust(
            reward, logged, chance, predicted.ravel(), wanted.ravel()
        ).value,
    }


def _half(round_: np.ndarray) -> np.ndarray:
    """0 or 1: rounds in turn."""
    return round_ % 2
