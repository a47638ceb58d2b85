"""Losses of SlateQ: temporal-difference and click losses over slates."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from training.algorithms.replay_algorithm import replay_config
from training.algorithms.replay_buffer import ReplayBatch
from training.algorithms.replay_learner import ReplayLearner
from training.config import TrainConfig
from training.config.algorithms import SlateQ
from training.models.value_networks import ItemValues, SlateQNetwork


def target_value(target: SlateQNetwork, batch: ReplayBatch) -> Tensor:
    """(B,) value of what followed: of the best slate that the target network finds.

    The greedy, top-K or optimal target of Ie et al. (IJCAI 2019); 0 where the user left.
    """
    with torch.no_grad():
        worth = target.worth(batch["next_obs"])
        return target.value(worth, target.slates(worth)) * ~batch["terminated"]


def slateq_losses(
    network: SlateQNetwork,
    worth: ItemValues,
    batch: ReplayBatch,
    following: Tensor,
    *,
    gamma: float,
    fitted: bool,
) -> dict[str, Tensor]:
    """Losses of the choice model (log loss), of clicks' rewards and of the value to come; means.

    With several clicks in a round, ``Q(s, A) = idle + sum_k P(click k | s, A) Qbar(s, i_k)`` has
    ``Qbar = reward + future`` of a click *beyond* a round without clicks. Clicked slots teach
    ``reward`` what they earned, and the round teaches ``idle`` plus the clicked slots' ``future``
    what no slot earned plus the discounted value of what followed. With one click this is the
    update of Ie et al. for the consumed item, and with none that of the null item.

    If the choice is single, a round with m clicks counts as m rounds with one of them each, of
    weight 1/m, whose reward is the whole slate's.

    Args:
        network: whose examination and choice count.
        worth: of ``batch["obs"]``, by ``network``.
        batch: with ``slot_rewards``, ``responses`` and ``fitted_clicks``.
        following: (B,) value of what followed.
        gamma: discount per round.
        fitted: learn the choice from the fitted user's probabilities instead of from clicks.
    """
    slates = batch["actions"].long().reshape(len(following), -1)
    earned = batch["slot_rewards"]
    clicked = (batch["responses"] > 0).to(earned.dtype)
    p = network.clicks(worth, slates)
    labels = batch["fitted_clicks"] if fitted else clicked
    reward, future = (w.gather(-1, slates) for w in (worth.reward, worth.future))
    rest = batch["rewards"] - earned.sum(-1) + gamma * following
    if network.values.choice == "single":
        none, labels = single_choice(labels)
        idle, weight = single_choice(clicked)
        choice = -(labels * log(p)).sum(-1) - none * log(1 - p.sum(-1))
        earned = earned.sum(-1, keepdim=True)
        each = (worth.idle[:, None] + future - rest[:, None]) ** 2
        value = (weight * each).sum(-1) + idle * (worth.idle - rest) ** 2
    else:
        weight = clicked
        choice = -(labels * log(p) + (1 - labels) * log(1 - p)).sum(-1)
        value = (worth.idle + (weight * future).sum(-1) - rest) ** 2
    return {
        "choice_loss": choice.mean(),
        "reward_loss": (weight * (reward - earned) ** 2).sum(-1).mean(),
        "q_loss": value.mean(),
    }


def single_choice(clicks: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) probability that none is clicked, and (B, K) that a slot is the one to count.

    Of several clicks each is equally likely to count.

    Args:
        clicks: (B, K) clicks, or independent probabilities of them.
    """
    none = (1 - clicks).prod(-1)
    return none, (1 - none[:, None]) * clicks / clicks.sum(-1, keepdim=True).clamp(min=1e-6)


def log(p: Tensor) -> Tensor:
    """Logarithm of probabilities that may be zero."""
    return p.clamp(min=1e-6).log()


class SlateQLearner(ReplayLearner):
    """SlateQ on replayed steps; settings are ``training.config.algorithms.SlateQ``."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Any, fwd_out: Any
    ) -> Tensor:
        """See ``TorchLearner.compute_loss_for_module``."""
        module = self.module[module_id].unwrapped()
        settings = self.settings
        following = target_value(module.target, batch)
        worth = module.network.worth(batch["obs"])
        losses = slateq_losses(
            module.network,
            worth,
            batch,
            following,
            gamma=settings.gamma,
            fitted=settings.labels == "fitted",
        )
        self.metrics.log_dict({**losses, "q_mean": following.mean()}, key=module_id, window=1)
        return torch.stack(list(losses.values())).sum()


def build(settings: SlateQ, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of SlateQ in a run; errors as of ``replay_config``."""
    return replay_config(settings, config, SlateQLearner)
