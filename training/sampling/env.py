"""Turn-based environment for RLlib: each step's dict holds the agent whose turn it is."""

from __future__ import annotations

from typing import Any

import gymnasium
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT, Visit
from recenv.recommenders.base import Recommender, recommend
from recenv.recommenders.play import respond
from recenv.sim.observation import Observation
from recenv.sim.simulator import Outcome
from recenv.users.user_policy import UserPolicy
from training.config import FITTED
from training.models.observations import AGENT, LEAVES, MODULE, TRUE_INTEREST, observe
from training.ray_output import quiet
from training.runs.opponents import make_fixed_user, make_opponent
from training.world import resolve

MultiAgentStep = tuple[
    dict[str, Observation],
    dict[str, float],
    dict[str, bool],
    dict[str, bool],
    dict[str, dict[str, Any]],
]


def module_of(agent: Any, episode: Any, **kwargs: Any) -> str:
    """RLlib's ``policy_mapping_fn``."""
    return MODULE[agent]


class TurnEnv(MultiAgentEnv):
    """One user's visit. Sides that do not learn are played inside and cost no step.

    The reset observes the first learning agent to move. A recommender's reward comes with its
    next observation, after the user's answer; a user's with its own step, though its next
    observation comes a turn later. Both agents end together and then both observe.

    Args:
        config: ``TrainConfig.env_config``; of it ``env``, ``game``, ``trained``, ``opponent``,
            ``fixed_user``, ``central`` and ``limit_ends``.

    Raises:
        ConfigError: the game does not fit the world.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        quiet()  # RLlib makes the environment first of all, in each of its processes
        world, game = resolve(config["env"], config["game"])
        self.visit = Visit(world, game.replace(observation="dict"), None)
        self.central = bool(config.get("central", False))
        self.limit_ends = bool(config.get("limit_ends", False))
        self.trained = [AGENT[side] for side in config["trained"]]  # a set has no fixed order
        self.opponent: Recommender | None = None
        if RECOMMENDER_AGENT not in self.trained:
            self.opponent = make_opponent(config["opponent"], world, game)
        self.fixed_user: UserPolicy | None = None
        if USER_AGENT not in self.trained:
            self.fixed_user = make_fixed_user(config.get("fixed_user", FITTED), world, game)
        self._learners = [agent for agent in LEAVES if agent in self.trained]
        self.agents = list(self._learners)
        self.possible_agents = list(self._learners)
        self.observation_spaces = {a: self._space(a) for a in self._learners}
        self.action_spaces = {a: self.visit.action_spaces[a] for a in self._learners}
        super().__init__()

    # RLlib names agents by any hashable; here they are strings
    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin a visit; ``options={"user": code}`` chooses whose."""
        super().reset(seed=seed)
        self.visit.reset(seed, options)
        replay = self.visit.replay(0)
        if self.opponent is not None:
            self._recommend()
            return {USER_AGENT: self._observe(USER_AGENT)}, {USER_AGENT: replay}
        return {RECOMMENDER_AGENT: self._observe(RECOMMENDER_AGENT)}, {RECOMMENDER_AGENT: replay}

    def step(  # type: ignore[override]
        self, action_dict: dict[str, Any]
    ) -> MultiAgentStep:
        """Take the one action; play the sides that do not learn until a learner is to move.

        Raises:
            ActionError: the action lies outside the agent's space.
        """
        if RECOMMENDER_AGENT in action_dict:
            self.visit.play(RECOMMENDER_AGENT, action_dict[RECOMMENDER_AGENT])
            if USER_AGENT in self.trained:
                return self._going({USER_AGENT: self._observe(USER_AGENT)}, {})
            self._respond()
        else:
            self.visit.play(USER_AGENT, action_dict[USER_AGENT])
        return self._answered(self.visit.outcome())

    def _answered(self, outcome: Outcome) -> MultiAgentStep:
        both = {
            RECOMMENDER_AGENT: float(outcome.recommender_reward[0]),
            USER_AGENT: float(outcome.user_reward[0]),
        }
        rewards = {agent: both[agent] for agent in self._learners}
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        if truncated and self.limit_ends:
            terminated, truncated = True, False
        if terminated or truncated:
            # A truncated user's value is taken from its idle screen here: the recommender's
            # next slate is not known. The batched runner shows one.
            return (
                {agent: self._observe(agent) for agent in self._learners},
                rewards,
                {**dict.fromkeys(self._learners, terminated), "__all__": terminated},
                {**dict.fromkeys(self._learners, truncated), "__all__": truncated},
                {},
            )
        if self.opponent is not None:
            self._recommend()
            return self._going({USER_AGENT: self._observe(USER_AGENT)}, rewards)
        return self._going({RECOMMENDER_AGENT: self._observe(RECOMMENDER_AGENT)}, rewards)

    @staticmethod
    def _going(observations: dict[str, Observation], rewards: dict[str, float]) -> MultiAgentStep:
        return observations, rewards, {"__all__": False}, {"__all__": False}, {}

    def _recommend(self) -> None:
        assert self.opponent is not None
        visit = self.visit
        turn = recommend(self.opponent, visit.simulator, visit.state)
        visit.simulator.show(visit.state, turn.slates)

    def _respond(self) -> None:
        respond(self.fixed_user, self.visit.simulator, self.visit.state)

    def _observe(self, agent: str) -> Observation:
        seen = observe(self.visit.simulator, agent, self.visit.state, central=self.central)
        return {name: leaf[0] for name, leaf in seen.items()}

    def _space(self, agent: str) -> gymnasium.spaces.Dict:
        spaces: dict[str, Any] = self.visit.observation_spaces
        leaves = {name: spaces[agent][name] for name in LEAVES[agent]}
        if self.central:
            leaves = {n: spaces[a][n] for a, names in LEAVES.items() for n in names}
            leaves[TRUE_INTEREST] = spaces[USER_AGENT]["interest"]
        return gymnasium.spaces.Dict(leaves)
