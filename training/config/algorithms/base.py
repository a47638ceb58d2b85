"""What a run needs from a learning algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig
    from training.values.config import ValueConfig


class AlgorithmSettings(Protocol):
    """An algorithm's settings, and how they configure RLlib.

    Attributes:
        central: critics read both agents' observations and the true state.
        slates: kinds of slates that it can learn with, as in ``NetworkConfig.slates``.
        sides: the sides that it can train.
    """

    central: ClassVar[bool]
    slates: ClassVar[tuple[str, ...]]
    sides: ClassVar[tuple[str, ...]]

    @property
    def rounds_per_iteration(self) -> int:
        """Rounds sampled in one iteration."""
        ...

    @property
    def values(self) -> ValueConfig | None:
        """How its action values become actions; None for algorithms whose networks are policies."""
        ...

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """RLlib's config of the algorithm in this run."""
        ...
