"""Pipeline of a fit: every law that the log identifies, by penalised maximum likelihood.

Click and purchase: ``logit P(click | looked at) = sum_d w_d theta_ud v_id + a + b_u + b_i +
repeat`` and the same form, with separate weights and biases, for ``P(purchase | click)``.
Users and items are hybrid: ``theta_u`` and ``v_i`` are the language-model vectors plus a per-id
residual that an L2 penalty (a Gaussian prior, so that the fit is the posterior mode) holds at
zero where the log has few events; an item's bias is likewise a map of its vector and price plus a
residual, so that a new item falls back to what its text says. How strong the penalties are is
chosen on validation events. Examination of each slot is fitted together with the click law (the
position-based model: Richardson et al. 2007), each impression weighted by its inverse propensity
where the log has propensities.

``examples`` draws the contrasts of the clicks, ``identification`` finds what a log identifies;
``penalties`` chooses their strength, ``within_visit`` fits boredom, drift and leaving,
``durations`` lengths and returns, ``calibration`` scales the laws to validation events, ``levels``
sets their intercepts, ``errors`` gives standard errors, ``notes`` writes the provenance of each
law.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from recenv.config import UserModelConfig
from recenv.data.continuation import Continuation
from recenv.encoders.interest_vectors import InterestVectors, one_thread
from recenv.errors import SchemaError
from recenv.progress import Progress
from recenv.schema import CLICK, Catalog, Exposure, InteractionLog
from recenv.users.fitting import calibration, levels, notes, standard_errors, visit_durations
from recenv.users.fitting.calibration import Scale
from recenv.users.fitting.cold_start import set_users_without_events
from recenv.users.fitting.dynamics import Scalar
from recenv.users.fitting.identification import gather, later_rows
from recenv.users.fitting.network import LawsNetwork
from recenv.users.fitting.optimise import Problem, optimise
from recenv.users.fitting.penalties import choose, stronger
from recenv.users.fitting.training_rows import Rows
from recenv.users.fitting.within_visit import WithinVisit, fit_within_visit, moved, state
from recenv.users.laws import examination_prior
from recenv.users.model import Dynamics, UserModel

F32 = npt.NDArray[np.float32]
_LADDER_SHARE = 0.5  # of the updates of a whole fit, while the penalties are chosen
_REFINEMENT = 0.3  # share of the updates after boredom and drift are known


def fit(
    log: InteractionLog,
    catalog: Catalog,
    interests: InterestVectors,
    config: UserModelConfig,
    *,
    valid: InteractionLog | None,
    chosen: UserModel | None,
    folded: npt.NDArray[np.bool_] | None,
    weight: npt.NDArray[np.floating] | None,
    goes_on: Continuation | None,
    progress: bool | None,
) -> UserModel:
    """See ``recenv.users.fitting.fit_user_model``."""
    folded = np.zeros(log.num_users, bool) if folded is None else folded
    _check(log, catalog, interests, folded)
    with (
        one_thread(),
        Progress("user model", 0, unit="epochs", shown=progress) as bar,
    ):
        stages = _Fit(log, catalog, interests, config, folded, weight, goes_on, chosen, bar)
        return stages.run(valid)


def _check(
    log: InteractionLog,
    catalog: Catalog,
    interests: InterestVectors,
    folded: npt.NDArray[np.bool_],
) -> None:
    num_users, num_items = log.num_users, len(catalog)
    if interests.users.shape[0] != num_users or interests.items.shape[0] != num_items:
        raise SchemaError(
            f"The interest vectors are of {interests.users.shape[0]} users and "
            f"{interests.items.shape[0]} items, but the log has {num_users} and {num_items}. "
            "Make them from the same log."
        )
    if not (log.column("response")[~folded[log.column("user")]] >= CLICK).any():
        raise SchemaError(
            "No click is left to fit on outside the folded (held-out) users. Give more events, "
            "or hold out fewer users."
        )


class _Fit:
    """One fit, stage by stage; each method is one stage."""

    def __init__(
        self,
        log: InteractionLog,
        catalog: Catalog,
        interests: InterestVectors,
        config: UserModelConfig,
        folded: npt.NDArray[np.bool_],
        weight: npt.NDArray[np.floating] | None,
        goes_on: Continuation | None,
        chosen: UserModel | None,
        bar: Progress,
    ) -> None:
        self.log, self.interests, self.config = log, interests, config
        self.folded, self.weight, self.goes_on, self.bar = folded, weight, goes_on, bar
        self.chosen = None if chosen is None else chosen.choices
        self.drift = config.drift_rate if self.chosen is None else self.chosen["drift rate"]
        cut = None if goes_on is None else goes_on.sessions
        self.evidence = gather(log, catalog, config, folded, weight, cut)

    def run(self, valid: InteractionLog | None) -> UserModel:
        """All stages."""
        late = later_rows(self.log, valid, self.config, self.folded, self.weight)
        factor, weighted = self._choices(late)
        self.evidence = evidence = self.evidence._replace(by_propensity=weighted)
        config = stronger(self.config, factor).replace(propensity_weights=weighted)
        own = evidence.rows.take(evidence.own)
        network = self._fitted(evidence.problem(own), config)
        found, stated = self._visit_dynamics(network, late)
        if evidence.exposure == Exposure.IMPRESSIONS and found.boredom is not None:
            problem = evidence.problem(moved(evidence, own, network, stated))
            optimise(network, problem, config, self.bar, share=_REFINEMENT)
            found, stated = self._visit_dynamics(network, late)
        if self.folded.any():
            network.freeze_shared()
            others = evidence.rows.take(~evidence.own)
            problem = evidence.problem(moved(evidence, others, network, stated))
            optimise(network, problem, config, self.bar)
        return self._model(network, config, factor, found, stated, late)

    def _choices(self, late: Rows | None) -> tuple[float, bool]:
        """The step of the L2 ladder, and whether to weight by inverse propensity."""
        if self.chosen is not None:
            return self.chosen["l2 factor"], bool(self.chosen["by propensity"])
        return choose(self.evidence, late, self.config, partial(self._fitted, share=_LADDER_SHARE))

    def _network(self, config: UserModelConfig) -> LawsNetwork:
        evidence = self.evidence
        slots = int(evidence.rows.slot.max(initial=0)) + 1
        scale = _scale(self.interests, np.flatnonzero(~self.folded))
        return LawsNetwork(
            torch.from_numpy(self.interests.users / scale),
            torch.from_numpy(self.interests.items / scale),
            torch.from_numpy(_standard_price(evidence.catalog)),
            torch.from_numpy(examination_prior(slots, config.examination_decay)),
            fit_user_click_bias=evidence.exposure != Exposure.CONSUMPTION,
            fit_repeat=evidence.repeat_share > 0,
            fit_purchase=evidence.purchases == "fitted",
            content=self.interests.content_dim,
        )

    def _fitted(
        self, problem: Problem, config: UserModelConfig, *, share: float = 1.0
    ) -> LawsNetwork:
        network = self._network(config)
        optimise(network, problem, config, self.bar, share=share)
        return network

    def _visit_dynamics(
        self, network: LawsNetwork, late: Rows | None
    ) -> tuple[WithinVisit, Dynamics]:
        found = fit_within_visit(self.evidence, network, late, self.config, self.drift)
        return found, state(self.evidence, self.config, found, self.drift)

    def _arrays(
        self, network: LawsNetwork, config: UserModelConfig, late: Rows | None
    ) -> tuple[dict[str, F32], Scalar | None, dict[str, Scale]]:
        """The model's arrays, the weight of tenure, and how the laws were calibrated."""
        arrays, evidence, seed = network.arrays(), self.evidence, config.seed
        l2 = self.config.user_l2  # as stated, not times the step of the ladder
        tenure = levels.set_purchases(arrays, evidence, network, config)
        # the validation events are of cold-start users, too
        set_users_without_events(arrays, evidence, network, seed, l2)
        if self.chosen is None:
            scales = calibration.calibrate(arrays, evidence, network, late, seed)
        else:
            scales = calibration.take_over(arrays, evidence, self.chosen)
        set_users_without_events(arrays, evidence, network, seed, l2)
        levels.set_level(arrays, evidence, config)
        return arrays, tenure, scales

    def _model(
        self,
        network: LawsNetwork,
        config: UserModelConfig,
        factor: float,
        found: WithinVisit,
        stated: Dynamics,
        late: Rows | None,
    ) -> UserModel:
        evidence = self.evidence
        arrays, tenure, scales = self._arrays(network, config, late)
        repeat = standard_errors.repeat_weights(evidence, network, scales["click"], config.seed)
        lengths = visit_durations.fit_lengths(self.log, self.folded, self.weight, self.goes_on)
        returns = visit_durations.fit_returns(self.log, self.folded, self.weight, self.goes_on)
        examination, slot_errors = standard_errors.examination(evidence, network, config)
        price = levels.price_effects(evidence, network, config)
        return UserModel(
            **arrays,
            examination=examination,
            dynamics=stated,
            repeat=standard_errors.repeat_law(evidence, repeat),
            visit_length=lengths.law,
            return_time=returns.law,
            coefficients={
                "price in click": scales["click"].level * price[0],
                "price in purchase": scales["purchase"].level * price[1],
                "tenure": 0.0 if tenure is None else tenure.value,
            },
            choices={
                "l2 factor": factor,
                "by propensity": float(evidence.by_propensity),
                "drift rate": stated.drift_rate,
                **scales["click"].choices("click"),
                **scales["purchase"].choices("purchase"),
            },
            laws={
                **notes.of_click(self.log, config),
                "purchase": notes.of_purchase(self.log, config, tenure),
                "examination": notes.of_examination(self.log, config, slot_errors),
                "repeat": notes.of_repeat(
                    self.log, once=evidence.once, share=evidence.repeat_share, weights=repeat
                ),
                "boredom": notes.of_boredom(self.log, found.boredom),
                "drift": notes.of_drift(self.log, found.drift),
                "leave": notes.of_leave(self.log, found.leave),
                "visit length": lengths.provenance,
                "return": returns.provenance,
            },
        )


def _standard_price(catalog: Catalog) -> F32:
    """(N,) log price, standardised over the items that have one; 0 for the others."""
    known = catalog.price > 0
    out = np.zeros(len(catalog), np.float32)
    if known.sum() > 1:
        log = np.log(catalog.price[known])
        out[known] = (log - log.mean()) / max(float(log.std()), 1e-6)
    return out


def _scale(interests: InterestVectors, users: npt.NDArray[np.intp]) -> np.float32:
    """Scale by which both tables are divided, so that inner products have standard deviation 1."""
    rng = np.random.default_rng(0)
    users = rng.choice(users, size=10_000)
    items = rng.integers(len(interests.items), size=10_000)
    spread = np.std((interests.users[users] * interests.items[items]).sum(1))
    return np.float32(np.sqrt(max(float(spread), 1e-12)))
