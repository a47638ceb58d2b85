"""Standard errors of fitted weights, from the observed information."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from recenv.config import UserModelConfig
from recenv.schema import CLICK, Exposure
from recenv.users.clipping import clipped
from recenv.users.fitting.calibration import Scale
from recenv.users.fitting.dynamics import Scalar
from recenv.users.fitting.identification import Evidence
from recenv.users.fitting.network import LawsNetwork
from recenv.users.fitting.training_rows import some_users
from recenv.users.fitting.within_visit import moved
from recenv.users.laws import examination_prior
from recenv.users.model import MAX_SLOTS, Dynamics
from recenv.users.repeat_law import RepeatLaw

F32 = npt.NDArray[np.float32]
_MOST_ROWS = 400_000  # on which standard errors are found


def estimates(
    evidence: Evidence, network: LawsNetwork, name: Literal["tenure", "repeat"], seed: int
) -> list[Scalar]:
    """Weights of the network, with their joint errors from the observed information."""
    problem = evidence.problem(some_users(evidence.rows.take(evidence.own), _MOST_ROWS))
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
    return [Scalar(*pair) for pair in zip(values, errors.tolist(), strict=True)]


def repeat_weights(
    evidence: Evidence, network: LawsNetwork, scale: Scale, seed: int
) -> list[Scalar]:
    """Of the personal past, with what ``scale`` adds; none where they are not fitted."""
    if evidence.repeat_share <= 0:
        return []
    found = estimates(evidence, network, "repeat", seed)
    added = scale.repeat or [0.0] * len(found)
    return [Scalar(w + a, e) for (w, e), a in zip(found, added, strict=True)]


def repeat_law(evidence: Evidence, weights: list[Scalar]) -> RepeatLaw | None:
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
        if evidence.exposure == Exposure.IMPRESSIONS:
            # the fitted click law is already of what was shown, looked at or not
            return np.ones(MAX_SLOTS, np.float32), {}
        return examination_prior(MAX_SLOTS, config.examination_decay), {}
    rows = evidence.rows.take(evidence.own)
    problem = evidence.problem(moved(evidence, rows, network, Dynamics.from_config(config)))
    batch = problem.batch(problem.draw(np.random.default_rng(0)))
    with torch.no_grad():
        click = expit(network.logits(batch).numpy()[:, 0])
    slot, weight = batch.slot.numpy(), batch.weight.numpy()
    p = clipped(fitted[slot] * click)
    information = np.bincount(slot, weight * click**2 / (p * (1 - p)), len(fitted))
    errors = 1 / np.sqrt(np.maximum(information, 1e-12))
    k = np.log(np.arange(2, len(fitted) + 1))
    decay = -float(np.log(fitted[1:]) @ k / (k @ k))
    out = examination_prior(MAX_SLOTS, max(decay, 0.0))
    out[: len(fitted)] = fitted
    out[len(fitted) :] = np.minimum(out[len(fitted) :], fitted[-1])
    return out, {f"slot {j + 1}": float(errors[j]) for j in range(1, len(fitted))}
