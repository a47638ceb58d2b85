"""Training session: Ray, RLlib's algorithm, and its iterations."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback

from recenv.errors import RecenvError
from training.algorithms.registry import build
from training.cluster import ray_session as ray_session
from training.config import Side, TrainConfig
from training.models.networks import RecommenderNetwork, UserNetwork
from training.models.observations import AGENT
from training.models.rl_modules import module_specs
from training.models.weights import Weights
from training.runs.folder import Row, written_by
from training.runs.load_policy import make_network
from training.runs.warm_start import start_warm, warm_weights
from training.sampling.divergence import KL_FROM_FITTED, DivergenceCallback
from training.sampling.env import TurnEnv, module_of
from training.sampling.env_runner import BatchedEnvRunner
from training.sampling.regimes import Population, sides_learning

_LEARNER_METRICS = {
    "policy_loss": "policy_loss",
    "value_loss": "vf_loss_unclipped",
    "value_explained": "vf_explained_var",
    "entropy": "entropy",
    "heldout_log_likelihood": "heldout_log_likelihood",
    "q_loss": "q_loss",
    "q_mean": "q_mean",
    "reward_loss": "reward_loss",
    "choice_loss": "choice_loss",
    "epsilon": "epsilon",
    "temperature": "temperature",
    "importance_weight": "importance_weight",
    "replayed_steps": "replayed_steps",
}
_NETWORK = "network."
_POOL = "population"
_TRAINED = "num_module_steps_trained_lifetime"
_RESTART = 120.0
"""Seconds that the processes which sample may take to come back."""


class TrainingError(RecenvError):
    """Training goes on without learning."""


def algorithm_config(config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of a run."""
    runner: dict[str, Any] = {}
    if config.batched_runner:
        runner["env_runner_cls"] = BatchedEnvRunner
    callbacks: list[type[RLlibCallback]] = [] if config.batched_runner else [DivergenceCallback]
    return (
        build(config)
        .environment(TurnEnv, env_config=config.env_config, disable_env_checking=True)
        .env_runners(
            num_env_runners=config.num_env_runners,
            num_envs_per_env_runner=config.num_envs_per_env_runner,
            num_gpus_per_env_runner=config.gpus_per_env_runner,
            **runner,
        )
        .callbacks(callbacks)
        .fault_tolerance(restart_failed_env_runners=True)
        .learners(num_learners=config.num_learners, num_gpus_per_learner=config.gpus_per_learner)
        .multi_agent(
            policies=list(config.trained),  # their order is that of drawing weights
            policy_mapping_fn=module_of,
            policies_to_train=list(config.trained),
        )
        .rl_module(rl_module_spec=module_specs(config))
        .debugging(seed=config.seed, log_level="ERROR")
    )


@contextmanager
def _told_if_lost() -> Iterator[None]:
    """Report in a run's terms that a learner's process died; a runner's is restarted."""
    try:
        yield
    except RayError as error:
        raise TrainingError(
            f"A process that learns was lost: {str(error).splitlines()[0]} What was learned since "
            "the last checkpoint went with it. Go on from there with --resume and the run's "
            "folder, once its machine is back."
        ) from error


class Session:
    """The algorithm of a run.

    Args:
        config: the run's.
        checkpoint: what ``save`` wrote, to go on from.
        iteration: iterations that were done before.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path | None, *, iteration: int = 0) -> None:
        torch.set_num_threads(config.torch_threads)
        self.config = config
        begin = config.warm_start and checkpoint is None
        weights = warm_weights(config) if begin else {}
        self.algorithm: Algorithm = algorithm_config(config).build_algo()
        if weights:
            start_warm(self.algorithm, weights)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.iteration = iteration
        self.pool = Population(config.pool_size)
        if checkpoint is not None and config.regime == "population":
            self.pool = Population.load(checkpoint / _POOL, config.pool_size)
        self._pool_version, self._pool_reference = 0, None
        self._steps: dict[Side, float] = {}

    def _restore(self, checkpoint: Path) -> None:
        """Restore RLlib's state; its errors, of any kind, name the versions that wrote it."""
        try:
            self.algorithm.restore_from_path(str(checkpoint.resolve()))
        except Exception as error:
            self.close()
            wrote = ", ".join(f"{k} {v}" for k, v in written_by(checkpoint.parent).items())
            reason = (str(error).strip() or "no reason told").splitlines()[-1]
            raise TrainingError(
                f"RLlib cannot go on from {checkpoint} ({type(error).__name__}: {reason}). It "
                f"was written with {wrote or 'versions that are not known'}; here are ray "
                f"{ray.__version__} and torch {torch.__version__}. Resume with the versions that "
                "wrote it, or begin a new run."
            ) from error

    @_told_if_lost()
    def iterate(self) -> Row:
        """Sample and learn once; the metrics by name.

        Raises:
            TrainingError: a side that should learn was not updated.
        """
        learning = sides_learning(self.config, self.iteration)
        self._prepare(learning)
        result = self._train(learning)
        self.iteration += 1
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
        if KL_FROM_FITTED in sampled:
            row[f"user_{KL_FROM_FITTED}"] = float(sampled[KL_FROM_FITTED])
        for side in learning:
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

    def _prepare(self, learning: tuple[Side, ...]) -> None:
        """Have these sides learn, and the past ones play."""
        learners, runners = self.algorithm.learner_group, self.algorithm.env_runner_group
        assert learners is not None
        assert runners is not None
        if self.config.regime == "alternating":
            learners.foreach_learner(partial(_let_learn, sides=list(learning)))
        if self.config.regime != "population":
            return
        due = self.iteration % self.config.snapshot_every == 0
        if due and self.iteration not in self.pool.members:
            self.pool.add(self.iteration, self._weights())
            self._pool_reference = None
        if self._pool_reference is None:
            self._pool_version += 1
            here = runners.num_remote_env_runners() == 0
            members = dict(self.pool.members)
            self._pool_reference = members if here else ray.put(members)
        # every time: a runner that was started again has none
        runners.foreach_env_runner(
            partial(_hand_over, version=self._pool_version, reference=self._pool_reference)
        )

    def _train(self, learning: tuple[Side, ...]) -> Any:
        """RLlib's result of an iteration; once more where nothing can have been learned yet.

        A runner whose process died is started again; until then RLlib goes on with the others,
        and without any it returns at once with nothing learned. IMPALA's learners in processes of
        their own tell what they learned one or more calls later.
        """
        deadline = time.monotonic() + _RESTART
        late = self.config.settings.asynchronous and self.config.num_learners > 0
        while True:
            result = self.algorithm.train()
            learners, group = result.get("learners", {}), self.algorithm.env_runner_group
            learned = all(
                learners.get(side, {}).get(_TRAINED, 0) > self._steps.get(side, 0)
                for side in learning
            )
            dead = (
                group is not None
                and group.num_remote_env_runners() > 0
                and group.num_healthy_remote_workers() < group.num_remote_env_runners()
            )
            if learned or not (dead or late) or time.monotonic() > deadline:
                return result
            time.sleep(1 if dead else 0)

    @_told_if_lost()
    def save(self, folder: Path) -> None:
        """Write RLlib's state and, in a folder inside, the pool of a population."""
        self.algorithm.save_to_path(str(folder.resolve()))
        if self.config.regime == "population":
            self.pool.save(folder / _POOL)

    @_told_if_lost()
    def networks(self) -> dict[Side, RecommenderNetwork | UserNetwork]:
        """The learning sides' networks with the learner's weights, as copies."""
        world, game = self.config.resolve()
        out: dict[Side, RecommenderNetwork | UserNetwork] = {}
        for side, weights in self._weights().items():
            network = make_network(
                side,
                world,
                game,
                self.config.network,
                seeded=False,
                values=self.config.values,
            )
            network.load_state_dict({k: torch.as_tensor(v) for k, v in weights.items()})
            out[side] = network
        return out

    def _weights(self) -> dict[Side, Weights]:
        """The learner's weights of the learning sides' networks."""
        group = self.algorithm.learner_group
        assert group is not None
        state = group.get_state(components="learner/rl_module")["learner"]["rl_module"]
        return {
            side: {
                name.removeprefix(_NETWORK): np.array(value)
                for name, value in state[side].items()
                if name.startswith(_NETWORK)
            }
            for side in self.config.trained
        }

    def close(self) -> None:
        """Stop the workers."""
        self.algorithm.stop()
        shutil.rmtree(str(self.algorithm.logdir), ignore_errors=True)  # made by RLlib, empty


def _let_learn(learner: Any, sides: Any) -> None:
    """Update only these sides' modules from now on."""
    learner.config.multi_agent(policies_to_train=sides)


def _hand_over(runner: Any, version: int, reference: Any) -> None:
    """Give a runner the past policies."""
    runner.set_pool(version, reference)
