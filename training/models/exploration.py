"""Epsilon-greedy exploration around greedy slates and answers."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchDeterministic,
    TorchDistribution,
)
from torch import Tensor

from training.models.distributions import slate_distribution

_NEVER = -1e9
"""Log-probability of an answer that cannot be drawn."""


class ExploredAnswers(TorchDistribution):
    """The best answer, or with probability epsilon any: one draw for the whole answer.

    Args:
        logits: (B, sum(choices)) of which each branch's largest is its best answer.
        choices: answers of each branch. With one branch, actions are (B,), as ``Discrete``'s are.
        epsilon: probability of an answer drawn uniformly.
    """

    def __init__(self, logits: Tensor, choices: tuple[int, ...], epsilon: float) -> None:
        self.logits = logits
        self.choices = choices
        self.epsilon = epsilon
        super().__init__()

    def _get_torch_distribution(self) -> None:
        """PyTorch has none."""

    def sample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """(B, branches), or (B,) of one branch."""
        best = self._best()
        most = torch.tensor(self.choices, device=best.device)
        drawn = (torch.rand(best.shape, device=best.device) * most).long().clamp(max=most - 1)
        explores = torch.rand(len(best), 1, device=best.device) < self.epsilon
        return self._action(torch.where(explores, drawn, best))

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """Not available: answers are discrete."""
        raise NotImplementedError("An answer has no reparameterised sample; use sample().")

    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """(B,) log-probability."""
        value = value.reshape(len(self.logits), -1)
        greedy = (value == self._best()).all(-1).to(self.logits.dtype)
        each = 1 / float(torch.tensor(self.choices).prod())
        return ((1 - self.epsilon) * greedy + self.epsilon * each).log().clamp(min=_NEVER)

    def entropy(self, **kwargs: Any) -> Tensor:
        """Not available: nothing needs it."""
        raise NotImplementedError("Greedy answers have no entropy that anything could learn from.")

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """Not available: it is infinite between greedy policies that differ."""
        raise NotImplementedError("Greedy answers have no useful KL.")

    def to_deterministic(self) -> TorchDeterministic:
        """The best answer."""
        return TorchDeterministic(loc=self._action(self._best()))

    def _best(self) -> Tensor:
        parts = self.logits.split(self.choices, -1)
        return torch.stack([p.argmax(-1) for p in parts], -1)

    def _action(self, answers: Tensor) -> Tensor:
        return answers[:, 0] if len(self.choices) == 1 else answers

    @staticmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """Sum of the branches' answers."""
        return int(space.n if hasattr(space, "n") else space.nvec.sum())


def slates_explored(slots: int, epsilon: float) -> Any:
    """Epsilon-greedy slates without repeats, made from scores."""
    return slate_distribution(slots, "greedy", epsilon=epsilon)


def answers_explored(slots: int, epsilon: float) -> Any:
    """Epsilon-greedy answers, made from the logits of ``AnswerQNetwork``."""
    choices = (6,) if slots == 1 else (*[3] * slots, 2)
    make: Any = ExploredAnswers
    return make.get_partial_dist_cls(choices=choices, epsilon=epsilon)
