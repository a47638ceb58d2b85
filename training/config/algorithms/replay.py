"""Settings common to algorithms with a replay buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.config.algorithms.base import AlgorithmSettings


@dataclass(frozen=True)
class ReplaySettings(AlgorithmSettings):
    """Sampling, replay and updates.

    Attributes:
        updates: gradient steps after the rounds of an iteration, 1 or more.
        minibatch_size: turns of one side in each step, 1 or more.
        replay_size: observations kept, at least twice rounds_per_iteration; see
            ``training.algorithms.replay_buffer.Replay``.
        learning_rate: of Adam, positive.
        gamma: discount per turn of one side, from 0 to 1.
        target_rate: share of the way that target networks go after each step, above 0, at most 1.
        gradient_clip: greatest norm of a gradient, positive.
    """

    slates: ClassVar[tuple[str, ...]] = ("plackett-luce", "greedy")

    rounds_per_iteration: int = 2048
    updates: int = 64
    minibatch_size: int = 256
    replay_size: int = 100_000
    learning_rate: float = 0.001
    gamma: float = 0.9
    target_rate: float = 0.01
    gradient_clip: float = 10.0

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds_per_iteration", "updates", "minibatch_size", "replay_size"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("learning_rate", "gradient_clip"):
            self.require(getattr(self, name) > 0, name, "positive")
        self.require(0 <= self.gamma <= 1, "gamma", "in [0, 1]")
        self.require(0 < self.target_rate <= 1, "target_rate", "in (0, 1]")
        self.require(
            self.replay_size >= 2 * self.rounds_per_iteration,
            "replay_size",
            f"at least twice rounds_per_iteration ({self.rounds_per_iteration})",
        )


@dataclass(frozen=True)
class EpsilonSettings(ReplaySettings):
    """Replay with epsilon-greedy exploration.

    Attributes:
        epsilon_start: share of uniformly drawn actions at first, from 0 to 1.
        epsilon: the same from ``epsilon_rounds`` rounds on; in between it goes on a straight line.
        epsilon_rounds: rounds until then, 0 or more.
    """

    epsilon_start: float = 0.5
    epsilon: float = 0.05
    epsilon_rounds: int = 40_000

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        super().check()
        for name in ("epsilon_start", "epsilon"):
            self.require(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        self.require(self.epsilon_rounds >= 0, "epsilon_rounds", "zero or more")

    def exploration(self, rounds: float) -> float:
        """Share of uniformly drawn actions after so many rounds."""
        left = max(0.0, 1 - rounds / self.epsilon_rounds) if self.epsilon_rounds else 0.0
        return self.epsilon + left * (self.epsilon_start - self.epsilon)
