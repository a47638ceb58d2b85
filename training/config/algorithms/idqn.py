"""Settings of IDQN: independent deep Q-learning of each side."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.algorithms.replay import EpsilonSettings
from training.config.values import ValueConfig


@dataclass(frozen=True)
class IDQN(EpsilonSettings):
    """Independent Q-learning (Tan, ICML 1993; Tampuu et al. 2017) by double deep Q-networks.

    A slate's value is a sum over slots and an answer's a sum over its parts (see
    ``training.models.value_networks``). What ``TrainConfig.kl_weight`` weighs is in units of the
    user's reward.

    Attributes:
        slot_credit: tell the recommender which slot earned what.
    """

    slot_credit: bool = True

    @property
    def values(self) -> ValueConfig:
        """See ``AlgorithmSettings.values``."""
        return ValueConfig("slots")
