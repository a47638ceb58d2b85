"""Cells of the policy-ranking study: a log from a planted world, a fit, and two rankings.

A planted world is the truth. Its users leave a log under a known logging policy; a user model is
fitted to that log as to any other; and a fixed set of policies plays in both worlds, which differ
in the user model alone. ``python -m recenv.studies.policy_ranking`` measures how well the two
rankings agree over the size of the log, over the narrowness of the logging policy, and with parts
of the log or of the model taken away.

A cell (one log, one fit, one ranking) is kept as JSON, so that an interrupted run goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recenv.config import Config, GameConfig, WorldConfig, content_hash
from recenv.data.split import make_split
from recenv.encoders.interest_vectors import fit_interests
from recenv.evaluation import rollout
from recenv.recommenders import Recommender
from recenv.schema import CLICK, InteractionLog
from recenv.sim.simulator import Simulator
from recenv.studies.cells import sources_hash
from recenv.studies.policy_ranking.agreement import agreement, surely_ranked, visit_error
from recenv.studies.policy_ranking.policies import (
    ScoreRecommender,
    candidate_policies,
    click_values,
)
from recenv.synthetic.log import (
    LoggingPolicy,
    PersonalLogging,
    PopularityLogging,
    UniformLogging,
    emit_log,
)
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.users.model import UserModel
from recenv.world import World, fit_world

VERSION = 1
"""Goes up when this file would measure something else for the same cell."""
_SOURCES = (
    "studies/policy_ranking/policies.py",
    "users",
    "sim",
    "synthetic",
    "jit",
    "encoders",
    "evaluation",
    "recommenders",
    "data",
    "config.py",
    "rng.py",
)

TRUE_SEED, FITTED_SEED = 1, 2
"""The worlds are played on other draws: agreement by shared luck would be none."""

Change = Literal[
    "none",
    "no positions",
    "wrong examination prior",
    "clicks only, level 0.1",
    "clicks only, level 0.02",
    "clicks only, level 0.4",
    "random item vectors",
    "no boredom, drift, satisfaction",
    "items only",
    "the planted model itself",
]
LOG_CHANGES = {  # what is asked of the fit, in words for the report
    "no positions": "the log's positions are dropped: every slot counts as looked at",
    "wrong examination prior": "`examination_decay = 1.5` is stated, where 0.5 is planted",
    "clicks only, level 0.1": "no impressions, `click_rate = 0.1` is stated (the default)",
    "clicks only, level 0.02": "no impressions, `click_rate = 0.02` is stated",
    "clicks only, level 0.4": "no impressions, `click_rate = 0.4` is stated",
    "random item vectors": "the encoder's vectors are noise: tastes come from ids alone",
    "no boredom, drift, satisfaction": "the stated priors of these laws are set to zero",
    "items only": "the fitted users' vectors are set to zero: all users have one taste",
    "the planted model itself": "nothing is fitted: what the noise of the rollouts leaves",
}


@dataclass(frozen=True)
class RankingConfig(Config):
    """One cell.

    Attributes:
        events: impressions in the log, 1 or more.
        log: the logging policy.
        mix: share of its slots that are filled uniformly, from 0 to 1.
        temperature: what its scores are divided by, positive.
        change: what is changed between log and fit, see ``LOG_CHANGES``.
        num_users: of the true world, 5 or more.
        num_items: of the true world, 20 or more.
        visits: played by each user in the fitted world, 1 or more.
        true_visits: played by each user in the true world, 1 or more.
        seed: of the world and the log.
        build: how the log is split and fitted (its encoder is not used).
    """

    events: int = 100_000
    log: Literal["uniform", "popularity", "personal"] = "popularity"
    mix: float = 0.3
    temperature: float = 0.5
    change: Change = "none"
    num_users: int = 200
    num_items: int = 200
    visits: int = 30
    true_visits: int = 200
    seed: int = 0
    build: WorldConfig = field(default_factory=WorldConfig)

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        for name in ("events", "visits", "true_visits"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        self.require(self.num_users >= 5, "num_users", "at least 5")
        self.require(self.num_items >= 20, "num_items", "at least 20, the number of candidates")
        _ = self.policy

    @property
    def policy(self) -> LoggingPolicy:
        """The logging policy."""
        if self.log == "uniform":
            return UniformLogging()
        kind = PopularityLogging if self.log == "popularity" else PersonalLogging
        return kind(mix=self.mix, temperature=self.temperature)

    @property
    def game(self) -> GameConfig:
        """The rules under which the log is emitted and policies are ranked."""
        return GameConfig(num_candidates=20)

    def world(self) -> World:
        """The true world."""
        planted = PlantedConfig(num_users=self.num_users, num_items=self.num_items, seed=self.seed)
        return planted_world(planted, name=f"planted {self.seed}")

    @property
    def truth_key(self) -> str:
        """Names the true ranking, which many cells share."""
        shared = self.num_users, self.num_items, self.true_visits, self.seed
        return content_hash("truth", VERSION, code_hash(), *shared)

    @property
    def key(self) -> str:
        """Names the cell; another code of fit or simulator is another cell."""
        return content_hash(VERSION, code_hash(), self.to_dict())


def code_hash() -> str:
    """Hash of the code that fits and simulates."""
    return sources_hash(*_SOURCES)


def draw_log(
    world: World, game: GameConfig, policy: LoggingPolicy, events: int, seed: int
) -> InteractionLog:
    """A log of exactly ``events`` impressions: everyone's visits in random order, the last cut."""
    visits = -(-events // (world.num_users * game.slate_size * 4))
    while True:
        log = emit_log(world, game, policy, visits_per_user=visits, seed=seed)
        if len(log) >= events:
            break
        visits *= 2
    session = log.column("session")
    rng = np.random.default_rng([seed, 21])
    place = rng.random(int(session.max()) + 1)  # of each visit among its round of visits
    rank = np.empty(len(place), np.int64)
    rank[np.lexsort((place, np.arange(len(place)) // world.num_users))] = np.arange(len(place))
    order = np.lexsort((np.arange(len(log)), rank[session]))
    return log.take(np.sort(order[:events]))


def fit_model(world: World, log: InteractionLog, cell: RankingConfig) -> tuple[UserModel, Any]:
    """The user model that ``build_world`` would fit, and the split.

    The platform's item vectors (the planted ones with noise) stand for a text encoder's.
    """
    vectors, config = world.interests.items, cell.build.user_model
    if cell.change == "random item vectors":
        vectors = np.random.default_rng([cell.seed, 22]).normal(size=vectors.shape)
        vectors = vectors.astype(np.float32)
    elif cell.change == "no positions":
        log = dataclasses.replace(log, events=log.events.drop(columns="position"))
    elif cell.change == "wrong examination prior":
        config = config.replace(examination_decay=1.5, examination_l2=1e9)  # held at the prior
    elif cell.change.startswith("clicks only"):
        log = log.take(log.column("response") >= CLICK)
        log = dataclasses.replace(log, has_impressions=False)
        events = log.events.drop(columns=["position", "propensity"])
        log = dataclasses.replace(log, events=events)
        config = config.replace(click_rate=float(cell.change.split("level ")[1]))
    share = len(np.unique(log.column("user"))) / world.num_users  # of users who are in the log
    heldout_users = cell.build.split.heldout_users * share
    split = make_split(log, cell.build.split.replace(heldout_users=heldout_users))
    interests = fit_interests(
        log,
        split,
        vectors,
        cell.build.interest,
        encoder=world.interests.encoder,
        is_language_model=False,
        progress=False,
    )
    build = cell.build.replace(user_model=config)
    model = fit_world(log, world.catalog, split, interests, build, progress=False).user_model
    if cell.change == "items only":
        model = dataclasses.replace(model, user_vectors=np.zeros_like(model.user_vectors))
    elif cell.change == "no boredom, drift, satisfaction":
        still = {"boredom_weight": 0.0, "drift_rate": 0.0}
        still |= {"leave_satisfaction": 0.0, "leave_boredom": 0.0}
        model = dataclasses.replace(model, dynamics=model.dynamics._replace(**still))
    return model, split


def play(
    world: World, game: GameConfig, policies: Sequence[Recommender], visits: int, seed: int
) -> npt.NDArray[np.float64]:
    """(P, U, V) the recommender's reward of every user's visits under every policy."""
    simulator = Simulator(world, game)
    rewards = [
        rollout(
            simulator, p, users="all", episodes_per_user=visits, seed=seed, progress=False
        ).recommender_reward
        for p in policies
    ]
    return np.reshape(rewards, (len(policies), world.num_users, visits))


def measure_truth(cell: RankingConfig) -> dict[str, Any]:
    """The policies' values in the true world."""
    world = cell.world()
    policies = candidate_policies(world, cell.seed)
    rewards = play(world, cell.game, policies, cell.true_visits, TRUE_SEED)
    return {
        "world": world.hash,
        "policies": [p.name for p in policies],
        "values": rewards.mean(axis=2).round(5).tolist(),  # (P, U)
        "error": visit_error(rewards).round(6).tolist(),  # (P, P)
    }


def measure_cell(cell: RankingConfig, truth: dict[str, Any]) -> dict[str, Any]:
    """One cell: emit, fit, rank, compare with the truth."""
    world, game = cell.world(), cell.game
    policies = candidate_policies(world, cell.seed)
    log = draw_log(world, game, cell.policy, cell.events, cell.seed + 1)
    if cell.change == "the planted model itself":
        model, heldout = world.user_model, world.heldout
    else:
        model, split = fit_model(world, log, cell)
        heldout = split.heldout
    own = ScoreRecommender("greedy on the fitted model", click_values(model))
    twin = dataclasses.replace(world, user_model=model)
    fitted = play(twin, game, [*policies, own], cell.visits, FITTED_SEED).mean(axis=2)
    delivered = play(world, game, [own], cell.visits, TRUE_SEED).mean()
    true, error = np.array(truth["values"]), np.array(truth["error"])
    return {
        "config": cell.to_dict(),
        "world": truth["world"],
        "log": log.hash,
        "clicks": int((log.column("response") >= CLICK).sum()),
        "effective_candidates": float(np.exp(-np.log(log.column("propensity")).mean())),
        "policies": truth["policies"],
        "true": true.mean(axis=1).tolist(),
        "fitted": fitted[:-1].mean(axis=1).tolist(),
        "own": {"promised": float(fitted[-1].mean()), "delivered": float(delivered)},
        "certain_pairs": int(np.triu(surely_ranked(true, error), 1).sum()),
        "all": agreement(fitted[:-1], true, error),
        "heldout": agreement(fitted[:-1, heldout], true[:, heldout], error),
    }
