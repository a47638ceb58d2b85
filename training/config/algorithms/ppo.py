"""Settings of IPPO and MAPPO: proximal policy optimisation, with critics of two kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.config.algorithms.base import AlgorithmSettings


@dataclass(frozen=True)
class IPPO(AlgorithmSettings):
    """Independent PPO (Schulman et al. 2017; de Witt et al. 2020) with GAE (Schulman et al. 2016).

    Each side learns by itself; its critic reads what its actor sees. ``TrainConfig.kl_weight``
    weighs nats against advantages of unit variance.

    Attributes:
        learning_rate: of Adam, positive.
        epochs: passes over the rounds of an iteration, 1 or more.
        minibatch_size: turns of one side in each step, from 1 to rounds_per_iteration.
        gamma: discount per turn of one side, from 0 to 1.
        gae_lambda: from 0 (advantages of one step) to 1 (of all that followed).
        clip: ratios of the policy to the one that sampled are clipped at 1 - clip and 1 + clip;
            positive.
        entropy: weight of the policy's entropy in the loss, 0 or more.
        entropy_end: weight that the entropy's goes to on a straight line, and reaches with the
            run's last round, 0 or more; by default it stays.
        value_weight: weight of the critic's error in the loss, 0 or more.
        value_clip: greatest squared error of the critic that counts, positive.
        gradient_clip: greatest norm of a gradient, positive.
        slot_credit: tell the recommender which slot earned what (``training.algorithms.ppo``).
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
