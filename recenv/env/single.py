"""RecEnv: the recommender alone, as a Gymnasium environment; the fitted user answers."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.env.visit import (
    RECOMMENDER_AGENT,
    RENDER_MODES,
    Action,
    AgentObservation,
    Visit,
    always_on_turn,
)
from recenv.errors import ActionError
from recenv.sim.state import LEFT, TRUNCATED
from recenv.world import World


class RecEnv(gymnasium.Env[Any, Any]):
    """One user's visit; a step shows a slate and the fitted user answers it.

    ## Action Space
    ``MultiDiscrete([C] * K)``, a candidate's index per slot (``Discrete(C)`` for K = 1). A
    repeated candidate leaves its later slot empty.

    ## Observation Space
    That of ``recommender_0`` in ``RecParallelEnv``, on its turns.

    ## Rewards
    The recommender's: see ``recenv.config.RewardConfig``. ``info`` has ``clicks``,
    ``purchases``, ``answer`` ((K + 1,) int8) and ``user_reward``.

    ## Starting State
    A user drawn from the pool ``GameConfig.users``, or ``options={"user": code}``.

    ## Episode End
    Leaving terminates; the round limit truncates. With the same seed and slates, and
    ``FittedUser`` as ``user_0``, the parallel environment gives the same trajectory.

    ## Version History
    See the changelog.

    Args:
        world: users, items and laws.
        game: rules of the visit.
        render_mode: None, "ansi" (text) or "rgb_array" (a picture).

    Raises:
        ConfigError: the game does not fit the world.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1}

    def __init__(
        self, world: World, game: GameConfig | None = None, *, render_mode: str | None = None
    ) -> None:
        always_on_turn(game or GameConfig())
        self.visit = Visit(world, game or GameConfig(), render_mode, user_sees=False)
        self.render_mode = render_mode
        self.observation_space = self.visit.observation_spaces[RECOMMENDER_AGENT]
        self.action_space = self.visit.action_spaces[RECOMMENDER_AGENT]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AgentObservation, dict[str, Any]]:
        """Begin a visit. Without a seed, the next visit in the sequence of the last seed."""
        self.visit.reset(seed, options)
        super().reset(seed=None if seed is None else int(seed))
        return self.visit.observe(RECOMMENDER_AGENT), self.visit.replay(0)

    def step(self, action: Action) -> tuple[AgentObservation, float, bool, bool, dict[str, Any]]:
        """Show a slate and let the fitted user answer.

        Raises:
            ActionError: the action lies outside the space, or the visit is over.
        """
        visit = self.visit
        if not visit.begun:
            raise ActionError("step() was called before reset(). Call env.reset(seed=...).")
        if not visit.live:
            raise ActionError("step() needs a visit that goes on. Call env.reset() first.")
        visit.note(RECOMMENDER_AGENT, action, acts=True)
        visit.step_fitted()
        state = visit.state
        reward, user_reward = state.rewards[0].tolist()
        ended = state.ended.item(0)
        info: dict[str, Any] = visit.info()
        info["answer"] = state.answers[0].copy()
        info["user_reward"] = user_reward
        observation = visit.observe(RECOMMENDER_AGENT)
        return observation, reward, ended == LEFT, ended == TRUNCATED, info

    def layout(self) -> dict[str, slice]:
        """Where each leaf lies in the flat observation."""
        return self.visit.layout(RECOMMENDER_AGENT)

    def unflatten(self, flat: npt.NDArray[np.float32]) -> dict[str, np.ndarray]:
        """The dict observation that a flat one came from."""
        return self.visit.unflatten(RECOMMENDER_AGENT, flat)

    def render(self) -> str | npt.NDArray[np.uint8] | None:  # type: ignore[override]
        """The visit so far as text, in mode "ansi", or as a picture, in mode "rgb_array"."""
        return self.visit.render()
