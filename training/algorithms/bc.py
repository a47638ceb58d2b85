"""Behaviour cloning of both sides from recorded or logged visits, as an RLlib algorithm."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms import bc as rllib_bc
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.marwil.torch.marwil_torch_learner import MARWILTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import LEARNER_RESULTS, LEARNER_UPDATE_TIMER, TIMERS
from torch import Tensor

from recenv.errors import ConfigError
from training.algorithms.losses import reaching
from training.config import TrainConfig
from training.config.algorithms.bc import BC, LOG
from training.models.observations import tensors
from training.runs.recording import load
from training.sampling.demonstrations import (
    DemonstratedSteps,
    Demonstrations,
    check_recording,
    logged_visits,
)

DEMONSTRATIONS = "demonstrations"
"""Key of ``learner_config_dict``: a function without arguments that makes them."""
HELDOUT_ROUNDS = 2048
"""The most rounds of held-out visits that are asked for their log-likelihood."""


def held_out(visits: int, share: float) -> int:
    """Number of held-out visits, of at least two: one, if any; but never all."""
    return min(max(1, round(share * visits)), visits - 1) if share else 0


class CloningLearner(MARWILTorchLearner):
    """RLlib's behaviour cloning; its loss is minus the mean log-likelihood of the actions."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any = None, batch: Any, fwd_out: Any
    ) -> Tensor:
        """See ``TorchLearner.compute_loss_for_module``; nothing is asked of the critic."""
        loss: Any = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        module: Any = self.module[module_id].unwrapped()
        return reaching(loss, module.critic.parameters())

    def log_likelihood(self, steps: dict[str, Any]) -> dict[str, float]:
        """Mean log-likelihood in nats of each module's steps, without learning from them."""
        out: dict[str, float] = {}
        for side, taken in steps.items():
            module: Any = self.module[side].unwrapped()
            with torch.no_grad():
                inputs = module.network(tensors(taken.observations, self._device))[0]
                actions = tensors({"": taken.actions}, self._device)[""]
                distribution = module.get_train_action_dist_cls().from_logits(inputs)
                out[side] = float(distribution.logp(actions).mean())
        return out


class BehaviourCloning(rllib_bc.BC):
    """Behaviour cloning: RLlib's BC on demonstrations of several agents (RLlib loads one agent's).

    Loss: ``- mean of log pi(a | s)`` over demonstrated steps.

    Every iteration draws visits, plays them back, and learns from their rounds in minibatches.
    Some visits are held out; their log-likelihood is logged.
    """

    config: Any

    def setup(self, config: Any) -> None:
        """See ``Algorithm.setup``."""
        super().setup(config)
        settings = self.config.learner_config_dict
        self._demonstrations: Demonstrations = settings[DEMONSTRATIONS]()
        visits = self._demonstrations.visits
        order = np.random.default_rng(0).permutation(len(visits))
        held = held_out(len(visits), settings["heldout"])
        self._learned, self._rounds = order[held:], settings["rounds"]
        asked = order[:held]
        asked = asked[np.cumsum(visits.lengths[asked]) <= HELDOUT_ROUNDS]
        self._heldout = self._take(asked) if len(asked) else {}

    def training_step(self) -> None:
        """See ``Algorithm.training_step``."""
        generator = np.random.default_rng([self.config.seed or 0, self.iteration])
        lengths = self._demonstrations.visits.lengths
        order = generator.permutation(self._learned)
        while lengths[order].sum() < self._rounds:
            order = np.concatenate([order, generator.permutation(self._learned)])
        enough = int(np.searchsorted(np.cumsum(lengths[order]), self._rounds)) + 1
        batches: dict[str, SampleBatch] = {}
        for side, taken in self._take(order[:enough]).items():
            # exactly as many rounds as were asked for, in random order
            kept = generator.permutation(len(taken))[: self._rounds]
            batches[side] = SampleBatch(
                {
                    Columns.OBS: {k: v[kept] for k, v in taken.observations.items()},
                    Columns.ACTIONS: taken.actions[kept],
                }
            )
        assert self.learner_group is not None
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                batch=MultiAgentBatch(batches, env_steps=self._rounds),  # type: ignore[arg-type]
                minibatch_size=self.config.minibatch_size,
                num_epochs=1,
                timesteps={},
            )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        heldout = self._heldout
        if heldout:

            def ask(learner: Any, _: Any = None) -> dict[str, float]:
                return learner.log_likelihood(heldout)

            told: Any = next(iter(self.learner_group.foreach_learner(ask))).get()
            for side, value in told.items():
                key = (LEARNER_RESULTS, side, "heldout_log_likelihood")
                self.metrics.log_value(key, value, window=1)

    def _take(self, visits: np.ndarray) -> dict[str, DemonstratedSteps]:
        """The learning sides' steps."""
        learning: Any = self.config.policies_to_train
        return {
            side: taken
            for side, taken in self._demonstrations.steps(visits).items()
            if side in learning and len(taken)
        }


def build(settings: BC, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of behaviour cloning in a run.

    Raises:
        ArtifactError: there is no recording.
        ConfigError: it is of another world or game, or the log shows no slates.
    """
    demonstrations(settings, config)  # found wanting here rather than inside RLlib
    rllib: Any = rllib_bc.BCConfig(algo_class=BehaviourCloning)
    rllib._is_online = True  # RLlib takes the spaces of several agents from a runner alone
    return (
        rllib.learners(
            learner_class=CloningLearner,
            learner_config_dict={
                DEMONSTRATIONS: partial(demonstrations, settings, config),
                "heldout": settings.heldout,
                "rounds": settings.rounds_per_iteration,
            },
        )
        .training(
            lr=settings.learning_rate,
            minibatch_size=settings.minibatch_size,
            train_batch_size_per_learner=settings.rounds_per_iteration,
            grad_clip=settings.gradient_clip,
            grad_clip_by="global_norm",
        )
        .offline_data(dataset_num_iters_per_learner=1)
    )


def demonstrations(settings: BC, config: TrainConfig) -> Demonstrations:
    """Demonstrations that a run imitates.

    Raises:
        ArtifactError: there is no recording.
        ConfigError: it is of another world or game, or the log shows no slates.
    """
    world, game = config.resolve()
    same = False
    if planted := settings.data == LOG:
        visits = logged_visits(world, game)
    else:
        visits, meta = load(Path(settings.data))
        same = check_recording(meta, world, game, settings.data)
    if len(visits) < 2:
        held = f"the log of {world.name!r}" if planted else settings.data
        raise ConfigError(f"BC.data: {held} holds one such visit; cloning needs more.")
    return Demonstrations(world, game, visits, planted=planted, same_rewards=same)
