"""Settings of a training run, as frozen dataclasses with one default each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recenv import artifacts
from recenv.config import Config, GameConfig
from recenv.errors import ConfigError
from recenv.world import World
from training.config.algorithms import (
    APPO,
    BC,
    IDQN,
    IMPALA,
    IPPO,
    MAPPO,
    SAC,
    Algorithm,
    AlgorithmSettings,
    SlateQ,
)
from training.config.algorithms.bc import LOG
from training.config.network import NetworkConfig
from training.config.values import ValueConfig
from training.world import resolve

Side = Literal["recommender", "user"]
MODULES: tuple[Side, Side] = ("recommender", "user")
FITTED = "fitted"
"""Name of the user that was fitted to the log."""
CLASSICAL = ("random", "popularity", "content", "als")
"""Names of recommenders that nothing trains, to play against."""


@dataclass(frozen=True)
class TrainConfig(Config):
    """A training run.

    Attributes:
        env: an environment id, or the folder of a saved world.
        algorithm: the learning algorithm; its settings bear its name.
        train: which side learns, or both.
        opponent: who recommends if the recommender does not learn: "random", "popularity",
            "content", "als", or the folder of a run that trained a recommender.
        fixed_user: who answers if the user does not learn: "fitted", or the folder of a run that
            trained a user.
        regime: how sides that both learn meet: "together", each against the other as it is now;
            "alternating", one at a time against the other held still; "population", each against
            a pool of what the other was; see ``training.sampling.regimes``.
        alternate_every: iterations until the other side's turn to learn, if alternating, 1 or more.
        snapshot_every: iterations between the snapshots of a population, 1 or more.
        pool_size: snapshots of each side that a population keeps, 1 or more.
        limit_ends: learn as if the round limit ended visits, which is what a sum of rewards over a
            visit counts; by default they are cut off there, and worth what would have followed
            (Pardo et al., ICML 2018, "Time limits in reinforcement learning").
        kl_weight: what a nat of a learning user's divergence from the fitted user costs it,
            per turn, in the algorithm's own units (see ``training.sampling.divergence``): 0 sets it
            free, and with a very large one it stays the fitted user. 0 or more.
        warm_start: folder of a run, whose policies the learning sides' networks begin as; where
            it has none of a side, that side begins as ever.
        seed: of networks, visits and policies.
        rounds: rounds to train for (a round is one slate and its answer), 1 or more.
        num_env_runners: further processes that sample; 0 samples in this one.
        num_envs_per_env_runner: visits that each of them steps together, 1 or more.
        batched_runner: step those visits as one batch; False takes RLlib's own runner.
        num_learners: further processes that learn; 0 learns in this one.
        gpus_per_learner: GPUs of each process that learns; a fraction shares one.
        gpus_per_env_runner: GPUs of each process that samples; a fraction shares one.
        ray_address: of a Ray cluster that is running, host:port or "auto"; "local" starts Ray on
            this machine. Empty: what the variable RAY_ADDRESS says, else local.
        torch_threads: threads of this process's networks, 1 or more.
        checkpoint_every: iterations between checkpoints, 1 or more.
        evaluation_every: iterations between evaluations of the greedy policies on users of the
            training pool; 0 for none.
        evaluation_visits: visits of each evaluation, 1 or more.
        evaluation_member: member of the world's ensemble (``GameConfig.member``) to evaluate on;
            by default the one that is trained on.
        game: settings of ``GameConfig`` that differ from the environment's own.
        network: both agents' networks, see ``NetworkConfig``.
        ippo: settings of the algorithm, see ``IPPO``.
        mappo: settings of the algorithm, see ``MAPPO``.
        impala: settings of the algorithm, see ``IMPALA``.
        appo: settings of the algorithm, see ``APPO``.
        bc: settings of the algorithm, see ``BC``.
        slateq: settings of the algorithm, see ``SlateQ``.
        idqn: settings of the algorithm, see ``IDQN``.
        sac: settings of the algorithm, see ``SAC``.
    """

    env: str = "recenv/MovieLens100K-v0"
    algorithm: Algorithm = "ippo"
    train: Literal["both", "recommender", "user"] = "both"
    opponent: str = "popularity"
    fixed_user: str = FITTED
    regime: Literal["together", "alternating", "population"] = "together"
    alternate_every: int = 10
    snapshot_every: int = 10
    pool_size: int = 8
    limit_ends: bool = False
    kl_weight: float = 0.5
    warm_start: str = ""
    seed: int = 0
    rounds: int = 240_000
    num_env_runners: int = 0
    num_envs_per_env_runner: int = 128
    batched_runner: bool = True
    num_learners: int = 0
    gpus_per_learner: float = 0.0
    gpus_per_env_runner: float = 0.0
    ray_address: str = ""
    torch_threads: int = 1
    checkpoint_every: int = 10
    evaluation_every: int = 5
    evaluation_visits: int = 512
    evaluation_member: int | None = None
    game: dict = field(default_factory=dict)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    ippo: IPPO = field(default_factory=IPPO)
    mappo: MAPPO = field(default_factory=MAPPO)
    impala: IMPALA = field(default_factory=IMPALA)
    appo: APPO = field(default_factory=APPO)
    bc: BC = field(default_factory=BC)
    slateq: SlateQ = field(default_factory=SlateQ)
    idqn: IDQN = field(default_factory=IDQN)
    sac: SAC = field(default_factory=SAC)

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("rounds", "num_envs_per_env_runner", "checkpoint_every", "torch_threads"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self._check_regime()
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
        self.settings.check_run(self.num_envs_per_env_runner)
        if "recommender" in self.trained:
            self.network.check_slates(self.algorithm, self.settings.slates)
        GameConfig().replace(**self.game)  # names and types; the fit to the world comes later

    def _check_regime(self) -> None:
        for name in ("alternate_every", "snapshot_every", "pool_size"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require((self.evaluation_member or 0) >= 0, "evaluation_member", "zero or more")
        self.require(
            0 <= self.kl_weight < math.inf,
            "kl_weight",
            "zero or more, and finite (a million keeps the user where it is)",
        )
        together = self.regime == "together"
        self.require(
            together or self.algorithm != "bc", "regime", "together with bc, where nobody meets"
        )
        self.require(together or self.train == "both", "train", f"both, if {self.regime}")
        self.require(
            self.batched_runner or self.regime != "population",
            "batched_runner",
            "on for a population: RLlib's own runner has one policy of each side",
        )
        for name, side in (("opponent", "recommender"), ("fixed_user", "user")):
            given = getattr(self, name) != type(self).__dataclass_fields__[name].default
            self.require(
                not given or side not in self.trained,
                name,
                f"left out where the {side} learns (--train {self.train}): nobody else plays it",
            )
        if "behaviour_weight" in self.game.get("reward", {}):
            raise ConfigError(
                "game.reward.behaviour_weight cannot be set for training: rewards of users with "
                "different weights could not be compared. What ties a learning user to the fitted "
                "one is TrainConfig.kl_weight (--kl-weight)."
            )

    def with_absolute_paths(self) -> TrainConfig:
        """The same with absolute paths of what is there now: it holds in every other folder."""
        names = (*CLASSICAL, FITTED)
        changes: dict[str, Any] = {
            name: str(Path(value).resolve())
            for name in ("opponent", "fixed_user", "warm_start")
            if (value := getattr(self, name)) and value not in names and Path(value).is_dir()
        }
        if artifacts.exists(Path(self.env)):
            changes["env"] = str(Path(self.env).resolve())
        if self.bc.data not in ("", LOG) and Path(self.bc.data).is_file():
            changes["bc"] = {"data": str(Path(self.bc.data).resolve())}
        return self.replace(**changes)

    @property
    def settings(self) -> AlgorithmSettings:
        """The chosen algorithm's settings."""
        return getattr(self, self.algorithm)

    @property
    def values(self) -> ValueConfig | None:
        """Settings of the algorithm's action values, if it has any."""
        values = self.settings.values
        return values and values.replace(kl_weight=self.kl_weight)

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
    def env_config(self) -> dict[str, Any]:
        """Environment config that every process of RLlib gets."""
        return {
            "env": self.env,
            "game": self.game,
            "trained": list(self.trained),
            "opponent": self.opponent,
            "fixed_user": self.fixed_user,
            "population": self.regime == "population",
            "limit_ends": self.limit_ends,
            "central": self.settings.central,
        }

    def resolve(self) -> tuple[World, GameConfig]:
        """The world and the game to train in; see ``training.world.resolve``."""
        return resolve(self.env, self.game)

    def resolve_evaluation(self) -> tuple[World, GameConfig]:
        """The same to evaluate in: the game may be played by another member of the ensemble."""
        world, game = self.resolve()
        if self.evaluation_member is None:
            return world, game
        return world, game.replace(member=self.evaluation_member)
