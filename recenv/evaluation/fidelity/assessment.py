"""Assessment of a simulator: it is rolled out beside the held-out part of its log."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recenv.config import RewardConfig
from recenv.data.split import Split, make_split
from recenv.evaluation.fidelity.clicks import click_findings
from recenv.evaluation.fidelity.config import FidelityConfig
from recenv.evaluation.fidelity.findings import Findings, Judge
from recenv.evaluation.fidelity.inputs import Inputs
from recenv.evaluation.fidelity.replay import MakeSimulator
from recenv.evaluation.fidelity.resample import Resampler
from recenv.evaluation.fidelity.results import FidelityReport
from recenv.evaluation.fidelity.returns import return_findings
from recenv.evaluation.fidelity.visits import visit_findings
from recenv.evaluation.fidelity.world_log import held_out
from recenv.progress import Progress
from recenv.schema import InteractionLog
from recenv.sim.simulator import Simulator
from recenv.world import World

_PARTS: tuple[Callable[[Inputs, Judge, np.random.Generator], Findings], ...] = (
    click_findings,
    visit_findings,
    return_findings,
)


def fidelity(
    world: World,
    log: InteractionLog | None = None,
    split: Split | None = None,
    config: FidelityConfig | None = None,
    *,
    reward: RewardConfig | None = None,
    make_simulator: MakeSimulator = Simulator,
    command: str = "",
    progress: bool | None = None,
) -> FidelityReport:
    """How far the environment's own output is from the held-out part of a log.

    Logged slates are shown to the simulated users and their answers compared with the logged
    ones. Without impressions, items consumed are compared with items passed over, and users
    consume from uniformly drawn offers. Beside every figure stand a simulator that knows counts
    alone, and the noise of the log.

    Args:
        world: the environment's.
        log: the whole log; the world was fitted on its train part. By default what the world
            keeps of it; see ``held_out``.
        split: how it was divided; by default as the world's config says.
        config: tolerances and draws.
        reward: weights of the rewards that are compared.
        make_simulator: the environment's step, ``Simulator`` or a subclass of it.
        command: for the report.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        ConfigError: the log is of other users than the world, nothing is held out, or no log
            is given and the world keeps none.
    """
    config = config or FidelityConfig()
    if log is None:
        log, kept = held_out(world)
        split = split or kept
    if split is None:
        split = make_split(log, world.config.split if world.config else None)
    inputs = Inputs.of(world, log, split, make_simulator, reward or RewardConfig(), config)
    held = inputs.held
    looked_at = log.column("user")[held.rows | held.whole[held.visit]]
    resampler = Resampler(looked_at, world.num_users, config.resamples, config.seed)
    judge = Judge(world.user_model.laws, config, resampler)
    rng = np.random.default_rng(config.seed)
    found = Findings(counts={"held-out rows": int(held.rows.sum())})
    stage = Progress(f"fidelity {world.name}", len(_PARTS), unit="parts", shown=progress)
    for part in stage.of(_PARTS):
        found += part(inputs, judge, rng)
    return FidelityReport(
        world=world.name,
        world_hash=world.hash,
        log=log.name,
        log_hash=log.hash,
        command=command,
        settings=config.to_dict(),
        counts=found.counts,
        figures=found.figures,
        checks=found.checks,
        series=found.series,
        notes=(*found.notes, *log.notes),
    )
