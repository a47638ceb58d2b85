"""The learning algorithms: for each, its settings and how they configure RLlib."""

from __future__ import annotations

from training.algorithms.appo import APPO
from training.algorithms.base import AlgorithmSettings
from training.algorithms.bc import BC
from training.algorithms.idqn import IDQN
from training.algorithms.impala import IMPALA
from training.algorithms.ppo import IPPO, MAPPO
from training.algorithms.sac import SAC
from training.algorithms.slateq import SlateQ

ALGORITHMS: dict[str, type[AlgorithmSettings]] = {
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
    "AlgorithmSettings",
    "SlateQ",
]
