"""Losses of independent deep Q-learning: of slates as sums over slots, of answers over branches."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from training.algorithms.replay_algorithm import replay_config
from training.algorithms.replay_buffer import ReplayBatch
from training.algorithms.replay_learner import ReplayLearner
from training.config import TrainConfig
from training.config.algorithms import IDQN
from training.models.value_networks import AnswerQNetwork, AnswerValues, SlotQNetwork, SlotValues


def slate_value(network: SlotQNetwork, slots: SlotValues, slates: Tensor) -> Tensor:
    """(B,) value of (B, K) slates: ``Q(s, A) = idle + sum_k gain_k (own + rest)(i_k)``."""
    each = (slots.own + slots.rest).gather(-1, slates)
    return slots.idle + (network.gains * each).sum(-1)


def slate_target(network: SlotQNetwork, target: SlotQNetwork, batch: ReplayBatch) -> Tensor:
    """(B,) value of what followed: of the slate that ``network`` finds best, by ``target``.

    Double Q-learning (van Hasselt, Guez & Silver, AAAI 2016); 0 where the user left.
    """
    with torch.no_grad():
        seen = batch["next_obs"]
        slots = network.slot_values(seen)
        best = (slots.own + slots.rest).topk(network.gains.shape[0], -1).indices
        return slate_value(target, target.slot_values(seen), best) * ~batch["terminated"]


def slate_losses(
    network: SlotQNetwork, batch: ReplayBatch, following: Tensor, *, gamma: float, slot_credit: bool
) -> dict[str, Tensor]:
    """Squared temporal-difference errors of a slate's value; means.

    ``(Q(s, A) - (r + gamma V'))**2``, V' the value of what followed. With ``slot_credit`` it is
    ``sum_k (own_k - r_k)**2`` and ``(idle + sum_k rest_k - (r - sum_k r_k + gamma V'))**2``.

    With ``slot_credit`` each slot's ``own`` learns what that slot earned, and the sum of ``idle``
    and ``rest`` what no slot earned plus the discounted value of what followed (rewards
    decomposed as by van Seijen et al., NeurIPS 2017, but with one greedy slate for all). Without
    it the sum of all learns the sum of all, as plain Q-learning does for K = 1.

    Args:
        network: learns.
        batch: with ``slot_rewards``.
        following: (B,) value of what followed.
        gamma: discount per round.
        slot_credit: see above.
    """
    slots = network.slot_values(batch["obs"])
    slates = batch["actions"].long().reshape(len(following), -1)
    target = batch["rewards"] + gamma * following
    if not slot_credit:
        return {"q_loss": ((slate_value(network, slots, slates) - target) ** 2).mean()}
    earned = batch["slot_rewards"]
    own, rest = (network.gains * v.gather(-1, slates) for v in (slots.own, slots.rest))
    error = slots.idle + rest.sum(-1) - (target - earned.sum(-1))
    return {"reward_loss": ((own - earned) ** 2).sum(-1).mean(), "q_loss": (error**2).mean()}


def answer_target(network: AnswerQNetwork, target: AnswerQNetwork, batch: ReplayBatch) -> Tensor:
    """(B,) value of what followed, by ``target``; 0 where the user left.

    Greedy users: of the answer that ``network`` finds best (double Q-learning). With a weight w of
    the KL to the fitted user: the soft value, net of the penalty, which is ``w log sum_x fitted(x)
    exp(Q(x) / w)`` in each branch.
    """
    weight = network.values.kl_weight
    with torch.no_grad():
        seen = batch["next_obs"]
        theirs = target.answers(seen)
        if weight > 0:
            logits = target.policy(theirs)
            parts = [weight * torch.logsumexp(branch, -1).sum(-1) for branch in logits]
        else:
            ours: AnswerValues = network.answers(seen)
            parts = [
                value.gather(-1, own.argmax(-1, keepdim=True)).sum((1, 2))
                for value, own in zip(theirs.branches, ours.branches, strict=True)
            ]
        return (theirs.idle + torch.stack(parts).sum(0)) * ~batch["terminated"]


def answer_value(answers: AnswerValues, given: Tensor) -> Tensor:
    """(B,) value of answers.

    Args:
        answers: values.
        given: (B, K + 1), or (B,) joint for K = 1.
    """
    given = given.long().reshape(len(answers.idle), -1, 1)
    total, start = answers.idle, 0
    for branch in answers.branches:
        stop = start + branch.shape[1]
        total = total + branch.gather(-1, given[:, start:stop]).sum((1, 2))
        start = stop
    return total


def answer_losses(
    network: AnswerQNetwork, batch: ReplayBatch, following: Tensor, *, gamma: float
) -> dict[str, Tensor]:
    """Squared temporal-difference error of an answer: mean of ``(Q - (r + gamma V'))**2``."""
    value = answer_value(network.answers(batch["obs"]), batch["actions"])
    error = value - (batch["rewards"] + gamma * following)
    return {"q_loss": (error**2).mean()}


class IDQNLearner(ReplayLearner):
    """Independent deep Q-learning on replayed steps, by the settings of ``IDQN``."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Any, fwd_out: Any
    ) -> Tensor:
        """See ``TorchLearner.compute_loss_for_module``."""
        module: Any = self.module[module_id].unwrapped()
        network, target, settings = module.network, module.target, self.settings
        if isinstance(network, SlotQNetwork):
            following = slate_target(network, target, batch)
            losses = slate_losses(
                network, batch, following, gamma=settings.gamma, slot_credit=settings.slot_credit
            )
        else:
            following = answer_target(network, target, batch)
            losses = answer_losses(network, batch, following, gamma=settings.gamma)
        self.metrics.log_dict({**losses, "q_mean": following.mean()}, key=module_id, window=1)
        return torch.stack(list(losses.values())).sum()


def build(settings: IDQN, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of IDQN in a run; errors as of ``replay_config``."""
    return replay_config(settings, config, IDQNLearner)
