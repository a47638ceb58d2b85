"""PPO for this game: credit slot by slot, and a user that stays near the logged one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from training.distributions import PlackettLuce
from training.fragments import SLOT_REWARDS
from training.networks import RecommenderNetwork


def reaching(loss: Tensor, unused: Iterable[Tensor]) -> Tensor:
    """The loss, with gradients of zero for what it does not depend on.

    Several learners add up their gradients parameter by parameter, and wait for each.
    """
    return loss + 0 * sum(parameter.sum() for parameter in unused)


class UserTie:
    """A user that stays near the logged one, for any learner of its policy.

    With weight w, ``w * KL(policy || fitted user)`` in nats per turn is added to the loss (Jacob et
    al., ICML 2022, "Modeling strong and human-like gameplay with KL-regularized search"), and the
    sum divided by 1 + w, so that gradients are of one size whatever the weight. The divergence is
    exact, and so adds no variance, as a reward would.
    """

    def tied(
        self, loss: Tensor, weight: float, module: Any, batch: Any, fwd_out: dict[str, Any]
    ) -> Tensor:
        """() the user's loss with the tie.

        Args:
            loss: () of the policy and its critic.
            weight: w, ``TrainConfig.behaviour_weight``.
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
        return share * loss + (1 - share) * _valid(batch, now.kl(fitted)).mean()


class TwoSidedLearner(UserTie, PPOTorchLearner):
    """PPO with credit slot by slot for the recommender, and a tie to the log for the user.

    **Recommender.** A round's reward is a sum over slots, so a slot's choice need not be blamed
    for the others' outcomes. With r_k what slot k earned, b_k its learned mean given the visit,
    and A the advantage of the whole slate, slot k is credited with
    ``(r_k - b_k) + (A - sum_j (r_j - b_j))``: its own surprise and all that is not a slot's.
    Ratios are clipped slot by slot. The surprise of one slot depends on the choice in another
    only through candidates that are taken; that is neglected. This is the slate decomposition
    of Ie et al. (IJCAI 2019, "SlateQ") in a policy gradient. Batches without ``SLOT_REWARDS``
    are learned as RLlib does.

    **User.** Its tie to the fitted user: see ``UserTie``.

    ``slot_credit`` and ``behaviour_weight`` are read from the config's ``learner_config_dict``.
    """

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """See ``Learner.before_gradient_based_update``.

        RLlib sets an entropy's weight after each update, and does not save it: the first one after
        a restart had the weight of the very first. It is set here, too, to the same.
        """
        super().before_gradient_based_update(timesteps=timesteps)
        sampled = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        begun = max(0, sampled - self.config.total_train_batch_size)
        for module_id in list(self.module.keys()):
            self.entropy_coeff_schedulers_per_module[module_id].update(timestep=begun)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """See ``TorchLearner.compute_loss_for_module``."""
        module: Any = self.module[module_id].unwrapped()
        settings = config.learner_config_dict
        recommends = isinstance(module.network, RecommenderNetwork)
        if recommends and settings["slot_credit"] and SLOT_REWARDS in batch:
            return self._recommender_loss(module_id, module, config, batch, fwd_out)
        loss: Any = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        if recommends:
            return reaching(loss, module.critic.each.parameters())
        return self.tied(loss, settings["behaviour_weight"], module, batch, fwd_out)

    def _recommender_loss(
        self, module_id: str, module: Any, config: Any, batch: Any, fwd_out: Any
    ) -> Tensor:
        def mean(values: Tensor) -> Tensor:
            return _valid(batch, values).mean()

        now: PlackettLuce = module.get_train_action_dist_cls().from_logits(
            fwd_out[Columns.ACTION_DIST_INPUTS]
        )
        before: PlackettLuce = module.get_exploration_action_dist_cls().from_logits(
            batch[Columns.ACTION_DIST_INPUTS]
        )
        actions, earned = batch[Columns.ACTIONS], batch[SLOT_REWARDS]
        value, expected = module.all_values(batch[Columns.OBS], fwd_out[Columns.EMBEDDINGS])
        target = batch[Postprocessing.VALUE_TARGETS]

        with torch.no_grad():
            surprise = earned - expected  # (B, K)
            rest = (target - value) - surprise.sum(-1)  # (B,)
            credit = surprise + rest[:, None]
            counted = _valid(batch, credit)
            credit = (credit - counted.mean()) / counted.std().clamp(min=1e-4)
        ratio = torch.exp(now.slot_logp(actions) - before.slot_logp(actions))
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        policy_loss = -mean(torch.minimum(ratio * credit, clipped * credit).sum(-1))
        value_error = (value - target) ** 2
        value_loss = mean(value_error.clamp(max=config.vf_clip_param))
        slot_loss = mean(((expected - earned) ** 2).sum(-1))
        entropy = mean(now.entropy())
        coefficient: Any = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        variance = _valid(batch, target).var().clamp(min=1e-6)
        self.metrics.log_dict(
            {
                "policy_loss": policy_loss,
                "vf_loss_unclipped": mean(value_error),
                "vf_explained_var": 1 - _valid(batch, target - value).var() / variance,
                "entropy": entropy,
            },
            key=module_id,
            window=1,
        )
        return policy_loss + config.vf_loss_coeff * (value_loss + slot_loss) - coefficient * entropy


def _valid(batch: dict[str, Any], values: Tensor) -> Tensor:
    """The rows that are steps: RLlib's own pipeline adds an artificial one to each episode."""
    mask = batch.get(Columns.LOSS_MASK)
    return values if mask is None else values[mask]
