"""Provenance notes: the source of each fitted law, in words."""

from __future__ import annotations

from recenv.config import UserModelConfig
from recenv.schema import CLICK, PURCHASE, Exposure, InteractionLog
from recenv.users.fitting.dynamics import LeaveFit, Scalar
from recenv.users.fitting.training_rows import purchase_source
from recenv.users.provenance import Provenance
from recenv.users.repeat_law import HALF_LIVES


def of_click(log: InteractionLog, config: UserModelConfig) -> dict[str, Provenance]:
    """The click law and its level."""
    clicks = int((log.column("response") >= CLICK).sum())
    kind = log.exposure
    contrast = {
        Exposure.IMPRESSIONS: f"{len(log) - clicks} impressions without a click",
        Exposure.CATALOGUE: "a sample of what each visit passed over, "
        f"{config.negatives} per item taken",
        Exposure.CONSUMPTION: f"{config.negatives} sampled items per click",
    }[kind]
    what = "purchases (of clicks the log tells nothing)" if _only_bought(log) else "clicks"
    by = ", by inverse propensity" if config.propensity_weights else ""
    penalties = (
        f"{by}; L2 weights {config.user_l2:g} (users), {config.item_l2:g} (items), "
        f"{config.bias_l2:g} (biases)"
    )
    level = {
        Exposure.IMPRESSIONS: Provenance("fitted", f"{clicks} clicks in {len(log)} impressions"),
        Exposure.CATALOGUE: Provenance(
            "fitted", f"{clicks} {what} among all that the visits could choose from"
        ),
        Exposure.CONSUMPTION: Provenance(
            "prior", f"mean P(click given looked at) stated as {config.click_rate}"
        ),
    }[kind]
    return {
        "click": Provenance("fitted", f"{log.name}: {clicks} {what} against {contrast}{penalties}"),
        "click level": level,
    }


def of_purchase(log: InteractionLog, config: UserModelConfig, tenure: Scalar | None) -> Provenance:
    """The purchase law."""
    purchases = int((log.column("response") == PURCHASE).sum())
    clicks = int((log.column("response") >= CLICK).sum())
    source = purchase_source(log)
    if source == "prior":
        return Provenance(
            "prior",
            f"the log has no purchases; P(purchase | click) stated as {config.purchase_rate}",
        )
    if source == "funnel":
        return Provenance(
            "prior",
            "the log has purchases only: of their fitted probability p, "
            f"p ** {config.funnel:g} is the click and the rest the purchase",
        )
    spread = {} if tenure is None else {"tenure": tenure.error}
    note = f"{log.name}: {purchases} purchases in {clicks} clicks"
    if tenure is not None:
        note += f"; {tenure.value:+.3f} log-odds per unit of log(1 + items consumed before)"
    return Provenance("fitted", note, spread)


def of_examination(
    log: InteractionLog, config: UserModelConfig, spread: dict[str, float]
) -> Provenance:
    """The position-based model."""
    if spread:
        note = (
            f"{log.name}: position-based model, slots 2 to {len(spread) + 1} relative to the "
            "first, together with the click law; later slots by the power law through these"
        )
        return Provenance("fitted", note, spread)
    if log.has_impressions:
        return Provenance("prior", "every slot counts as looked at: the log has no positions")
    return Provenance(
        "prior", f"position-based model, k ** -{config.examination_decay:g}; no impressions"
    )


def of_repeat(
    log: InteractionLog,
    *,
    once: bool,
    share: float,
    weights: list[Scalar],
) -> Provenance:
    """Note on repeat consumption."""
    if once:
        return Provenance("fitted", f"{log.name}: nothing is consumed twice, so nothing will be")
    if not weights:
        return Provenance("prior", "none: the log shows no repeats that could be told from taste")
    by_half_life = list(zip(HALF_LIVES, weights, strict=True))
    told = ", ".join(f"{w.value:.3f} at half-life {h:g} visits" for h, w in by_half_life)
    note = (
        f"{log.name}: {share:.0%} of what is consumed was consumed in an earlier visit; weights "
        f"{told}"
    )
    return Provenance("fitted", note, {f"half-life {h:g}": w.error for h, w in by_half_life})


def of_boredom(log: InteractionLog, found: tuple[Scalar, Scalar] | None) -> Provenance:
    """Boredom of categories within a visit."""
    if found is None:
        if log.exposes_catalog:
            return Provenance("prior", "none: a basket has no order, so nothing bores within it")
        return Provenance("prior", "the log has no order within visits; stated rates")
    weight, decay = found
    note = f"{log.name}: weight {weight.value:.3f}, decay {decay.value:.2f} per round"
    if weight.value < 0:
        note += (
            "; the log shows attraction to the category just consumed, not boredom, so that the "
            "law is off (weight 0)"
        )
    return Provenance("fitted", note, {"weight": weight.error, "decay": decay.error})


def of_drift(log: InteractionLog, found: Scalar | None) -> Provenance:
    """Drift of interest within a visit."""
    if found is None:
        if log.exposes_catalog:
            return Provenance("prior", "none: a basket has no order, so interest stays within it")
        return Provenance("prior", "no later visits with an order to choose by; a stated rate")
    note = f"{log.name}: rate {found.value:.4f} per item consumed, by held-out likelihood"
    return Provenance("fitted", note, {"rate": found.error})


def of_leave(log: InteractionLog, found: LeaveFit | None) -> Provenance:
    """The hazard of each round."""
    if found is None:
        return Provenance("prior", "the log does not tell rounds; stated coefficients")
    note = (
        f"{log.name}: discrete-time hazard over {found.rounds} rounds of {found.visits} visits, "
        f"{found.censored} of them censored; satisfaction decays by "
        f"{found.satisfaction_decay:.2f} a round"
    )
    names = ("intercept", "length", "satisfaction", "boredom")
    return Provenance("fitted", note, {name: getattr(found, name).error for name in names})


def _only_bought(log: InteractionLog) -> bool:
    return purchase_source(log) == "funnel"
