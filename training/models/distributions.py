"""Action distributions: slates (Plackett-Luce, independent, greedy) and users' answers.

Shapes: ... any number of leading dimensions, C candidates, K slots. A candidate is ruled out by
the score ``MASKED``; at least K must be left.
"""

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
from torch.autograd.function import once_differentiable

from training.config.network import Slates
from training.models.networks import top_slots

MASKED = -1e9
"""Score of a candidate that is already in the slate; finite, so that gradients are too."""


class PlackettLuce(TorchDistribution):
    """Slates of k candidates without repeats (Luce 1959; Plackett 1975).

    Slot by slot, a candidate that is not yet in the slate is drawn with probability
    proportional to ``exp(score)``. Sampled by the Gumbel top-k trick (Kool et al. 2019).

    Args:
        logits: (..., C) scores.
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
        """(..., K) candidate indices."""
        logits = self.logits.expand(*(sample_shape or ()), *self.logits.shape)
        uniform = torch.rand_like(logits).clamp_(1e-20, 1 - 1e-7)
        return top_slots(logits - torch.log(-torch.log(uniform)), self.k)

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """Not available: slates are discrete."""
        raise NotImplementedError("A slate has no reparameterised sample; use sample().")

    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """(...,) log-probability of (..., K) slates; for one with a repeat, at most ``MASKED``."""
        return self.slot_logp(value).sum(-1)

    def slot_logp(self, value: Tensor) -> Tensor:
        """(..., K) log-probability of each slot given the slots before it."""
        return _Choices(self.logits, value).log_p

    def entropy(self, **kwargs: Any) -> Tensor:
        """(...,) nats; exact for k = 1.

        For k > 1 an estimate from one drawn slate by the chain rule: the sum of each slot's
        exact entropy given the slots before it. Value and gradient are unbiased: see ``_chained``.
        """
        choices = _Choices(self.logits, self._drawn(), self.logits)
        return _chained(choices.log_sum - choices.mean, choices.log_p)

    def expected(self, values: Tensor, gains: Tensor) -> Tensor:
        """(...,) expected sum over slots of gain times value; exact for k = 1, else estimated.

        From one drawn slate, as ``entropy``: each slot's exact expectation given those before.
        Its value is unbiased. Its gradient leaves out what a slot's choice takes from the slots
        after it, which is little beside the noise of telling it from one slate.

        Args:
            values: (..., C) of the candidates.
            gains: (K,) of the slots.
        """
        return (gains * _Choices(self.logits, self._drawn(), values).mean).sum(-1)

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """(...,) KL(self || other) in nats; exact for k = 1, else estimated as ``entropy``."""
        if not isinstance(other, PlackettLuce):
            raise TypeError(f"KL wants another PlackettLuce, but got {type(other).__name__}.")
        drawn = self._drawn()
        mine = _Choices(self.logits, drawn, self.logits - other.logits)
        theirs = _Choices(other.logits, drawn)
        apart = mine.mean - (mine.log_sum - theirs.log_sum)
        return _chained(apart, mine.log_p)

    def to_deterministic(self) -> TorchDeterministic:
        """The mode: the K best candidates, best first."""
        return TorchDeterministic(loc=top_slots(self.logits, self.k))

    def _drawn(self) -> Tensor:
        with torch.no_grad():
            return self.sample()

    @staticmethod
    def required_input_dim(space: gymnasium.Space[Any], **kwargs: Any) -> int:
        """C."""
        assert isinstance(space, gymnasium.spaces.MultiDiscrete)
        return int(space.nvec[0])


class _Choices:
    """The K choices that make a slate, each among the candidates that are left.

    Args:
        scores: (..., C).
        slates: (..., K) candidate indices.
        values: (..., C), if their means are wanted.

    Attributes:
        log_sum: (..., K) logsumexp of the scores that are left.
        log_p: (..., K) log-probability of each choice; ``MASKED`` for a repeat.
        mean: (..., K) expectation of the values under each choice's distribution.
    """

    def __init__(self, scores: Tensor, slates: Tensor, values: Tensor | None = None) -> None:
        slates = slates.long()
        k = slates.shape[-1]
        left: Any = _Left.apply(scores, values, slates)
        self.log_sum: Tensor = left[0]
        self.mean: Tensor = left[1]
        earlier = torch.ones(k, k, dtype=torch.bool, device=slates.device).tril(-1)
        repeated = ((slates[..., None] == slates[..., None, :]) & earlier).any(-1)
        self.log_p = (scores.gather(-1, slates) - self.log_sum).masked_fill(repeated, MASKED)


class _Left(torch.autograd.Function):
    """Remaining candidates of each slot: logsumexp of their scores, and means of values.

    Left for slot k are the candidates never picked and those picked in slot k or later. Summed
    from the last slot to the first, the (..., C) scores are read once, not once per slot, and
    nothing is subtracted; so are the gradients, from the first slot to the last. With P_k(c) the
    probability of candidate c in slot k, they are P_k(c) of the sum, P_k(c) of the mean for the
    value of c, and P_k(c) (value of c - mean) for its score.
    """

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, values: Tensor | None, slates: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(..., C) scores and values, (..., K) slates to (..., K) sums and means."""
        rest = scores.scatter(-1, slates, MASKED)
        picked = scores.gather(-1, slates).movedim(-1, 0).contiguous()  # (K, ...): rows in one run
        total, sums = torch.logsumexp(rest, -1), torch.empty_like(picked)
        slots = range(len(picked) - 1, -1, -1)
        for k in slots:
            total = torch.logaddexp(total, picked[k], out=sums[k])
        share = torch.exp(picked - sums)
        if values is None:
            ctx.save_for_backward(rest, slates, sums, share)
            return sums.movedim(0, -1), None
        mean, means = (torch.softmax(rest, -1) * values).sum(-1), torch.empty_like(picked)
        own = values.gather(-1, slates).movedim(-1, 0)
        for k in slots:
            mean = torch.lerp(mean, own[k], share[k], out=means[k])
        ctx.save_for_backward(rest, slates, sums, share, values, means)
        return sums.movedim(0, -1), means.movedim(0, -1)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, for_sums: Tensor, for_means: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        """Gradients for scores and values."""
        rest, slates, sums, share, *valued = ctx.saved_tensors
        never = torch.exp(rest - sums[-1][..., None])

        def spread(wanted: Tensor) -> Tensor:
            """(K, ...) by slot to (..., C) by candidate."""
            fall = torch.exp(sums[1:] - sums[:-1])  # at most 1
            wanted = wanted.clone()
            for k in range(1, len(sums)):  # in units of what is left for slot k
                wanted[k].addcmul_(fall[k - 1], wanted[k - 1])
            mine = (share * wanted).movedim(0, -1)
            return (never * wanted[-1][..., None]).scatter(-1, slates, mine)

        for_sums = for_sums.movedim(-1, 0)
        if not valued:
            return spread(for_sums), None, None
        (values, means), for_means = valued, for_means.movedim(-1, 0)
        for_values = spread(for_means)
        return spread(for_sums - for_means * means) + values * for_values, for_values, None


def _chained(values: Tensor, log_p: Tensor) -> Tensor:
    """(...,) sum of (..., K) values, each of which depends on the slots drawn before it.

    What is drawn depends on the scores, too. A term of value zero adds what that does to the
    expectation's gradient (the score function: Williams 1992, in the form of Foerster et al.,
    ICML 2018, "DiCE"), so that the gradient is unbiased. A slot is credited with the values of
    later slots beyond what they would be if each were the slot's own, which is known before it is
    drawn.

    Args:
        values: (..., K) to sum.
        log_p: (..., K) log-probability of each slot's draw given those before.
    """
    with torch.no_grad():
        later = values.flip(-1).cumsum(-1).flip(-1) - values
        slots = values.shape[-1]
        foreseen = values * torch.arange(slots - 1, -1, -1, device=values.device)
        credit = later - foreseen
    return values.sum(-1) + (credit * (log_p - log_p.detach())).sum(-1)


class IndependentSlots(TorchDistribution):
    """Each slot draws a candidate by itself; repeats leave the later slot empty.

    What ``TorchMultiCategorical`` is with K categories of C, as one tensor operation. Every slot
    has scores of its own: with one row of scores for all slots, no policy could prefer different
    candidates in different slots, and the likeliest slate would be one candidate K times.

    Args:
        logits: (..., K * C) scores, slot by slot.
        k: slots.
    """

    def __init__(self, logits: Tensor, k: int) -> None:
        self.logits = logits
        self.k = k
        super().__init__(logits.unflatten(-1, (k, -1)))

    def _get_torch_distribution(self, logits: Tensor) -> torch.distributions.Categorical:
        return torch.distributions.Categorical(logits=logits, validate_args=False)

    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """(...,) log-probability of (..., K) slates."""
        return self.slot_logp(value).sum(-1)

    def slot_logp(self, value: Tensor) -> Tensor:
        """(..., K) log-probability of each slot."""
        return self._dist.log_prob(value)

    def entropy(self, **kwargs: Any) -> Tensor:
        """(...,) nats, exact."""
        return self._dist.entropy().sum(-1)

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """(...,) KL(self || other) in nats, exact."""
        if not isinstance(other, IndependentSlots):
            raise TypeError(f"KL wants other IndependentSlots, but got {type(other).__name__}.")
        return torch.distributions.kl_divergence(self._dist, other._dist).sum(-1)

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """Not available: slates are discrete."""
        raise NotImplementedError("A slate has no reparameterised sample; use sample().")

    def to_deterministic(self) -> TorchDeterministic:
        """The mode: each slot's best candidate."""
        return TorchDeterministic(loc=self._dist.logits.argmax(-1))

    @staticmethod
    def required_input_dim(space: gymnasium.Space[Any], **kwargs: Any) -> int:
        """K * C."""
        assert isinstance(space, gymnasium.spaces.MultiDiscrete)
        return int(space.nvec.sum())


def epsilon_greedy(scores: Tensor, slots: int, epsilon: float | Tensor) -> Tensor:
    """(..., K) the best candidates, best first, or with probability epsilon any K of them.

    Args:
        scores: (..., C).
        slots: K.
        epsilon: one, or (...,) one for each slate.
    """
    best = top_slots(scores, slots)
    if isinstance(epsilon, float) and epsilon == 0:
        return best
    noise = torch.rand_like(scores).masked_fill(_ruled_out(scores), -1)
    drawn = torch.rand(scores.shape[:-1], device=scores.device) < epsilon
    return torch.where(drawn[..., None], top_slots(noise, slots), best)


class GreedySlates(TorchDistribution):
    """The K best candidates, best first; with probability epsilon any slate without repeats.

    For algorithms that learn values: no gradient reaches the scores. For k = 1 actions are
    (...,) without a dimension of slots, as those of ``Discrete`` are.

    Args:
        logits: (..., C) scores.
        k: slots.
        epsilon: probability of a slate drawn uniformly.
    """

    def __init__(self, logits: Tensor, k: int, epsilon: float = 0.0) -> None:
        self.logits = logits
        self.k = k
        self.epsilon = epsilon
        super().__init__()

    def _get_torch_distribution(self) -> None:
        """PyTorch has none."""

    def sample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """(..., K) candidate indices."""
        logits = self.logits.expand(*(sample_shape or ()), *self.logits.shape)
        return self._action(epsilon_greedy(logits, self.k, self.epsilon))

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """Not available: slates are discrete."""
        raise NotImplementedError("A slate has no reparameterised sample; use sample().")

    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """(...,) log-probability of slates that can be drawn; ``MASKED`` where it is zero."""
        same = self._action(top_slots(self.logits, self.k)) == value
        greedy = (same if self.k == 1 else same.all(-1)).to(self.logits.dtype)
        p = (1 - self.epsilon) * greedy + self.epsilon * torch.exp(-self._log_slates())
        return p.log().clamp(min=MASKED)

    def entropy(self, **kwargs: Any) -> Tensor:
        """(...,) nats, exact."""
        other = self.epsilon * torch.exp(-self._log_slates())  # of each slate that is not the best
        best = 1 - self.epsilon + other
        return -torch.xlogy(best, best) - torch.xlogy(self.epsilon - other, other)

    def kl(self, other: Any, **kwargs: Any) -> Tensor:
        """Not available: it is infinite between greedy policies that differ."""
        raise NotImplementedError("Greedy slates have no useful KL; use plackett-luce slates.")

    def to_deterministic(self) -> TorchDeterministic:
        """The K best candidates."""
        return TorchDeterministic(loc=self._action(top_slots(self.logits, self.k)))

    def _log_slates(self) -> Tensor:
        """(...,) log of how many slates there are without repeats."""
        n = (~_ruled_out(self.logits)).sum(-1).to(self.logits.dtype)
        return torch.lgamma(n + 1) - torch.lgamma(n - self.k + 1)

    def _action(self, slates: Tensor) -> Tensor:
        return slates[..., 0] if self.k == 1 else slates

    @staticmethod
    def required_input_dim(space: gymnasium.Space[Any], **kwargs: Any) -> int:
        """C."""
        one = isinstance(space, gymnasium.spaces.Discrete)
        return int(space.n if one else space.nvec[0])  # type: ignore[attr-defined]


def _ruled_out(scores: Tensor) -> Tensor:
    return scores <= MASKED / 2


def slate_distribution(
    slate_size: int, slates: Slates = "plackett-luce", *, epsilon: float = 0.0
) -> type[Any]:
    """The distribution of slates, made from ``RecommenderNetwork``'s scores.

    Args:
        slate_size: K. For K = 1 whatever is drawn is one exact categorical.
        slates: which one, as in ``NetworkConfig.slates``.
        epsilon: of greedy slates; the others do not read it.
    """
    if slates == "greedy":
        return _partial(GreedySlates, k=slate_size, epsilon=epsilon)
    if slate_size == 1:
        return TorchCategorical
    drawn = {"plackett-luce": PlackettLuce, "independent": IndependentSlots}
    return _partial(drawn[slates], k=slate_size)


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
