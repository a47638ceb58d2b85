"""Settings of action-value networks and of the policies that are greedy in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recenv.config import Config

Choice = Literal["independent", "single"]
Search = Literal["topk", "greedy", "exact"]


@dataclass(frozen=True)
class ValueConfig(Config):
    """Settings of a network of action values and its policy; saved with a policy.

    Attributes:
        kind: "slateq" (``training.models.value_networks.SlateQNetwork``), "slots" (``SlotQNetwork``
            for the recommender, ``AnswerQNetwork`` for the user), or "soft": policies, for which
            the latter are critics.
        choice: how clicks are modelled, see ``training.models.slate_search``; of "slateq" alone.
        search: how slates are searched for, see there; of "slateq" alone.
        kl_weight: what a nat of a user's divergence from the fitted one costs it, in rewards, 0 or
            more.
    """

    kind: Literal["slateq", "slots", "soft"] = "slots"
    choice: Choice = "independent"
    search: Search = "greedy"
    kl_weight: float = 0.0
