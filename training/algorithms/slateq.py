"""SlateQ: Q-learning over slates by the values of single items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from training.algorithms.replayed import EpsilonSettings
from training.values.config import Choice, Search, ValueConfig

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig


@dataclass(frozen=True)
class SlateQ(EpsilonSettings):
    """SlateQ (Ie et al., IJCAI 2019), for rounds with several clicks.

    Attributes:
        choice: how clicks are modelled, see ``training.values.slates.click_probabilities``.
        labels: what the choice model learns from: the clicks, as a platform can, or the fitted
            user's probabilities of them ("fitted"), which only a simulator knows.
        search: how slates are searched for, see ``training.values.slates.search_slates``.
        exposure: value what was shown and not clicked, too, which the paper rules out.
    """

    sides: ClassVar[tuple[str, ...]] = ("recommender",)

    choice: Choice = "independent"
    labels: Literal["clicks", "fitted"] = "clicks"
    search: Search = "greedy"
    exposure: bool = False

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        super().check()
        exact = self.search == "exact"
        self.require(
            not exact or (self.choice == "single" and not self.exposure),
            "search",
            "topk or greedy, unless choice is single and exposure is off",
        )

    @property
    def values(self) -> ValueConfig:
        """How values become slates."""
        return ValueConfig("slateq", self.choice, self.search, self.exposure)

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """See ``AlgorithmSettings.build``."""
        from training.values.slateq import SlateQLearner

        return self._build(config, SlateQLearner)
