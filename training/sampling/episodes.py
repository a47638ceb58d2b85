"""RLlib episodes of the visits played, one for each stretch of a visit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.sim.observation import Observation
from training.models.observations import MODULE
from training.sampling.env import module_of
from training.sampling.fragments import SLOT_REWARDS
from training.sampling.turns import Turn
from training.sampling.visit_sampler import Played


@dataclass(frozen=True)
class Steps:
    """One agent's n steps in one visit."""

    observations: Observation  # (n + 1, ...) leaves; the last follows the last action
    actions: np.ndarray  # (n, ...)
    rewards: np.ndarray  # (n,)
    logp: np.ndarray  # (n,)
    inputs: np.ndarray  # (n, F)
    slot_rewards: np.ndarray | None = None  # (n, K) the recommender's, by slot


@dataclass(frozen=True)
class EpisodeChunk:
    """A stretch of one visit, for each learning agent that completed a step in it."""

    steps: dict[str, Steps]
    rounds: int
    terminated: bool
    truncated: bool


class _Track:
    """One agent's turns, round by round, and what follows the last one of each visit."""

    def __init__(
        self,
        turns: list[Turn],
        rewards: list[np.ndarray],
        slot_rewards: list[np.ndarray] | None = None,
    ) -> None:
        # (B, T, ...), so that a visit's chunk is a contiguous slice
        def stack(parts: list[np.ndarray]) -> np.ndarray:
            return np.ascontiguousarray(np.stack(parts, axis=1))

        leaves = turns[0].observation
        self.observation = {k: stack([t.observation[k] for t in turns]) for k in leaves}
        self.action = stack([t.action for t in turns])
        self.logp = stack([t.logp for t in turns])
        self.inputs = stack([t.inputs for t in turns])
        self.reward = stack(rewards)
        self.slot_rewards = stack(slot_rewards) if slot_rewards else None

    def steps(self, row: int, start: int, stop: int, final: Observation | None) -> Steps:
        """Rounds [start, stop) of a visit; without ``final``, round ``stop`` observes it."""
        if final is None:
            observations = {k: v[row, start : stop + 1] for k, v in self.observation.items()}
        else:
            observations = {
                k: np.concatenate([v[row, start:stop], final[k][None]])
                for k, v in self.observation.items()
            }
        cut = (row, slice(start, stop))
        return Steps(
            observations,
            self.action[cut],
            self.reward[cut],
            self.logp[cut],
            self.inputs[cut],
            None if self.slot_rewards is None else self.slot_rewards[cut],
        )


def chunks(played: Played) -> Iterator[EpisodeChunk]:
    """Cut T rounds of B visits where visits end; ``VisitSampler`` needs ``every_final``."""
    total, batch = played.rewards.shape[:2]
    tracks: dict[str, _Track] = {}
    if RECOMMENDER_AGENT in played.turns:
        tracks[RECOMMENDER_AGENT] = _Track(
            played.turns[RECOMMENDER_AGENT],
            list(played.rewards[..., 0]),
            list(played.slot_rewards),
        )
    early = np.zeros(batch, np.int64)  # 1 where the user's track begins a round earlier
    shift = 0
    if USER_AGENT in played.turns:
        users, paid = played.turns[USER_AGENT], list(played.rewards[..., 1])
        if played.waiting is not None:
            users, paid = [played.waiting.turn, *users], [played.waiting.reward, *paid]
            early, shift = played.waiting.held.astype(np.int64), 1
        tracks[USER_AGENT] = _Track(users, paid)
    start = np.zeros(batch, np.int64)

    def learners(round_: int, row: int) -> dict[str, _Track]:
        """Tracks of those of a visit's agents whom the learning policy played."""
        mine = played.learns
        return {a: t for a, t in tracks.items() if a not in mine or mine[a][round_, row]}

    for end in played.ends:
        for at, row in enumerate(end.rows.tolist()):
            steps = {}
            for agent, track in learners(end.round, row).items():
                final = {k: v[end.final[at]] for k, v in played.finals[agent].items()}
                moved, before = (shift, early[row]) if agent == USER_AGENT else (0, 0)
                first = int(start[row] + moved - before)
                steps[agent] = track.steps(row, first, end.round + 1 + moved, final)
            left = bool(end.left[at])
            yield EpisodeChunk(steps, int(end.round + 1 - start[row]), left, not left)
            start[row], early[row] = end.round + 1, 0
    for row in np.flatnonzero(start < total).tolist():
        steps = {}
        learning = learners(total - 1, row)
        if RECOMMENDER_AGENT in learning:
            final = {k: v[row] for k, v in played.current.items()}
            steps[RECOMMENDER_AGENT] = learning[RECOMMENDER_AGENT].steps(
                row, int(start[row]), total, final
            )
        if USER_AGENT in learning:
            first, last = int(start[row] + shift - early[row]), total - 1 + shift
            if first < last:
                steps[USER_AGENT] = learning[USER_AGENT].steps(row, first, last, None)
        if steps:
            yield EpisodeChunk(steps, int(total - start[row]), False, False)


def to_episode(
    chunk: EpisodeChunk, observation_spaces: Any, action_spaces: Any, turns: int
) -> MultiAgentEpisode:
    """A chunk as RLlib's episode, whose arrays it shares.

    Args:
        chunk: to convert.
        observation_spaces, action_spaces: dicts of the learning agents' spaces.
        turns: environment steps of a round.
    """
    episode = MultiAgentEpisode(
        observation_space=observation_spaces,
        action_space=action_spaces,
        agent_to_module_mapping_fn=module_of,
    )
    episode.is_terminated, episode.is_truncated = chunk.terminated, chunk.truncated
    episode.env_t = chunk.rounds * turns
    for agent, steps in chunk.steps.items():
        extra = {Columns.ACTION_LOGP: steps.logp, Columns.ACTION_DIST_INPUTS: steps.inputs}
        if steps.slot_rewards is not None and steps.slot_rewards.shape[1] > 1:
            extra[SLOT_REWARDS] = steps.slot_rewards
        episode.agent_episodes[agent] = SingleAgentEpisode(
            observations=InfiniteLookbackBuffer(steps.observations),  # type: ignore[arg-type]
            observation_space=observation_spaces[agent],
            actions=InfiniteLookbackBuffer(steps.actions),
            action_space=action_spaces[agent],
            rewards=InfiniteLookbackBuffer(steps.rewards),
            infos=InfiniteLookbackBuffer([{}] * (len(steps.rewards) + 1)),
            extra_model_outputs={k: InfiniteLookbackBuffer(v) for k, v in extra.items()},
            terminated=chunk.terminated,
            truncated=chunk.truncated,
            len_lookback_buffer=0,
            agent_id=agent,
            module_id=MODULE[agent],
            multi_agent_episode_id=episode.id_,  # type: ignore[arg-type]
        )
    return episode
