"""Inputs of a fidelity report: the log's side and the simulators' side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recenv.config import RewardConfig
from recenv.data.split import Split
from recenv.errors import ConfigError
from recenv.evaluation.fidelity.config import FidelityConfig
from recenv.evaluation.fidelity.heldout import HeldOut, consumed_from
from recenv.evaluation.fidelity.replay import MakeSimulator
from recenv.evaluation.fidelity.trivial_models import trivial_world
from recenv.schema import Exposure, InteractionLog
from recenv.world import World


@dataclass(frozen=True)
class Inputs:
    """What is compared with what.

    Attributes:
        log, split, held: the log's side; ``held`` says which of its rows are looked at.
        world, trivial: the simulators' side: the world, and one that knows counts alone.
        make: the environment's step.
        reward: weights of the rewards that are compared.
        config: tolerances and draws.
        kind: what the log tells of what was passed over.
        least: the least response that counts as consumed.
        sessions: whether the log tells visits apart.
    """

    log: InteractionLog
    split: Split
    held: HeldOut
    world: World
    trivial: World
    make: MakeSimulator
    reward: RewardConfig
    config: FidelityConfig
    exposure: Exposure
    least: int
    sessions: bool

    @classmethod
    def of(
        cls,
        world: World,
        log: InteractionLog,
        split: Split,
        make: MakeSimulator,
        reward: RewardConfig,
        config: FidelityConfig,
    ) -> Inputs:
        """Both sides of a log and a world that was fitted on its train part.

        Raises:
            ConfigError: the log is of other users than the world, or nothing is held out.
        """
        check_log(world, log, split)
        held = HeldOut.of(log, split)
        if len(np.unique(log.column("user")[held.rows])) < 2:
            raise ConfigError(
                f"The split of {log.name!r} holds out events of fewer than two users. Raise "
                "SplitConfig.test_fraction, or give a longer log."
            )
        # whole visits of held-out users reach back into their train part: counts may not know it
        counted = split.rows("train", "all" if held.later else "train")
        return cls(
            log=log,
            split=split,
            held=held,
            world=world,
            trivial=trivial_world(world, log.take(counted)),
            make=make,
            reward=reward,
            config=config,
            exposure=log.exposure,
            least=consumed_from(log),
            sessions="session" in log.events,
        )

    @property
    def worlds(self) -> tuple[World, World]:
        """Both simulators."""
        return self.world, self.trivial


def check_log(world: World, log: InteractionLog, split: Split) -> None:
    """Check that a world was built from the train part of a log.

    Raises:
        ConfigError: other users, or another train part.
    """
    if log.num_users != world.num_users or not np.array_equal(
        log.user_ids.astype(str), world.train.user_ids.astype(str)
    ):
        raise ConfigError(
            f"The log {log.name!r} has {log.num_users} users, the world {world.name!r} has "
            f"{world.num_users}, or they are not the same. Give the log that it was built from."
        )
    if world.config is not None and log.take(split.rows("train", "all")).hash != world.train.hash:
        raise ConfigError(
            f"The train part of the log {log.name!r} is not what the world {world.name!r} was "
            "built from, so its test part may not be held out. Give that world's log and split."
        )
