"""Every setting of a training run, as frozen dataclasses with one default each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from recenv.config import Config, GameConfig
from recenv.world import World
from training.algorithms import IPPO, MAPPO, AlgorithmSettings
from training.network_config import NetworkConfig
from training.world import resolve

Side = Literal["recommender", "user"]
MODULES: tuple[Side, Side] = ("recommender", "user")

__all__ = ["MODULES", "NetworkConfig", "Side", "TrainConfig"]


@dataclass(frozen=True)
class TrainConfig(Config):
    """A training run.

    Attributes:
        env: an environment id, or the folder of a saved world.
        algorithm: the learning algorithm; its settings are the field of the same name.
        train: which side learns. A user that does not is the fitted user; a recommender that
            does not is ``opponent``.
        opponent: "random", "popularity", "content" or "als".
        seed: of networks, visits and policies.
        rounds: rounds to train for (a round is one slate and its answer).
        num_env_runners: further processes that sample; 0 samples in this one.
        num_envs_per_env_runner: visits that each of them steps together.
        batched_runner: step those visits as one batch; False takes RLlib's own runner.
        num_learners: further processes that learn; 0 learns in this one.
        gpus_per_learner, gpus_per_env_runner: GPUs of each.
        torch_threads: threads of this process's networks.
        checkpoint_every: iterations between checkpoints.
        evaluation_every: iterations between evaluations of the greedy policies on users of the
            training pool; 0 for none.
        evaluation_visits: visits of each.
        game: settings of ``GameConfig`` that differ from the environment's own.
    """

    env: str = "recenv/MovieLens100K-v0"
    algorithm: Literal["ippo", "mappo"] = "ippo"
    train: Literal["both", "recommender", "user"] = "both"
    opponent: Literal["random", "popularity", "content", "als"] = "popularity"
    seed: int = 0
    rounds: int = 240_000
    num_env_runners: int = 0
    num_envs_per_env_runner: int = 128
    batched_runner: bool = True
    num_learners: int = 0
    gpus_per_learner: float = 0.0
    gpus_per_env_runner: float = 0.0
    torch_threads: int = 1
    checkpoint_every: int = 10
    evaluation_every: int = 5
    evaluation_visits: int = 512
    game: dict = field(default_factory=dict)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    ippo: IPPO = field(default_factory=IPPO)
    mappo: MAPPO = field(default_factory=MAPPO)

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds", "num_envs_per_env_runner", "checkpoint_every", "torch_threads"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("seed", "num_env_runners", "num_learners", "evaluation_every"):
            self.require(getattr(self, name) >= 0, name, "zero or more")
        self.require(self.evaluation_visits >= 1, "evaluation_visits", "at least 1")
        together = max(1, self.num_env_runners) * self.num_envs_per_env_runner
        self.require(
            self.settings.rounds_per_iteration % together == 0,
            "num_envs_per_env_runner",
            f"such that all runners' visits ({together}) divide the algorithm's "
            f"rounds_per_iteration ({self.settings.rounds_per_iteration}), so that an iteration "
            "is as long as it says",
        )
        self.require(
            self.num_envs_per_env_runner % max(1, self.num_learners) == 0,
            "num_envs_per_env_runner",
            f"a multiple of num_learners ({self.num_learners}), so that each learner gets as much",
        )
        for side in self.trained:
            self.require(
                side in self.settings.sides,
                "train",
                f"something that {self.algorithm} can train: {' or '.join(self.settings.sides)}",
            )
        GameConfig().replace(**self.game)  # names and types; the fit to the world comes later

    @property
    def settings(self) -> AlgorithmSettings:
        """The chosen algorithm's settings."""
        return getattr(self, self.algorithm)

    @property
    def trained(self) -> tuple[Side, ...]:
        """The sides that learn."""
        return MODULES if self.train == "both" else (self.train,)

    @property
    def iterations(self) -> int:
        """Iterations that ``rounds`` take."""
        return -(-self.rounds // self.settings.rounds_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        """RLlib's environment steps of an iteration: a turn of a side that learns is one."""
        return self.settings.rounds_per_iteration * len(self.trained)

    @property
    def flat(self) -> bool:
        """Whether learners get ``Fragments``; otherwise, RLlib's episodes."""
        return self.batched_runner and self.settings.flat

    @property
    def env_config(self) -> dict[str, Any]:
        """What every process needs to make the environment."""
        return {
            "env": self.env,
            "game": self.game,
            "trained": list(self.trained),
            "opponent": self.opponent,
            "central": self.settings.central,
        }

    def resolve(self) -> tuple[World, GameConfig]:
        """The world and the game; see ``training.world.resolve``."""
        return resolve(self.env, self.game)
