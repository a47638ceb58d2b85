"""The learning algorithms: for each, its settings and how they configure RLlib."""

from __future__ import annotations

from training.algorithms.appo import APPO
from training.algorithms.base import AlgorithmSettings
from training.algorithms.impala import IMPALA
from training.algorithms.ppo import IPPO, MAPPO
from training.algorithms.slateq import SlateQ

ALGORITHMS: dict[str, type[AlgorithmSettings]] = {
    "ippo": IPPO,
    "mappo": MAPPO,
    "impala": IMPALA,
    "appo": APPO,
    "slateq": SlateQ,
}
"""By name, which is also the field of ``TrainConfig`` with the algorithm's settings."""

__all__ = ["ALGORITHMS", "APPO", "IMPALA", "IPPO", "MAPPO", "AlgorithmSettings", "SlateQ"]
