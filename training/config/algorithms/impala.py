"""Settings of IMPALA: an off-policy actor-critic with V-trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recenv.errors import ConfigError
from training.config.algorithms.base import AlgorithmSettings


@dataclass(frozen=True)
class IMPALA(AlgorithmSettings):
    """IMPALA (Espeholt et al., ICML 2018) with RLlib's asynchronous runners and learner thread.

    Each batch holds some rounds of every visit of one runner and is learned as a whole.
    ``TrainConfig.kl_weight`` weighs nats against advantages of unit variance.

    Attributes:
        batch_rounds: rounds of each visit in a batch, 1 or more; times the visits of a runner they
            divide rounds_per_iteration.
        passes: how often a batch is learned from, 1 or more.
        learning_rate: of Adam, positive.
        gamma: discount per turn of one side, from 0 to 1.
        lam: V-trace's lambda: from 0 (one step's error) to 1 (all that followed).
        rho_clip: V-trace's rho-bar, the greatest weight of a step of an earlier policy; positive.
        entropy: weight of the policy's entropy in the loss, 0 or more.
        value_weight: weight of the critic's error in the loss, 0 or more.
        gradient_clip: greatest norm of a gradient, positive.
        slot_credit: tell the recommender which slot earned what.
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
