"""Settings of training, as frozen dataclasses with one default each; no torch, no Ray."""

from training.config.algorithms import ALGORITHMS, AlgorithmSettings
from training.config.network import NetworkConfig
from training.config.run import CLASSICAL, FITTED, MODULES, Side, TrainConfig
from training.config.values import ValueConfig

__all__ = [
    "ALGORITHMS",
    "CLASSICAL",
    "FITTED",
    "MODULES",
    "AlgorithmSettings",
    "NetworkConfig",
    "Side",
    "TrainConfig",
    "ValueConfig",
]
