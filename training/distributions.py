"""Slates as a distribution: Plackett-Luce over the candidates' scores."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDeterministic,
    TorchDistribution,
    TorchMultiCategorical,
)
from torch import Tensor

from training.networks import top_slots

MASKED = -1e9
"""Score of a candidate that is already in the slate; finite, so that gradients are too."""


class PlackettLuce(TorchDistribution):
    """Slates of k candidates without repeats (Luce 1959; Plackett 1975).

    Slot by slot, a candidate that is not yet in the slate is drawn with probability
    proportional to ``exp(score)``. Sampled by the Gumbel top-k trick (Kool et al. 2019).

    Args:
        logits: (..., C) scores; ``MASKED`` rules a candidate out. At least k must be left.
        k: slots.
    """

    def __init__(self, logits: Tensor, k: int) -> None:
        self.logits = logits
        self.k = k
        super().__init__(logits)

    def _get_torch_distribution(self, logits: Tensor) -> torch.distributions.Categorical:
        """The first slot's distribution."""
        return torch.distributions.Categorical(logits=logits, validate_args=False)

    def sample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """(..., k) candidate indices."""
        logits = self.logits.expand(*(sample_shape or ()), *self.logits.shape)
        uniform = torch.rand_like(logits).clamp_(1e-20, 1 - 1e-7)
        return top_slots(logits - torch.log(-torch.log(uniform)), self.k)

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """Not available: slates are discrete."""
        raise NotImplementedError("A slate has no reparameterised sample; use sample().")

    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """(...,) log-probability of (..., k) slates without repeats."""
        return self.slot_logp(value).sum(-1)

    def slot_logp(self, value: Tensor) -> Tensor:
        """(..., k) log-probability of each slot given the slots before it."""
        picked = self.logits.gather(-1, value.long())
        return picked - torch.stack([torch.logsumexp(s, -1) for s in self._slots(value)], -1)

    def entropy(self, **kwargs: Any) -> Tensor:
        """(...,) nats; exact for k = 1.

        For k > 1 the chain rule along one sampled slate: the sum of each slot's exact entropy
        given the slots before it. Its value is unbiased; its gradient leaves out how scores
        change which slots come before.
        """
        slots = self._slots(self._prefix())
        return sum((_entropy(scores) for scores in slots), torch.zeros_like(self.logits[..., 0]))

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """(...,) KL(self || other) in nats; exact for k = 1, else as ``entropy``."""
        if not isinstance(other, PlackettLuce):
            raise TypeError(f"KL wants another PlackettLuce, but got {type(other).__name__}.")
        prefix = self._prefix()
        total = torch.zeros_like(self.logits[..., 0])
        for mine, theirs in zip(self._slots(prefix), other._slots(prefix), strict=True):
            p, q = torch.log_softmax(mine, -1), torch.log_softmax(theirs, -1)
            total = total + (p.exp() * (p - q)).sum(-1)
        return total

    def to_deterministic(self) -> TorchDeterministic:
        """The mode: the k best candidates, best first."""
        return TorchDeterministic(loc=top_slots(self.logits, self.k))

    def _prefix(self) -> Tensor:
        with torch.no_grad():
            return self.sample()

    def _slots(self, slates: Tensor) -> list[Tensor]:
        """Scores that each slot was drawn from: k tensors (..., C)."""
        scores = [self.logits]
        for slot in range(self.k - 1):
            scores.append(scores[-1].scatter(-1, slates[..., slot : slot + 1].long(), MASKED))
        return scores

    @staticmethod
    def required_input_dim(space: gymnasium.Space[Any], **kwargs: Any) -> int:
        """C."""
        assert isinstance(space, gymnasium.spaces.MultiDiscrete)
        return int(space.nvec[0])


def _entropy(scores: Tensor) -> Tensor:
    log_p = torch.log_softmax(scores, -1)
    return -(log_p.exp() * log_p).sum(-1)


def slate_distribution(slate_size: int) -> type[Any]:
    """The distribution of slates, made from (B, C) scores; exact categorical for K = 1."""
    if slate_size == 1:
        return TorchCategorical
    return _partial(PlackettLuce, k=slate_size)


def answer_distribution(slate_size: int) -> type[Any]:
    """The distribution of answers, made from the user network's logits.

    Independent per slot and for leaving; for K = 1 over the six joint answers.
    """
    if slate_size == 1:
        return TorchCategorical
    return _partial(TorchMultiCategorical, input_lens=[3] * slate_size + [2])


def _partial(distribution: Any, **arguments: Any) -> type[Any]:
    """RLlib's way to fix arguments of a distribution, whose type it does not state."""
    return distribution.get_partial_dist_cls(**arguments)
