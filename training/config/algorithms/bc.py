"""Settings of BC: behaviour cloning of recorded or logged visits."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.algorithms.base import AlgorithmSettings

LOG = "log"
"""What ``BC.data`` says for the world's own log."""


@dataclass(frozen=True)
class BC(AlgorithmSettings):
    """Behaviour cloning (Pomerleau, NIPS 1988): the likelihood of what was done is maximised.

    The recommender learns the Plackett-Luce likelihood of slates, the user that of answers.
    Nothing is sampled: ``rounds`` are rounds learned from.

    Attributes:
        rounds_per_iteration: rounds learned from in one iteration, 1 or more.
        data: a file of ``recenv record``, or "log": the slates and answers in the world's own
            log, where it has impressions.
        learning_rate: of Adam, positive.
        minibatch_size: turns of one side in each step, 1 or more.
        gradient_clip: greatest norm of a gradient, positive.
        heldout: share of the visits that is not learned from but asked for its likelihood, from
            0 to below 1.
    """

    data: str = ""
    learning_rate: float = 0.01
    minibatch_size: int = 256
    gradient_clip: float = 10.0
    heldout: float = 0.1

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds_per_iteration", "learning_rate", "minibatch_size", "gradient_clip"):
            self.require(getattr(self, name) > 0, name, "positive")
        self.require(0 <= self.heldout < 1, "heldout", "in [0, 1)")

    def check_run(self, visits: int) -> None:
        """See ``AlgorithmSettings.check_run``: data must be named."""
        self.require(
            bool(self.data),
            "data",
            f'a file of recenv record (--bc.data FILE), or "{LOG}" for the world\'s own log',
        )
