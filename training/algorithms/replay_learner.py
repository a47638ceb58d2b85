"""Learners of action values from replayed transitions."""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.core import ALL_MODULES
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils import metrics as names
from torch import Tensor

from training.algorithms.replay_buffer import ReplayBuffer
from training.models.value_modules import follow
from training.sampling.fragments import Fragments, joined

_PASSES = 2
"""Replayed steps are drawn at most so often in one call, on average: while few are there, fewer
updates are made."""


class ReplayLearner(TorchLearner):
    """Keeps what runners sampled, and makes several updates from it in each call.

    A call of ``update`` costs what its updates cost, without RLlib's connectors, episodes and
    logging for each of them. After every update target networks follow. Reads the algorithm's
    settings from ``config.learner_config_dict["settings"]``.
    """

    config: Any
    module: Any
    metrics: Any
    _weights_seq_no: int

    def build(self) -> None:
        """See ``Learner.build``."""
        super().build()
        self._replays: dict[str, ReplayBuffer] = {}
        for side in list(self.module.keys()):  # what runners begin with
            module = self.module[side].unwrapped()
            if hasattr(module, "epsilon"):
                module.epsilon.fill_(self.settings.exploration(0))

    @property
    def settings(self) -> Any:
        """The algorithm's settings."""
        return self.config.learner_config_dict["settings"]

    def get_parameters(self, module: Any) -> list[Tensor]:
        """Parameters of the optimiser: no target networks."""
        return [p for p in module.parameters() if p.requires_grad]

    # RLlib passes what it has sampled by name, and nothing by position
    def update(  # type: ignore[override]
        self, *, training_data: Any, timesteps: Any = None, **kwargs: Any
    ) -> Any:
        """Keep the ``Fragments`` of ``training_data.episodes``; make the updates.

        Returns:
            The reduced metrics.
        """
        self._check_is_built()
        timesteps = timesteps or {}
        self.before_gradient_based_update(timesteps=timesteps)
        training_data.solve_refs()
        self._weights_seq_no += 1
        self._keep(training_data.episodes)
        self._explore(timesteps)
        settings = self.settings
        size = settings.minibatch_size
        learning = {s: r for s, r in self._replays.items() if self.should_module_be_updated(s)}
        kept = min((len(replay) for replay in learning.values()), default=0)
        updates = min(settings.updates, math.ceil(_PASSES * kept / size))
        for _ in range(updates):
            self._update({side: replay.sample(size) for side, replay in learning.items()})
            for side in learning:
                self.after_step(self.module[side].unwrapped())
        self._log(learning, updates * size)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def after_step(self, module: Any) -> None:
        """Target networks follow."""
        follow(module.target, module.network, self.settings.target_rate)

    def _keep(self, samples: list[Fragments]) -> None:
        for side in samples[0].sides:
            if side not in self._replays:
                seed = 2 * (self.config.seed or 0) + len(self._replays)
                self._replays[side] = ReplayBuffer(self.settings.replay_size, seed, self.device)
            self._replays[side].add(joined([s.sides[side] for s in samples]))

    def _explore(self, timesteps: dict[str, Any]) -> None:
        turns = len(self._replays)
        rounds = timesteps.get(names.NUM_ENV_STEPS_SAMPLED_LIFETIME, 0) / max(1, turns)
        for side in self._replays:
            module = self.module[side].unwrapped()
            if hasattr(module, "epsilon"):
                self.metrics.log_value((side, "epsilon"), float(module.epsilon), window=1)
                module.epsilon.fill_(self.settings.exploration(rounds))

    def _log(self, learning: dict[str, ReplayBuffer], steps: int) -> None:
        log = self.metrics.log_value
        for side, replay in learning.items():
            log((side, names.WEIGHTS_SEQ_NO), self._weights_seq_no, window=1)
            log((side, "replayed_steps"), len(replay), window=1)
            for key in (side, ALL_MODULES):
                log((key, names.NUM_MODULE_STEPS_TRAINED), steps, reduce="sum")
                log(
                    (key, names.NUM_MODULE_STEPS_TRAINED_LIFETIME),
                    steps,
                    reduce="lifetime_sum",
                    with_throughput=True,
                )
