"""Intercepts of the click and purchase laws: users' present level, stated rates, price."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from scipy.special import expit, logit

from recenv.config import UserModelConfig
from recenv.schema import CLICK, Exposure
from recenv.users.fitting.dynamics import Scalar
from recenv.users.fitting.identification import Evidence
from recenv.users.fitting.network import LawsNetwork
from recenv.users.fitting.standard_errors import estimates

F32 = npt.NDArray[np.float32]


def set_purchases(
    arrays: dict[str, F32], evidence: Evidence, network: LawsNetwork, config: UserModelConfig
) -> Scalar | None:
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


def set_level(arrays: dict[str, F32], evidence: Evidence, config: UserModelConfig) -> None:
    """Shift the mean click probability to the stated one, in place, if the log has no level."""
    if evidence.exposure != Exposure.CONSUMPTION:
        return
    users = np.flatnonzero(~evidence.folded & (evidence.per_user > 0))
    arrays["item_click_bias"] += _level_shift(arrays, users, config)


def _level_shift(
    arrays: dict[str, F32], users: npt.NDArray[np.intp], config: UserModelConfig
) -> np.float32:
    """Shift of every click logit that makes the mean click probability the stated one.

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
    """Shift of log-odds that makes the mean probability ``rate``."""
    found = brentq(lambda b: float(expit(logits + b).mean()) - rate, -50, 50)
    return np.float32(np.asarray(found).item())


@torch.no_grad()
def price_effects(
    evidence: Evidence, network: LawsNetwork, config: UserModelConfig
) -> tuple[float, float]:
    """Price effects: coefficients of the standardised log price in both laws' log-odds.

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
