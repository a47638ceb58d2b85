"""Settings of IMPALA: an off-policy actor-critic with V-trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recenv.errors import ConfigError
from training.config.algorithms.base import AlgorithmSettings


@dataclass(frozen=True)
class IMPALA(AlgorithmSettings):
    """IMPALA (Espeholt et al., ICML 2018) with RLlib's asynchronous runners and learner thread.

    Each batch holds ``batch_rounds`` rounds of every visit of one runner and is learned as a
    whole, ``passes`` times. ``lam`` is V-trace's lambda, ``rho_clip`` its rho-bar. ``slot_credit``
    as in ``IPPO``, and so is what ``TrainConfig.kl_weight`` weighs.
    """

    asynchronous: ClassVar[bool] = True

    batch_rounds: int = 4
    passes: int = 1
    learning_rate: float = 0.005
    gamma: float = 0.9
    lam: float = 1.0
    rho_clip: float = 1.0
    entropy: float = 0.01
    value_weight: float = 0.5
    gradient_clip: float = 1.0
    slot_credit: bool = True

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds_per_iteration", "batch_rounds", "passes", "learning_rate", "rho_clip"):
            self.require(getattr(self, name) > 0, name, "positive")
        for name in ("gamma", "lam"):
            self.require(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        self.require(self.gradient_clip > 0, "gradient_clip", "positive")
        for name in ("entropy", "value_weight"):
            self.require(getattr(self, name) >= 0, name, "zero or more")

    def check_run(self, visits: int) -> None:
        """See ``AlgorithmSettings.check_run``: batches of all visits must fill an iteration."""
        if self.rounds_per_iteration % (self.batch_rounds * visits):
            raise ConfigError(
                f"rounds_per_iteration ({self.rounds_per_iteration}) must be a multiple of a "
                f"batch's rounds, batch_rounds * num_envs_per_env_runner = "
                f"{self.batch_rounds * visits}, so that an iteration is as long as it says. "
                "Change one of them."
            )
