"""IDQN: deep Q-learning of each side by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.algorithms.replayed import EpsilonSettings
from training.values.config import ValueConfig

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig


@dataclass(frozen=True)
class IDQN(EpsilonSettings):
    """Independent Q-learning (Tan, ICML 1993; Tampuu et al. 2017) by double deep Q-networks.

    A slate's value is a sum over slots and an answer's a sum over its parts (see
    ``training.values.networks``). ``slot_credit`` tells the recommender which slot earned what.
    What ``TrainConfig.behaviour_weight`` weighs is in units of the user's reward.
    """

    slot_credit: bool = True

    @property
    def values(self) -> ValueConfig:
        """See ``AlgorithmSettings.values``."""
        return ValueConfig("slots")

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """See ``AlgorithmSettings.build``."""
        from training.values.idqn import IDQNLearner

        return self._build(config, IDQNLearner)
