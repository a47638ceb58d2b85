"""Settings and capabilities common to all algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recenv.config import Config
from training.config.values import ValueConfig


@dataclass(frozen=True)
class AlgorithmSettings(Config):
    """An algorithm's settings; ``training.algorithms.registry`` makes its learner from them.

    Attributes:
        central: critics read both agents' observations and the true state.
        asynchronous: learners tell what they learned in a later iteration than they were asked in.
        sides: the sides that it can train.
        slates: kinds of slates that it can learn with, as in ``NetworkConfig.slates``.
        rounds_per_iteration: rounds sampled in one iteration, 1 or more; all runners' visits divide
            them.
    """

    central: ClassVar[bool] = False
    asynchronous: ClassVar[bool] = False
    sides: ClassVar[tuple[str, ...]] = ("recommender", "user")
    slates: ClassVar[tuple[str, ...]] = ("plackett-luce", "independent")

    rounds_per_iteration: int = 4096

    @property
    def values(self) -> ValueConfig | None:
        """Settings of its action values; None for algorithms whose networks are policies."""
        return None

    def check_run(self, visits: int) -> None:
        """Raise ConfigError unless the settings fit a run.

        Args:
            visits: that one runner steps together.
        """
