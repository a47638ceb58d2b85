"""Settings of both agents' networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recenv.config import Config
from recenv.recommenders import ALSConfig

Init = Literal["lm", "cf", "hybrid", "random"]
History = Literal["mean", "gru", "transformer"]
Slates = Literal["plackett-luce", "independent", "greedy"]


_REFUSED = {
    "independent": "which ranks candidates, and so shows none twice",
    "greedy": "which learns from probabilities of slates: a greedy policy has none to learn from "
    "(slateq and idqn play greedily)",
}
"""Why an algorithm cannot learn with these slates."""


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Both agents' networks.

    Attributes:
        hidden: units of the hidden layers, 1 or more.
        init: what the user and item tables begin as: the world's interest vectors ("lm"),
            collaborative factors ("cf"), both ("hybrid"), or noise of the same size
            ("random"); see ``training.models.initial_tables``.
        factors: dimensions of collaborative factors, 1 or more.
        table_rate: how fast the tables leave their seeds: what their learned offsets are multiplied
            by, 0 or more; 0 freezes them.
        history: how the visit's events enter the recommender: as the mean of what was clicked
            ("mean"), or also through a recurrent network ("gru") or attention ("transformer");
            see ``training.models.history``.
        slates: how slates are drawn from scores, see ``training.models.distributions``: item after
            item without repeats ("plackett-luce"), each slot by itself ("independent"), or the
            best ("greedy", of algorithms that learn values).
        interest_weight: what one standard deviation of the inner product of interest and item adds
            to a candidate's score before training.
        popularity_weight: what one standard deviation of log popularity adds to it.
    """

    hidden: int = 64
    init: Init = "lm"
    factors: int = ALSConfig.factors
    table_rate: float = 0.3
    history: History = "mean"
    slates: Slates = "plackett-luce"
    interest_weight: float = 1.0
    popularity_weight: float = 0.25

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require(self.hidden >= 1, "hidden", "at least 1")
        self.require(self.factors >= 1, "factors", "at least 1")
        self.require(self.table_rate >= 0, "table_rate", "zero or more")

    def check_slates(self, algorithm: str, slates: tuple[str, ...]) -> None:
        """Raise ConfigError where an algorithm cannot learn with these slates.

        Args:
            algorithm: its name, for the message.
            slates: kinds that it can learn with.
        """
        self.require(
            self.slates in slates,
            "slates",
            f"{' or '.join(slates)} with {algorithm}, {_REFUSED.get(self.slates)}",
        )
