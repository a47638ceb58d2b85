"""RecAECEnv: the same game where only the agent whose turn it is acts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import AECEnv

from recenv.config import GameConfig
from recenv.env.visit import (
    AGENTS,
    RECOMMENDER_AGENT,
    RENDER_MODES,
    USER_AGENT,
    Action,
    AgentObservation,
    Visit,
)
from recenv.errors import ActionError
from recenv.world import World


class RecAECEnv(AECEnv[str, Any, Any]):
    """One user's visit, turn by turn; spaces and rewards as in ``RecParallelEnv``.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None or "ansi".

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 1,
        "name": "recenv",
        "is_parallelizable": False,
    }

    def __init__(
        self, world: World, game: GameConfig | None = None, *, render_mode: str | None = None
    ) -> None:
        super().__init__()
        self.visit = Visit(world, game or GameConfig(), render_mode)
        self.render_mode = render_mode
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.observation_spaces = self.visit.observation_spaces
        self.action_spaces: dict[str, spaces.Space[Any]] = dict(self.visit.action_spaces)
        self.state_space = self.visit.state_space

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space (the same object at every call)."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space (the same object at every call)."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a visit. Without a seed, the next visit in the sequence of the last seed."""
        replay = self.visit.reset(seed, options)
        self.agents = list(AGENTS)
        self.agent_selection = RECOMMENDER_AGENT
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos = {agent: dict(replay) for agent in AGENTS}

    def observe(self, agent: str) -> AgentObservation:
        """The agent's observation."""
        return self.visit.observe(agent)

    def step(self, action: Action | None) -> None:
        """Act for ``agent_selection``; None for an agent that has ended.

        Raises:
            ActionError: the action lies outside the agent's space.
        """
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        if action is None:
            raise ActionError(f"{agent} is alive and must act, but the action is None.")
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if agent == RECOMMENDER_AGENT:
            self.visit.show(action)
            self.agent_selection = USER_AGENT
            return
        outcome = self.visit.respond(action)
        self.rewards = {
            RECOMMENDER_AGENT: float(outcome.recommender_reward[0]),
            USER_AGENT: float(outcome.user_reward[0]),
        }
        facts = {"clicks": int(outcome.clicks[0]), "purchases": int(outcome.purchases[0])}
        self.infos = {a: dict(facts) for a in AGENTS}
        self.terminations = dict.fromkeys(AGENTS, bool(outcome.terminated[0]))
        self.truncations = dict.fromkeys(AGENTS, bool(outcome.truncated[0]))
        self.agent_selection = RECOMMENDER_AGENT
        self._accumulate_rewards()

    def state(self) -> npt.NDArray[np.float32]:
        """The true state, for centralised critics: both flat observations, (F,) float32."""
        return self.visit.true_state()

    def render(self) -> str | None:  # type: ignore[override]
        """The visit so far as text, in mode "ansi"."""
        return self.visit.render()

    def close(self) -> None:
        """Nothing to close."""
