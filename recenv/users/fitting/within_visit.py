"""Within-visit dynamics: boredom, satisfaction and drift, given fitted vectors, from log rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recenv.config import UserModelConfig
from recenv.schema import Exposure
from recenv.users.fitting.dynamics import (
    FEWEST_VISITS,
    LeaveFit,
    Scalar,
    fit_boredom,
    fit_drift,
    fit_leaving,
    visit_cap,
)
from recenv.users.fitting.identification import Evidence
from recenv.users.fitting.training_rows import Rows, several_rounds
from recenv.users.fitting.visit_replay import LoggedVisits, Vectors, prepare, replay, vectors_of
from recenv.users.model import Dynamics
from recenv.users.repeat_law import NEVER, feature

if TYPE_CHECKING:
    from recenv.users.fitting.network import LawsNetwork


class WithinVisit(NamedTuple):
    """Estimates of the within-visit dynamics; None where the log does not identify them."""

    boredom: tuple[Scalar, Scalar] | None = None  # weight, decay
    drift: Scalar | None = None
    leave: LeaveFit | None = None


def fit_within_visit(
    evidence: Evidence,
    network: LawsNetwork,
    late: Rows | None,
    config: UserModelConfig,
    drift: float,
) -> WithinVisit:
    """Boredom, drift and leaving, where the log has an order within visits.

    Args:
        evidence: of the training events.
        network: fitted.
        late: training and validation rows, which drift is fitted to.
        config: seed, priors and cap.
        drift: rate, where the log tells none.
    """
    rng = np.random.default_rng(config.seed + 2)
    rows = evidence.problem(evidence.rows.take(evidence.own)).draw(rng)
    if evidence.exposure == Exposure.CATALOGUE or several_rounds(rows) < FEWEST_VISITS:
        return WithinVisit()
    vectors = vectors_of(network.arrays())
    seen = _replayable(evidence, rows._replace(offset=np.zeros_like(rows.offset)), network)
    groups, gain = len(evidence.catalog.category_names), config.boredom_gain
    later, boredom = None, None
    if late is not None:
        drawn = evidence.problem(late).draw(rng)
        later = _replayable(evidence, drawn.take(drawn.late), network)
    found: Scalar | None = None
    for _ in range(2):  # each given the other
        boredom = fit_boredom(seen, vectors, categories=groups, drift_rate=drift, gain=gain)
        if later is None:
            break
        found = fit_drift(
            later,
            vectors,
            categories=groups,
            boredom_weight=max(boredom[0].value, 0.0),
            boredom_gain=gain,
            boredom_decay=boredom[1].value,
        )
        drift = found.value
    leave = None
    if evidence.exposure == Exposure.IMPRESSIONS and boredom is not None:
        told = WithinVisit(boredom, found)
        stated = state(evidence, config, told, drift)
        leave = _leaving(seen, vectors, stated, groups, config.visit_cap, rows)
    return WithinVisit(boredom, found, leave)


def _leaving(
    seen: LoggedVisits,
    vectors: Vectors,
    stated: Dynamics,
    categories: int,
    cap: int | None,
    rows: Rows,
) -> LeaveFit | None:
    _, _, rounds = replay(
        seen,
        vectors,
        categories=categories,
        drift_rate=stated.drift_rate,
        boredom_weight=stated.boredom_weight,
        boredom_gain=stated.boredom_gain,
        boredom_decay=stated.boredom_decay,
    )
    number = np.cumsum(rounds.first) - 1
    count = np.bincount(number)  # rounds of each visit
    cap = cap or visit_cap(count)
    censored = np.zeros(len(count), bool) if cap is None else count >= cap
    censored |= rows.cut[rounds.row[rounds.first]]
    return fit_leaving(rounds, rows.weight[rounds.row].astype(float), censored[number])


def state(
    evidence: Evidence, config: UserModelConfig, found: WithinVisit, drift: float
) -> Dynamics:
    """All scalars of a visit: what was found, ``drift`` and the config's priors for the rest."""
    stated = Dynamics.from_config(config)._replace(drift_rate=drift)
    if found.boredom is not None:
        stated = stated._replace(
            boredom_weight=max(found.boredom[0].value, 0.0),
            boredom_decay=found.boredom[1].value,
        )
    if evidence.exposure == Exposure.CATALOGUE:
        # what was fitted is a visit's whole choice: nothing of it changes within the visit
        stated = stated._replace(boredom_weight=0.0, drift_rate=0.0)
    if found.drift is not None:
        stated = stated._replace(drift_rate=found.drift.value)
    if found.leave is not None:
        stated = stated._replace(
            leave_intercept=found.leave.intercept.value,
            leave_length=found.leave.length.value,
            leave_satisfaction=found.leave.satisfaction.value,
            leave_boredom=found.leave.boredom.value,
            satisfaction_decay=found.leave.satisfaction_decay,
        )
    return stated._replace(
        again=NEVER if evidence.once or evidence.exposure == Exposure.CATALOGUE else 0.0,
        funnel=config.funnel if evidence.purchases == "funnel" else 1.0,
    )


def moved(evidence: Evidence, rows: Rows, network: LawsNetwork, stated: Dynamics) -> Rows:
    """Impressions with what boredom and drift add to their log-odds as the offset."""
    if evidence.exposure != Exposure.IMPRESSIONS or not (rows.round >= 0).any():
        return rows
    visits = _replayable(evidence, rows._replace(offset=np.zeros_like(rows.offset)), network)
    _, added, _ = replay(
        visits,
        vectors_of(network.arrays()),
        categories=len(evidence.catalog.category_names),
        drift_rate=stated.drift_rate,
        boredom_weight=stated.boredom_weight,
        boredom_gain=stated.boredom_gain,
        boredom_decay=stated.boredom_decay,
    )
    offset = np.zeros_like(rows.offset)
    offset[visits.place] = added
    return rows._replace(offset=offset)


def _replayable(evidence: Evidence, rows: Rows, network: LawsNetwork) -> LoggedVisits:
    past = (feature(rows.past) @ network.repeat_weight.detach().numpy()).astype(np.float32)
    examination = network.examination.detach().numpy()
    return prepare(rows, evidence.catalog.category, examination, network.arrays(), past)
