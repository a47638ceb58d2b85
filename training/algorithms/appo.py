"""APPO: IMPALA with PPO's clipped surrogate against a target policy."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from ray.rllib.utils.metrics import NUM_ENV_STEPS_TRAINED_LIFETIME
from torch import Tensor

from training.algorithms.impala import VTraceLoss, WatchedThread, asynchronous
from training.config import TrainConfig
from training.config.algorithms import APPO


class AppoLearner(VTraceLoss, WatchedThread, APPOTorchLearner):  # type: ignore[misc]
    """APPO's update, the one of IMPACT (Luo et al. 2020): a surrogate clipped at a target policy.

    V-trace evaluates the target network, a late copy of the policy; ratios to it are clipped, slot
    by slot where slots are credited. The paper's weight ``w = min(pi_sampled / pi_target, 2)``
    takes the place of ratios to the sampling policy: with ``x = w pi / pi_sampled``, the policy
    loss is ``- mean of min(x c, clip(x, 1 - e, 1 + e) c)`` for credit c.
    """

    _batches = 0

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """See ``Learner``. RLlib would count each pass over a batch towards the target's age."""
        self._batches += 1
        age = self._batches * self.config.train_batch_size_per_learner
        super().after_gradient_based_update(
            timesteps={**timesteps, NUM_ENV_STEPS_TRAINED_LIFETIME: age}
        )

    def _evaluated(self, module: Any, make: Any, now: Any, batch: Any, n: int) -> Any:
        late = module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS]
        return make.from_logits(late[:n])

    def _policy_loss(
        self, config: Any, credit: Tensor, now: Tensor, target: Tensor, behaviour: Tensor
    ) -> Tensor:
        weight = torch.exp(behaviour - target).clamp(max=config.target_worker_clipping)
        ratio = weight * torch.exp(now - behaviour)
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        return -torch.minimum(ratio * credit, clipped * credit).sum(-1).mean()


def build(settings: APPO, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of APPO in a run."""
    rllib = asynchronous(APPOConfig(), settings, config).learners(learner_class=AppoLearner)
    return rllib.training(
        clip_param=settings.clip,
        target_network_update_freq=settings.target_every,
        tau=1.0,
        use_kl_loss=False,
        # RLlib's circular buffer learns each batch in later calls than it was asked to, and
        # returns the results of half of them: ``passes`` takes its place
        use_circular_buffer=False,
        simple_queue_size=1,
        circular_buffer_num_batches=1,
        circular_buffer_iterations_per_batch=1,
    )
