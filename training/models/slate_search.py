"""Slate search: choice models of slates, and slates of highest expected value.

B visits, C candidates, K slots. A candidate has an appeal (a log-odds), and a value: that of a
click on it minus that of no click. An examination is how much of the first slot's attention a slot
gets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config.values import Choice, Search

_LARGEST = 15.0
"""Log-odds are cut off here, so that their exponentials stay sums that float32 can hold."""
_ROUNDS = 20
"""At most so many improvements of an exact slate; five were the most that were ever needed."""
_TAKEN = -torch.inf


def odds(appeal: Tensor) -> Tensor:
    """(...) log-odds as odds."""
    return appeal.clamp(-_LARGEST, _LARGEST).exp()


def click_probabilities(appeal: Tensor, examination: Tensor, choice: Choice) -> Tensor:
    """(B, K) probability of a click in each slot.

    "independent": each slot is looked at and clicked by itself, with probability
    ``examination * sigmoid(appeal)`` (the position-based model: Richardson, Dominowska & Ragno,
    WWW 2007; Craswell et al., WSDM 2008).

    "single": one slot or none is chosen, with probability proportional to
    ``examination * exp(appeal)``, and to 1 for none (the conditional logit: McFadden 1974), as
    Ie et al. (IJCAI 2019) assume.

    Args:
        appeal: (B, K) of the candidates shown, slot by slot.
        examination: (K,).
        choice: which of the two.
    """
    if choice == "independent":
        return examination * torch.sigmoid(appeal)
    weight = examination * odds(appeal)
    return weight / (1 + weight.sum(-1, keepdim=True))


def search_slates(
    appeal: Tensor, value: Tensor, examination: Tensor, choice: Choice, how: Search
) -> Tensor:
    """(B, K) slates that are worth most: ``sum_k P(click k) value_k``, first slot first.

    "topk" ranks candidates by ``weight * value``, where the weight is the click's probability, or
    its odds if the choice is single. "greedy" fills slot after slot with what adds most. Both are
    those of Ie et al., whose choice is single; there neither is always best. For independent
    clicks both are best, if examination falls from slot to slot and values are not negative: the
    sum is a scalar product of two sorted sequences. "exact" is best for a single choice, by
    Dinkelbach (1967): for the ratio r of a slate, rank by ``weight * (value - r)``; repeat with
    the better slate's ratio until it stays.

    Args:
        appeal, value: (B, C) of each candidate.
        examination: (K,).
        choice: see ``click_probabilities``.
        how: see above.
    """
    weight = torch.sigmoid(appeal) if choice == "independent" else odds(appeal)
    if how == "topk":
        return (weight * value).topk(len(examination), -1).indices
    if how == "exact":
        return _dinkelbach(weight, value, examination)
    return _greedy(weight, value, examination, choice)


def _greedy(weight: Tensor, value: Tensor, examination: Tensor, choice: Choice) -> Tensor:
    taken = torch.zeros_like(value)
    gained, chances = torch.zeros_like(value[:, :1]), torch.ones_like(value[:, :1])
    slots = []
    for looked in examination:
        chance = looked * weight
        worth = chance * value
        if choice == "single":
            worth = (gained + worth) / (chances + chance)
        best = (worth + taken).argmax(-1, keepdim=True)
        taken = taken.scatter(-1, best, _TAKEN)
        chance = chance.gather(-1, best)
        gained, chances = gained + chance * value.gather(-1, best), chances + chance
        slots.append(best)
    return torch.cat(slots, -1)


def _dinkelbach(weight: Tensor, value: Tensor, examination: Tensor) -> Tensor:
    order = examination.argsort(descending=True)
    ratio = torch.zeros_like(value[:, :1])
    best = order  # of the loop below, which runs at least once
    for _ in range(_ROUNDS):
        best = (weight * (value - ratio)).topk(len(examination), -1).indices
        chance = examination[order] * weight.gather(-1, best)
        better = (chance * value.gather(-1, best)).sum(-1, keepdim=True) / (
            1 + chance.sum(-1, keepdim=True)
        )
        exporting = torch.compiler.is_exporting()  # a file cannot stop early
        if not exporting and torch.allclose(better, ratio, rtol=1e-6, atol=1e-7):
            break
        ratio = better
    return best[:, order.argsort()]


def ranked(slates: Tensor, worth: Tensor) -> Tensor:
    """(B, C) scores whose K best, best first, are the (B, K) slates; other candidates follow.

    Args:
        slates: candidate indices.
        worth: (B, C) which orders the candidates not shown.
    """
    slots = torch.arange(slates.shape[-1], 0, -1, dtype=worth.dtype, device=worth.device)
    return worth.scatter(-1, slates, worth.amax(-1, keepdim=True) + slots)
