"""Settings of the learning algorithms, by name."""

from __future__ import annotations

from typing import Literal

from training.config.algorithms.appo import APPO
from training.config.algorithms.base import AlgorithmSettings
from training.config.algorithms.bc import BC
from training.config.algorithms.idqn import IDQN
from training.config.algorithms.impala import IMPALA
from training.config.algorithms.ppo import IPPO, MAPPO
from training.config.algorithms.sac import SAC
from training.config.algorithms.slateq import SlateQ

Algorithm = Literal["ippo", "mappo", "impala", "appo", "bc", "slateq", "idqn", "sac"]
"""The names of the algorithms."""

ALGORITHMS: dict[Algorithm, type[AlgorithmSettings]] = {
    "ippo": IPPO,
    "mappo": MAPPO,
    "impala": IMPALA,
    "appo": APPO,
    "bc": BC,
    "slateq": SlateQ,
    "idqn": IDQN,
    "sac": SAC,
}
"""By name, which is also the field of ``TrainConfig`` with the algorithm's settings."""

__all__ = [
    "ALGORITHMS",
    "APPO",
    "BC",
    "IDQN",
    "IMPALA",
    "IPPO",
    "MAPPO",
    "SAC",
    "Algorithm",
    "AlgorithmSettings",
    "SlateQ",
]
