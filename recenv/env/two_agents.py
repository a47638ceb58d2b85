"""Base class of the parallel and the AEC environment."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from recenv.config import GameConfig
from recenv.env.visit import AGENTS, RENDER_MODES, USER_AGENT, AgentObservation, Visit
from recenv.sim.state import USER
from recenv.world import World


class TwoAgentEnv:
    """Spaces, state, layout and rendering of the two-player game.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None, "ansi" (text) or "rgb_array" (a picture), of the first visit.
        num_sessions: visits side by side, each with a recommender and a user of its own.

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1, "name": "recenv"}

    def __init__(
        self,
        world: World,
        game: GameConfig | None = None,
        *,
        render_mode: str | None = None,
        num_sessions: int = 1,
    ) -> None:
        self.visit = Visit(world, game or GameConfig(), render_mode, batch=num_sessions)
        self.render_mode = render_mode
        self.num_sessions = num_sessions
        sides = [
            (f"{side.removesuffix('_0')}_{b}", side) for side in AGENTS for b in range(num_sessions)
        ]
        self.side: dict[str, str] = dict(sides)
        """``recommender_0`` or ``user_0``: whose spaces and layout an agent has."""
        self.seats = {agent: (side, int(agent.rpartition("_")[2])) for agent, side in sides}
        """Side and row of each agent."""
        self.possible_agents = list(self.side)
        self.agents: list[str] = []
        self._masks = {side: _masks(self.visit.action_spaces[side]) for side in AGENTS}
        seen: dict[str, spaces.Space[Any]] = dict(self.visit.observation_spaces)
        self._mask_in = self.game.action_mask
        if self._mask_in == "observation":
            seen = {
                side: spaces.Dict(
                    {
                        "observation": space,
                        "action_mask": spaces.Box(0, 1, self._masks[side][0].shape, np.int8),
                    }
                )
                for side, space in seen.items()
            }
        self.observation_spaces: dict[str, spaces.Space[Any]] = {
            agent: seen[side] for agent, side in sides
        }
        self.action_spaces: dict[str, spaces.Space[Any]] = {  # each draws its own samples
            agent: copy.deepcopy(self.visit.action_spaces[side]) for agent, side in sides
        }
        self.state_space = self.visit.state_space

    @property
    def game(self) -> GameConfig:
        """Rules of the visit."""
        return self.visit.game

    @property
    def world(self) -> World:
        """Users, items and laws."""
        return self.visit.world

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space (the same object at every call)."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space (the same object at every call)."""
        return self.action_spaces[agent]

    def action_mask(self, agent: str) -> npt.NDArray[np.int8]:
        """Which actions of an agent are legal now, 1 or 0 for each.

        On turn all are. Off turn only index 0 is, of each slot, so that a learner that masks has
        no choice and nothing to learn there.

        Returns:
            (n,) for ``Discrete(n)``; for ``MultiDiscrete`` the masks of its entries one after the
            other, (sum of ``nvec``,).
        """
        side, row = self.seats[agent]
        idle, free = self._masks[side]
        user_turn = self.visit.state.turn.item(row) == USER
        return (free if user_turn == (side == USER_AGENT) else idle).copy()

    def _masked(self, agent: str, observation: AgentObservation) -> dict[str, Any]:
        return {"observation": observation, "action_mask": self.action_mask(agent)}

    def state(self) -> npt.NDArray[np.float32]:
        """The true state, for centralised critics: all flat observations, (F,) float32."""
        return self.visit.true_state()

    def layout(self, agent: str) -> dict[str, slice]:
        """Where each leaf lies in the agent's flat observation."""
        return self.visit.layout(self.side[agent])

    def unflatten(self, agent: str, flat: npt.NDArray[np.float32]) -> dict[str, np.ndarray]:
        """The dict observation that a flat one came from."""
        return self.visit.unflatten(self.side[agent], flat)

    def render(self) -> str | npt.NDArray[np.uint8] | None:
        """The visit so far as text, in mode "ansi", or as a picture, in mode "rgb_array"."""
        return self.visit.render()

    def close(self) -> None:
        """Nothing to close."""


def _masks(space: spaces.Space[Any]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Masks of an agent that is not on turn, and of one that is."""
    choices = space.nvec if isinstance(space, spaces.MultiDiscrete) else [space.n]  # type: ignore[attr-defined]
    idle = [np.arange(n) == 0 for n in choices]
    mask = np.concatenate(idle).astype(np.int8)
    return mask, np.ones_like(mask)
