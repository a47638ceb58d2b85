"""Builder of RLlib's config and learner from an algorithm's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from training.algorithms import appo, bc, idqn, impala, ppo, sac, slateq
from training.config import TrainConfig

BUILDERS: dict[str, Callable[[Any, TrainConfig], AlgorithmConfig]] = {
    "ippo": ppo.build,
    "mappo": ppo.build,
    "impala": impala.build,
    "appo": appo.build,
    "bc": bc.build,
    "slateq": slateq.build,
    "idqn": idqn.build,
    "sac": sac.build,
}
"""By the algorithm's name, as in ``training.config.algorithms.ALGORITHMS``."""


def build(config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of the algorithm in a run.

    Raises:
        ConfigError: the algorithm cannot learn in such a run.
        ArtifactError: there is no recording to imitate.
    """
    return BUILDERS[config.algorithm](config.settings, config)
