"""Losses of discrete soft actor-critic, with values that add up over slots and branches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from training.algorithms.idqn import answer_losses, slate_losses
from training.algorithms.replay_algorithm import replay_config
from training.algorithms.replay_buffer import ReplayBatch
from training.algorithms.replay_learner import ReplayLearner
from training.config import TrainConfig
from training.config.algorithms import SAC
from training.models.distributions import PlackettLuce
from training.models.networks import RecommenderNetwork, UserNetwork
from training.models.value_modules import follow
from training.models.value_networks import AnswerQNetwork, SlotQNetwork

Critics = list[Any]


class Soft(NamedTuple):
    """Soft value of a policy in B states: expected value, entropy, KL to the fitted user."""

    value: Tensor  # (B,) expected value of its actions, by the lower of two critics
    entropy: Tensor  # (B,) nats
    kl: Tensor  # (B,) nats from the fitted user; 0 for a recommender


def soft_slates(actor: RecommenderNetwork, critics: Critics, seen: dict[str, Tensor]) -> Soft:
    """Soft value of an actor's slates, by ``SlotQNetwork`` critics.

    Expectations are exact within each slot and drawn over the slots before it; see
    ``training.models.distributions.PlackettLuce.expected``.
    """
    policy = PlackettLuce(actor(seen).scores, actor.slots)
    values = []
    for critic in critics:
        critic: SlotQNetwork
        with torch.no_grad():
            slots = critic.slot_values(seen)
            each, gains = slots.own + slots.rest, critic.gains
        values.append(slots.idle + policy.expected(each, gains))
    entropy = policy.entropy()
    return Soft(torch.stack(values).amin(0), entropy, torch.zeros_like(entropy))


def soft_answers(actor: UserNetwork, critics: Critics, seen: dict[str, Tensor]) -> Soft:
    """Soft value of an actor's answers, by ``AnswerQNetwork`` critics; expectations are exact."""
    logits = actor(seen).logits
    with torch.no_grad():
        valued = [critic.answers(seen) for critic in critics]
    like = valued[0].branches
    parts = logits.split([branch[0].numel() for branch in like], -1)
    log_p = [
        torch.log_softmax(part.reshape(branch.shape), -1)
        for part, branch in zip(parts, like, strict=True)
    ]

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(
            [(lp.exp() * v).sum((1, 2)) for lp, v in zip(log_p, values, strict=True)]
        ).sum(0)

    entropy = -mean(log_p)
    return Soft(
        torch.stack([v.idle + mean(v.branches) for v in valued]).amin(0),
        entropy,
        -entropy - mean(valued[0].fitted),
    )


class SACLearner(ReplayLearner):
    """Soft actor-critic (Haarnoja et al. 2018) with discrete actions (Christodoulou 2019).

    Two critics; with the lower one, temperature alpha, w = ``TrainConfig.kl_weight`` of a user's KL
    to the fitted user (0 for recommenders) and V(s) = E_pi[Q(s, a)] + alpha H(pi) - w KL(pi):

    - critics: ``(Q(s, a) - (r + gamma V(s')))**2``, V by the target critics, 0 where the user left;
    - policy: ``- mean V(s)``;
    - temperature: ``alpha (H(pi) - target)``, which raises alpha while the entropy is too low.

    Settings are ``training.config.algorithms.SAC``.
    """

    def after_step(self, module: Any) -> None:
        """Target critics follow."""
        follow(module.targets, module.critics, self.settings.target_rate)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Any, fwd_out: Any
    ) -> Tensor:
        """See ``TorchLearner.compute_loss_for_module``."""
        module: Any = self.module[module_id].unwrapped()
        settings = self.settings
        soft: Any = soft_slates if module.side == "recommender" else soft_answers
        temperature, kl_weight = module.log_temperature.exp(), module.values.kl_weight
        held = temperature.detach()
        with torch.no_grad():
            after = soft(module.network, list(module.targets), batch["next_obs"])
            following = after.value + held * after.entropy - kl_weight * after.kl
            following = following * ~batch["terminated"]
        losses = [
            critic_losses(
                critic,
                batch,
                following,
                gamma=settings.gamma,
                slot_credit=settings.slot_credit,
            )
            for critic in module.critics
        ]
        now = soft(module.network, list(module.critics), batch["obs"])
        policy = -(now.value + held * now.entropy - kl_weight * now.kl).mean()
        short = (module.most_entropy * settings.entropy_target - now.entropy.detach()).mean()
        losses += [policy, -(temperature * short).sum()]
        self.metrics.log_dict(
            {
                "q_loss": torch.stack(losses[:2]).mean(),
                "q_mean": following.mean(),
                "policy_loss": policy,
                "entropy": now.entropy.mean(),
                "temperature": temperature.mean(),
            },
            key=module_id,
            window=1,
        )
        return torch.stack(losses).sum()


def critic_losses(
    critic: Any, batch: ReplayBatch, following: Tensor, *, gamma: float, slot_credit: bool
) -> Tensor:
    """Sum of the losses of one critic; see ``training.algorithms.idqn``."""
    if isinstance(critic, AnswerQNetwork):
        losses = answer_losses(critic, batch, following, gamma=gamma)
    else:
        losses = slate_losses(critic, batch, following, gamma=gamma, slot_credit=slot_credit)
    return torch.stack(list(losses.values())).sum()


def build(settings: SAC, config: TrainConfig) -> AlgorithmConfig:
    """RLlib's config of SAC in a run; errors as of ``replay_config``."""
    return replay_config(settings, config, SACLearner)
