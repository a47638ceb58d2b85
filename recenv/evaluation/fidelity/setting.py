"""What every part of a fidelity report starts from."""

from __future__ import annotations

import numpy as np

from recenv.config import RewardConfig
from recenv.data.split import Split
from recenv.evaluation.fidelity.replay import MakeSimulator
from recenv.evaluation.fidelity.report import FidelityConfig
from recenv.evaluation.fidelity.resample import Resampler
from recenv.evaluation.fidelity.topics import Findings
from recenv.evaluation.fidelity.trivial import trivial_world
from recenv.evaluation.fidelity.visits import HeldOut, consumed_from, kind_of
from recenv.schema import InteractionLog
from recenv.world import World


class Setting:
    """One report in the making."""

    def __init__(
        self,
        world: World,
        log: InteractionLog,
        split: Split,
        held: HeldOut,
        config: FidelityConfig,
        reward: RewardConfig,
        make: MakeSimulator,
    ) -> None:
        self.world, self.log, self.split, self.held = world, log, split, held
        self.config, self.reward, self.make = config, reward, make
        self.train = split.rows("train", "all")
        self.trivial = trivial_world(world, log.take(self.train))
        self.kind, self.least = kind_of(log), consumed_from(log)
        self.rng = np.random.default_rng(config.seed)
        looked_at = log.column("user")[held.rows | held.whole[held.visit]]
        self.findings = Findings(
            world.user_model.laws,
            config,
            Resampler(looked_at, world.num_users, config.resamples, config.seed),
        )
        self.sessions = "session" in log.events
        self.counts = {"held-out rows": int(held.rows.sum())}
        self.notes: list[str] = []
