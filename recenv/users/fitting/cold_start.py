"""Cold-start user: the vector and biases that maximise the likelihood of all users' events.

The mean vector is no substitute: every user's vector fits that user's items, so that the mean is
overconfident, and at another level. (The marginal of a logistic law over users is flatter
than the law at the mean user; see e.g. Agresti, "Categorical Data Analysis", section 13.2.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from recenv.schema import CLICK, PURCHASE, Exposure
from recenv.users.clipping import clipped
from recenv.users.fitting.identification import Evidence
from recenv.users.fitting.network import LawsNetwork
from recenv.users.fitting.training_rows import some_users
from recenv.users.repeat_law import feature

F32 = npt.NDArray[np.float32]
_TINY = 1e-7
_MOST_ROWS = 100_000  # on which users without events are made


class LawRows(NamedTuple):
    """Rows of one law, as a cold-start user would answer them."""

    vectors: F32  # (n, D) of the items, times the law's weights
    fixed: F32  # (n,) log-odds that are not the user's
    hit: npt.NDArray[np.bool_]  # (n,)
    weight: F32  # (n,)
    examined: F32  # (n,) probability of a look


def cold_start_user(
    laws: list[LawRows], mean: F32, l2: float
) -> tuple[F32, tuple[np.float32, ...]]:
    """(vector (D,), bias in each law), by penalised maximum likelihood.

    Args:
        laws: of the same user.
        mean: (D,) vector that the L2 penalty draws to.
        l2: its weight.
    """
    dim = len(mean)

    def loss(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        away = x[:dim] - mean
        value, slope = 0.5 * l2 * float(away @ away), np.zeros_like(x)
        slope[:dim] = l2 * away
        for k, law in enumerate(laws):
            logit = law.vectors @ x[:dim].astype(np.float32) + law.fixed + x[dim + k]
            s = expit(logit).astype(float)
            p = clipped(law.examined * s, _TINY)
            value -= float(law.weight @ np.where(law.hit, np.log(p), np.log1p(-p)))
            error = (law.weight * (p - law.hit) / (1 - p) * (1 - s)).astype(np.float32)
            slope[:dim] += error @ law.vectors
            slope[dim + k] = error.sum()
        return value, slope

    start = np.concatenate([mean.astype(float), np.zeros(len(laws))])
    x = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return x[:dim].astype(np.float32), tuple(np.float32(b) for b in x[dim:])


def set_users_without_events(
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
    problem = evidence.problem(some_users(evidence.rows.take(evidence.own), _MOST_ROWS))
    rows = problem.draw(np.random.default_rng(seed + 5))
    item, taken = rows.item, rows.response >= CLICK
    bought = rows.response[taken] == PURCHASE
    past = feature(rows.past) @ network.repeat_weight.detach().numpy()
    laws: dict[str, LawRows] = {}
    if evidence.exposure != Exposure.CONSUMPTION:
        laws["click"] = LawRows(
            arrays["item_vectors"][item] * arrays["click_weight"],
            (arrays["item_click_bias"][item] + rows.offset + past).astype(np.float32),
            taken,
            rows.weight,
            network.examined(rows.slot),
        )
    if evidence.purchases == "fitted" and bought.any() and not bought.all():
        laws["purchase"] = LawRows(
            arrays["item_vectors"][item[taken]] * arrays["purchase_weight"],
            arrays["item_purchase_bias"][item[taken]],
            bought,
            rows.weight[taken],
            np.ones(len(bought), np.float32),
        )
    vector, biases = cold_start_user(
        list(laws.values()), evidence.mean_user(arrays["user_vectors"]), l2
    )
    arrays["user_vectors"][new] = vector
    for law, bias in zip(laws, biases, strict=True):
        arrays[f"user_{law}_bias"][new] = bias
