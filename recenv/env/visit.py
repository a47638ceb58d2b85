"""Visit: one simulated visit (a batch of one), shared by all environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from recenv.config import GameConfig
from recenv.env.rendering import render_round
from recenv.errors import ActionError, ConfigError
from recenv.sim.observation import Leaf, Observation, flatten, layout, unflatten
from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import LIVE, USER
from recenv.world import World

RECOMMENDER_AGENT: str = "recommender_0"
USER_AGENT: str = "user_0"
AGENTS: tuple[str, ...] = (RECOMMENDER_AGENT, USER_AGENT)
RENDER_MODES = ("ansi",)

Action = int | np.integer | npt.NDArray[np.integer]
AgentObservation = npt.NDArray[np.float32] | dict[str, np.ndarray]


class Visit:
    """A batch of one with spaces, seeds, conversions and rendering.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None or "ansi".

    Raises:
        ConfigError: the game does not fit the world, or the render mode is unknown.
    """

    def __init__(self, world: World, game: GameConfig, render_mode: str | None) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(
                f"render_mode must be None or one of {', '.join(map(repr, RENDER_MODES))}, "
                f"but is {render_mode!r}."
            )
        self.world = world
        self.game = game
        self.render_mode = render_mode
        self.simulator = Simulator(world, game)
        self.leaves: dict[str, dict[str, Leaf]] = {
            RECOMMENDER_AGENT: self.simulator.recommender_leaves,
            USER_AGENT: self.simulator.user_leaves,
        }
        self.observation_spaces = {a: self._observation_space(a) for a in AGENTS}
        self.action_spaces = {
            RECOMMENDER_AGENT: _action_space([game.num_candidates] * game.slate_size),
            USER_AGENT: spaces.Discrete(6)  # one slot, and stay or leave: the joint choice
            if game.slate_size == 1
            else _action_space([3] * game.slate_size + [2]),
        }
        size = sum(_size(leaves) for leaves in self.leaves.values())
        self.state_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.state = self.simulator.reset(0)
        self._seed: int | None = None
        self._session = 0
        self._transcript = ""

    @property
    def begun(self) -> bool:
        """Whether ``reset`` was called."""
        return self._seed is not None

    @property
    def user_turn(self) -> bool:
        """Whether a slate is on screen."""
        return bool(self.state.turn[0] == USER)

    @property
    def live(self) -> bool:
        """Whether the visit goes on."""
        return bool(self.state.ended[0] == LIVE)

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
        """Begin a visit; returns its seed, session and user, from which it can be replayed.

        Raises:
            ConfigError: a negative seed, or ``options["user"]`` is no user code.
        """
        if seed is not None:
            if not _is_integer(seed) or not 0 <= seed < 2**63:
                raise ConfigError(f"seed must be an integer in [0, 2**63), but is {seed!r}.")
            self._seed, self._session = int(seed), 0
        elif self._seed is None:
            self._seed = int(np.random.SeedSequence().generate_state(1)[0])
        else:
            self._session += 1
        user = (options or {}).get("user")
        if user is not None and not _is_integer(user):
            raise ConfigError(f"options['user'] must be a user's code, but is {user!r}.")
        self.state = self.simulator.reset(
            self._seed, None if user is None else [user], sessions=self._session
        )
        code = int(self.state.user[0])
        self._transcript = f"A visit of user {self.world.train.user_ids[code]}.\n"
        return {"seed": self._seed, "session": self._session, "user": code}

    def show(self, action: Action) -> None:
        """The recommender's action: a slate of candidate indices."""
        slate = self._slots(action, RECOMMENDER_AGENT)
        self.simulator.show(self.state, slate)

    def respond(self, action: Action) -> Outcome:
        """The user's action: an answer."""
        answer = self._slots(action, USER_AGENT)
        return self._respond(lambda: self.simulator.respond(self.state, answer))

    def respond_fitted(self) -> Outcome:
        """The fitted user's answer."""
        return self._respond(lambda: self.simulator.respond_fitted(self.state))

    def info(self, outcome: Outcome) -> dict[str, Any]:
        """What a round brought; at a visit's end also the days until the user's next visit."""
        out = {"clicks": int(outcome.clicks[0]), "purchases": int(outcome.purchases[0])}
        if not self.live and (days := self.simulator.return_days(self.state)) is not None:
            out["return_days"] = int(days[0])
        return out

    def check_action(self, agent: str, action: Action) -> None:
        """Raise ActionError unless ``action`` lies in the agent's action space."""
        self._slots(action, agent)

    def observations(self) -> dict[str, AgentObservation]:
        """Both agents' observations, as the game config asks."""
        return {agent: self.observe(agent) for agent in AGENTS}

    def observe(self, agent: str) -> AgentObservation:
        """One agent's observation."""
        batch = self._batch(agent)
        if self.game.observation == "flat":
            return flatten(self.leaves[agent], batch)[0]
        return {name: value[0] for name, value in batch.items()}

    def true_state(self) -> npt.NDArray[np.float32]:
        """Both agents' observations in one flat float32 vector: all there is to know."""
        return np.concatenate([flatten(self.leaves[a], self._batch(a))[0] for a in AGENTS])

    def layout(self, agent: str) -> dict[str, slice]:
        """Where each entry lies in the agent's flat observation."""
        return layout(self.leaves[agent])

    def unflatten(self, agent: str, flat: npt.NDArray[np.float32]) -> dict[str, np.ndarray]:
        """The dict observation that a flat one came from."""
        batch = unflatten(self.leaves[agent], np.asarray(flat)[None])
        return {name: value[0] for name, value in batch.items()}

    def render(self) -> str | None:
        """The visit so far as text, in mode "ansi"."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing without render_mode='ansi'.")
            return None
        return self._transcript

    def _respond(self, answer: Any) -> Outcome:
        shown = self.state.slate[0].copy()
        outcome = answer()
        if self.render_mode:
            self._transcript += render_round(
                self.world, int(self.state.round[0]), self.game.max_rounds, shown, outcome
            )
        return outcome

    def _batch(self, agent: str) -> Observation:
        if agent == RECOMMENDER_AGENT:
            return self.simulator.recommender_observation(self.state)
        return self.simulator.user_observation(self.state)

    def _slots(self, action: Action, agent: str) -> npt.NDArray[np.int64]:
        """(1, K) or (1, K + 1) integers of one action."""
        space = self.action_spaces[agent]
        try:
            array = np.asarray(action)
        except ValueError:
            array = np.empty(0)
        legal = array.shape == space.shape and array.dtype.kind in "iu"
        if legal:
            top = space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n
            legal = bool(((array >= 0) & (array < top)).all())
        if not legal:
            raise ActionError(
                f"{agent} wants an action from {space}, but got {action!r}. "
                f"env.action_space({agent!r}).sample() shows one."
            )
        if isinstance(space, spaces.Discrete) and agent == USER_AGENT:
            return np.array([[array // 2, array % 2]], np.int64)
        return array.reshape(1, -1).astype(np.int64)

    def _observation_space(self, agent: str) -> spaces.Space[Any]:
        leaves = self.leaves[agent]
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


def _action_space(choices: list[int]) -> spaces.MultiDiscrete | spaces.Discrete:
    if len(choices) == 1:
        return spaces.Discrete(choices[0])
    return spaces.MultiDiscrete(np.array(choices))


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _size(leaves: dict[str, Leaf]) -> int:
    return max(where.stop for where in layout(leaves).values())
