"""Off-policy algorithm of RLlib for action values: sample, learn, synchronise weights."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import ALL_MODULES
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from training.algorithms.replay_learner import ReplayLearner
from training.config import TrainConfig
from training.config.algorithms.replay import ReplaySettings


class ReplayConfig(AlgorithmConfig):
    """RLlib's config, whose modules and learner are always given."""

    def __init__(self) -> None:
        super().__init__(algo_class=ReplayAlgorithm)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """RLlib fills in from it what a spec leaves open; ours leave nothing open."""
        return RLModuleSpec()


class ReplayAlgorithm(Algorithm):
    """One sample and one call of the learner an iteration; the learner replays by itself.

    RLlib's DQN keeps a buffer of episodes on the driver and converts, ships and logs every
    minibatch. Here the buffer is the learner's (``training.algorithms.replay_learner``).
    """

    config: Any
    metrics: Any
    learner_group: Any
    env_runner_group: Any

    def training_step(self) -> None:
        """See ``Algorithm.training_step``."""
        log_time = self.metrics.log_time
        with log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            sampled: Any = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=self.config.total_train_batch_size,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
            samples, results = sampled
            if not samples:
                return
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        with log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
            results = self.learner_group.update(
                episodes=samples, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        with log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group,
                policies=set(results[0]) - {ALL_MODULES},
                inference_only=True,
            )


def replay_config(
    settings: ReplaySettings, config: TrainConfig, learner: type[ReplayLearner]
) -> AlgorithmConfig:
    """RLlib's config, with this learner.

    Raises:
        ConfigError: several learners, or samples that are not flat.
    """
    config.require(
        config.num_learners <= 1,
        "num_learners",
        f"0 or 1: {config.algorithm} learns from one replay, which its learner keeps",
    )
    config.require(
        config.batched_runner,
        "batched_runner",
        f"on: {config.algorithm} replays flat samples, and RLlib's own runner gives episodes",
    )
    rllib: Any = ReplayConfig()
    return (
        rllib.env_runners(rollout_fragment_length="auto")
        .learners(
            learner_class=learner,
            learner_config_dict={"settings": settings},
            add_default_connectors_to_learner_pipeline=False,
        )
        .training(
            lr=settings.learning_rate,
            train_batch_size_per_learner=config.steps_per_iteration,
            gamma=settings.gamma,
            grad_clip=settings.gradient_clip,
            grad_clip_by="global_norm",
        )
    )
