"""Synthetic logs: answers of a world's users under a logging policy with known propensities.

A logging policy draws a slate slot by slot: with probability ``mix`` uniformly from the
candidates that are left, and else from the softmax of its logits over them. Without the mixture
that is the Plackett-Luce model (Luce 1959; Plackett 1975); with it the chance of an item in a
slot, given the candidates and the slots above, still has a closed form, and that is the logged
propensity. A slate's propensity is the product over its slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv import rng
from recenv.config import Config, GameConfig
from recenv.errors import ConfigError
from recenv.schema import EVENT_COLUMNS, OPTIONAL_EVENT_COLUMNS, InteractionLog
from recenv.sim.simulator import Simulator
from recenv.sim.state import EMPTY, LIVE, State, rows_of
from recenv.world import World

_ROUND_SECONDS, _VISIT_SECONDS = 30.0, 86_400.0
_COLUMNS = {**EVENT_COLUMNS, **OPTIONAL_EVENT_COLUMNS}
_LOGGED_SESSIONS = np.uint64(2**62)
"""Emitted visits are numbered from here, so that no environment replays their draws."""

IntArray = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


class LoggingPolicy(Protocol):
    """Logging policy: fills the slates of a log, with known propensities."""

    @property
    def name(self) -> str:
        """For notes and reports."""
        ...

    @property
    def mix(self) -> float:
        """Probability that a slot is filled uniformly."""
        ...

    def logits(self, world: World, state: State) -> npt.NDArray[np.floating]:
        """(B, C) finite logits of the candidates; it may read the users' true state."""
        ...


@dataclass(frozen=True)
class UniformLogging(Config):
    """Uniformly random slates."""

    @property
    def name(self) -> str:
        """See ``LoggingPolicy``."""
        return "uniform"

    @property
    def mix(self) -> float:
        """See ``LoggingPolicy``."""
        return 1.0

    def logits(self, world: World, state: State) -> npt.NDArray[np.floating]:
        """See ``LoggingPolicy``."""
        return np.zeros(state.candidates.shape)


@dataclass(frozen=True)
class _Softmax(Config):
    """A share of uniform slots, and the others by the softmax of scores.

    Attributes:
        mix: probability that a slot is filled uniformly, from 0 to 1.
        temperature: what the scores are divided by, positive.
    """

    mix: float = 0.5
    temperature: float = 0.5

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require(0 <= self.mix <= 1, "mix", "in [0, 1]")
        self.require(self.temperature > 0, "temperature", "positive")

    def _name(self, what: str) -> str:
        return f"{what} (mix {self.mix:g}, temperature {self.temperature:g})"


@dataclass(frozen=True)
class PopularityLogging(_Softmax):
    """By what everyone likes: the world's item click biases, in log-odds."""

    @property
    def name(self) -> str:
        """See ``LoggingPolicy``."""
        return self._name("popularity")

    def logits(self, world: World, state: State) -> npt.NDArray[np.floating]:
        """See ``LoggingPolicy``."""
        return world.user_model.item_click_bias[state.candidates] / self.temperature


@dataclass(frozen=True)
class PersonalLogging(_Softmax):
    """Personal logging policy: logits are the user's present click log-odds, without boredom.

    The narrowest of logs: what a user is shown depends on the very interest to be fitted.
    """

    @property
    def name(self) -> str:
        """See ``LoggingPolicy``."""
        return self._name("personal")

    def logits(self, world: World, state: State) -> npt.NDArray[np.floating]:
        """See ``LoggingPolicy``."""
        model = world.user_model
        theta = state.interest * model.click_weight
        affinity = np.einsum("bd,bcd->bc", theta, model.item_vectors[state.candidates])
        return (affinity + model.item_click_bias[state.candidates]) / self.temperature


def draw_slates(
    logits: npt.NDArray[np.floating], mix: float, uniforms: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Slates of a logging policy and their propensities.

    Args:
        logits: (B, C) of the candidates.
        mix: probability that a slot is filled uniformly.
        uniforms: (B, K) draws in [0, 1), one per slot.

    Returns:
        (B, K) candidate indices without repeats, and (B, K) the probability of each given the
        slots above it.
    """
    rows, (count, slots) = np.arange(len(logits)), (logits.shape[1], uniforms.shape[1])
    weight = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    weight = np.maximum(weight, 1e-300)  # a candidate never quite loses its chance
    left = np.ones(logits.shape, bool)
    slates = np.empty(uniforms.shape, np.int64)
    propensities = np.empty(uniforms.shape)
    for k in range(slots):
        chance = np.where(left, weight, 0)
        chance *= (1 - mix) / chance.sum(axis=1, keepdims=True)
        chance += left * (mix / (count - k))
        edge = np.cumsum(chance, axis=1)
        # at most the last edge's own candidate, whatever the rounding of the sum
        at = (uniforms[:, k : k + 1] * edge[:, -1:] >= edge).sum(axis=1)
        slates[:, k] = at
        propensities[:, k] = chance[rows, at]
        left[rows, at] = False
    return slates, propensities


def emit_log(
    world: World,
    game: GameConfig,
    policy: LoggingPolicy | None = None,
    *,
    visits_per_user: int = 1,
    users: npt.ArrayLike | None = None,
    seed: int = 0,
) -> InteractionLog:
    """The impressions, clicks and purchases of fitted users under a logging policy.

    Every impression is a row, with its position, its propensity (P(this item in this slot |
    candidates, slots above), known exactly), its session, and the price paid. A visit is a
    function of (seed, user, number of the visit) alone, whoever else is in the log; its session
    is ``visit * U + user``. Visits are a day apart, rounds half a minute.

    Args:
        world: whose fitted users answer.
        game: rules of a visit.
        policy: ``UniformLogging()`` by default.
        visits_per_user: of every user.
        users: codes of those who come; all by default.
        seed: of all draws.

    Raises:
        ConfigError: the game does not fit the world, there is no visit, or a user does not
            exist.
    """
    policy = policy or UniformLogging()
    codes = np.arange(world.num_users) if users is None else np.unique(np.asarray(users))
    if visits_per_user < 1 or len(codes) == 0:
        raise ConfigError(
            f"A log needs visits, but visits_per_user is {visits_per_user} and there are "
            f"{len(codes)} users. Give at least one of each."
        )
    simulator = Simulator(world, game)
    who = np.tile(codes.astype(np.int32), visits_per_user)
    visit = np.repeat(np.arange(visits_per_user), len(codes))
    session = visit * world.num_users + who
    sessions = _LOGGED_SESSIONS + session.astype(np.uint64)
    state = simulator.reset(np.full(len(who), seed), who, sessions=sessions)
    shuffles = _Shuffles(seed, visits_per_user * world.num_users, game)
    rows = np.arange(len(who))  # of the visits that go on
    parts: list[pd.DataFrame] = []
    for round_ in range(game.max_rounds):
        if isinstance(policy, UniformLogging):
            slates, propensity = shuffles.draw(session[rows])
        else:
            u = rng.uniforms(state.key, state.round, rng.LOGGING, game.slate_size)
            slates, propensity = draw_slates(policy.logits(world, state), policy.mix, u)
        simulator.show(state, slates)
        shown = state.slate.copy()
        outcome = simulator.respond_fitted(state)
        row, slot = np.nonzero(shown != EMPTY)
        item, response = shown[row, slot], outcome.answers[row, slot]
        parts.append(
            pd.DataFrame(
                {
                    "user": who[rows[row]],
                    "item": item,
                    "time": visit[rows[row]] * _VISIT_SECONDS + round_ * _ROUND_SECONDS,
                    "response": response,
                    "position": slot + 1,
                    "propensity": propensity[row, slot],
                    "session": session[rows[row]],
                    "value": np.where(response == 2, world.catalog.price[item], 0),
                }
            )
        )
        live = state.ended == LIVE
        rows = rows[live]
        if not len(rows):
            break
        state = rows_of(state, live)
    events = pd.concat(parts).sort_values("time", kind="stable", ignore_index=True)
    return InteractionLog(
        events=events.astype({c: _COLUMNS[c] for c in events.columns}),
        user_ids=world.train.user_ids,
        name=world.name,
        has_impressions=True,
        notes=(f"Emitted by a simulator; logging policy: {policy.name}.",),
    )


class _Shuffles:
    """Uniform slates from one generator, over the grid of all visits.

    They could be drawn like any other policy's. This way the history of every planted world, and
    with it the environment ids that rest on one, stays what it was.
    """

    def __init__(self, seed: int, sessions: int, game: GameConfig) -> None:
        self._rng = np.random.default_rng(seed)
        self._sessions, self._game = sessions, game

    def draw(self, session: IntArray) -> tuple[npt.NDArray[np.int64], Floats]:
        """The next round's slates of some visits, and propensities; see ``draw_slates``."""
        k, c = self._game.slate_size, self._game.num_candidates
        order = self._rng.permuted(np.tile(np.arange(c), (self._sessions, 1)), axis=1)
        slates = order[session, :k]
        return slates, np.broadcast_to(1 / (c - np.arange(k)), slates.shape)
