"""RLlib for one run: start Ray, build the algorithm, one iteration at a time."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Without clusters Ray takes the loopback address, so none of its ports is open to the network.
# It reads this when it is imported.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
os.environ.setdefault(_LOOPBACK, "1" if os.environ.get("RAY_ADDRESS") else "0")
# The stack's own notices; errors are still shown.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray  # noqa: E402
import torch  # noqa: E402
from ray.rllib.algorithms.algorithm import Algorithm  # noqa: E402
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig  # noqa: E402

from recenv.errors import RecenvError  # noqa: E402
from training.config import Side, TrainConfig  # noqa: E402
from training.env import AGENT, TurnEnv, module_of  # noqa: E402
from training.modules import module_specs  # noqa: E402
from training.networks import RecommenderNetwork, UserNetwork  # noqa: E402
from training.policy import make_network  # noqa: E402
from training.runner import BatchedEnvRunner, EpisodeEnvRunner  # noqa: E402
from training.runs import Row  # noqa: E402

_LEARNER_METRICS = {
    "policy_loss": "policy_loss",
    "value_loss": "vf_loss_unclipped",
    "value_explained": "vf_explained_var",
    "entropy": "entropy",
    "kl_from_fitted": "kl_from_fitted",
}
_TRAINED = "num_module_steps_trained_lifetime"
_RESTART = 120.0
"""Seconds that the processes which sample may take to come back."""


class TrainingError(RecenvError):
    """Training goes on without learning."""


@contextmanager
def ray_session(config: TrainConfig, *, verbose: bool) -> Iterator[None]:
    """Ray for the length of a run: on this machine, or the cluster that RAY_ADDRESS names.

    Args:
        config: says how many processes are needed.
        verbose: show the notices of Ray and RLlib.
    """
    level = logging.INFO if verbose else logging.ERROR
    for name in ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(level)
    processes = 1 + config.num_env_runners + config.num_learners
    local = not os.environ.get("RAY_ADDRESS")
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        ray.init(
            include_dashboard=False,
            num_cpus=processes if local else None,
            logging_level=level,
            log_to_driver=True,
        )
        try:
            yield
        finally:
            ray.shutdown()


def algorithm_config(config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of a run."""
    runner: dict[str, Any] = {}
    if config.batched_runner:
        runner["env_runner_cls"] = BatchedEnvRunner if config.flat else EpisodeEnvRunner
    return (
        config.settings.build(config)
        .environment(TurnEnv, env_config=config.env_config, disable_env_checking=True)
        .env_runners(
            num_env_runners=config.num_env_runners,
            num_envs_per_env_runner=config.num_envs_per_env_runner,
            num_gpus_per_env_runner=config.gpus_per_env_runner,
            rollout_fragment_length="auto",
            **runner,
        )
        .fault_tolerance(restart_failed_env_runners=True)
        .learners(num_learners=config.num_learners, num_gpus_per_learner=config.gpus_per_learner)
        .multi_agent(
            policies=set(config.trained),
            policy_mapping_fn=module_of,
            policies_to_train=list(config.trained),
        )
        .rl_module(rl_module_spec=module_specs(config))
        .debugging(seed=config.seed, log_level="ERROR")
    )


class Session:
    """The algorithm of a run.

    Args:
        config: the run's.
        checkpoint: RLlib's state to go on from.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path | None) -> None:
        torch.set_num_threads(config.torch_threads)
        self.config = config
        self.algorithm: Algorithm = algorithm_config(config).build_algo()
        if checkpoint is not None:
            self.algorithm.restore_from_path(str(checkpoint.resolve()))
        self._steps: dict[Side, float] = {}

    def iterate(self) -> Row:
        """Sample and learn once; the metrics by name.

        Raises:
            TrainingError: a side that should learn was not updated.
        """
        result = self._train()
        learners = result.get("learners", {})
        row: Row = {}
        sampled = result.get("env_runners", {})
        returns = sampled.get("agent_episode_returns_mean") or {}
        for side, agent in AGENT.items():
            if agent in returns:
                row[f"{side}_reward"] = float(returns[agent])
        if "episode_len_mean" in sampled:
            turns = 1 if self.config.batched_runner else len(self.config.trained)
            row["visit_rounds"] = float(sampled["episode_len_mean"]) / turns
        for side in self.config.trained:
            metrics = learners.get(side, {})
            steps = float(metrics.get(_TRAINED, 0))
            if steps <= self._steps.get(side, 0):
                raise TrainingError(
                    f"The {side} module was not trained in this iteration: its lifetime count of "
                    f"trained steps stands at {steps:.0f}. RLlib reported "
                    f"{sorted(learners) or 'nothing'}. Look for an error of a learner above; with "
                    "--verbose, RLlib says more."
                )
            self._steps[side] = steps
            row[f"{side}_steps_trained"] = steps
            for name, key in _LEARNER_METRICS.items():
                if key in metrics:
                    row[f"{side}_{name}"] = float(metrics[key])
        for name in ("env_runner_sampling_timer", "learner_update_timer"):
            if name in result.get("timers", {}):
                row[name.replace("_timer", "_seconds")] = float(result["timers"][name])
        return row

    def _train(self) -> Any:
        """RLlib's result of an iteration; once more if nothing was sampled for want of runners.

        A runner whose process died is started again; until then RLlib goes on with the others,
        and without any it returns at once with nothing learned.
        """
        deadline = time.monotonic() + _RESTART
        while True:
            result = self.algorithm.train()
            learners, group = result.get("learners", {}), self.algorithm.env_runner_group
            learned = all(
                learners.get(side, {}).get(_TRAINED, 0) > self._steps.get(side, 0)
                for side in self.config.trained
            )
            dead = (
                group is not None
                and group.num_remote_env_runners() > 0
                and group.num_healthy_remote_workers() < group.num_remote_env_runners()
            )
            if learned or not dead or time.monotonic() > deadline:
                return result
            time.sleep(1)

    def save(self, folder: Path) -> None:
        """Write RLlib's state."""
        self.algorithm.save_to_path(str(folder.resolve()))

    def networks(self) -> dict[Side, RecommenderNetwork | UserNetwork]:
        """The learning sides' networks with the learner's weights, as copies."""
        group = self.algorithm.learner_group
        assert group is not None
        state = group.get_state(components="learner/rl_module")["learner"]["rl_module"]
        world, game = self.config.resolve()
        out: dict[Side, RecommenderNetwork | UserNetwork] = {}
        for side in self.config.trained:
            network = make_network(side, world, game, self.config.network, seeded=False)
            weights = {
                k.removeprefix("network."): torch.as_tensor(v)
                for k, v in state[side].items()
                if k.startswith("network.")
            }
            network.load_state_dict(weights)
            out[side] = network
        return out

    def close(self) -> None:
        """Stop the workers."""
        self.algorithm.stop()
        shutil.rmtree(str(self.algorithm.logdir), ignore_errors=True)  # made by RLlib, empty
