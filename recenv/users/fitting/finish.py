"""What a fitted network lacks of a user model: newcomers, calibration, levels, errors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from scipy.special import expit, logit

from recenv.config import UserModelConfig
from recenv.schema import CLICK, PURCHASE
from recenv.users.calibrate import Parts, Scale, apply_scale, fit_scale
from recenv.users.dynamics import Estimate
from recenv.users.evidence import Evidence
from recenv.users.laws import examination_prior
from recenv.users.model import MAX_SLOTS, Dynamics
from recenv.users.network import LawsNetwork
from recenv.users.newcomers import Answers, anonymous
from recenv.users.repeat import RepeatLaw, feature
from recenv.users.rows import Rows, some_users
from recenv.users.within import moved

F32 = npt.NDArray[np.float32]
_NEWCOMER_ROWS = 100_000  # on which users without events are made
_ERROR_ROWS = 400_000  # on which standard errors are found


def set_purchases(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, config: UserModelConfig
) -> Estimate | None:
    """Bring the purchase law to its users' present, or set the prior; returns tenure's weight.

    Args:
        arrays: of the user model; changed in place.
        evidence: of the training events.
        network: fitted.
        config: seed, and the prior's purchase rate.
    """
    if evidence.purchases != "fitted":
        level = logit(config.purchase_rate) if evidence.purchases == "prior" else 0.0
        arrays["user_purchase_bias"] = np.zeros_like(arrays["user_purchase_bias"])
        arrays["item_purchase_bias"] = np.full_like(arrays["item_purchase_bias"], level)
        arrays["purchase_weight"] = np.zeros_like(arrays["purchase_weight"])
        return None
    tenure = estimates(evidence, network, "tenure", config.seed)[0]
    taken = evidence.rows.response >= CLICK
    held = np.bincount(evidence.rows.user[taken], minlength=len(evidence.folded))
    ahead = np.where(held > 0, tenure.value * (np.log1p(held) - evidence.mean_tenure), 0.0)
    arrays["user_purchase_bias"] += ahead.astype(np.float32)
    return tenure


def set_newcomers(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, seed: int, l2: float
) -> None:
    """Users without any event become the one who explains best how all others answered.

    Where nothing is known of what was shown, what they clicked is no answer.

    Args:
        arrays: of the user model; changed in place.
        evidence: of the training events.
        network: fitted.
        seed: of the contrast.
        l2: weight of the penalty that draws to the mean user.
    """
    new = evidence.per_user == 0
    if not new.any():
        return
    problem = evidence.problem(some_users(evidence.rows.take(evidence.own), _NEWCOMER_ROWS))
    rows = problem.draw(np.random.default_rng(seed + 5))
    item, taken = rows.item, rows.response >= CLICK
    bought = rows.response[taken] == PURCHASE
    past = feature(rows.past) @ network.repeat_weight.detach().numpy()
    laws: dict[str, Answers] = {}
    if evidence.exposure != "clicks":
        laws["click"] = Answers(
            arrays["item_vectors"][item] * arrays["click_weight"],
            (arrays["item_click_bias"][item] + rows.offset + past).astype(np.float32),
            taken,
            rows.weight,
            _looked_at(network, rows),
        )
    if evidence.purchases == "fitted" and bought.any() and not bought.all():
        laws["purchase"] = Answers(
            arrays["item_vectors"][item[taken]] * arrays["purchase_weight"],
            arrays["item_purchase_bias"][item[taken]],
            bought,
            rows.weight[taken],
            np.ones(len(bought), np.float32),
        )
    vector, biases = anonymous(list(laws.values()), _mean_user(arrays, evidence), l2)
    arrays["user_vectors"][new] = vector
    for law, bias in zip(laws, biases, strict=True):
        arrays[f"user_{law}_bias"][new] = bias


def calibrate(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, late: Rows | None, seed: int
) -> dict[str, Scale]:
    """Scale both laws to the validation events; a no-op without any.

    Args:
        arrays: of the user model; changed in place.
        evidence: of the training events.
        network: fitted.
        late: training and validation rows.
        seed: of the contrast.
    """
    scales = {"click": Scale(), "purchase": Scale()}
    if late is None:
        return scales
    rows = evidence.problem(late).draw(np.random.default_rng(seed + 4))
    rows = rows.take(rows.late)
    mean = _mean_user(arrays, evidence)
    clicks, purchases = _parts(arrays, evidence, network, rows, mean)
    taken, newcomer = rows.response >= CLICK, evidence.per_user[rows.user] == 0
    # weighted instead of with an offset: what is misfitted is to be right on average over all
    counts = rows.weight * np.where(taken, 1, np.exp(rows.offset))
    scales["click"] = fit_scale(clicks, taken, counts, _looked_at(network, rows), newcomer)
    apply_scale(arrays, "click", scales["click"], mean)
    if evidence.purchases == "fitted":
        bought = rows.response[taken] == PURCHASE
        every, new = np.ones(len(bought)), newcomer[taken]
        purchases = Parts(*(part[taken] for part in purchases))
        scales["purchase"] = fit_scale(purchases, bought, rows.weight[taken], every, new)
        apply_scale(arrays, "purchase", scales["purchase"], mean)
    return scales


def take_over(
    arrays: dict[str, F32], evidence: Evidence, chosen: dict[str, float]
) -> dict[str, Scale]:
    """Scale both laws, in place, as another fit's validation events said."""
    scales = {law: Scale.chosen(law, chosen) for law in ("click", "purchase")}
    mean = _mean_user(arrays, evidence)
    for law, scale in scales.items():
        apply_scale(arrays, law, scale, mean)
    return scales


def _parts(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, rows: Rows, mean: F32
) -> tuple[Parts, Parts]:
    """What both laws say of the rows, part by part."""
    user, item = rows.user, rows.item
    vectors = arrays["item_vectors"][item]
    personal, common = vectors * (arrays["user_vectors"][user] - mean), vectors * mean
    past, weights = feature(rows.past), network.repeat_weight.detach().numpy()
    click = Parts(
        personal=personal @ arrays["click_weight"],
        level=arrays["item_click_bias"][item] + common @ arrays["click_weight"],
        user=arrays["user_click_bias"][user],
        fixed=past @ weights,
        past=past if evidence.repeat_share > 0 else past[:, :0],
    )
    purchase = Parts(
        personal=personal @ arrays["purchase_weight"],
        level=arrays["item_purchase_bias"][item] + common @ arrays["purchase_weight"],
        user=arrays["user_purchase_bias"][user],
        fixed=np.zeros(rows.size),
        past=past[:, :0],
    )
    return click, purchase


def _mean_user(arrays: dict[str, F32], evidence: Evidence) -> F32:
    """(D,) mean vector of the users fitted on; each counts as often as it has events."""
    weights = np.where(evidence.folded, 0, evidence.per_user)
    return np.average(arrays["user_vectors"], axis=0, weights=weights).astype(np.float32)


def _looked_at(network: LawsNetwork, rows: Rows) -> F32:
    """(n,) probability that each row was looked at."""
    return network.examination.detach().numpy()[np.minimum(rows.slot, len(network.prior))]


def set_level(arrays: dict[str, F32], evidence: Evidence, config: UserModelConfig) -> None:
    """Bring the mean click probability to the stated one, in place, where the log tells none."""
    if evidence.exposure != "clicks":
        return
    users = np.flatnonzero(~evidence.folded & (evidence.per_user > 0))
    arrays["item_click_bias"] += _level_shift(arrays, users, config)


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


@torch.no_grad()
def price_effects(
    evidence: Evidence, network: LawsNetwork, config: UserModelConfig
) -> tuple[float, float]:
    """What the standardised log price adds to the items' log-odds, of click and purchase.

    The ridge regression of the items' whole biases on vectors and price under the fit's own
    penalties: where it would end if it were run for ever, as its likelihood hardly cares.
    """
    num_items = len(evidence.catalog)
    total = network.item_biases(torch.arange(num_items)).numpy().astype(float)
    known = np.bincount(evidence.rows.item, minlength=num_items) > 0
    x = np.column_stack([network.items.numpy(), network.price.numpy()])[known].astype(float)
    x, total = x - x.mean(0), total[known] - total[known].mean(0)
    ridge = config.map_l2 / max(config.bias_l2, 1e-6)
    gram = x.T @ x + ridge * np.eye(x.shape[1])
    click, purchase = np.linalg.solve(gram, x.T @ total)[-1]
    return float(click), float(purchase)


def estimates(
    evidence: Evidence, network: LawsNetwork, name: Literal["tenure", "repeat"], seed: int
) -> list[Estimate]:
    """Weights of the network, with their joint errors from the observed information."""
    problem = evidence.problem(some_users(evidence.rows.take(evidence.own), _ERROR_ROWS))
    batch = problem.batch(problem.draw(np.random.default_rng(seed + 3)))
    if name == "tenure":
        batch = batch.take(batch.response >= CLICK)
    with torch.no_grad():
        p = expit(network.logits(batch).numpy()[:, 1 if name == "tenure" else 0])
    x = (batch.tenure[:, None] if name == "tenure" else batch.repeat).numpy().astype(float)
    scale = evidence.own.sum() / max(problem.rows.size, 1)  # rows left out inform as well
    each = scale * batch.weight.numpy() * p * (1 - p)
    information = x.T @ (x * each[:, None]) + 1e-12 * np.eye(x.shape[1])
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    weight = network.tenure_weight if name == "tenure" else network.repeat_weight
    values = weight.detach().ravel().tolist()
    return [Estimate(*pair) for pair in zip(values, errors.tolist(), strict=True)]


def repeat_weights(
    evidence: Evidence, network: LawsNetwork, scale: Scale, seed: int
) -> list[Estimate]:
    """Of the personal past, with what ``scale`` adds; none where they are not fitted."""
    if evidence.repeat_share <= 0:
        return []
    found = estimates(evidence, network, "repeat", seed)
    added = scale.repeat or [0.0] * len(found)
    return [Estimate(w + a, e) for (w, e), a in zip(found, added, strict=True)]


def repeat_law(evidence: Evidence, weights: list[Estimate]) -> RepeatLaw | None:
    """The personal past as it stands at the end of the log."""
    if not evidence.once and not weights:
        return None
    rows = evidence.rows.take(evidence.rows.response >= CLICK)
    return RepeatLaw.at_end(
        rows.user,
        rows.item,
        rows.visit,
        len(evidence.folded),
        weights=[weight.value for weight in weights],
    )


def examination(
    evidence: Evidence, network: LawsNetwork, config: UserModelConfig
) -> tuple[F32, dict[str, float]]:
    """((MAX_SLOTS,) P(slot is looked at), standard errors of the fitted slots)."""
    fitted = network.examination.detach().numpy()
    if len(fitted) == 1:
        if evidence.exposure == "impressions":
            # the fitted click law is already of what was shown, looked at or not
            return np.ones(MAX_SLOTS, np.float32), {}
        return examination_prior(MAX_SLOTS, config.examination_decay), {}
    rows = evidence.rows.take(evidence.own)
    problem = evidence.problem(moved(evidence, rows, network, Dynamics.from_config(config)))
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
