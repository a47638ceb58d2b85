"""Simulator: many visits at once, one slate and one answer at a time."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv import rng
from recenv.config import GameConfig
from recenv.errors import ActionError, ConfigError
from recenv.jit import threads
from recenv.jit.compiled import compiled
from recenv.sim import kernels
from recenv.sim.observation import (
    Leaf,
    Observation,
    observe_recommender,
    observe_user,
    recommender_leaves,
    user_leaves,
)
from recenv.sim.state import (
    EMPTY,
    LEFT,
    TRUNCATED,
    State,
    make_rules,
    make_state,
    state_fields,
    tables_of,
)
from recenv.users.duration_law import draw_duration
from recenv.world import World

IntArray = npt.NDArray[np.integer]


ANSWER_BOUNDS = (0, 3, 2)
"""Least response, one more than the most, and one more than the most in the column of leaving."""


_MOST_ROUNDS = np.iinfo(np.int32).max  # what a visit counts its rounds in


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
        threads: the most threads for one call; small batches are stepped by fewer. Results do
            not depend on it. Default: 1.
        user_sees: keep all that the user observes up to date. An environment that plays the user
            itself does without the vectors of the slate.

    Raises:
        ConfigError: the game does not fit the world.
    """

    def __init__(
        self, world: World, game: GameConfig, *, threads: int = 1, user_sees: bool = True
    ) -> None:
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
        if game.max_rounds > _MOST_ROUNDS:
            raise ConfigError(
                f"max_rounds is {game.max_rounds}, but a visit counts its rounds up to "
                f"{_MOST_ROUNDS}. Set max_rounds to at most that."
            )
        most = os.cpu_count() or 1
        if not is_integer(threads) or not 1 <= threads <= most:
            raise ConfigError(
                f"threads is {threads!r}, but this machine has {most} processors. "
                "Choose a whole number from 1 to that."
            )
        world = world.member(game.member)
        self.world = world
        self.game = game
        self.threads = threads
        self.tables = tables_of(world, game)
        self.rules = make_rules(world.user_model, game)
        self.fields = state_fields(world, game, user_sees=user_sees)
        self._bound: dict[tuple[threads.Loop, int], threads.BoundLoop] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Compiled code is not pickled, nor copied."""
        return {**self.__dict__, "_bound": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulator:
        """World, tables and rules are never written to, so that copies share them."""
        return copy.copy(self)

    @property
    def bytes_per_visit(self) -> int:
        """Memory of the state of one visit, in bytes, observations of both agents included."""
        return sum(field.bytes for field in self.fields.values())

    @cached_property
    def recommender_leaves(self) -> dict[str, Leaf]:
        """Entries of the recommender's observation."""
        return recommender_leaves(self.world, self.game)

    @cached_property
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
            ConfigError: a user code does not exist, or a number is none from 0.
        """
        seeds = np.atleast_1d(np.asarray(seeds))
        state = self.allocate(len(seeds))
        self.reset_rows(state, np.arange(len(seeds)), seeds, users, sessions=sessions)
        return state

    def allocate(self, batch: int) -> State:
        """State of ``batch`` visits that have not begun; ``reset_rows`` begins them."""
        return make_state(self.fields, batch)

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
        told = self.named_visits(rows, seeds, users, sessions)
        self._run(kernels.BEGIN, state, len(told[0]), *told, self.tables, self.rules, state)

    def named_visits(
        self,
        rows: IntArray,
        seeds: npt.ArrayLike,
        users: npt.ArrayLike | None,
        sessions: npt.ArrayLike,
    ) -> tuple[IntArray, ...]:
        """(rows, seeds, sessions, users) as the kernels want them: (n,) each, users -1 if drawn.

        Raises:
            ConfigError: a user code does not exist, or a seed or session is no number from 0.
        """
        rows = np.ascontiguousarray(rows, np.int64).ravel()
        codes = self._users(users, len(rows))

        def whole(values: npt.ArrayLike, name: str) -> npt.NDArray[np.uint64]:
            given = np.asarray(values)
            if not _is_whole(given):
                raise ConfigError(
                    f"{name} must be integers in [0, 2**64), but are {values!r}. Give one for each "
                    "visit."
                )
            return np.ascontiguousarray(np.broadcast_to(given.astype(np.uint64), rows.shape))

        return rows, whole(seeds, "seeds"), whole(sessions, "sessions"), codes

    def next_visits(self, state: State, rows: IntArray) -> None:
        """Begin the visits that follow in some rows: the same seed, the next session number."""
        rows = np.ascontiguousarray(rows, np.int64).ravel()
        self._run(kernels.NEXT_VISITS, state, len(rows), rows, self.tables, self.rules, state)

    def _users(self, users: npt.ArrayLike | None, count: int) -> npt.NDArray[np.int64]:
        if users is None:
            return np.full(count, -1)
        given = np.asarray(users)
        if given.dtype.kind not in "iu" and not is_integer(users):
            raise ConfigError(f"users must be integers, the users' codes, but are {users!r}.")
        known = len(self.tables.user_vectors)
        bad = (given < 0) | (given >= known)
        if np.any(bad):
            raise ConfigError(
                f"There is no user {given[bad].ravel()[0]}; the world {self.world.name!r} has "
                f"users 0 to {known - 1}."
            )
        return np.ascontiguousarray(np.broadcast_to(given.astype(np.int64), count))

    def show(self, state: State, slates: IntArray, *, check: bool = True) -> None:
        """Put slates on screen. Visits that have ended, or whose turn it is not, ignore them.

        Args:
            state: updated in place.
            slates: (B, K) candidate index per slot; -1 leaves a slot empty, and so does a
                candidate that an earlier slot already holds.
            check: whether the indices are legal; not needed for what was checked already.

        Raises:
            ActionError: wrong shape or dtype, or an index outside [-1, C).
        """
        slates = self.check_slates(state, slates) if check else self._slates(state, slates)
        self._run(kernels.SHOW, state, len(slates), slates, self.tables, self.rules, state)

    def respond(self, state: State, answers: IntArray) -> Outcome:
        """Take the users' answers to the slates on screen.

        Args:
            state: updated in place.
            answers: (B, K + 1) per slot 0 ignore, 1 click, 2 purchase, then 0 stay, 1 leave.
                An answer to an empty slot has no effect.

        Raises:
            ActionError: wrong shape or dtype, or a value out of range.
        """
        self.respond_unchecked(state, self.check_answers(state, answers))
        return self.outcome(state)

    def respond_unchecked(self, state: State, answers: npt.NDArray[np.int64]) -> None:
        """``respond`` to (B, K + 1) answers that were checked; what came of it is in the state."""
        answers = self._answers(state, answers)
        self._run(kernels.RESPOND, state, len(answers), answers, self.tables, self.rules, state)

    def respond_fitted(self, state: State) -> Outcome:
        """Let the fitted users answer the slates on screen, on the visits' own draws."""
        answers = np.empty((len(state.key), self.game.slate_size + 1), np.int64)
        self._run(kernels.DRAW_ANSWERS, state, len(answers), state, answers)
        self.respond_unchecked(state, answers)
        return self.outcome(state)

    def step(
        self, state: State, slates: IntArray, *, autoreset: bool = False, check: bool = True
    ) -> None:
        """``show`` and ``respond_fitted`` in one pass; what came of it is in the state.

        Args:
            state: updated in place; ``outcome`` reads it.
            slates: as for ``show``.
            autoreset: where a visit has ended, begin the next one instead.
            check: see ``show``.

        Raises:
            ActionError: see ``show``.
        """
        slates = self.check_slates(state, slates) if check else self._slates(state, slates)
        told = (slates, bool(autoreset), self.tables, self.rules, state)
        self._run(kernels.STEP, state, len(slates), *told)

    @staticmethod
    def outcome(state: State) -> Outcome:
        """What the last round brought, in arrays of its own."""
        return Outcome(
            answers=state.answers.copy(),
            clicks=state.clicks.copy(),
            purchases=state.purchases.copy(),
            recommender_reward=state.rewards[:, 0].copy(),
            user_reward=state.rewards[:, 1].copy(),
            terminated=state.ended == LEFT,
            truncated=state.ended == TRUNCATED,
        )

    def return_days(
        self, state: State, rows: IntArray | slice = slice(None)
    ) -> npt.NDArray[np.int32] | None:
        """Whole days until each user's next visit, of some rows, or None where no log told.

        The draw is the visit's own: asked again, the answer is the same.
        """
        law = self.world.user_model.return_time
        if law is None:
            return None
        keys, users = state.key[rows], state.user[rows]
        return _return_days(law.baseline, law.effect, law.first, keys, users)

    def recommender_observation(self, state: State, *, copy: bool = True) -> Observation:
        """What the platform knows now: see ``recenv.sim.observation``; leaves are (B, ...).

        With ``copy=False`` the leaves are the state's own arrays, and change with it.
        """
        return observe_recommender(self.recommender_leaves, state, copy=copy)

    def user_observation(self, state: State, *, copy: bool = True) -> Observation:
        """What the users know now; as ``recommender_observation``.

        Raises:
            ConfigError: the simulator was made with ``user_sees=False``.
        """
        self.check_user_sees()
        return observe_user(self.user_leaves, state, copy=copy)

    def check_user_sees(self) -> None:
        """Raise ConfigError unless the users' observation is kept up to date."""
        if self.game.vectors and self.fields["slate_vectors"].bytes == 0:
            raise ConfigError(
                "This simulator does not keep what the users see. Make it with user_sees=True."
            )

    def prepared(
        self, loop: threads.Loop, state: State, array: IntArray, *more: object
    ) -> Callable[[], None]:
        """A call of a loop of ``kernels`` that can be prepared, made once for many.

        Whoever steps a single visit spends more time on handing arguments over than on the step.

        Args:
            loop: ``SHOW``, ``RESPOND``, ``STEP``, ``NEXT_VISITS`` or ``RETURN_DAYS``.
            state: updated in place at each call.
            array: (n, ...) int64 in C's order: slates, answers, rows or days. What stands in it
                when the call is made counts, and is not checked.
            more: what the loop takes after that.
        """
        args = (array, *more, self.tables, self.rules, state)
        bound = self._bound_loop(loop, state, args)
        if self.threads == 1:
            return bound.prepared(len(array), *args)
        return partial(threads.run, bound, len(array), self.threads, *args)

    def _run(self, loop: threads.Loop, state: State, rows: int, *args: object) -> None:
        threads.run(self._bound_loop(loop, state, args), rows, self.threads, *args)

    def _bound_loop(
        self, loop: threads.Loop, state: State, args: tuple[object, ...]
    ) -> threads.BoundLoop:
        key = (loop, id(state.kind))  # which a bound loop keeps alive
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = threads.BoundLoop(loop, *args)
        return bound

    def check_slates(self, state: State, slates: IntArray) -> npt.NDArray[np.int64]:
        """The slates as ``show`` wants them.

        Raises:
            ActionError: see ``show``.
        """
        bounds = (EMPTY, self.game.num_candidates, self.game.num_candidates)
        return _legal(self._slates(state, slates), bounds, "slates")

    def check_answers(self, state: State, answers: IntArray) -> npt.NDArray[np.int64]:
        """The answers as ``respond`` wants them.

        Raises:
            ActionError: see ``respond``.
        """
        return _legal(self._answers(state, answers), ANSWER_BOUNDS, "answers")

    def _slates(self, state: State, slates: IntArray) -> npt.NDArray[np.int64]:
        return _whole(slates, (len(state.key), self.game.slate_size), "slates")

    def _answers(self, state: State, answers: IntArray) -> npt.NDArray[np.int64]:
        return _whole(answers, (len(state.key), self.game.slate_size + 1), "answers")


@compiled
def _return_days(baseline, effect, first, keys, users):  # noqa: ANN001, ANN202
    out = np.empty(len(keys), np.int32)
    for n in range(len(keys)):
        drawn = rng.uniform(keys[n], 0, rng.RETURN, 0)
        out[n] = draw_duration(baseline, effect[users[n]], first, drawn)
    return out


def is_integer(value: object) -> bool:
    """Whether a value is an integer of Python or NumPy; a truth value is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_whole(values: np.ndarray) -> bool:
    """Whether all are integers in [0, 2**64), as integers or as floats."""
    if values.dtype.kind == "u":
        return True
    if values.dtype.kind == "i":
        return bool((values >= 0).all())
    if values.dtype.kind != "f":
        return False
    return bool(((values >= 0) & (values < 2.0**64) & (values == np.floor(values))).all())


def _whole(actions: IntArray, shape: tuple[int, int], name: str) -> npt.NDArray[np.int64]:
    """Actions in one piece, as kernels take them."""
    actions = np.asarray(actions)
    if actions.shape != shape or actions.dtype.kind not in "iu":
        raise ActionError(
            f"{name} must be integers of shape {shape}, but have dtype {actions.dtype} and "
            f"shape {actions.shape}."
        )
    return np.ascontiguousarray(actions, np.int64)


def _legal(
    actions: npt.NDArray[np.int64], bounds: tuple[int, int, int], name: str
) -> npt.NDArray[np.int64]:
    bad = kernels.first_outside(actions, *bounds)
    if bad >= 0:
        row, column = divmod(int(bad), actions.shape[1])
        low, high, of_last = bounds
        last = column == actions.shape[1] - 1 and of_last != high
        raise ActionError(
            f"{name}[{row}, {column}] is {actions[row, column]}, but must lie in "
            f"[{low}, {(of_last if last else high) - 1}]"
            f"{' (the last column: 0 stay, 1 leave)' if last else ''}."
        )
    return actions
