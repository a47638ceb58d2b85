"""RecAECEnv: the same game where only the agent whose turn it is acts."""

from __future__ import annotations

from typing import Any

from pettingzoo import AECEnv

from recenv.env.shared import TwoAgentEnv
from recenv.env.visit import (
    AGENTS,
    RECOMMENDER_AGENT,
    USER_AGENT,
    Action,
    AgentObservation,
)
from recenv.errors import ActionError


class RecAECEnv(TwoAgentEnv, AECEnv[str, Any, Any]):
    """One user's visit, turn by turn; spaces and rewards as in ``RecParallelEnv``.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None or "ansi".

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {**TwoAgentEnv.metadata, "is_parallelizable": False}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a visit. Without a seed, the next visit in the sequence of the last seed."""
        self.visit.reset(seed, options)
        replay = {**self.visit.replay(0), **self.visit.infos()[0]}
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
            self.visit.play(agent, action)
            self.agent_selection = USER_AGENT
            return
        outcome = self.visit.play(agent, action)
        assert outcome is not None
        self.rewards = {
            RECOMMENDER_AGENT: float(outcome.recommender_reward[0]),
            USER_AGENT: float(outcome.user_reward[0]),
        }
        facts = self.visit.infos()[0]
        self.infos = {a: dict(facts) for a in AGENTS}
        self.terminations = dict.fromkeys(AGENTS, bool(outcome.terminated[0]))
        self.truncations = dict.fromkeys(AGENTS, bool(outcome.truncated[0]))
        self.agent_selection = RECOMMENDER_AGENT
        self._accumulate_rewards()
