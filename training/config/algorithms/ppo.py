"""Settings of IPPO and MAPPO: proximal policy optimisation, with critics of two kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.config.algorithms.base import AlgorithmSettings


@dataclass(frozen=True)
class IPPO(AlgorithmSettings):
    """Independent PPO (Schulman et al. 2017; de Witt et al. 2020) with GAE (Schulman et al. 2016).

    Each side learns by itself; its critic reads what its actor sees. ``minibatch_size`` counts
    turns of one side. ``slot_credit`` tells the recommender which slot earned what (see
    ``training.algorithms.ppo``). The weight of the entropy goes on a straight line to
    ``entropy_end``, if that is given, which it reaches with the run's last round.
    ``TrainConfig.kl_weight`` weighs nats against advantages of unit variance.
    """

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


@dataclass(frozen=True)
class MAPPO(IPPO):
    """Multi-agent PPO (Yu et al., NeurIPS 2022): PPO with centralised critics.

    As ``IPPO``, but during training each side's critic reads both sides' observations and the
    user's true state (``training.models.critics.CentralCritic``). The actors, and what is saved of
    them, are those of ``IPPO``.
    """

    central: ClassVar[bool] = True
