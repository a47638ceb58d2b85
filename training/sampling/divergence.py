"""Divergence of a learning user from the fitted one (KL to the fitted user).

The user's network is the fitted user plus a learned residual; ``TrainConfig.kl_weight``
says what a nat of divergence costs it (``training.algorithms.losses.FittedUserKL``). Here the
divergence is measured, on the turns that were sampled, whatever the algorithm and the weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchMultiCategorical,
)

from recenv.env.visit import USER_AGENT
from training.models.distributions import answer_distribution
from training.models.observations import MODULE
from training.sampling.turns import Turn

KL_FROM_FITTED = "kl_from_fitted"
"""Metric of runners: mean KL(policy || fitted user) in nats per turn."""
_OVER_ANSWERS = (TorchCategorical, TorchMultiCategorical)


def kl_from_fitted(module: Any, turn: Turn) -> float:
    """Mean KL(policy || fitted user) over B turns of the user, in nats per turn.

    Exact where the policy is a distribution over answers. Else the mean log-ratio at the answers
    that were given, which has no bias if they were drawn.

    Args:
        module: RLModule of the user.
        turn: what it saw and answered.
    """
    make = module.get_exploration_action_dist_cls()
    network, behaviour = module.network, _tensor(turn.observation["behaviour"])
    with torch.no_grad():
        answers: Any = answer_distribution(network.slots)
        fitted = answers.from_logits(network.fitted_logits({"behaviour": behaviour}))
        if issubclass(make, _OVER_ANSWERS):
            return float(answers.from_logits(_tensor(turn.inputs)).kl(fitted).mean())
        return float((_tensor(turn.logp) - fitted.logp(_tensor(turn.action))).mean())


class DivergenceCallback(RLlibCallback):
    """Callback that logs the KL to the fitted user in RLlib's runners, as the batched ones do."""

    def on_sample_end(
        self, *, env_runner: Any = None, metrics_logger: Any = None, samples: Any, **kwargs: Any
    ) -> None:
        """See ``RLlibCallback.on_sample_end``."""
        played = [e.agent_episodes.get(USER_AGENT) for e in samples]
        played = [e for e in played if e is not None and len(e) > 0]
        if not played or env_runner.module is None:
            return

        def outputs(name: str) -> np.ndarray:
            return np.concatenate([np.asarray(e.get_extra_model_outputs(name)) for e in played])

        def behaviour(episode: Any) -> np.ndarray:
            seen = episode.get_observations(slice(0, len(episode)))
            if isinstance(seen, dict):  # an episode of arrays
                return seen["behaviour"]
            return np.stack([o["behaviour"] for o in seen])

        turn = Turn(
            {"behaviour": np.concatenate([behaviour(e) for e in played])},
            np.concatenate([np.asarray(e.get_actions()) for e in played]),
            outputs(Columns.ACTION_LOGP),
            outputs(Columns.ACTION_DIST_INPUTS),
        )
        module = env_runner.module[MODULE[USER_AGENT]]
        metrics_logger.log_value(KL_FROM_FITTED, kl_from_fitted(module, turn), window=1)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
