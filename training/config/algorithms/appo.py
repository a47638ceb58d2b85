"""APPO: IMPALA with PPO's clipped surrogate against a late copy of the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.algorithms.impala import IMPALA

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig


@dataclass(frozen=True)
class APPO(IMPALA):
    """Asynchronous PPO, RLlib's form of IMPACT (Luo et al., ICLR 2020).

    As ``IMPALA``, but the policy's ratios to a target network are clipped at 1 +- ``clip``, which
    makes several ``passes`` over a batch safe. The target network becomes the policy every
    ``target_every`` batches.
    """

    passes: int = 4
    learning_rate: float = 0.002
    entropy: float = 0.005
    clip: float = 0.2
    target_every: int = 1

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        super().check()
        self.require(self.clip > 0, "clip", "positive")
        self.require(self.target_every >= 1, "target_every", "at least 1")

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """See ``AlgorithmSettings.build``."""
        from ray.rllib.algorithms.appo import APPOConfig

        from training.asynchronous import AppoLearner

        return self.common(APPOConfig(), config).training(
            learner_class=AppoLearner,
            clip_param=self.clip,
            target_network_update_freq=self.target_every,
            tau=1.0,
            use_kl_loss=False,
            # RLlib's circular buffer learns each batch in later calls than it was asked to, and
            # returns the results of half of them: ``passes`` takes its place
            use_circular_buffer=False,
            simple_queue_size=1,
            circular_buffer_num_batches=1,
            circular_buffer_iterations_per_batch=1,
        )
