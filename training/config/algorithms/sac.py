"""Settings of SAC: soft actor-critic with discrete actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.config.algorithms.replay import ReplaySettings
from training.config.values import ValueConfig


@dataclass(frozen=True)
class SAC(ReplaySettings):
    """Soft actor-critic (Haarnoja et al. 2018) for discrete actions (Christodoulou 2019).

    The policies are those of ``IPPO``, the critics' values those of ``IDQN``. What
    ``TrainConfig.kl_weight`` weighs is in units of the user's reward.

    Attributes:
        entropy_target: what the entropy's weight follows: a share, from 0 to 1, of the greatest
            entropy there is.
        slot_credit: tell the recommender which slot earned what.
    """

    slates: ClassVar[tuple[str, ...]] = ("plackett-luce",)

    entropy_target: float = 0.5
    slot_credit: bool = True

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        super().check()
        self.require(0 <= self.entropy_target <= 1, "entropy_target", "in [0, 1]")

    @property
    def values(self) -> ValueConfig:
        """See ``AlgorithmSettings.values``."""
        return ValueConfig("soft")
