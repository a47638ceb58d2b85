"""RecParallelEnv: the two-player game as a PettingZoo parallel environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pettingzoo import ParallelEnv

from recenv.env.two_agents import TwoAgentEnv
from recenv.env.visit import (
    AGENTS,
    RECOMMENDER_AGENT,
    USER_AGENT,
    Action,
    AgentObservation,
)
from recenv.errors import ActionError
from recenv.sim.state import LEFT, LIVE


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

    ## Many visits
    With ``num_sessions=n`` there are n visits side by side, stepped as one batch: agents
    ``recommender_0`` to ``recommender_{n-1}`` and ``user_0`` to ``user_{n-1}``, pair b alone in
    visit b. All recommenders are on turn, then all users. A pair whose visit ends leaves
    ``agents``; the others go on. ``reset(seed=s)`` begins in visit b what an environment of one
    visit begins with seed ``s + b``.

    ## Version History
    See the changelog.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None, "ansi" (text) or "rgb_array" (a picture), of the first visit.
        num_sessions: n.

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {**TwoAgentEnv.metadata, "is_parallelizable": True}

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, AgentObservation], dict[str, dict[str, Any]]]:
        """Begin the visits. Without a seed, the next ones in the sequence of the last seed."""
        visit = self.visit
        visit.reset(seed, options)
        self._user_turn = False
        self._live = [True] * visit.batch
        self._set_agents(self.possible_agents)
        # with every key of later infos: some libraries make room by what the reset brings
        if visit.batch == 1:
            fact = visit.replay(0) | visit.info()
            infos: dict[str, dict[str, Any]] = {RECOMMENDER_AGENT: fact, USER_AGENT: fact.copy()}
        else:
            facts = [visit.replay(row) | info for row, info in enumerate(visit.infos())]
            infos = {agent: facts[row].copy() for agent, (_, row) in self.seats.items()}
        return self._observations(), self._with_masks(infos)

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
            ActionError: an agent whose turn it is sent no action, or one is outside its space.
        """
        visit, agents = self.visit, self.agents
        if not agents:
            if not visit.begun:
                raise ActionError("step() was called before reset(). Call env.reset(seed=...).")
            return {}, {}, {}, {}, {}
        alone = visit.batch == 1
        mover = USER_AGENT if self._user_turn else RECOMMENDER_AGENT
        if not (alone and visit.noted(actions, mover)):
            self._note(actions, mover)
        rewards, terminated, truncated = self._zeros.copy(), self._noes.copy(), self._noes.copy()
        if mover == RECOMMENDER_AGENT:
            visit.show()
            self._user_turn = True
            infos: dict[str, dict[str, Any]] = {agent: {} for agent in agents}
            self._with_masks(infos)
            return self._observations(), rewards, terminated, truncated, infos
        visit.respond()
        self._user_turn = False
        paid, ended = visit.state.rewards.tolist(), visit.state.ended.tolist()
        if alone:
            ((rewards[RECOMMENDER_AGENT], rewards[USER_AGENT]),) = paid
            info, over = visit.info(), ended[0] != LIVE
            infos = {RECOMMENDER_AGENT: info, USER_AGENT: info.copy()}
            if over:
                ends = terminated if ended[0] == LEFT else truncated
                ends[RECOMMENDER_AGENT] = ends[USER_AGENT] = True
        else:
            facts, infos, over = visit.infos(), {}, False
            for agent in agents:
                side, row = self.seats[agent]
                rewards[agent] = paid[row][side == USER_AGENT]
                infos[agent] = facts[row].copy()
                if ended[row] != LIVE:
                    over = True
                    terminated[agent] = ended[row] == LEFT
                    truncated[agent] = not terminated[agent]
        self._with_masks(infos)
        observations = self._observations()
        if over:
            self._live = [end == LIVE for end in ended]
            self._set_agents([agent for agent in agents if self._live[self.seats[agent][1]]])
        return observations, rewards, terminated, truncated, infos

    def _note(self, actions: dict[str, Action], mover: str) -> None:
        """Check all actions and note those of the agents that are playing."""
        if not isinstance(actions, (dict, Mapping)):  # dict first: asking for a Mapping is slow
            raise ActionError(
                f"step() wants a dict with an action for each agent that is on turn, but got "
                f"{actions!r}. Write env.step({{agent: env.action_space(agent).sample() for agent "
                "in env.agents})."
            )
        visit, seats = self.visit, self.seats
        alone, live = visit.batch == 1, self._live
        missing = live.count(True)
        for agent, action in actions.items():
            if agent not in seats:
                some = ", ".join(self.possible_agents[:4])
                raise ActionError(f"There is no agent {agent!r}; the agents are {some}, ...")
            side, row = seats[agent]
            acts = side == mover and live[row]
            missing -= acts
            if alone:
                visit.note(side, action, acts=acts)
            else:
                visit.put(side, row, action)
        if not alone:
            visit.check(RECOMMENDER_AGENT)
            visit.check(USER_AGENT)
        if missing:
            turn = ", ".join(
                agent for agent in self.agents if seats[agent][0] == mover and agent not in actions
            )
            raise ActionError(f"It is {turn}'s turn, but actions has only {sorted(actions)}.")

    def _set_agents(self, agents: list[str]) -> None:
        self.agents = agents.copy()
        if agents:
            self._zeros, self._noes = dict.fromkeys(agents, 0.0), dict.fromkeys(agents, False)

    def _with_masks(self, infos: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if self._mask_in == "info":
            for agent, info in infos.items():
                info["action_mask"] = self.action_mask(agent)
        return infos

    def _observations(self) -> dict[str, Any]:
        visit = self.visit
        if visit.batch == 1:
            seen: dict[str, AgentObservation] = visit.observe_both()
        else:
            rows, seats = {side: visit.observe_all(side) for side in AGENTS}, self.seats
            seen = {agent: rows[seats[agent][0]][seats[agent][1]] for agent in self.agents}
        if self._mask_in == "observation":
            return {agent: self._masked(agent, value) for agent, value in seen.items()}
        return seen
