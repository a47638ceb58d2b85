"""RecAECEnv: the same game where only the agent whose turn it is acts."""

from __future__ import annotations

from typing import Any

from pettingzoo import AECEnv

from recenv.env.two_agents import TwoAgentEnv
from recenv.env.visit import (
    AGENTS,
    RECOMMENDER_AGENT,
    USER_AGENT,
    Action,
)
from recenv.errors import ActionError
from recenv.sim.state import LEFT, TRUNCATED


class RecAECEnv(TwoAgentEnv, AECEnv[str, Any, Any]):
    """One user's visit, turn by turn; spaces and rewards as in ``RecParallelEnv``.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None, "ansi" (text) or "rgb_array" (a picture).

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {**TwoAgentEnv.metadata, "is_parallelizable": False}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a visit. Without a seed, the next visit in the sequence of the last seed."""
        self.visit.reset(seed, options)
        replay = self.visit.replay(0) | self.visit.info()
        self.agents = list(AGENTS)
        self.agent_selection = RECOMMENDER_AGENT
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos: dict[str, dict[str, Any]] = {agent: dict(replay) for agent in AGENTS}
        self._mask_infos()

    def observe(self, agent: str) -> Any:
        """The agent's observation."""
        seen = self.visit.observe(agent)
        return self._masked(agent, seen) if self._mask_in == "observation" else seen

    def _mask_infos(self) -> None:
        if self._mask_in == "info":
            for agent, info in self.infos.items():
                info["action_mask"] = self.action_mask(agent)

    def step(self, action: Action | None) -> None:
        """Act for ``agent_selection``; None for an agent that has ended.

        Raises:
            ActionError: the action lies outside the agent's space.
        """
        visit = self.visit
        if not visit.begun:
            raise ActionError("step() was called before reset(). Call env.reset(seed=...).")
        if not self.agents:
            raise ActionError("The visit is over and no agent is left. Call env.reset().")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            if action is not None:
                raise ActionError(
                    f"The visit is over, so that {agent} can only step(None), but the action is "
                    f"{action!r}. Do that, or call env.reset()."
                )
            self._was_dead_step(action)
            return
        if action is None:
            raise ActionError(
                f"{agent} is alive and must act, but the action is None. "
                f"env.action_space({agent!r}).sample() shows one."
            )
        visit.act(agent, action)
        self._cumulative_rewards[agent] = 0.0
        if agent == RECOMMENDER_AGENT:
            self._clear_rewards()
            self._mask_infos()
            self.agent_selection = USER_AGENT
            return
        state = visit.state
        self.rewards = dict(zip(AGENTS, state.rewards[0].tolist(), strict=True))
        facts, ended = visit.info(), state.ended.item(0)
        self.infos = {a: facts.copy() for a in AGENTS}
        self._mask_infos()
        self.terminations = dict.fromkeys(AGENTS, ended == LEFT)
        self.truncations = dict.fromkeys(AGENTS, ended == TRUNCATED)
        self.agent_selection = RECOMMENDER_AGENT
        self._accumulate_rewards()
