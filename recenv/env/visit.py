"""Visits: visits side by side with spaces, seeds and conversions, for all environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from recenv.config import GameConfig
from recenv.env.rendering import render_round
from recenv.errors import ActionError, ConfigError, UnknownNameError
from recenv.sim import kernels
from recenv.sim.observation import Leaf, Observation, flatten, layout, unflatten
from recenv.sim.simulator import ANSWER_BOUNDS, Outcome, Simulator, is_integer
from recenv.sim.state import LIVE, USER
from recenv.world import World

RECOMMENDER_AGENT: str = "recommender_0"
USER_AGENT: str = "user_0"
AGENTS: tuple[str, ...] = (RECOMMENDER_AGENT, USER_AGENT)
RENDER_MODES = ("ansi", "rgb_array")

Action = int | np.integer | npt.NDArray[np.integer]
AgentObservation = npt.NDArray[np.float32] | dict[str, np.ndarray]
_OF_A_TEST = "options"  # PettingZoo's api_test resets with {"options": 1}, which must be taken
_FEW = 32
"""Actions of a side that Python looks through sooner than it calls compiled code."""
_INT64 = np.dtype(np.int64)


class Visits:
    """B visits, each with a recommender and a user; row b is played by agents ``..._b``.

    All that does not change from step to step is made once: spaces, bounds, the memory of
    actions, and views of the state's arrays, of which an observation is a copy. What is made of
    the state's memory is a ``cached_property``: a copy of the visits makes its own.

    Args:
        world: users, items and laws.
        game: rules of a visit.
        render_mode: None, "ansi" (text) or "rgb_array" (a picture), of the first visit.
        batch: B.
        user_sees: see ``Simulator``.
        threads: see ``Simulator``.

    Raises:
        ConfigError: the game does not fit the world, or the render mode is unknown.
    """

    def __init__(
        self,
        world: World,
        game: GameConfig,
        render_mode: str | None = None,
        *,
        batch: int = 1,
        user_sees: bool = True,
        threads: int = 1,
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(
                f"render_mode must be None or one of {', '.join(map(repr, RENDER_MODES))}, "
                f"but is {render_mode!r}."
            )
        if not is_integer(batch) or batch < 1:
            raise ConfigError(f"The number of visits must be an integer from 1, but is {batch!r}.")
        batch = int(batch)
        self.world = world
        self.game = game
        self.render_mode = render_mode
        self._writes = render_mode == "ansi"
        self.batch = batch
        self.simulator = Simulator(world, game, threads=threads, user_sees=user_sees)
        self.state = self.simulator.allocate(batch)
        self.leaves: dict[str, dict[str, Leaf]] = {
            RECOMMENDER_AGENT: self.simulator.recommender_leaves
        }
        if user_sees:
            self.leaves[USER_AGENT] = self.simulator.user_leaves
        self.observation_spaces = {a: self._observation_space(a) for a in self.leaves}
        self.action_spaces = {
            RECOMMENDER_AGENT: _action_space([game.num_candidates] * game.slate_size),
            USER_AGENT: spaces.Discrete(6)  # one slot, and stay or leave: the joint choice
            if game.slate_size == 1
            else _action_space([3] * game.slate_size + [2]),
        }
        size = batch * sum(_size(leaves) for leaves in self.leaves.values())
        self.state_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.begun = False
        """Whether ``reset`` was called."""
        k = game.slate_size
        self._flat = game.observation == "flat"
        self._returns = world.user_model.return_time is not None
        choices = game.num_candidates
        self._bounds = {RECOMMENDER_AGENT: (0, choices, choices), USER_AGENT: ANSWER_BOUNDS}
        self._actions = {
            RECOMMENDER_AGENT: np.zeros((batch, k), np.int64),
            USER_AGENT: np.zeros((batch, k + 1), np.int64),
        }
        self._shapes = {a: self.action_spaces[a].shape or () for a in AGENTS}
        self._transcript = ""

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made of the state's memory: it would be that of the original."""
        kind = type(self)
        return {
            name: value
            for name, value in self.__dict__.items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }

    @cached_property
    def seen(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each side, the (B, ...) leaves of its observations: the state's own arrays."""
        simulator, state = self.simulator, self.state
        seen = {RECOMMENDER_AGENT: simulator.recommender_observation(state, copy=False)}
        if USER_AGENT in self.leaves:
            seen[USER_AGENT] = simulator.user_observation(state, copy=False)
        return seen

    @cached_property
    def observers(self) -> dict[str, Callable[[], AgentObservation]]:
        """Of each side, a call that gives the observation of the agent in the only row."""
        return {side: self._observer(leaves) for side, leaves in self.seen.items()}

    @cached_property
    def observe_both(self) -> Callable[[], dict[str, AgentObservation]]:
        """A call that gives the observations of both agents of a single visit."""
        recommender, user = (self.observers[side] for side in AGENTS)
        return lambda: {RECOMMENDER_AGENT: recommender(), USER_AGENT: user()}

    def _observer(self, leaves: dict[str, np.ndarray]) -> Callable[[], AgentObservation]:
        if not self._flat:
            return _copier(leaves)
        parts = [leaf.reshape(-1) for leaf in leaves.values()]
        return partial(np.concatenate, parts, dtype=np.float32, casting="unsafe")

    @cached_property
    def _legal(self) -> dict[str, tuple[tuple[int, ...] | None, frozenset[int], int, np.ndarray]]:
        """Of the sides: an action's shape, numbers, bound of the last, and where it is noted.

        The shape is None where an action is a single number.
        """
        return {
            a: (self._shapes[a] or None, frozenset(range(low, high)), of_last, self._actions[a][0])
            for a, (low, high, of_last) in self._bounds.items()
        }

    @cached_property
    def _show(self) -> Callable[[], None]:
        slates = self._actions[RECOMMENDER_AGENT]
        return self.simulator.prepared(kernels.SHOW, self.state, slates)

    @cached_property
    def _take(self) -> Callable[[], None]:
        return self.simulator.prepared(kernels.RESPOND, self.state, self._actions[USER_AGENT])

    @cached_property
    def _steps(self) -> dict[bool, Callable[[], None]]:
        """Of whether visits that have ended are begun anew."""
        simulator, slates = self.simulator, self._actions[RECOMMENDER_AGENT]
        return {
            anew: simulator.prepared(kernels.STEP, self.state, slates, anew)
            for anew in (False, True)
        }

    @cached_property
    def _next_visits(self) -> Callable[[], None]:
        rows = np.arange(self.batch)
        return self.simulator.prepared(kernels.NEXT_VISITS, self.state, rows)

    @cached_property
    def _days(self) -> tuple[npt.NDArray[np.int64], Callable[[], None]]:
        """(B,) days until the next visits, and the call that fills them in; see ``return_days``."""
        law = self.simulator.world.user_model.return_time
        days = np.empty(self.batch, np.int64)
        assert law is not None
        told = (days, law.baseline, law.effect, law.first)
        return days, self.simulator.prepared(kernels.RETURN_DAYS, self.state, *told)

    @property
    def user_turn(self) -> bool:
        """Whether slates are on screen (of one visit: whether its slate is)."""
        return bool((self.state.turn == USER).any())

    def reset(self, seed: int | None, options: dict[str, Any] | None = None) -> None:
        """Begin a visit in every row.

        Args:
            seed: of row 0, row b gets ``seed + b``. None: the visits that follow in the sequence
                of the last seeds, which are random the first time.
            options: ``user``: the code of who visits, or an array of a code for each row.

        Raises:
            ConfigError: a negative seed, or ``options["user"]`` is no user code.
        """
        if seed is None and not options and self.begun:
            self._next_visits()
            self._open()
            return
        if seed is not None and not is_integer(seed):
            raise ConfigError(
                f"seed must be an integer in [0, 2**63), or None, but is {seed!r}. Give one: of "
                "several visits, visit b gets seed + b."
            )
        self.reset_rows(np.arange(self.batch), seed, options)

    def reset_rows(
        self,
        rows: npt.NDArray[np.intp],
        seed: int | Sequence[int | None] | None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Begin a visit in some rows; as ``reset``, where ``seed`` may be one for each of B."""
        users = self._visitors(checked_options(options, ("user",)).get("user"))
        new = self._seeds(seed)
        seeds, sessions = self.state.seed.copy(), self.state.session + np.uint64(1)
        told = [row for row, one in enumerate(new) if one is not None]
        if told:
            seeds[told], sessions[told] = [one for one in new if one is not None], 0
        who = None if users is None else np.broadcast_to(users, self.batch)[rows]
        self.simulator.reset_rows(self.state, rows, seeds[rows], who, sessions=sessions[rows])
        self.begun = True
        self._open()

    def _open(self) -> None:
        """Begin what ``render`` shows."""
        if self._writes:
            code = int(self.state.user[0])
            self._transcript = f"A visit of user {self.world.train.user_ids[code]}.\n"

    def replay(self, row: int) -> dict[str, Any]:
        """Seed, session and user, from which a row's visit can be replayed."""
        state = self.state
        return {
            "seed": state.seed.item(row),
            "session": state.session.item(row),
            "user": state.user.item(row),
        }

    def put(self, side: str, row: int, action: Action) -> None:
        """Note the action of the agent of a side in a row, for ``show`` or ``respond``.

        Raises:
            ActionError: it has not the shape and type of the side's action space.
        """
        try:
            array = action if isinstance(action, np.ndarray) else np.asarray(action)
        except ValueError:
            array = np.empty(0)
        if array.shape != self._shapes[side] or array.dtype.kind not in "iu":
            raise self._illegal(side, action)
        if array.ndim == 0 and side == USER_AGENT:
            response, leave = divmod(int(array), 2)
            self._actions[side][row] = response, leave
        else:
            self._actions[side][row] = array

    def note(self, side: str, action: Action, *, acts: bool) -> None:
        """``put`` and ``check`` in one, of a single visit.

        Args:
            side: whose action.
            action: in the side's action space.
            acts: whether it is the side's turn; an action out of turn is only checked.

        Raises:
            ActionError: the action lies outside the side's space.
        """
        if self._is_plain(side, action):
            if acts:
                self._legal[side][3][:] = action
            return
        self.put(side, 0, action)
        self.check(side)

    def noted(self, actions: dict[str, Action], mover: str) -> bool:
        """Whether the actions of a single visit are what nearly all are, noted and checked.

        That is a dict of both agents' legal int64 arrays. Whatever else comes is to be looked at
        more closely, by ``note``, and nothing is noted here.

        Args:
            actions: of the agents.
            mover: the side on turn, whose action is noted; the other's is only checked.
        """
        if type(actions) is not dict or len(actions) != len(AGENTS):
            return False
        for side in AGENTS:
            if not self._is_plain(side, actions.get(side)):
                return False
        self._legal[mover][3][:] = actions[mover]
        return True

    def _is_plain(self, side: str, action: object) -> bool:
        """Whether an action is an int64 array that lies in the side's space."""
        shape, numbers, of_last, _ = self._legal[side]
        if type(action) is not np.ndarray or action.dtype != _INT64 or action.shape != shape:
            return False
        values = action.tolist()
        return numbers.issuperset(values) and values[-1] < of_last

    def put_all(self, side: str, actions: npt.NDArray[np.integer]) -> None:
        """Note the actions of all agents of a side, and check them.

        Raises:
            ActionError: they lie outside the batch of the side's action space.
        """
        array = np.asarray(actions)
        if array.shape != (self.batch, *self._shapes[side]) or array.dtype.kind not in "iu":
            raise ActionError(
                f"{self.batch} agents want an array of actions from {self.action_spaces[side]}, "
                f"but got one of shape {array.shape} and dtype {array.dtype}."
            )
        self._actions[side][...] = array.reshape(self.batch, -1)
        self.check(side)

    def check(self, side: str) -> None:
        """Raise ActionError unless the noted actions of a side are legal."""
        actions = self._actions[side]
        low, high, of_last = self._bounds[side]
        if actions.size <= _FEW and self.batch == 1:
            values = actions.tolist()[0]
            if min(values) >= low and max(values) < high and values[-1] < of_last:
                return
        bad = kernels.first_outside(actions, low, high, of_last)
        if bad >= 0:
            action = actions[bad // actions.shape[1]].copy()
            actions[...] = 0
            if self.game.slate_size == 1:
                response, *leave = action.tolist()
                raise self._illegal(side, 2 * response + leave[0] if leave else response)
            raise self._illegal(side, action)

    def show(self) -> None:
        """Put the noted slates on screen; they were checked."""
        self._show()

    def respond(self) -> None:
        """Take the noted answers; they were checked. What came of it is in the state."""
        if not self._writes:
            self._take()
            return
        shown = self.state.slate[0].copy()
        self._take()
        self._write(shown)

    def respond_fitted(self) -> None:
        """Take the fitted users' answers to the slates on screen."""
        shown = self.state.slate[0].copy() if self._writes else None
        self.simulator.respond_fitted(self.state)
        self._write(shown)

    def step_fitted(self, *, autoreset: bool = False) -> None:
        """``show`` and ``respond_fitted`` in one."""
        if self._writes:
            self.show()
            self.respond_fitted()
        else:
            self._steps[autoreset]()

    def outcome(self) -> Outcome:
        """What the last round brought."""
        return self.simulator.outcome(self.state)

    def infos(self) -> list[dict[str, int]]:
        """What the round brought each row.

        Where a law says when users return, ``return_days`` are the days until the user's next
        visit, and -1 while this one goes on.
        """
        if self.batch == 1:
            return [self.info()]
        clicks, purchases = self.state.clicks.tolist(), self.state.purchases.tolist()
        told = [{"clicks": c, "purchases": p} for c, p in zip(clicks, purchases, strict=True)]
        if self._returns:
            for info, days in zip(told, self.return_days().tolist(), strict=True):
                info["return_days"] = days
        return told

    def info(self) -> dict[str, int]:
        """``infos`` of the first row."""
        state = self.state
        told = {"clicks": state.clicks.item(0), "purchases": state.purchases.item(0)}
        if self._returns:
            told["return_days"] = -1
            if state.ended.item(0) != LIVE:
                days, draw = self._days
                draw()
                told["return_days"] = days.item(0)
        return told

    def return_days(self) -> npt.NDArray[np.int64]:
        """(B,) days until the next visit of users whose visit has ended, -1 of the others."""
        days, draw = self._days
        draw()
        return days.copy()

    def observe(self, side: str, row: int = 0) -> AgentObservation:
        """The observation of the agent of a side in a row, in arrays of its own."""
        if self.batch == 1:
            return self.observers[side]()
        if self._flat:
            parts = [leaf[row].reshape(-1) for leaf in self.seen[side].values()]
            return np.concatenate(parts, dtype=np.float32, casting="unsafe")
        return {name: leaf[row].copy() for name, leaf in self.seen[side].items()}

    def observe_all(self, side: str) -> Sequence[AgentObservation]:
        """The observations of a side's agents in all rows."""
        if self.batch == 1:
            return [self.observe(side)]
        leaves = self.seen[side]
        if self._flat:
            return list(flatten(self.leaves[side], leaves))
        rows = zip(*(leaf.copy() for leaf in leaves.values()), strict=True)
        return [dict(zip(leaves, row, strict=True)) for row in rows]

    def true_state(self) -> npt.NDArray[np.float32]:
        """All agents' observations in one flat float32 vector: all there is to know."""
        sides = [flatten(leaves, self.seen[a]) for a, leaves in self.leaves.items()]
        return np.concatenate(sides, axis=1).reshape(-1)

    def layout(self, side: str) -> dict[str, slice]:
        """Where each entry lies in a side's flat observation."""
        return layout(self.leaves[side])

    def unflatten(self, side: str, flat: npt.NDArray[np.float32]) -> dict[str, np.ndarray]:
        """The dict observation that a flat one came from."""
        batch = unflatten(self.leaves[side], np.asarray(flat)[None])
        return {name: value[0] for name, value in batch.items()}

    def render(self) -> str | npt.NDArray[np.uint8] | None:
        """The first visit: in mode "ansi" so far as text, in mode "rgb_array" now as a picture.

        Raises:
            MissingDependencyError: a picture is asked for, and matplotlib is not installed.
            ConfigError: a picture is asked for before ``reset``.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing without a render_mode, as 'ansi'.")
            return None
        return self._transcript if self._writes else self.picture(0)

    def picture(self, row: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) picture of what is on screen in a row; see ``recenv.env.picture``."""
        from recenv.env.picture import draw_visit

        if not self.begun:
            raise ConfigError("There is no visit to draw yet. Call env.reset(seed=...) first.")
        return draw_visit(self.world, self.game, self.state, row)

    def _seeds(self, seed: Any) -> Sequence[int | None]:
        """A seed for each row, None where the last one goes on."""
        if is_integer(seed):
            first = int(seed)  # an integer of NumPy would overflow
            seeds: list[Any] = list(range(first, first + self.batch))
        elif isinstance(seed, (list, tuple)) or (isinstance(seed, np.ndarray) and seed.ndim):
            seeds = list(seed)
            if len(seeds) != self.batch:
                raise ConfigError(
                    f"There are {self.batch} visits, but {len(seeds)} seeds. Give one for each, or "
                    "one number."
                )
        else:
            seeds = [seed] * self.batch
        for one in seeds:
            if one is not None and not (is_integer(one) and 0 <= one < 2**63):
                raise ConfigError(
                    f"seed must be an integer in [0, 2**63), but is {one!r}. Give another, or None."
                )
        if not self.begun:
            drawn = np.random.SeedSequence().generate_state(self.batch, np.uint64).tolist()
            return [d >> 1 if s is None else s for s, d in zip(seeds, drawn, strict=True)]
        return seeds

    def _visitors(self, user: Any) -> npt.NDArray[np.integer] | None:
        if user is None:
            return None
        if is_integer(user):
            known = self.world.num_users
            if not 0 <= int(user) < known:
                raise ConfigError(
                    f"There is no user {user}; the world {self.world.name!r} has users 0 to "
                    f"{known - 1}."
                )
            return np.array(int(user))
        if not (
            isinstance(user, np.ndarray) and user.dtype.kind in "iu" and user.shape == (self.batch,)
        ):
            raise ConfigError(
                f"options['user'] must be a user's code, an integer, or an array of shape "
                f"({self.batch},) with a code for each visit, but is {user!r}."
            )
        return user

    def _illegal(self, side: str, action: object) -> ActionError:
        return ActionError(
            f"{side} wants an action from {self.action_spaces[side]}, but got {action!r}. "
            f"env.action_space({side!r}).sample() shows one."
        )

    def _write(self, shown: npt.NDArray[np.int32] | None) -> None:
        if shown is not None:
            rounds = int(self.state.round[0])
            self._transcript += render_round(
                self.world, rounds, self.game.max_rounds, shown, self.outcome()
            )

    def _observation_space(self, side: str) -> spaces.Space[Any]:
        leaves = self.leaves[side]
        if self.game.observation == "flat":
            parts = [
                (np.full(leaf.shape, leaf.low), np.full(leaf.shape, leaf.high))
                for leaf in leaves.values()
            ]
            low, high = (np.concatenate([p[i].ravel() for p in parts]) for i in (0, 1))
            return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        return spaces.Dict(
            {
                name: spaces.Box(leaf.low, leaf.high, leaf.shape, leaf.dtype)
                for name, leaf in leaves.items()
            }
        )


class Visit(Visits):
    """One visit, played action by action."""

    @property
    def live(self) -> bool:
        """Whether the visit goes on."""
        return bool(self.state.ended[0] == LIVE)

    def play(self, side: str, action: Action) -> Outcome | None:
        """A side's action: a slate of candidate indices, or an answer, which has an outcome.

        Raises:
            ActionError: the action lies outside the side's space.
        """
        self.act(side, action)
        return None if side == RECOMMENDER_AGENT else self.outcome()

    def act(self, side: str, action: Action) -> None:
        """``play``, where what came of it is read from the state."""
        self.note(side, action, acts=True)
        if side == RECOMMENDER_AGENT:
            self.show()
        else:
            self.respond()


def _copier(observation: Observation) -> Callable[[], Observation]:
    """A call that copies the leaves of a single visit's observation, made once for many.

    The leaves of one call share the copy of the stretch of memory that holds them all: that takes
    less time than a copy of each.

    Args:
        observation: (1, ...) leaves, the own arrays of a state of one visit.
    """
    leaves, names = list(observation.values()), tuple(observation)
    memory = leaves[0].base
    assert memory is not None
    origin, first = memory.ctypes.data, [leaf.ctypes.data for leaf in leaves]
    start = min(first)
    stop = max(at + leaf.nbytes for at, leaf in zip(first, leaves, strict=True))
    record = np.dtype(
        {
            "names": names,
            "formats": [(leaf.dtype, leaf.shape[1:]) for leaf in leaves],
            "offsets": [at - start for at in first],
            "itemsize": stop - start,
        }
    )
    array, values = np.ndarray, itemgetter(*names)
    copied = memory.view(np.uint8)[start - origin : stop - origin].copy
    # a dict that is written out is made in half the time of dict(zip(...))
    display = ", ".join(f"{name!r}: {name}" for name in names)
    named: Callable[..., Observation] = eval(f"lambda {', '.join(names)}: {{{display}}}")

    def copy() -> Observation:
        return named(*values(array((), record, copied())))

    return copy


def _action_space(choices: list[int]) -> spaces.MultiDiscrete | spaces.Discrete:
    if len(choices) == 1:
        return spaces.Discrete(choices[0])
    return spaces.MultiDiscrete(np.array(choices))


def always_on_turn(game: GameConfig) -> None:
    """Raise ConfigError if a game of the recommender alone is to say whose turn it is."""
    if game.action_mask is not None:
        raise ConfigError(
            f"action_mask is {game.action_mask!r}, but in Gymnasium's environments every step is "
            "the recommender's turn and no action is masked. Leave it out."
        )


def checked_options(options: object, known: Sequence[str]) -> dict[str, Any]:
    """The options of a reset as a dict.

    Raises:
        ConfigError: they are none.
        UnknownNameError: one of them is not known.
    """
    if not options and (options is None or isinstance(options, dict)):
        return {}
    if not isinstance(options, dict):
        raise ConfigError(
            f"options must be a dict with any of {', '.join(map(repr, known))}, or None, but is "
            f"{options!r}. Write options={{'user': 3}}."
        )
    for name in options:
        if name not in known and name != _OF_A_TEST:
            raise UnknownNameError("option of reset", name, known)
    return options


def _size(leaves: dict[str, Leaf]) -> int:
    return max(where.stop for where in layout(leaves).values())
