"""IMPALA: an actor-critic that learns from steps of earlier policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from recenv.config import Config
from recenv.errors import ConfigError

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig


@dataclass(frozen=True)
class IMPALA(Config):
    """IMPALA (Espeholt et al., ICML 2018) with RLlib's asynchronous runners and learner thread.

    Each batch holds ``batch_rounds`` rounds of every visit of one runner and is learned as a
    whole, ``passes`` times. ``lam`` is V-trace's lambda, ``rho_clip`` its rho-bar. ``slot_credit``
    as in ``IPPO``, and so is what ``TrainConfig.behaviour_weight`` weighs.
    """

    central: ClassVar[bool] = False
    sides: ClassVar[tuple[str, ...]] = ("recommender", "user")
    slates: ClassVar[tuple[str, ...]] = ("plackett-luce", "independent")

    rounds_per_iteration: int = 4096
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

    @property
    def values(self) -> None:
        """See ``AlgorithmSettings.values``."""
        return None

    def check_batches(self, visits: int) -> None:
        """Raise ConfigError unless batches of so many visits fill an iteration."""
        if self.rounds_per_iteration % (self.batch_rounds * visits):
            raise ConfigError(
                f"rounds_per_iteration ({self.rounds_per_iteration}) must be a multiple of a "
                f"batch's rounds, batch_rounds * num_envs_per_env_runner = "
                f"{self.batch_rounds * visits}, so that an iteration is as long as it says. "
                "Change one of them."
            )

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """See ``AlgorithmSettings.build``."""
        from ray.rllib.algorithms.impala import IMPALAConfig

        from training.asynchronous import ImpalaLearner

        settings = self.common(IMPALAConfig(), config)
        return settings.training(learner_class=ImpalaLearner, learner_queue_size=1)

    def common(self, settings: Any, config: TrainConfig) -> Any:
        """What IMPALA and APPO share of RLlib's config."""
        from training.vtrace import FragmentConnector

        batch, steps = self.batch_rounds * config.num_envs_per_env_runner, len(config.trained)
        return (
            settings.learners(
                add_default_connectors_to_learner_pipeline=False,
                learner_connector=lambda observations, actions: FragmentConnector(),
            )
            .env_runners(
                rollout_fragment_length=self.batch_rounds * steps,
                # weights are pushed: the server that stock runners pull from is not asked here
                use_env_runner_state_server=False,
            )
            .reporting(
                min_time_s_per_iteration=0,
                min_sample_timesteps_per_iteration=config.steps_per_iteration,
            )
            .training(
                learner_config_dict={
                    "slot_credit": self.slot_credit,
                    "behaviour_weight": config.behaviour_weight,
                    "lam": self.lam,
                    "passes": self.passes,
                },
                lr=self.learning_rate,
                train_batch_size_per_learner=batch * steps,
                gamma=self.gamma,
                vtrace_clip_rho_threshold=self.rho_clip,
                vtrace_clip_pg_rho_threshold=self.rho_clip,
                entropy_coeff=self.entropy,
                vf_loss_coeff=self.value_weight,
                grad_clip=self.gradient_clip,
                grad_clip_by="global_norm",
                timeout_s_sampler_manager=0.05,  # else this process polls at full speed
                broadcast_interval=1,
            )
        )
