"""BC: both sides imitate recorded or logged visits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from recenv.config import Config
from recenv.errors import ConfigError

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from training.config import TrainConfig
    from training.demonstrations import Demonstrations

LOG = "log"
"""What ``BC.data`` says for the world's own log."""


@dataclass(frozen=True)
class BC(Config):
    """Behaviour cloning (Pomerleau, NIPS 1988): the likelihood of what was done is maximised.

    ``data`` is a file of ``python -m training.record``, or "log": the slates and answers in the
    world's own log, where it has impressions. The recommender learns the Plackett-Luce likelihood
    of slates, the user that of answers. ``heldout`` is the share of visits that is not learned
    from but asked for its likelihood. Nothing is sampled: ``rounds`` are rounds learned from.
    """

    central: ClassVar[bool] = False
    sides: ClassVar[tuple[str, ...]] = ("recommender", "user")
    slates: ClassVar[tuple[str, ...]] = ("plackett-luce", "independent")

    data: str = ""
    rounds_per_iteration: int = 4096
    learning_rate: float = 0.01
    minibatch_size: int = 256
    gradient_clip: float = 10.0
    heldout: float = 0.1

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds_per_iteration", "learning_rate", "minibatch_size", "gradient_clip"):
            self.require(getattr(self, name) > 0, name, "positive")
        self.require(0 <= self.heldout < 1, "heldout", "in [0, 1)")

    @property
    def values(self) -> None:
        """See ``AlgorithmSettings.values``."""
        return None

    def check_data(self) -> None:
        """Raise ConfigError unless data is named."""
        self.require(
            bool(self.data),
            "data",
            f'a file of python -m training.record (--bc.data FILE), or "{LOG}" for the '
            "world's own log",
        )

    def build(self, config: TrainConfig) -> AlgorithmConfig:
        """See ``AlgorithmSettings.build``.

        Raises:
            ArtifactError: there is no recording.
            ConfigError: it is of another world or game, or the log shows no slates.
        """
        from functools import partial

        from ray.rllib.algorithms.bc import BCConfig

        from training.cloning import DEMONSTRATIONS, Cloning, CloningLearner

        self.demonstrations(config)  # found wanting here rather than inside RLlib
        settings: Any = BCConfig(algo_class=Cloning)
        settings._is_online = True  # RLlib takes the spaces of several agents from a runner alone
        return settings.training(
            learner_class=CloningLearner,
            learner_config_dict={
                DEMONSTRATIONS: partial(self.demonstrations, config),
                "heldout": self.heldout,
                "rounds": self.rounds_per_iteration,
            },
            lr=self.learning_rate,
            minibatch_size=self.minibatch_size,
            train_batch_size_per_learner=self.rounds_per_iteration,
            grad_clip=self.gradient_clip,
            grad_clip_by="global_norm",
        ).offline_data(dataset_num_iters_per_learner=1)

    def demonstrations(self, config: TrainConfig) -> Demonstrations:
        """What is imitated in a run.

        Raises:
            ArtifactError: there is no recording.
            ConfigError: it is of another world or game, or the log shows no slates.
        """
        from training.demonstrations import Demonstrations, check_recording, logged_visits
        from training.recording import load

        world, game = config.resolve()
        same = False
        if planted := self.data == LOG:
            visits = logged_visits(world, game)
        else:
            visits, meta = load(Path(self.data))
            same = check_recording(meta, world, game, self.data)
        if len(visits) < 2:
            held = f"the log of {world.name!r}" if planted else self.data
            raise ConfigError(f"BC.data: {held} holds one such visit; cloning needs more.")
        return Demonstrations(world, game, visits, planted=planted, same_rewards=same)
