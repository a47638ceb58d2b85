"""User model: the parameters of the fitted users, and the provenance of each law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv import artifacts
from recenv.artifacts import check_array
from recenv.config import UserModelConfig
from recenv.errors import ArtifactError, SchemaError
from recenv.jit.compiled import compiled
from recenv.users import laws
from recenv.users.duration_law import DurationLaw
from recenv.users.provenance import SOURCES, Provenance
from recenv.users.repeat_law import RepeatLaw

FloatArray = npt.NDArray[np.float32]
MAX_SLOTS = 100
"""Slots for which an examination prior is stored."""


class Dynamics(NamedTuple):
    """Within-visit dynamics of users (see ``UserModelConfig`` for each number's meaning).

    ``again`` is added to the click log-odds of an item consumed earlier in the visit.
    ``funnel`` below 1 says that only the product of click and purchase was fitted: then
    ``P(click | looked at) = p ** funnel`` and ``P(purchase | click) = p ** (1 - funnel)``.
    """

    leave_intercept: float
    leave_length: float
    leave_satisfaction: float
    leave_boredom: float
    satisfaction_decay: float
    boredom_weight: float
    boredom_gain: float
    boredom_decay: float
    drift_rate: float
    again: float = 0.0
    funnel: float = 1.0

    @classmethod
    def from_config(cls, config: UserModelConfig) -> Dynamics:
        """The priors that a config states."""
        stated = [name for name in cls._fields if name not in cls._field_defaults]
        return cls(*(getattr(config, name) for name in stated))


@dataclass(frozen=True)
class UserModel:
    """The users of a world. D dimensions, U users, N items.

    Attributes:
        user_vectors: (U, D) interest at the start of a visit.
        item_vectors: (N, D).
        user_click_bias, user_purchase_bias: (U,) log-odds.
        item_click_bias, item_purchase_bias: (N,) log-odds; the intercepts are folded in here.
        click_weight, purchase_weight: (D,) weights of each dimension in the two laws.
        examination: (``MAX_SLOTS``,) P(slot k is looked at).
        dynamics: leaving, boredom, satisfaction and drift.
        laws: provenance of each law by name.
        repeat: what a user consumed before is consumed again; None: no such law.
        visit_length: how many items a visit takes; None: visits end by the hazard of each
            round alone.
        return_time: whole days from one visit to the next; None: unknown.
        coefficients: fitted scalars that are folded into the arrays, for reports.
        choices: what the validation events chose; a refit can take it over.
    """

    user_vectors: FloatArray
    item_vectors: FloatArray
    user_click_bias: FloatArray
    user_purchase_bias: FloatArray
    item_click_bias: FloatArray
    item_purchase_bias: FloatArray
    click_weight: FloatArray
    purchase_weight: FloatArray
    examination: FloatArray
    dynamics: Dynamics
    laws: dict[str, Provenance] = field(default_factory=dict)
    repeat: RepeatLaw | None = None
    visit_length: DurationLaw | None = None
    return_time: DurationLaw | None = None
    coefficients: dict[str, float] = field(default_factory=dict)
    choices: dict[str, float] = field(default_factory=dict)

    _ARRAYS = (
        "user_vectors",
        "item_vectors",
        "user_click_bias",
        "user_purchase_bias",
        "item_click_bias",
        "item_purchase_bias",
        "click_weight",
        "purchase_weight",
        "examination",
    )
    _PARTS: ClassVar[dict[str, Any]] = {
        "repeat": RepeatLaw,
        "visit_length": DurationLaw,
        "return_time": DurationLaw,
    }

    @property
    def dim(self) -> int:
        """D, the dimension of interest."""
        return self.user_vectors.shape[1]

    def click_probs(self, users: npt.ArrayLike, items: npt.ArrayLike) -> FloatArray:
        """P(click | looked at) at the start of a visit, for paired codes: (n,), (n,) -> (n,).

        Raises:
            SchemaError: there is no such user or item.
        """
        return self._pair_probs(users, items)[0]

    def purchase_probs(self, users: npt.ArrayLike, items: npt.ArrayLike) -> FloatArray:
        """P(purchase | click), for paired codes: (n,), (n,) -> (n,)."""
        return self._pair_probs(users, items)[1]

    def _pair_probs(
        self, users: npt.ArrayLike, items: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        user_codes = self._codes(users, "user", len(self.user_vectors))
        item_codes = self._codes(items, "item", len(self.item_vectors))
        if self.repeat is None:
            bonus = np.zeros(len(user_codes), np.float32)
        else:
            bonus = self.repeat.of(user_codes, item_codes)
        return _pair_probs(
            user_codes,
            item_codes,
            bonus,
            self.user_vectors,
            self.item_vectors,
            self.user_click_bias,
            self.user_purchase_bias,
            self.item_click_bias,
            self.item_purchase_bias,
            self.click_weight,
            self.purchase_weight,
            np.float32(self.dynamics.funnel),
        )

    def leave_probs(
        self, rounds: npt.ArrayLike, satisfaction: npt.ArrayLike, boredom: npt.ArrayLike
    ) -> FloatArray:
        """P(leave after this round): (n,) rounds played, satisfaction, mean slate boredom."""
        d = self.dynamics
        played, satisfied, bored = np.broadcast_arrays(
            np.asarray(rounds, np.float32),
            np.asarray(satisfaction, np.float32),
            np.asarray(boredom, np.float32),
        )
        return _leave_probs(
            played.copy(),
            satisfied.copy(),
            bored.copy(),
            np.float32(d.leave_intercept),
            np.float32(d.leave_length),
            np.float32(d.leave_satisfaction),
            np.float32(d.leave_boredom),
        )

    @staticmethod
    def _codes(values: npt.ArrayLike, what: str, bound: int) -> npt.NDArray[np.int64]:
        codes = np.atleast_1d(np.asarray(values, np.int64))
        bad = (codes < 0) | (codes >= bound)
        if bad.any():
            raise SchemaError(
                f"There is no {what} {codes[bad][0]}; this model has {what}s 0 to {bound - 1}."
            )
        return codes

    def save(self, folder: str | Path) -> Path:
        """Write the model as an artifact folder."""
        arrays, meta = self.to_artifact()
        return artifacts.save(Path(folder), "user-model", arrays, meta)

    @classmethod
    def load(cls, folder: str | Path) -> UserModel:
        """Read a model back.

        Raises:
            ArtifactError: see ``artifacts.load``.
        """
        folder = Path(folder)
        arrays, meta = artifacts.load(folder, "user-model")
        with artifacts.reading(folder):
            return cls.from_artifact(arrays, meta)

    def to_artifact(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, meta) to store."""
        arrays = {name: getattr(self, name) for name in self._ARRAYS}
        meta: dict[str, Any] = {
            "dynamics": self.dynamics._asdict(),
            "laws": {k: [v.source, v.note, v.spread] for k, v in self.laws.items()},
            "coefficients": self.coefficients,
            "choices": self.choices,
        }
        for name in self._PARTS:
            part = getattr(self, name)
            if part is not None:
                inner, meta[name] = part.to_artifact()
                arrays |= {f"{name}.{k}": v for k, v in inner.items()}
        return arrays, meta

    @classmethod
    def from_artifact(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> UserModel:
        """The inverse of ``to_artifact``.

        Raises:
            ArtifactError: the arrays do not fit together. Anything else that is raised for
                settings of the wrong types is left to ``artifacts.reading``.
        """
        users, dim = check_array(arrays, "user_vectors", np.float32, (None, None)).shape
        items = len(check_array(arrays, "item_vectors", np.float32, (None, dim)))
        if not users or not items or not dim:
            raise ArtifactError(f"A model has {users} users, {items} items, {dim} dimensions.")
        sizes = {"user": users, "item": items, "click": dim, "purchase": dim}
        for name in cls._ARRAYS[2:-1]:
            check_array(arrays, name, np.float32, (sizes[name.split("_")[0]],))
        check_array(arrays, "examination", np.float32, (MAX_SLOTS,), low=0, high=1)
        dynamics = Dynamics(**{k: float(v) for k, v in meta["dynamics"].items()})
        if not np.isfinite(dynamics).all() or not 0 < dynamics.funnel <= 1:
            raise ArtifactError(f"{dynamics} must be finite, with a funnel in (0, 1].")
        parts: dict[str, Any] = {}
        for name, kind in cls._PARTS.items():
            if name in meta:
                inner = under(arrays, f"{name}.")
                sizes = {"num_users": users}
                if kind is RepeatLaw:
                    sizes["num_items"] = items
                parts[name] = kind.from_artifact(inner, meta[name], **sizes)
        return cls(
            **{name: arrays[name] for name in cls._ARRAYS},
            dynamics=dynamics,
            laws={k: _provenance(*v) for k, v in meta["laws"].items()},
            coefficients={k: float(v) for k, v in meta["coefficients"].items()},
            choices={k: float(v) for k, v in meta["choices"].items()},
            **parts,
        )


def _provenance(source: Any, note: str, spread: dict[str, Any]) -> Provenance:
    """Stored provenance of a law."""
    if source not in SOURCES:
        raise ArtifactError(f"A law comes from {', '.join(SOURCES)}, not from {source!r}.")
    return Provenance(source, str(note), {k: float(v) for k, v in spread.items()})


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    """The arrays whose names begin with ``prefix``, by what follows it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


@compiled
def _pair_probs(users, items, bonus, uv, iv, ucb, upb, icb, ipb, cw, pw, share):  # noqa: ANN001, ANN202
    n = len(users)
    click, purchase = np.empty(n, np.float32), np.empty(n, np.float32)
    for row in range(n):
        u, i = users[row], items[row]
        to_click, to_buy = laws.affinities(uv, u, iv, i, np.float32(1), cw, pw)
        click[row], purchase[row] = laws.answer(
            laws.click_log_odds(to_click, ucb[u] + icb[i] + bonus[row], np.float32(0)),
            laws.purchase_log_odds(to_buy, upb[u] + ipb[i]),
            share,
        )
    return click, purchase


@compiled
def _leave_probs(rounds, satisfaction, boredom, a, length, weight, bored):  # noqa: ANN001, ANN202
    out = np.empty(len(rounds), np.float32)
    for row in range(len(rounds)):
        out[row] = laws.leave(
            a, length * rounds[row], weight * satisfaction[row], bored * boredom[row]
        )
    return out
