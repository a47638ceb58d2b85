"""Simulator: many visits at once, one slate and one answer at a time."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from recenv import rng
from recenv.config import GameConfig
from recenv.errors import ActionError, ConfigError
from recenv.sim import kernels
from recenv.sim.observation import (
    Leaf,
    Observation,
    observe_recommender,
    observe_user,
    recommender_leaves,
    user_leaves,
)
from recenv.sim.state import LEFT, LIVE, TRUNCATED, USER, State, make_rules, make_state, make_tables
from recenv.world import World

IntArray = npt.NDArray[np.integer]
_MAX_THREADS = numba.get_num_threads()

PARALLEL_FROM = 64
"""Batch size from which more threads pay (measured: threads cost more below)."""


class Outcome(NamedTuple):
    """What one round brought to each of B visits. A visit that had ended brings zeros."""

    answers: npt.NDArray[np.int8]  # (B, K + 1) as taken: 0 in an empty slot; then leave
    clicks: npt.NDArray[np.int32]  # (B,)
    purchases: npt.NDArray[np.int32]  # (B,)
    recommender_reward: npt.NDArray[np.float32]  # (B,)
    user_reward: npt.NDArray[np.float32]  # (B,)
    terminated: npt.NDArray[np.bool_]  # (B,) the user has left
    truncated: npt.NDArray[np.bool_]  # (B,) the round limit was reached


class Simulator:
    """Steps visits of simulated users in a world.

    Args:
        world: users, items and laws.
        game: rules of a visit.
        threads: threads for batches of at least ``PARALLEL_FROM`` visits; results do not
            depend on it. Default: 1.

    Raises:
        ConfigError: the game does not fit the world.
    """

    def __init__(self, world: World, game: GameConfig, *, threads: int = 1) -> None:
        if game.num_candidates > len(world.catalog):
            raise ConfigError(
                f"num_candidates is {game.num_candidates}, but the world {world.name!r} has only "
                f"{len(world.catalog)} items. Set num_candidates to at most that."
            )
        if game.slate_size > len(world.user_model.examination):
            raise ConfigError(
                f"slate_size is {game.slate_size}, but examination is known for "
                f"{len(world.user_model.examination)} slots only. Use a smaller slate."
            )
        if not 1 <= threads <= _MAX_THREADS:
            raise ConfigError(
                f"threads is {threads}, but numba has {_MAX_THREADS} here. "
                "Choose between; NUMBA_NUM_THREADS raises the limit."
            )
        world = world.member(game.member)
        self.world = world
        self.game = game
        self.threads = threads
        self.tables = make_tables(world, game)
        self.rules = make_rules(world.user_model, game)
        self.pool = world.pool(game.users)

    @property
    def recommender_leaves(self) -> dict[str, Leaf]:
        """Entries of the recommender's observation."""
        return recommender_leaves(self.world, self.game)

    @property
    def user_leaves(self) -> dict[str, Leaf]:
        """Entries of the user's observation."""
        return user_leaves(self.world, self.game)

    def reset(
        self,
        seeds: npt.ArrayLike,
        users: npt.ArrayLike | None = None,
        *,
        sessions: npt.ArrayLike = 0,
    ) -> State:
        """Begin one visit per seed.

        Args:
            seeds: (B,) non-negative integers. A visit is a function of its seed, its session
                number, its user and the actions; never of its place in the batch.
            users: (B,) user codes; drawn from the game's pool where not given.
            sessions: (B,) or scalar: which visit after the reset with that seed.

        Raises:
            ConfigError: a user code does not exist.
        """
        seeds = np.atleast_1d(np.asarray(seeds)).astype(np.uint64)
        state = make_state(self.world, self.game, len(seeds))
        self.reset_rows(state, np.arange(len(seeds)), seeds, users, sessions=sessions)
        return state

    def reset_rows(
        self,
        state: State,
        rows: IntArray,
        seeds: npt.ArrayLike,
        users: npt.ArrayLike | None = None,
        *,
        sessions: npt.ArrayLike = 0,
    ) -> None:
        """Begin new visits in some rows of a state; see ``reset``."""
        seeds = np.atleast_1d(np.asarray(seeds)).astype(np.uint64)
        numbers = np.broadcast_to(np.asarray(sessions).astype(np.uint64), seeds.shape)
        keys = rng.session_keys(seeds, np.ascontiguousarray(numbers))
        state.key[rows] = keys
        if users is None:
            zeros = np.zeros(len(keys), np.int32)
            u = rng.uniforms(keys, zeros, rng.USER, 1)[:, 0].astype(np.float64)
            codes = self.pool[(u * len(self.pool)).astype(np.int64)]
        else:
            codes = np.broadcast_to(np.asarray(users), seeds.shape)
            count = len(self.tables.user_vectors)
            bad = (codes < 0) | (codes >= count)
            if bad.any():
                raise ConfigError(
                    f"There is no user {codes[bad][0]}; the world {self.world.name!r} has users "
                    f"0 to {count - 1}."
                )
        state.user[rows] = codes
        kernels.begin(np.asarray(rows, np.int64), self.tables, self.rules, state)

    def show(self, state: State, slates: IntArray) -> None:
        """Put slates on screen. Visits that have ended, or whose turn it is not, ignore them.

        Args:
            state: updated in place.
            slates: (B, K) candidate index per slot; -1 leaves a slot empty, and so does a
                candidate that an earlier slot already holds.

        Raises:
            ActionError: wrong shape or dtype, or an index outside [-1, C).
        """
        slates = self._checked(
            slates, (len(state.key), self.game.slate_size), -1, self.game.num_candidates, "slates"
        )
        run = kernels.show_parallel if self._parallel(state) else kernels.show
        run(slates, self.tables, self.rules, state)

    def respond(self, state: State, answers: IntArray) -> Outcome:
        """Take the users' answers to the slates on screen.

        Args:
            state: updated in place.
            answers: (B, K + 1) per slot 0 ignore, 1 click, 2 purchase, then 0 stay, 1 leave.
                An answer to an empty slot has no effect.

        Raises:
            ActionError: wrong shape or dtype, or a value out of range.
        """
        shape = (len(state.key), self.game.slate_size + 1)
        answers = self._checked(answers, shape, 0, 3, "answers")
        if (answers[:, -1] > 1).any():
            raise ActionError("The last column of answers is 0 (stay) or 1 (leave), but is 2.")
        return self._respond(state, answers)

    def respond_fitted(self, state: State) -> Outcome:
        """Let the fitted users answer the slates on screen, on the visits' own draws."""
        answers = np.empty((len(state.key), self.game.slate_size + 1), np.int64)
        kernels.draw_answers(state, answers)
        return self._respond(state, answers)

    def _respond(self, state: State, answers: npt.NDArray[np.int64]) -> Outcome:
        playing = (state.ended == LIVE) & (state.turn == USER)
        run = kernels.respond_parallel if self._parallel(state) else kernels.respond
        run(answers, self.tables, self.rules, state)
        taken = np.zeros(answers.shape, np.int8)
        taken[playing, :-1] = state.last_answer[playing]
        taken[playing, -1] = answers[playing, -1]
        return Outcome(
            answers=taken,
            clicks=state.clicks.copy(),
            purchases=state.purchases.copy(),
            recommender_reward=state.rewards[:, 0].copy(),
            user_reward=state.rewards[:, 1].copy(),
            terminated=state.ended == LEFT,
            truncated=state.ended == TRUNCATED,
        )

    def return_days(self, state: State) -> npt.NDArray[np.int32] | None:
        """(B,) whole days until each user's next visit, or None where no log told.

        The draw is the visit's own: asked again, the answer is the same.
        """
        law = self.world.user_model.return_time
        if law is None:
            return None
        rounds = np.zeros(len(state.key), np.int32)
        return law.sample(state.user, rng.uniforms(state.key, rounds, rng.RETURN, 1)[:, 0])

    def recommender_observation(self, state: State) -> Observation:
        """What the platform knows now: see ``recenv.sim.observation``; leaves are (B, ...)."""
        return observe_recommender(self.world, self.tables, state, self.world.log_popularity)

    def user_observation(self, state: State) -> Observation:
        """What the users know now: see ``recenv.sim.observation``; leaves are (B, ...)."""
        return observe_user(self.tables, state)

    def _parallel(self, state: State) -> bool:
        if self.threads == 1 or len(state.key) < PARALLEL_FROM:
            return False
        numba.set_num_threads(self.threads)
        return True

    @staticmethod
    def _checked(
        actions: IntArray, shape: tuple[int, int], low: int, high: int, name: str
    ) -> npt.NDArray[np.int64]:
        actions = np.asarray(actions)
        if actions.shape != shape or actions.dtype.kind not in "iu":
            raise ActionError(
                f"{name} must be integers of shape {shape}, but have dtype {actions.dtype} and "
                f"shape {actions.shape}."
            )
        actions = actions.astype(np.int64, copy=False)
        bad = (actions < low) | (actions >= high)
        if bad.any():
            row, slot = np.argwhere(bad)[0]
            raise ActionError(
                f"{name}[{row}, {slot}] is {actions[row, slot]}, but must lie in "
                f"[{low}, {high - 1}]."
            )
        return np.ascontiguousarray(actions)
