"""PPO, with slot-wise credit for recommenders and a KL to the fitted user for users."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from training.algorithms.gae import AdvantageConnector
from training.algorithms.losses import FittedUserKL, reaching, valid_steps
from training.config import TrainConfig
from training.config.algorithms import IPPO
from training.models.distributions import PlackettLuce
from training.models.networks import RecommenderNetwork
from training.sampling.fragments import SLOT_REWARDS


class TwoSidedLearner(FittedUserKL, PPOTorchLearner):
    """PPO with slot-wise credit for the recommender, and a KL to the fitted user for the user.

    **Recommender.** A round's reward is a sum over slots, so a slot's choice need not be blamed
    for the others' outcomes. With r_k what slot k earned, b_k its learned mean given the visit,
    and A the advantage of the whole slate, slot k is credited with
    ``(r_k - b_k) + (A - sum_j (r_j - b_j))``: its surprise and all that is not a slot's.
    Ratios are clipped slot by slot. The surprise of one slot depends on the choice in another
    only through candidates that are taken; that is neglected. This is the slate decomposition
    of Ie et al. (IJCAI 2019, "SlateQ") in a policy gradient. Batches without ``SLOT_REWARDS``
    are learned as RLlib does.

    With c_k the standardised credit of slot k, ``x_k = pi(a_k | a_<k) / pi_old(a_k | a_<k)`` and
    value targets y, the loss (Schulman et al. 2017) is the mean over steps of::

        - sum_k min(x_k c_k, clip(x_k, 1 - e, 1 + e) c_k)
        + value_weight (min((V - y)**2, value_clip) + sum_k (b_k - r_k)**2)
        - entropy_weight H(pi)

    **User.** PPO's loss with the KL to the fitted user: see ``FittedUserKL``.

    ``slot_credit`` and ``kl_weight`` are read from the config's ``learner_config_dict``.
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
        return self.with_divergence(loss, settings["kl_weight"], module, batch, fwd_out)

    def _recommender_loss(
        self, module_id: str, module: Any, config: Any, batch: Any, fwd_out: Any
    ) -> Tensor:
        def mean(values: Tensor) -> Tensor:
            return valid_steps(batch, values).mean()

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
            counted = valid_steps(batch, credit)
            credit = (credit - counted.mean()) / counted.std().clamp(min=1e-4)
        ratio = torch.exp(now.slot_logp(actions) - before.slot_logp(actions))
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        policy_loss = -mean(torch.minimum(ratio * credit, clipped * credit).sum(-1))
        value_error = (value - target) ** 2
        value_loss = mean(value_error.clamp(max=config.vf_clip_param))
        slot_loss = mean(((expected - earned) ** 2).sum(-1))
        entropy = mean(now.entropy())
        coefficient: Any = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        variance = valid_steps(batch, target).var().clamp(min=1e-6)
        self.metrics.log_dict(
            {
                "policy_loss": policy_loss,
                "vf_loss_unclipped": mean(value_error),
                "vf_explained_var": 1 - valid_steps(batch, target - value).var() / variance,
                "entropy": entropy,
            },
            key=module_id,
            window=1,
        )
        return policy_loss + config.vf_loss_coeff * (value_loss + slot_loss) - coefficient * entropy


def build(settings: IPPO, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of PPO in a run."""

    rllib: Any = PPOConfig().learners(
        learner_class=TwoSidedLearner,
        learner_config_dict={
            "slot_credit": settings.slot_credit,
            "kl_weight": config.kl_weight,
        },
    )
    if config.batched_runner:
        rllib = rllib.learners(
            add_default_connectors_to_learner_pipeline=False,
            learner_connector=lambda observations, actions: AdvantageConnector(
                gamma=settings.gamma, gae_lambda=settings.gae_lambda
            ),
        )
    return rllib.training(
        lr=settings.learning_rate,
        num_epochs=settings.epochs,
        minibatch_size=settings.minibatch_size,
        train_batch_size_per_learner=config.steps_per_iteration // max(1, config.num_learners),
        gamma=settings.gamma,
        lambda_=settings.gae_lambda,
        clip_param=settings.clip,
        entropy_coeff=_entropy(settings, config),
        vf_loss_coeff=settings.value_weight,
        vf_clip_param=settings.value_clip,
        grad_clip=settings.gradient_clip,
        grad_clip_by="global_norm",
        use_kl_loss=False,
    )


def _entropy(settings: IPPO, config: TrainConfig) -> float | list[list[float]]:
    """RLlib's schedule: pairs of environment steps and weight."""
    if settings.entropy_end is None:
        return settings.entropy
    steps = config.iterations * config.steps_per_iteration
    return [[0, settings.entropy], [steps, settings.entropy_end]]
