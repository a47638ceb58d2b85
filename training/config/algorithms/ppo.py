"""IPPO and MAPPO: proximal policy optimisation, with critics of two kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from recenv.config import Config

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig


@dataclass(frozen=True)
class IPPO(Config):
    """Independent PPO (Schulman et al. 2017; de Witt et al. 2020) with GAE (Schulman et al. 2016).

    Each side learns by itself; its critic reads what its actor sees. ``minibatch_size`` counts
    turns of one side. ``slot_credit`` tells the recommender which slot earned what (see
    ``training.learner``). The weight of the entropy goes on a straight line to ``entropy_end``, if
    that is given, which it reaches with the run's last round. ``TrainConfig.behaviour_weight``
    weighs nats against advantages of unit variance.
    """

    central: ClassVar[bool] = False
    sides: ClassVar[tuple[str, ...]] = ("recommender", "user")
    slates: ClassVar[tuple[str, ...]] = ("plackett-luce", "independent")

    rounds_per_iteration: int = 4096
    learning_rate: float = 0.001
    epochs: int = 4
    minibatch_size: int = 512
    gamma: float = 0.9
    gae_lambda: float = 0.5
    clip: float = 0.2
    entropy: float = 0.002
    entropy_end: float | None = None
    value_weight: float = 0.5
    value_clip: float = 100.0
    gradient_clip: float = 1.0
    slot_credit: bool = True

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds_per_iteration", "learning_rate", "epochs", "minibatch_size"):
            self.require(getattr(self, name) > 0, name, "positive")
        self.require(
            self.minibatch_size <= self.rounds_per_iteration,
            "minibatch_size",
            f"at most rounds_per_iteration ({self.rounds_per_iteration})",
        )
        for name in ("gamma", "gae_lambda"):
            self.require(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        for name in ("clip", "value_clip", "gradient_clip"):
            self.require(getattr(self, name) > 0, name, "positive")
        for name in ("entropy", "value_weight"):
            self.require(getattr(self, name) >= 0, name, "zero or more")
        self.require((self.entropy_end or 0) >= 0, "entropy_end", "zero or more, or left out")

    @property
    def values(self) -> None:
        """See ``AlgorithmSettings.values``."""
        return None

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """See ``AlgorithmSettings.build``."""
        from ray.rllib.algorithms.ppo import PPOConfig

        from training.connectors import AdvantageConnector
        from training.learner import TwoSidedLearner

        settings: Any = PPOConfig()
        if config.batched_runner:
            settings = settings.learners(
                add_default_connectors_to_learner_pipeline=False,
                learner_connector=lambda observations, actions: AdvantageConnector(
                    gamma=self.gamma, gae_lambda=self.gae_lambda
                ),
            )
        return settings.training(
            learner_class=TwoSidedLearner,
            learner_config_dict={
                "slot_credit": self.slot_credit,
                "behaviour_weight": config.behaviour_weight,
            },
            lr=self.learning_rate,
            num_epochs=self.epochs,
            minibatch_size=self.minibatch_size,
            train_batch_size_per_learner=config.steps_per_iteration // max(1, config.num_learners),
            gamma=self.gamma,
            lambda_=self.gae_lambda,
            clip_param=self.clip,
            entropy_coeff=self._entropy(config),
            vf_loss_coeff=self.value_weight,
            vf_clip_param=self.value_clip,
            grad_clip=self.gradient_clip,
            grad_clip_by="global_norm",
            use_kl_loss=False,
        )

    def _entropy(self, config: TrainConfig) -> float | list[list[float]]:
        """RLlib's schedule: pairs of environment steps and weight."""
        if self.entropy_end is None:
            return self.entropy
        steps = config.iterations * config.steps_per_iteration
        return [[0, self.entropy], [steps, self.entropy_end]]


@dataclass(frozen=True)
class MAPPO(IPPO):
    """Multi-agent PPO (Yu et al., NeurIPS 2022): PPO with centralised critics.

    As ``IPPO``, but during training each side's critic reads both sides' observations and the
    user's true state (``training.critics.CentralCritic``). The actors, and what is saved of
    them, are those of ``IPPO``.
    """

    central: ClassVar[bool] = True
