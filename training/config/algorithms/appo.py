"""Settings of APPO: IMPALA with PPO's clipped surrogate against a target policy."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.algorithms.impala import IMPALA


@dataclass(frozen=True)
class APPO(IMPALA):
    """Asynchronous PPO, RLlib's form of IMPACT (Luo et al., ICLR 2020).

    As ``IMPALA``, but the policy's ratios to a target network are clipped, which makes several
    passes over a batch safe.

    Attributes:
        clip: ratios are clipped at 1 - clip and 1 + clip; positive.
        target_every: batches after which the target network becomes the policy, 1 or more.
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
