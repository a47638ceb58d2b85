"""What the parallel and the AEC environment have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from recenv.config import GameConfig
from recenv.env.visit import AGENTS, RENDER_MODES, Visit
from recenv.world import World


class TwoAgentEnv:
    """Spaces, state, layout and rendering of the two-player game.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None or "ansi".

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1, "name": "recenv"}

    def __init__(
        self, world: World, game: GameConfig | None = None, *, render_mode: str | None = None
    ) -> None:
        self.visit = Visit(world, game or GameConfig(), render_mode)
        self.render_mode = render_mode
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.observation_spaces: dict[str, spaces.Space[Any]] = self.visit.observation_spaces
        self.action_spaces: dict[str, spaces.Space[Any]] = dict(self.visit.action_spaces)
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

    def state(self) -> npt.NDArray[np.float32]:
        """The true state, for centralised critics: both flat observations, (F,) float32."""
        return self.visit.true_state()

    def layout(self, agent: str) -> dict[str, slice]:
        """Where each leaf lies in the agent's flat observation."""
        return self.visit.layout(agent)

    def unflatten(self, agent: str, flat: npt.NDArray[np.float32]) -> dict[str, np.ndarray]:
        """The dict observation that a flat one came from."""
        return self.visit.unflatten(agent, flat)

    def render(self) -> str | None:
        """The visit so far as text, in mode "ansi"."""
        return self.visit.render()

    def close(self) -> None:
        """Nothing to close."""
