"""RecParallelEnv: the two-player game as a PettingZoo parallel environment."""

from __future__ import annotations

from typing import Any

from pettingzoo import ParallelEnv

from recenv.env.shared import TwoAgentEnv
from recenv.env.visit import (
    AGENTS,
    RECOMMENDER_AGENT,
    USER_AGENT,
    Action,
    AgentObservation,
)
from recenv.errors import ActionError


class RecParallelEnv(TwoAgentEnv, ParallelEnv[str, Any, Any]):
    """One user's visit to a recommender system, played by ``recommender_0`` and ``user_0``.

    ## Description
    Play alternates: the recommender shows a slate, then the user answers it. Both agents
    always observe and may always act; the action of the agent whose turn it is not has no
    effect. ``observation["turn"]`` is 0 on the recommender's turn and 1 on the user's.

    ## Action Space
    - ``recommender_0``: ``MultiDiscrete([C] * K)``, a candidate's index per slot
      (``Discrete(C)`` for K = 1). A repeated candidate leaves its later slot empty.
    - ``user_0``: ``MultiDiscrete([3] * K + [2])``, per slot 0 ignore, 1 click, 2 purchase
      (which implies a click), then 0 stay or 1 leave; for K = 1 ``Discrete(6)``, that is
      ``2 * response + leave``. An answer to an empty slot has no effect.

    ## Observation Space
    A Dict of Box leaves (``observation="dict"``), or those leaves in the same order in one
    float32 Box (``observation="flat"``; ``layout(agent)`` and ``unflatten(agent, vector)``).
    The recommender sees the user's code and encoded interest, candidates (codes, vectors, log
    popularity), the last slate and answer, the visit's history and the mean vector of its
    clicks, round and turn. The user sees its own interest, boredom, satisfaction and spending,
    the slate (codes, vectors, prices, utilities), ``behaviour`` (the fitted probabilities of
    every answer), round and turn.

    ## Rewards
    See ``recenv.config.RewardConfig``. Both come after the user's answer; a recommender's
    turn is worth 0.

    ## Starting State
    A user drawn from the pool ``GameConfig.users``, or ``options={"user": code}``.

    ## Episode End
    Leaving terminates both agents; the round limit truncates both.

    ## Version History
    See the changelog.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None or "ansi".

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {**TwoAgentEnv.metadata, "is_parallelizable": True}

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, AgentObservation], dict[str, dict[str, Any]]]:
        """Begin a visit. Without a seed, the next visit in the sequence of the last seed."""
        replay = self.visit.reset(seed, options)
        self.agents = list(AGENTS)
        return self.visit.observations(), {agent: dict(replay) for agent in AGENTS}

    def step(
        self, actions: dict[str, Action]
    ) -> tuple[
        dict[str, AgentObservation],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """One turn. After the end it returns five empty dicts.

        Raises:
            ActionError: the agent whose turn it is sent no action or one outside its space.
        """
        if not self.agents:
            if not self.visit.begun:
                raise ActionError("step() was called before reset(). Call env.reset(seed=...).")
            return {}, {}, {}, {}, {}
        mover = USER_AGENT if self.visit.user_turn else RECOMMENDER_AGENT
        for agent, action in actions.items():
            if agent not in AGENTS:
                raise ActionError(f"There is no agent {agent!r}; the agents are {AGENTS}.")
            if agent != mover:
                self.visit.check_action(agent, action)
        if mover not in actions:
            raise ActionError(f"It is {mover}'s turn, but actions has only {sorted(actions)}.")
        rewards = dict.fromkeys(AGENTS, 0.0)
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in AGENTS}
        if mover == RECOMMENDER_AGENT:
            self.visit.show(actions[mover])
        else:
            outcome = self.visit.respond(actions[mover])
            rewards = {
                RECOMMENDER_AGENT: float(outcome.recommender_reward[0]),
                USER_AGENT: float(outcome.user_reward[0]),
            }
            for info in infos.values():
                info |= self.visit.info(outcome)
            terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
            if terminated or truncated:
                self.agents = []
                return (
                    self.visit.observations(),
                    rewards,
                    dict.fromkeys(AGENTS, terminated),
                    dict.fromkeys(AGENTS, truncated),
                    infos,
                )
        no = dict.fromkeys(AGENTS, False)
        return self.visit.observations(), rewards, no, dict(no), infos
