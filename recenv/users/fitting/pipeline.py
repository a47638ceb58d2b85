"""Fitting of every law that a log can tell, by penalised maximum likelihood, with torch.

Click and purchase: ``logit P(click | looked at) = sum_d w_d theta_ud v_id + a + b_u + b_i +
repeat`` and the same form, with weights and biases of its own, for ``P(purchase | click)``.
Users and items are hybrid: ``theta_u`` and ``v_i`` are the language-model vectors plus a per-id
residual that an L2 penalty (a Gaussian prior, so that the fit is the posterior mode) holds at
zero where the log says little; an item's bias is likewise a map of its vector and price plus a
residual, so that a new item falls back to what its text says. How strong the penalties are is
chosen on validation events. Examination of each slot is fitted together with the click law (the
position-based model: Richardson et al. 2007), each impression weighted by its inverse propensity
where the log has propensities.

``rows`` says what the clicks are contrasted with, ``evidence`` what a log tells at all;
``choose`` sets the penalties, ``within`` fits boredom, drift and leaving, ``visits`` lengths and
returns, ``repeat`` what is consumed again, ``finish`` calibrates.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from recenv.config import UserModelConfig
from recenv.encoders.interest import one_thread
from recenv.errors import MissingDependencyError, SchemaError
from recenv.schema import CLICK, Catalog, InteractionLog
from recenv.users import provenance, visits
from recenv.users.calibrate import Scale
from recenv.users.dynamics import Estimate
from recenv.users.evidence import gather, later_rows
from recenv.users.laws import examination_prior
from recenv.users.model import Dynamics, UserModel
from recenv.users.rows import Rows
from recenv.users.within import Within, fit_within, moved, state

if TYPE_CHECKING:
    from recenv.encoders.interest import InterestVectors
    from recenv.users.network import LawsNetwork
    from recenv.users.optimise import Problem

F32 = npt.NDArray[np.float32]
_LADDER_SHARE = 0.5  # of the updates of a whole fit, while the penalties are chosen
_REFINEMENT = 0.3  # share of the updates after boredom and drift are known


def fit_user_model(
    log: InteractionLog,
    catalog: Catalog,
    interests: InterestVectors,
    config: UserModelConfig,
    *,
    valid: InteractionLog | None = None,
    chosen: UserModel | None = None,
    folded: npt.NDArray[np.bool_] | None = None,
    weight: npt.NDArray[np.floating] | None = None,
    goes_on: visits.Continuation | None = None,
    progress: bool = True,
) -> UserModel:
    """See ``UserModel.fit``."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("torch", "lm", "Fitting a user model") from error
    folded = np.zeros(log.num_users, bool) if folded is None else folded
    _check(log, catalog, interests, folded)
    with (
        one_thread(),
        tqdm(total=0, desc="user model", unit="epoch", disable=not progress) as bar,
    ):
        fit = _Fit(log, catalog, interests, config, folded, weight, goes_on, chosen, bar)
        return fit.run(valid)


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
        goes_on: visits.Continuation | None,
        chosen: UserModel | None,
        bar: tqdm,
    ) -> None:
        self.log, self.interests, self.config = log, interests, config
        self.folded, self.weight, self.goes_on, self.bar = folded, weight, goes_on, bar
        self.chosen = None if chosen is None else chosen.choices
        self.drift = config.drift_rate if self.chosen is None else self.chosen["drift rate"]
        cut = None if goes_on is None else goes_on.sessions
        self.evidence = gather(log, catalog, config, folded, weight, cut)

    def run(self, valid: InteractionLog | None) -> UserModel:
        """All stages."""
        from recenv.users.choose import stronger
        from recenv.users.optimise import optimise

        late = later_rows(self.log, valid, self.config, self.folded, self.weight)
        factor, weighted = self._choices(late)
        self.evidence = evidence = self.evidence._replace(by_propensity=weighted)
        config = stronger(self.config, factor).replace(propensity_weights=weighted)
        own = evidence.rows.take(evidence.own)
        network = self._fitted(evidence.problem(own), config)
        found, stated = self._visit_dynamics(network, late)
        if evidence.exposure == "impressions" and found.boredom is not None:
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
        from recenv.users.choose import choose

        if self.chosen is not None:
            return self.chosen["l2 factor"], bool(self.chosen["by propensity"])
        return choose(self.evidence, late, self.config, partial(self._fitted, share=_LADDER_SHARE))

    def _network(self, config: UserModelConfig) -> LawsNetwork:
        import torch

        from recenv.users.network import LawsNetwork

        evidence = self.evidence
        slots = int(evidence.rows.slot.max(initial=0)) + 1
        scale = _scale(self.interests, np.flatnonzero(~self.folded))
        return LawsNetwork(
            torch.from_numpy(self.interests.users / scale),
            torch.from_numpy(self.interests.items / scale),
            torch.from_numpy(_standard_price(evidence.catalog)),
            torch.from_numpy(examination_prior(slots, config.examination_decay)),
            fit_user_click_bias=evidence.exposure != "clicks",
            fit_repeat=evidence.repeat_share > 0,
            fit_purchase=evidence.purchases == "fitted",
            content=self.interests.content_dim,
        )

    def _fitted(
        self, problem: Problem, config: UserModelConfig, *, share: float = 1.0
    ) -> LawsNetwork:
        from recenv.users.optimise import optimise

        network = self._network(config)
        optimise(network, problem, config, self.bar, share=share)
        return network

    def _visit_dynamics(self, network: LawsNetwork, late: Rows | None) -> tuple[Within, Dynamics]:
        found = fit_within(self.evidence, network, late, self.config, self.drift)
        return found, state(self.evidence, self.config, found, self.drift)

    def _arrays(
        self, network: LawsNetwork, config: UserModelConfig, late: Rows | None
    ) -> tuple[dict[str, F32], Estimate | None, dict[str, Scale]]:
        """The model's arrays, the weight of tenure, and how the laws were calibrated."""
        from recenv.users import finish

        arrays, evidence, seed = network.arrays(), self.evidence, config.seed
        l2 = self.config.user_l2  # as stated, not times the step of the ladder
        tenure = finish.set_purchases(arrays, evidence, network, config)
        # the validation events are of newcomers, too
        finish.set_newcomers(arrays, evidence, network, seed, l2)
        if self.chosen is None:
            scales = finish.calibrate(arrays, evidence, network, late, seed)
        else:
            scales = finish.take_over(arrays, evidence, self.chosen)
        finish.set_newcomers(arrays, evidence, network, seed, l2)
        finish.set_level(arrays, evidence, config)
        return arrays, tenure, scales

    def _model(
        self,
        network: LawsNetwork,
        config: UserModelConfig,
        factor: float,
        found: Within,
        stated: Dynamics,
        late: Rows | None,
    ) -> UserModel:
        from recenv.users import finish

        evidence = self.evidence
        arrays, tenure, scales = self._arrays(network, config, late)
        repeat = finish.repeat_weights(evidence, network, scales["click"], config.seed)
        lengths = visits.fit_lengths(self.log, self.folded, self.weight, self.goes_on)
        returns = visits.fit_returns(self.log, self.folded, self.weight, self.goes_on)
        examination, errors = finish.examination(evidence, network, config)
        price = finish.price_effects(evidence, network, config)
        return UserModel(
            **arrays,
            examination=examination,
            dynamics=stated,
            repeat=finish.repeat_law(evidence, repeat),
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
                **provenance.of_click(self.log, config),
                "purchase": provenance.of_purchase(self.log, config, tenure),
                "examination": provenance.of_examination(self.log, config, errors),
                "repeat": provenance.of_repeat(
                    self.log, once=evidence.once, share=evidence.repeat_share, weights=repeat
                ),
                "boredom": provenance.of_boredom(self.log, found.boredom),
                "drift": provenance.of_drift(self.log, found.drift),
                "leave": provenance.of_leave(self.log, found.leave),
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
    """What both tables are divided by, so that inner products have standard deviation 1."""
    rng = np.random.default_rng(0)
    users = rng.choice(users, size=10_000)
    items = rng.integers(len(interests.items), size=10_000)
    spread = np.std((interests.users[users] * interests.items[items]).sum(1))
    return np.float32(np.sqrt(max(float(spread), 1e-12)))
