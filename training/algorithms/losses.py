"""Loss terms shared by several algorithms: the KL to the fitted user, masked means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.rllib.core.columns import Columns
from torch import Tensor


def reaching(loss: Tensor, unused: Iterable[Tensor]) -> Tensor:
    """Loss with zero gradients for the parameters that it does not depend on.

    Several learners add up their gradients parameter by parameter, and wait for each.
    """
    return loss + 0 * sum(parameter.sum() for parameter in unused)


class FittedUserKL:
    """KL to the fitted user, as a penalty in the loss of any learner of a user's policy.

    The loss is ``(loss + w KL(policy || fitted user)) / (1 + w)``, in nats per turn (Jacob et
    al., ICML 2022, "Modeling strong and human-like gameplay with KL-regularized search"); the
    division keeps the size of gradients whatever the weight w. The divergence is exact, and so adds
    no variance, as a reward would.
    """

    def with_divergence(
        self, loss: Tensor, weight: float, module: Any, batch: Any, fwd_out: dict[str, Any]
    ) -> Tensor:
        """() the user's loss with the KL to the fitted user.

        Args:
            loss: () of the policy and its critic.
            weight: w, ``TrainConfig.kl_weight``.
            module: of the user.
            batch: that the loss is of.
            fwd_out: what the module says of it.
        """
        if weight == 0:
            return loss
        make = module.get_train_action_dist_cls()
        now = make.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        fitted = make.from_logits(module.network.fitted_logits(batch[Columns.OBS]))
        share = 1 / (1 + weight)
        return share * loss + (1 - share) * valid_steps(batch, now.kl(fitted)).mean()


def valid_steps(batch: dict[str, Any], values: Tensor) -> Tensor:
    """Rows that are steps: RLlib's pipeline adds an artificial one to each episode."""
    mask = batch.get(Columns.LOSS_MASK)
    return values if mask is None else values[mask]
