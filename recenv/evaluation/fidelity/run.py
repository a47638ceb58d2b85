"""``fidelity``: roll the environment out beside the held-out part of its log, and compare."""

from __future__ import annotations

import numpy as np
from tqdm.auto import tqdm

from recenv.config import RewardConfig
from recenv.data.split import Split, make_split
from recenv.errors import ConfigError
from recenv.evaluation.fidelity.asking import Asking
from recenv.evaluation.fidelity.replay import MakeSimulator
from recenv.evaluation.fidelity.report import FidelityConfig, FidelityReport
from recenv.evaluation.fidelity.visiting import Visiting
from recenv.evaluation.fidelity.visits import HeldOut
from recenv.schema import InteractionLog
from recenv.sim.simulator import Simulator
from recenv.world import World


class _Run(Asking, Visiting):
    """One report in the making."""


def fidelity(
    world: World,
    log: InteractionLog,
    split: Split | None = None,
    config: FidelityConfig | None = None,
    *,
    reward: RewardConfig | None = None,
    make_simulator: MakeSimulator = Simulator,
    command: str = "",
    progress: bool = False,
) -> FidelityReport:
    """How far the environment's own output is from the held-out part of a log.

    Logged slates are shown to the simulated users and their answers compared with the logged
    ones. Without impressions, items consumed are compared with items passed over, and users
    consume from uniformly drawn offers. Beside every figure stand a simulator that knows counts
    alone, and the noise of the log.

    Args:
        world: the environment's.
        log: the whole log; the world was fitted on its train part.
        split: how it was divided; by default as the world's config says.
        config: tolerances and draws.
        reward: weights of the rewards that are compared.
        make_simulator: the environment's step, ``Simulator`` or a subclass of it.
        command: for the report.
        progress: show a bar.

    Raises:
        ConfigError: the log is of other users than the world, or nothing is held out.
    """
    config = config or FidelityConfig()
    if split is None:
        split = make_split(log, world.config.split if world.config else None)
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
    held = HeldOut.of(log, split)
    if len(np.unique(log.column("user")[held.rows])) < 2:
        raise ConfigError(
            f"The split of {log.name!r} holds out events of fewer than two users. Raise "
            "SplitConfig.test_fraction, or give a longer log."
        )
    run = _Run(world, log, split, held, config, reward or RewardConfig(), make_simulator)
    steps = (run.answers, run.visits, run.returns)
    for step in tqdm(steps, desc=f"fidelity {world.name}", unit="part", disable=not progress):
        step()
    found = run.findings
    return FidelityReport(
        world=world.name,
        world_hash=world.hash,
        log=log.name,
        log_hash=log.hash,
        command=command,
        settings=config.to_dict(),
        counts=run.counts,
        figures=tuple(found.figures),
        checks=tuple(found.checks),
        series=found.series,
        notes=(*run.notes, *log.notes),
    )
