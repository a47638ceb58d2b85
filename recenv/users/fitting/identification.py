"""Identification: which parameters a log identifies, for all stages of a fit."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.config import UserModelConfig
from recenv.schema import CLICK, Catalog, Exposure, InteractionLog
from recenv.users.fitting.optimise import Problem
from recenv.users.fitting.training_rows import (
    Negatives,
    Rows,
    any_twice,
    make_rows,
    mean_tenure,
    purchase_source,
    repeats,
)

_FEWEST_REPEATABLE = 1000  # events without one repeat say that nothing is consumed twice


class Evidence(NamedTuple):
    """Rows of a log and what they identify, of U users and n rows."""

    catalog: Catalog
    rows: Rows  # of all users
    folded: npt.NDArray[np.bool_]  # (U,) users who must not touch any shared parameter
    own: npt.NDArray[np.bool_]  # (n,) rows of the others
    exposure: Exposure
    purchases: Literal["fitted", "funnel", "prior"]
    mean_tenure: npt.NDArray[np.float64]  # (U,) what tenure is counted from
    repeat_share: float  # of the consumption; 0 where the personal past is not fitted
    once: bool  # whether the log says that nothing is consumed twice
    negatives: int  # drawn per row
    by_propensity: bool = False  # until validation says otherwise

    @property
    def per_user(self) -> npt.NDArray[np.int64]:
        """(U,) rows of each user."""
        return np.bincount(self.rows.user, minlength=len(self.folded))

    def mean_user(self, user_vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(D,) mean vector of the users fitted on; each counts as often as it has events."""
        weights = np.where(self.folded, 0, self.per_user)
        return np.average(user_vectors, axis=0, weights=weights).astype(np.float32)

    def problem(self, rows: Rows) -> Problem:
        """Fitting problem of a law on some of the rows, or on later ones."""
        negatives = None
        if self.exposure != Exposure.IMPRESSIONS and rows.size:
            negatives = Negatives(
                rows,
                len(self.catalog),
                self.negatives,
                within_visit=self.exposure == Exposure.CATALOGUE or self.repeat_share > 0,
                known_level=self.exposure == Exposure.CATALOGUE,
            )
        return Problem(
            rows,
            negatives,
            redraw=self.exposure == Exposure.CONSUMPTION,
            recalls=self.repeat_share > 0,
            num_items=len(self.catalog),
            mean_tenure=self.mean_tenure,
            by_propensity=self.by_propensity,
        )


def gather(
    log: InteractionLog,
    catalog: Catalog,
    config: UserModelConfig,
    folded: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating] | None,
    cut: npt.NDArray[np.int64] | None,
) -> Evidence:
    """The evidence of a log; for the arguments see ``fit_user_model`` and ``make_rows``."""
    rows = _weighted(make_rows(log, config, cut), folded, weight)
    taken = rows.response >= CLICK
    seen = log.exposure
    # with impressions, past clicks are hard to tell from taste: both come from the same rows
    tells = "session" in log.events and seen != Exposure.IMPRESSIONS
    return Evidence(
        catalog=catalog,
        rows=rows,
        folded=folded,
        own=~folded[rows.user],
        exposure=seen,
        purchases=purchase_source(log),
        mean_tenure=mean_tenure(rows.user[taken], len(folded)),
        repeat_share=repeats(rows) if tells else 0.0,
        once=seen == Exposure.CONSUMPTION
        and int(taken.sum()) >= _FEWEST_REPEATABLE
        and not any_twice(rows),
        negatives=config.negatives,
    )


def later_rows(
    log: InteractionLog,
    valid: InteractionLog | None,
    config: UserModelConfig,
    folded: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating] | None,
) -> Rows | None:
    """Rows of training and validation events of the users fitted on, the latter marked ``late``.

    None without a validation click.
    """
    if valid is None or len(valid) == 0:
        return None
    both = pd.concat([log.events, valid.events], ignore_index=True)
    late = np.repeat([False, True], [len(log), len(valid)])
    order = np.argsort(both["time"].to_numpy(), kind="stable")
    joined = InteractionLog(
        events=both.iloc[order].reset_index(drop=True),
        user_ids=log.user_ids,
        has_impressions=log.has_impressions,
        exposes_catalog=log.exposes_catalog,
    )
    rows = make_rows(joined, config)
    late = late[order]
    if not log.has_impressions:
        late = late[joined.column("response") >= CLICK]
    rows = _weighted(rows._replace(late=late), folded, weight)
    rows = rows.take(~folded[rows.user])
    return rows if (rows.late & (rows.response >= CLICK)).any() else None


def _weighted(
    rows: Rows, folded: npt.NDArray[np.bool_], weight: npt.NDArray[np.floating] | None
) -> Rows:
    """Rows that count by their user's weight."""
    if weight is None:
        return rows
    counts = np.where(folded, 1, weight).astype(np.float32)
    rows = rows.take(counts[rows.user] > 0)
    return rows._replace(weight=counts[rows.user])
