"""Settings of SlateQ: Q-learning over slates by the values of single items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from training.config.algorithms.replay import EpsilonSettings
from training.config.values import Choice, Search, ValueConfig


@dataclass(frozen=True)
class SlateQ(EpsilonSettings):
    """SlateQ (Ie et al., IJCAI 2019), for rounds with several clicks.

    Attributes:
        choice: how clicks are modelled, see ``training.models.slate_search.click_probabilities``:
            each slot by itself ("independent"), or one click at most ("single").
        labels: what the choice model learns from: the clicks ("clicks"), as a platform can, or the
            fitted user's probabilities of them ("fitted"), which only a simulator knows.
        search: how slates are searched for, see ``training.models.slate_search.search_slates``:
            "exact" is for single clicks.
    """

    sides: ClassVar[tuple[str, ...]] = ("recommender",)

    choice: Choice = "independent"
    labels: Literal["clicks", "fitted"] = "clicks"
    search: Search = "greedy"

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        super().check()
        self.require(
            self.search != "exact" or self.choice == "single",
            "search",
            "topk or greedy if clicks are independent: both are exact then",
        )

    @property
    def values(self) -> ValueConfig:
        """Settings of its action values: choice model and slate search."""
        return ValueConfig("slateq", self.choice, self.search)
