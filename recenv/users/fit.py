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

``rows`` says what the clicks are contrasted with; ``dynamics`` fits boredom, drift and leaving,
``visits`` lengths and returns, ``repeat`` what is consumed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit
from tqdm.auto import tqdm

from recenv.config import UserModelConfig
from recenv.encoders.interest import one_thread
from recenv.errors import MissingDependencyError, SchemaError
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog
from recenv.users import dynamics, provenance, visits
from recenv.users.calibrate import Parts, Scale, apply_scale, fit_scale
from recenv.users.dynamics import Estimate, LeaveFit
from recenv.users.laws import examination_prior
from recenv.users.model import MAX_SLOTS, Dynamics, UserModel
from recenv.users.newcomers import Answers, anonymous
from recenv.users.repeat import NEVER, RepeatLaw, feature
from recenv.users.rows import (
    Negatives,
    Rows,
    exposure,
    make_rows,
    purchase_source,
    repeats,
)

if TYPE_CHECKING:
    from recenv.encoders.interest import InterestVectors
    from recenv.users.network import LawsNetwork
    from recenv.users.optimise import Problem

F32 = npt.NDArray[np.float32]
_FEWEST_REPEATABLE = 1000  # events without one repeat say that nothing is consumed twice
_FEWEST_CHOOSING = 50  # validation clicks; fewer choose nothing
_FEWEST_TASTES = 500  # clicks; fewer tell hardly any taste, so the strongest penalties are used
_LADDER_ROWS = 400_000  # rows on which the strength of the penalties is chosen
_LADDER_SHARE = 0.5  # of the updates of a whole fit
_NEWCOMER_ROWS = 100_000  # on which users without events are made
_REFINEMENT = 0.3  # share of the updates after boredom and drift are known


class _Within(NamedTuple):
    """What was found of a visit's dynamics; None where the log does not tell."""

    boredom: tuple[Estimate, Estimate] | None = None
    drift: Estimate | None = None
    leave: LeaveFit | None = None


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
        self.log, self.catalog, self.interests, self.config = log, catalog, interests, config
        self.folded, self.weight, self.goes_on, self.bar = folded, weight, goes_on, bar
        self.chosen = None if chosen is None else chosen.choices
        self.exposure, self.purchases = exposure(log), purchase_source(log)
        cut = None if goes_on is None else goes_on.sessions
        self.rows = self._weighted(make_rows(log, config, cut))
        self.own = ~folded[self.rows.user]
        taken = self.rows.response >= CLICK
        self.mean_tenure = _mean_tenure(self.rows.user[taken], len(folded))
        # with impressions, past clicks are hard to tell from taste: both come from the same rows
        tells = "session" in log.events and self.exposure != "impressions"
        self.repeat_share = repeats(self.rows) if tells else 0.0
        self.once = (
            self.exposure == "clicks"
            and int(taken.sum()) >= _FEWEST_REPEATABLE
            and not _any_twice(self.rows)
        )
        self.by_propensity = False  # until validation says otherwise

    def run(self, valid: InteractionLog | None) -> UserModel:
        """All stages."""
        from recenv.users.optimise import optimise

        late = self._late(valid)
        factor, weighted = self._choose(late)
        self.by_propensity = weighted
        config = _stronger(self.config, factor).replace(propensity_weights=weighted)
        network = self._fitted(self._problem(self.rows.take(self.own)), config)
        found = self._visit_dynamics(network, late, config)
        stated = self._state(found)
        if self.exposure == "impressions" and found.boredom is not None:
            mine = self._moved(self.rows.take(self.own), network, stated)
            optimise(network, self._problem(mine), config, self.bar, share=_REFINEMENT)
            found = self._visit_dynamics(network, late, config)
            stated = self._state(found)
        if self.folded.any():
            network.freeze_shared()
            others = self._moved(self.rows.take(~self.own), network, stated)
            optimise(network, self._problem(others), config, self.bar)
        return self._model(network, config, factor, found, stated, late)

    def _weighted(self, rows: Rows) -> Rows:
        """Rows that count by their user's weight."""
        if self.weight is None:
            return rows
        counts = np.where(self.folded, 1, self.weight).astype(np.float32)
        rows = rows.take(counts[rows.user] > 0)
        return rows._replace(weight=counts[rows.user])

    def _late(self, valid: InteractionLog | None) -> Rows | None:
        """Rows of training and validation events of the users fitted on, marked ``late``."""
        if valid is None or len(valid) == 0:
            return None
        both = pd.concat([self.log.events, valid.events], ignore_index=True)
        late = np.repeat([False, True], [len(self.log), len(valid)])
        order = np.argsort(both["time"].to_numpy(), kind="stable")
        joined = InteractionLog(
            events=both.iloc[order].reset_index(drop=True),
            user_ids=self.log.user_ids,
            has_impressions=self.log.has_impressions,
            exposes_catalog=self.log.exposes_catalog,
        )
        rows = make_rows(joined, self.config)
        late = late[order]
        if not self.log.has_impressions:
            late = late[joined.column("response") >= CLICK]
        rows = self._weighted(rows._replace(late=late))
        rows = rows.take(~self.folded[rows.user])
        return rows if (rows.late & (rows.response >= CLICK)).any() else None

    def _problem(self, rows: Rows) -> Problem:
        from recenv.users.optimise import Problem

        negatives = None
        if self.exposure != "impressions" and rows.size:
            negatives = Negatives(
                rows,
                len(self.catalog),
                self.config.negatives,
                within_visit=self.exposure == "catalogue" or self.repeat_share > 0,
                known_level=self.exposure == "catalogue",
            )
        return Problem(
            rows,
            negatives,
            redraw=self.exposure == "clicks",
            recalls=self.repeat_share > 0,
            num_items=len(self.catalog),
            mean_tenure=self.mean_tenure,
            by_propensity=self.by_propensity,
        )

    def _network(self, config: UserModelConfig) -> LawsNetwork:
        import torch

        from recenv.users.network import LawsNetwork

        slots = int(self.rows.slot.max(initial=0)) + 1
        scale = _scale(self.interests, np.flatnonzero(~self.folded))
        return LawsNetwork(
            torch.from_numpy(self.interests.users / scale),
            torch.from_numpy(self.interests.items / scale),
            torch.from_numpy(_standard_price(self.catalog)),
            torch.from_numpy(examination_prior(slots, config.examination_decay)),
            fit_user_click_bias=self.exposure != "clicks",
            fit_repeat=self.repeat_share > 0,
            fit_purchase=self.purchases == "fitted",
            content=self.interests.content_dim,
        )

    def _fitted(
        self, problem: Problem, config: UserModelConfig, *, share: float = 1.0
    ) -> LawsNetwork:
        from recenv.users.optimise import optimise

        network = self._network(config)
        optimise(network, problem, config, self.bar, share=share)
        return network

    def _choose(self, late: Rows | None) -> tuple[float, bool]:
        """The step of the L2 ladder, and whether to weight impressions by inverse propensity.

        Both by the likelihood of the validation events, which count by inverse propensity where
        the log has it: that is the likelihood under uniform exposure (Schnabel et al. 2016).
        Climbs the ladder from the middle as long as it gets better. With too few validation
        events it stays there, or goes to the strongest if the whole log tells hardly any taste.
        """
        from recenv.users.optimise import mean_loss

        if self.chosen is not None:
            return self.chosen["l2 factor"], bool(self.chosen["by propensity"])
        ladder, stated = sorted(self.config.l2_ladder), self.config.propensity_weights
        known = bool(np.ptp(self.rows.importance) > 0)
        middle = ladder[len(ladder) // 2]
        if late is None or (late.late & (late.response >= CLICK)).sum() < _FEWEST_CHOOSING:
            few = (self.rows.response[self.own] >= CLICK).sum() < _FEWEST_TASTES
            return ladder[-1] if few else middle, bool(stated) and known
        late = _some_users(late, _LADDER_ROWS)
        judged = self._problem(late)._replace(by_propensity=True)
        rows = judged.draw(np.random.default_rng(self.config.seed + 1))
        batch = judged.batch(rows.take(rows.late))

        def loss(factor: float, weighted: bool) -> float:
            tried = _stronger(self.config, factor)
            problem = self._problem(late.take(~late.late))._replace(by_propensity=weighted)
            return mean_loss(self._fitted(problem, tried, share=_LADDER_SHARE), batch)

        weighted = bool(stated) and known
        if known and stated is None:
            weighted = loss(middle, True) < loss(middle, False)
        if len(ladder) == 1:
            return middle, weighted
        return _climb(ladder, lambda factor: loss(factor, weighted)), weighted

    def _vectors(self, network: LawsNetwork) -> tuple[dict[str, F32], dynamics.Vectors]:
        arrays = network.arrays()
        names = ("user_vectors", "item_vectors", "click_weight", "purchase_weight")
        return arrays, dynamics.Vectors(*(arrays[name] for name in names))

    def _replay(self, rows: Rows, network: LawsNetwork) -> dynamics.Replay:
        arrays, _ = self._vectors(network)
        past = (feature(rows.past) @ network.repeat_weight.detach().numpy()).astype(np.float32)
        examination = network.examination.detach().numpy()
        return dynamics.prepare(rows, self.catalog.category, examination, arrays, past)

    def _moved(self, rows: Rows, network: LawsNetwork, stated: Dynamics) -> Rows:
        """Impressions with what boredom and drift add to their log-odds as the offset."""
        if self.exposure != "impressions" or not (rows.round >= 0).any():
            return rows
        visits = self._replay(rows._replace(offset=np.zeros_like(rows.offset)), network)
        _, moved, _ = dynamics.replay(
            visits,
            self._vectors(network)[1],
            categories=len(self.catalog.category_names),
            drift_rate=stated.drift_rate,
            boredom_weight=stated.boredom_weight,
            boredom_gain=stated.boredom_gain,
            boredom_decay=stated.boredom_decay,
        )
        offset = np.zeros_like(rows.offset)
        offset[visits.place] = moved
        return rows._replace(offset=offset)

    def _visit_dynamics(
        self, network: LawsNetwork, late: Rows | None, config: UserModelConfig
    ) -> _Within:
        """Boredom, drift and leaving, where the log has an order within visits."""
        rng = np.random.default_rng(config.seed + 2)
        rows = self._problem(self.rows.take(self.own)).draw(rng)
        if self.exposure == "catalogue" or not _several_rounds(rows):
            return _Within()
        _, vectors = self._vectors(network)
        seen = self._replay(rows._replace(offset=np.zeros_like(rows.offset)), network)
        groups, gain = len(self.catalog.category_names), config.boredom_gain
        drift, boredom = config.drift_rate, None
        if self.chosen is not None:
            drift = self.chosen["drift rate"]
        later = None
        if late is not None:
            drawn = self._problem(late).draw(rng)
            later = self._replay(drawn.take(drawn.late), network)
        found: Estimate | None = None
        for _ in range(2):  # each given the other
            boredom = dynamics.fit_boredom(
                seen, vectors, categories=groups, drift_rate=drift, gain=gain
            )
            if later is None:
                break
            found = dynamics.fit_drift(
                later,
                vectors,
                categories=groups,
                boredom_weight=max(boredom[0].value, 0.0),
                boredom_gain=gain,
                boredom_decay=boredom[1].value,
            )
            drift = found.value
        leave = None
        if self.exposure == "impressions" and boredom is not None:
            leave = self._leaving(seen, vectors, drift, boredom, rows)
        return _Within(boredom, found, leave)

    def _leaving(
        self,
        seen: dynamics.Replay,
        vectors: dynamics.Vectors,
        drift: float,
        boredom: tuple[Estimate, Estimate],
        rows: Rows,
    ) -> LeaveFit | None:
        _, _, rounds = dynamics.replay(
            seen,
            vectors,
            categories=len(self.catalog.category_names),
            drift_rate=drift,
            boredom_weight=max(boredom[0].value, 0.0),
            boredom_gain=self.config.boredom_gain,
            boredom_decay=boredom[1].value,
        )
        number = np.cumsum(rounds.first) - 1
        count = np.bincount(number)  # rounds of each visit
        cap = self.config.visit_cap or dynamics.visit_cap(count)
        censored = np.zeros(len(count), bool) if cap is None else count >= cap
        censored |= rows.cut[rounds.row[rounds.first]]
        return dynamics.fit_leaving(rounds, rows.weight[rounds.row].astype(float), censored[number])

    def _state(self, found: _Within) -> Dynamics:
        """All scalars of a visit: what was found, and the priors for the rest."""
        stated = Dynamics.from_config(self.config)
        if self.chosen is not None:
            stated = stated._replace(drift_rate=self.chosen["drift rate"])
        if found.boredom is not None:
            stated = stated._replace(
                boredom_weight=max(found.boredom[0].value, 0.0),
                boredom_decay=found.boredom[1].value,
            )
        if self.exposure == "catalogue":
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
            again=NEVER if self.once or self.exposure == "catalogue" else 0.0,
            funnel=self.config.funnel if self.purchases == "funnel" else 1.0,
        )

    def _model(
        self,
        network: LawsNetwork,
        config: UserModelConfig,
        factor: float,
        found: _Within,
        stated: Dynamics,
        late: Rows | None,
    ) -> UserModel:
        arrays = network.arrays()
        tenure = self._purchases(arrays, network, config)
        self._newcomers(arrays, network)  # the validation events are of newcomers, too
        scales = self._calibrate(arrays, network, late)
        self._newcomers(arrays, network)
        if self.exposure == "clicks":
            seen = np.bincount(self.rows.user, minlength=len(self.folded)) > 0
            shift = _level_shift(arrays, np.flatnonzero(~self.folded & seen), config)
            arrays["item_click_bias"] += shift
        repeat: list[Estimate] = []
        if self.repeat_share > 0:
            repeat = self._estimate(network, "repeat")
            added = scales["click"].repeat or [0.0] * len(repeat)
            repeat = [Estimate(w + a, e) for (w, e), a in zip(repeat, added, strict=True)]
        lengths = visits.fit_lengths(self.log, self.folded, self.weight, self.goes_on)
        returns = visits.fit_returns(self.log, self.folded, self.weight, self.goes_on)
        examination, errors = self._examination(network, config)
        price = self._price_effects(network, config)
        return UserModel(
            **arrays,
            examination=examination,
            dynamics=stated,
            repeat=self._repeat(repeat),
            visit_length=lengths.law,
            return_time=returns.law,
            coefficients={
                "price in click": scales["click"].level * price[0],
                "price in purchase": scales["purchase"].level * price[1],
                "tenure": 0.0 if tenure is None else tenure.value,
            },
            choices={
                "l2 factor": factor,
                "by propensity": float(self.by_propensity),
                "drift rate": stated.drift_rate,
                **scales["click"].choices("click"),
                **scales["purchase"].choices("purchase"),
            },
            laws={
                **provenance.of_click(self.log, config),
                "purchase": provenance.of_purchase(self.log, config, tenure),
                "examination": provenance.of_examination(self.log, config, errors),
                "repeat": provenance.of_repeat(
                    self.log,
                    once=self.once,
                    share=self.repeat_share,
                    weights=repeat,
                ),
                "boredom": provenance.of_boredom(self.log, found.boredom),
                "drift": provenance.of_drift(self.log, found.drift),
                "leave": provenance.of_leave(self.log, found.leave),
                "visit length": lengths.provenance,
                "return": returns.provenance,
            },
        )

    def _purchases(
        self, arrays: dict[str, F32], network: LawsNetwork, config: UserModelConfig
    ) -> Estimate | None:
        """Bring the purchase law to its users' present, or set the prior; returns tenure."""
        if self.purchases != "fitted":
            level = logit(config.purchase_rate) if self.purchases == "prior" else 0.0
            arrays["user_purchase_bias"] = np.zeros_like(arrays["user_purchase_bias"])
            arrays["item_purchase_bias"] = np.full_like(arrays["item_purchase_bias"], level)
            arrays["purchase_weight"] = np.zeros_like(arrays["purchase_weight"])
            return None
        tenure = self._estimate(network, "tenure")[0]
        taken = self.rows.response >= CLICK
        held = np.bincount(self.rows.user[taken], minlength=len(self.folded))
        ahead = np.where(held > 0, tenure.value * (np.log1p(held) - self.mean_tenure), 0.0)
        arrays["user_purchase_bias"] += ahead.astype(np.float32)
        return tenure

    def _calibrate(
        self, arrays: dict[str, F32], network: LawsNetwork, late: Rows | None
    ) -> dict[str, Scale]:
        """Scale both laws to the validation events; a no-op without any."""
        scales = {"click": Scale(), "purchase": Scale()}
        mean = self._mean_user(arrays)
        if self.chosen is not None:
            for law in scales:
                scales[law] = Scale.chosen(law, self.chosen)
                apply_scale(arrays, law, scales[law], mean)
            return scales
        if late is None:
            return scales
        problem = self._problem(late)
        rows = problem.draw(np.random.default_rng(self.config.seed + 4))
        rows = rows.take(rows.late)
        user, item = rows.user, rows.item
        taken = rows.response >= CLICK
        vectors = arrays["item_vectors"][item]
        personal, common = vectors * (arrays["user_vectors"][user] - mean), vectors * mean
        seen = self._looked_at(network, rows)
        past, weights = feature(rows.past), network.repeat_weight.detach().numpy()
        click = Parts(
            personal=personal @ arrays["click_weight"],
            level=arrays["item_click_bias"][item] + common @ arrays["click_weight"],
            user=arrays["user_click_bias"][user],
            fixed=past @ weights,
            past=past if self.repeat_share > 0 else past[:, :0],
        )
        newcomer = np.bincount(self.rows.user, minlength=len(self.folded))[user] == 0
        # weighted instead of with an offset: what is misfitted is to be right on average over all
        counts = rows.weight * np.where(taken, 1, np.exp(rows.offset))
        scales["click"] = fit_scale(click, taken, counts, seen, newcomer)
        apply_scale(arrays, "click", scales["click"], mean)
        if self.purchases == "fitted":
            buy = Parts(
                personal=personal @ arrays["purchase_weight"],
                level=arrays["item_purchase_bias"][item] + common @ arrays["purchase_weight"],
                user=arrays["user_purchase_bias"][user],
                fixed=np.zeros(rows.size),
                past=past[:, :0],
            )
            buy = Parts(*(part[taken] for part in buy))
            bought = rows.response[taken] == PURCHASE
            every, new = np.ones(len(bought)), newcomer[taken]
            scales["purchase"] = fit_scale(buy, bought, rows.weight[taken], every, new)
            apply_scale(arrays, "purchase", scales["purchase"], mean)
        return scales

    def _mean_user(self, arrays: dict[str, F32]) -> F32:
        """(D,) mean vector of the users fitted on; each counts as often as it has events."""
        count = np.bincount(self.rows.user, minlength=len(self.folded))
        weights = np.where(self.folded, 0, count)
        return np.average(arrays["user_vectors"], axis=0, weights=weights).astype(np.float32)

    def _newcomers(self, arrays: dict[str, F32], network: LawsNetwork) -> None:
        """Users without any event become the one who explains best how all others answered.

        Where nothing is known of what was shown, what they clicked is no answer.
        """
        new = np.bincount(self.rows.user, minlength=len(self.folded)) == 0
        if not new.any():
            return
        problem = self._problem(_some_users(self.rows.take(self.own), _NEWCOMER_ROWS))
        rows = problem.draw(np.random.default_rng(self.config.seed + 5))
        item, taken = rows.item, rows.response >= CLICK
        bought = rows.response[taken] == PURCHASE
        past = feature(rows.past) @ network.repeat_weight.detach().numpy()
        laws: dict[str, Answers] = {}
        if self.exposure != "clicks":
            laws["click"] = Answers(
                arrays["item_vectors"][item] * arrays["click_weight"],
                (arrays["item_click_bias"][item] + rows.offset + past).astype(np.float32),
                taken,
                rows.weight,
                self._looked_at(network, rows),
            )
        if self.purchases == "fitted" and bought.any() and not bought.all():
            laws["purchase"] = Answers(
                arrays["item_vectors"][item[taken]] * arrays["purchase_weight"],
                arrays["item_purchase_bias"][item[taken]],
                bought,
                rows.weight[taken],
                np.ones(len(bought), np.float32),
            )
        mean = self._mean_user(arrays)
        vector, biases = anonymous(list(laws.values()), mean, self.config.user_l2)
        arrays["user_vectors"][new] = vector
        for law, bias in zip(laws, biases, strict=True):
            arrays[f"user_{law}_bias"][new] = bias

    def _looked_at(self, network: LawsNetwork, rows: Rows) -> F32:
        """(n,) probability that each row was looked at."""
        return network.examination.detach().numpy()[np.minimum(rows.slot, len(network.prior))]

    def _price_effects(self, network: LawsNetwork, config: UserModelConfig) -> tuple[float, float]:
        """What the standardised log price adds to the items' log-odds, of click and purchase.

        The ridge regression of the items' whole biases on vectors and price under the fit's own
        penalties: where it would end if it were run for ever, as its likelihood hardly cares.
        """
        import torch

        with torch.no_grad():
            total = network.item_biases(torch.arange(len(self.catalog))).numpy().astype(float)
        known = np.bincount(self.rows.item, minlength=len(self.catalog)) > 0
        x = np.column_stack([network.items.numpy(), network.price.numpy()])[known].astype(float)
        x, total = x - x.mean(0), total[known] - total[known].mean(0)
        ridge = config.map_l2 / max(config.bias_l2, 1e-6)
        gram = x.T @ x + ridge * np.eye(x.shape[1])
        click, purchase = np.linalg.solve(gram, x.T @ total)[-1]
        return float(click), float(purchase)

    def _estimate(self, network: LawsNetwork, name: str) -> list[Estimate]:
        """Weights of the network, with their joint errors from the observed information."""
        import torch

        problem = self._problem(_some_users(self.rows.take(self.own), _LADDER_ROWS))
        batch = problem.batch(problem.draw(np.random.default_rng(self.config.seed + 3)))
        if name == "tenure":
            batch = batch.take(batch.response >= CLICK)
        with torch.no_grad():
            p = expit(network.logits(batch).numpy()[:, 1 if name == "tenure" else 0])
        x = (batch.tenure[:, None] if name == "tenure" else batch.repeat).numpy().astype(float)
        scale = self.own.sum() / max(problem.rows.size, 1)  # rows left out inform as well
        each = scale * batch.weight.numpy() * p * (1 - p)
        information = x.T @ (x * each[:, None]) + 1e-12 * np.eye(x.shape[1])
        errors = np.sqrt(np.diag(np.linalg.inv(information)))
        weight = network.tenure_weight if name == "tenure" else network.repeat_weight
        values = weight.detach().ravel().tolist()
        return [Estimate(*pair) for pair in zip(values, errors.tolist(), strict=True)]

    def _repeat(self, weights: list[Estimate]) -> RepeatLaw | None:
        """The personal past as it stands at the end of the log."""
        if not self.once and not weights:
            return None
        rows = self.rows.take(self.rows.response >= CLICK)
        return RepeatLaw.at_end(
            rows.user,
            rows.item,
            rows.visit,
            len(self.folded),
            weights=[weight.value for weight in weights],
        )

    def _examination(
        self, network: LawsNetwork, config: UserModelConfig
    ) -> tuple[F32, dict[str, float]]:
        """((MAX_SLOTS,) P(slot is looked at), standard errors of the fitted slots)."""
        import torch

        fitted = network.examination.detach().numpy()
        if len(fitted) == 1:
            if self.exposure == "impressions":
                # the fitted click law is already of what was shown, looked at or not
                return np.ones(MAX_SLOTS, np.float32), {}
            return examination_prior(MAX_SLOTS, config.examination_decay), {}
        problem = self._problem(
            self._moved(self.rows.take(self.own), network, Dynamics.from_config(config))
        )
        batch = problem.batch(problem.draw(np.random.default_rng(0)))
        with torch.no_grad():
            click = expit(network.logits(batch).numpy()[:, 0])
        slot, weight = batch.slot.numpy(), batch.weight.numpy()
        p = np.clip(fitted[slot] * click, 1e-6, 1 - 1e-6)
        information = np.bincount(slot, weight * click**2 / (p * (1 - p)), len(fitted))
        errors = 1 / np.sqrt(np.maximum(information, 1e-12))
        k = np.log(np.arange(2, len(fitted) + 1))
        decay = -float(np.log(fitted[1:]) @ k / (k @ k))
        out = examination_prior(MAX_SLOTS, max(decay, 0.0))
        out[: len(fitted)] = fitted
        out[len(fitted) :] = np.minimum(out[len(fitted) :], fitted[-1])
        return out, {f"slot {j + 1}": float(errors[j]) for j in range(1, len(fitted))}


def _stronger(config: UserModelConfig, factor: float) -> UserModelConfig:
    """The config with its L2 weights on the ids' vectors times ``factor``."""
    names = ("user_l2", "item_l2")
    return config.replace(**{name: factor * getattr(config, name) for name in names})


def _climb(ladder: list[float], loss: Callable[[float], float]) -> float:
    """The lowest step reached from the middle, going first up, then down."""
    at = len(ladder) // 2
    known = {at: loss(ladder[at])}
    for direction in (1, -1):
        step = at + direction
        while 0 <= step < len(ladder):
            known[step] = loss(ladder[step])
            if known[step] >= known[step - direction]:
                break
            step += direction
        if min(known, key=known.__getitem__) != at:
            break
    return ladder[min(known, key=known.__getitem__)]


def _mean_tenure(user: npt.NDArray[np.integer], num_users: int) -> npt.NDArray[np.float64]:
    """(U,) mean over a user's events of log(1 + events before): tenure is told within users."""
    count = np.bincount(user, minlength=num_users)
    before = np.concatenate([[0.0], np.cumsum(np.log1p(np.arange(count.max(initial=1))))])
    return before[count] / np.maximum(count, 1)


def _any_twice(rows: Rows) -> bool:
    """Whether any user consumed any item twice."""
    taken = rows.response >= CLICK
    pair = rows.user[taken] * (int(rows.item.max(initial=0)) + 1) + rows.item[taken]
    return len(np.unique(pair)) < len(pair)


def _some_users(rows: Rows, most: int) -> Rows:
    """All rows, or those of evenly spread users that make up about ``most``."""
    step = -(-rows.size // most)
    return rows if step <= 1 else rows.take(rows.user % step == 0)


def _several_rounds(rows: Rows) -> bool:
    """Whether enough visits have more than one round for their order to tell something."""
    known = rows.round >= 0
    rounds = np.unique(np.stack([rows.user[known], rows.visit[known], rows.round[known]]), axis=1)
    visits_ = np.unique(rounds[:2], axis=1, return_counts=True)[1]
    return int((visits_ > 1).sum()) >= dynamics.FEWEST_VISITS


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


def _level_shift(
    arrays: dict[str, F32], users: npt.NDArray[np.intp], config: UserModelConfig
) -> np.float32:
    """What to add to every click logit so that the mean click probability is the stated one.

    The mean is over at most 500 users times 2000 items, drawn uniformly.
    """
    rng = np.random.default_rng(config.seed)
    items = np.arange(len(arrays["item_vectors"]))
    users = rng.choice(users, min(len(users), 500), replace=False)
    items = rng.choice(items, min(len(items), 2000), replace=False)
    weighted = arrays["user_vectors"][users] * arrays["click_weight"]
    logits = weighted @ arrays["item_vectors"][items].T + arrays["item_click_bias"][items]
    return _shift_to(logits, config.click_rate)


def _shift_to(logits: npt.NDArray[np.floating], rate: float) -> np.float32:
    """What to add to log-odds so that the mean probability is ``rate``."""
    found = brentq(lambda b: float(expit(logits + b).mean()) - rate, -50, 50)
    return np.float32(np.asarray(found).item())
