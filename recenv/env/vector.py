"""RecVectorEnv: many visits of ``RecEnv`` as one Gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.config import GameConfig
from recenv.env.visit import (
    RECOMMENDER_AGENT,
    AgentObservation,
    Visits,
    always_on_turn,
    checked_options,
)
from recenv.errors import ActionError, ConfigError
from recenv.sim.state import LEFT, LIVE, TRUNCATED
from recenv.world import World

Bools = npt.NDArray[np.bool_]


class RecVectorEnv(VectorEnv[Any, Any, Any]):
    """``num_envs`` visits side by side: one simulator steps them all.

    Spaces, rewards, infos, seeds and endings are those of ``SyncVectorEnv`` over ``RecEnv``, to
    the bit: ``gymnasium.make_vec(id, num_envs=n)`` makes one, and with
    ``vectorization_mode="sync"`` the other.

    Args:
        world: users, items and laws.
        game: rules of a visit.
        num_envs: B.
        autoreset_mode: when the next visit begins in the row of one that has ended:
            ``NEXT_STEP`` (the next step's action is not used), ``SAME_STEP`` (``final_obs`` and
            ``final_info`` have the end) or ``DISABLED`` (by ``options={"reset_mask": ...}``); or
            its value as a string.
        copy: give observations in arrays of their own. Without, they are the simulator's own
            memory (``torch.from_numpy`` shares it) and change with the next step.
        threads: the most threads for a step; results do not depend on it.
        render_mode: None or "rgb_array".

    Raises:
        ConfigError: the game does not fit the world, or an argument is out of range.
    """

    def __init__(
        self,
        world: World,
        game: GameConfig | None = None,
        *,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        threads: int = 1,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(
                "A vector environment shows nothing but pictures, but render_mode is "
                f"{render_mode!r}. Take 'rgb_array', or watch one visit with gymnasium.make(...)."
            )
        always_on_turn(game or GameConfig())
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            modes = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ConfigError(
                f"autoreset_mode must be one of {modes}, but is {autoreset_mode!r}."
            ) from error
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": 1,
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = render_mode
        self.visits = Visits(
            world, game or GameConfig(), batch=num_envs, user_sees=False, threads=threads
        )
        self.num_envs = self.visits.batch
        self.copy = copy
        self.single_observation_space = self.visits.observation_spaces[RECOMMENDER_AGENT]
        self.single_action_space = self.visits.action_spaces[RECOMMENDER_AGENT]
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._all = np.ones(num_envs, np.bool_)
        self._flat: npt.NDArray[np.float32] | None = None
        if isinstance(self.single_observation_space, spaces.Box):
            size = (num_envs, *self.single_observation_space.shape)
            self._flat = np.empty(size, np.float32)

    @property
    def game(self) -> GameConfig:
        """Rules of a visit."""
        return self.visits.game

    @property
    def world(self) -> World:
        """Users, items and laws."""
        return self.visits.world

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[AgentObservation, dict[str, Any]]:
        """Begin visits.

        Args:
            seed: of row 0, row b gets ``seed + b``; or one for each row. None: the visits that
                follow in the sequence of the last seeds.
            options: ``reset_mask``, (B,) booleans: which rows, by default all; ``user``: who
                visits.

        Raises:
            ConfigError: a seed, the mask or the user is out of range.
        """
        options = checked_options(options, ("user", "reset_mask")).copy()
        mask = options.pop("reset_mask", None)
        if mask is None:
            mask = self._all
        elif not self.visits.begun:
            raise ConfigError("reset_mask is for rows of visits that were begun. Reset all first.")
        else:
            mask = self._mask(mask)
        self.visits.reset_rows(np.flatnonzero(mask), seed, options)
        return self._observation(), self._begun({}, mask)

    def step(
        self, actions: npt.NDArray[np.integer]
    ) -> tuple[AgentObservation, npt.NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Show (B, K) slates, (B,) for K = 1, and let the fitted users answer.

        Raises:
            ActionError: the actions lie outside the space; no visit was begun; or, without
                autoreset, one has ended.
        """
        visits, state = self.visits, self.visits.state
        if not visits.begun:
            raise ActionError("step() was called before reset(). Call envs.reset(seed=...).")
        visits.put_all(RECOMMENDER_AGENT, actions)
        next_step = self.autoreset_mode is AutoresetMode.NEXT_STEP
        new = state.ended != LIVE
        if not next_step and new.any():
            raise ActionError(
                f"The visit in row {int(np.argmax(new))} has ended. Begin the next one: "
                'envs.reset(options={"reset_mask": terminated | truncated}).'
            )
        visits.step_fitted(autoreset=next_step)
        rewards = state.rewards[:, 0].astype(np.float64)
        terminated, truncated = state.ended == LEFT, state.ended == TRUNCATED
        infos: dict[str, Any] = {}
        if next_step:
            self._answered(infos, ~new)
            self._begun(infos, new)
        elif self.autoreset_mode is AutoresetMode.SAME_STEP:
            ended = terminated | truncated
            self._finish(infos, ended)
            self._answered(infos, ~ended)
            rows = np.flatnonzero(ended)
            if len(rows):
                visits.simulator.next_visits(state, rows)
            self._begun(infos, ended)
        else:
            self._answered(infos, self._all)
        return self._observation(), rewards, terminated, truncated, infos

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """A picture of each visit, in mode "rgb_array"; see ``RecEnv.render``.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        if self.render_mode is None:
            return None
        return tuple(self.visits.picture(row) for row in range(self.num_envs))

    def layout(self) -> dict[str, slice]:
        """Where each leaf lies in a row of the flat observation."""
        return self.visits.layout(RECOMMENDER_AGENT)

    def _observation(self) -> AgentObservation:
        leaves = self.visits.seen[RECOMMENDER_AGENT]
        if self._flat is None:
            return {k: v.copy() for k, v in leaves.items()} if self.copy else dict(leaves)
        parts = [leaf.reshape(self.num_envs, -1) for leaf in leaves.values()]
        out = np.empty_like(self._flat) if self.copy else self._flat
        return np.concatenate(parts, axis=1, out=out, casting="unsafe")

    def _begun(self, infos: dict[str, Any], rows: Bools) -> dict[str, Any]:
        """Add from what the visits of some rows can be replayed."""
        if rows.any():
            state = self.visits.state
            for name in ("seed", "session", "user"):
                _put(infos, name, getattr(state, name).astype(np.int64), rows)
        return infos

    def _answered(self, infos: dict[str, Any], rows: Bools) -> None:
        """Add what the round brought to some rows."""
        if not rows.any():
            return
        state = self.visits.state
        _put(infos, "clicks", state.clicks.astype(np.int64), rows)
        _put(infos, "purchases", state.purchases.astype(np.int64), rows)
        if self.world.user_model.return_time is not None:
            _put(infos, "return_days", self.visits.return_days(), rows)
        _put(infos, "answer", state.answers.copy(), rows)
        _put(infos, "user_reward", state.rewards[:, 1].astype(np.float64), rows)

    def _finish(self, infos: dict[str, Any], ended: Bools) -> None:
        """Add the last observation and info of visits that ended in this step."""
        if not ended.any():
            return
        final = np.full(self.num_envs, None, object)
        for row in np.flatnonzero(ended).tolist():
            final[row] = self.visits.observe(RECOMMENDER_AGENT, row)
        last: dict[str, Any] = {}
        self._answered(last, ended)
        for name, value in (("final_obs", final), ("final_info", last)):
            infos[name], infos[f"_{name}"] = value, ended.copy()

    def _mask(self, mask: object) -> Bools:
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or not (mask.shape == (self.num_envs,) and mask.any())
        ):
            raise ConfigError(
                f"options['reset_mask'] must be a boolean array of shape ({self.num_envs},) with "
                f"at least one row to reset, but is {mask!r}."
            )
        return mask


def _put(infos: dict[str, Any], name: str, values: np.ndarray, rows: Bools) -> None:
    """``infos[name]``, zero where it says nothing, and the mask of where it says something."""
    if not rows.all():
        values[~rows] = 0
    infos[name], infos[f"_{name}"] = values, rows.copy()
