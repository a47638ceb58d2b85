"""How action values become actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recenv.config import Config

Choice = Literal["independent", "single"]
Search = Literal["topk", "greedy", "exact"]


@dataclass(frozen=True)
class ValueConfig(Config):
    """What a network of action values is and how it acts; saved with a policy.

    Attributes:
        kind: of a recommender's: "slateq" (``training.values.networks.SlateQNetwork``) or "slots"
            (``SlotQNetwork``). A user's is ``AnswerQNetwork``.
        choice, search: see ``training.values.slates``; of "slateq" alone.
        exposure: whether showing an item is worth something, clicked or not; of "slateq" alone.
    """

    kind: Literal["slateq", "slots"] = "slots"
    choice: Choice = "independent"
    search: Search = "greedy"
    exposure: bool = False
