"""Many visits at once, cut into the chunks that a learner wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.recommenders.base import Recommender
from recenv.schema import CLICK, PURCHASE
from recenv.sim.observation import Observation
from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import LEFT, LIVE, State
from training.env import env_action, pick_leaves


class Turn(NamedTuple):
    """What one agent did in B visits, in one turn."""

    observation: Observation  # (B, ...) leaves
    action: np.ndarray  # (B, ...)
    logp: np.ndarray  # (B,) log-probability of the action
    inputs: np.ndarray  # (B, F) inputs of the action's distribution


Actor = Callable[[Observation], Turn]


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
class Chunk:
    """A stretch of one visit, for each learning agent that completed a step in it."""

    steps: dict[str, Steps]
    rounds: int
    terminated: bool
    truncated: bool


@dataclass
class Finished:
    """What was played since the last call of ``Rollout.play``; means over finished visits."""

    rounds_played: int = 0
    visits: int = 0
    length: float = 0.0
    recommender_reward: float = 0.0
    user_reward: float = 0.0


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


class Rollout:
    """B visits side by side; one that ends is followed by the next.

    A user's step is complete only when the user is on turn again, because only then is there
    an observation to bootstrap from. Its last step of an unfinished visit therefore waits for
    the next call of ``play``.

    Args:
        simulator: of the world and game.
        batch: B.
        trained: agents that learn.
        opponent: plays the slates if the recommender does not learn.
    """

    def __init__(
        self,
        simulator: Simulator,
        batch: int,
        trained: set[str],
        opponent: Recommender | None,
    ) -> None:
        self.simulator = simulator
        self.batch = batch
        self.trained = trained
        self.opponent = opponent
        self.finished = Finished()

    def reset(self, seeds: np.random.SeedSequence) -> None:
        """Drop all visits and begin new ones."""
        self._seed = int(seeds.generate_state(1)[0])
        self._sessions = self.batch
        self.state = self.simulator.reset(
            np.full(self.batch, self._seed), sessions=np.arange(self.batch)
        )
        self._total = np.zeros((self.batch, 2))
        self._waiting: tuple[Turn, np.ndarray, npt.NDArray[np.bool_]] | None = None

    def play(
        self, actors: dict[str, Actor], *, rounds: int | None = None, visits: int | None = None
    ) -> list[Chunk]:
        """Play a number of rounds in every visit, or until some number of visits has ended.

        Args:
            actors: one for each learning agent.
            rounds: rounds of each visit.
            visits: visits to finish, over the whole batch.
        """
        turns: dict[str, list[Turn]] = {agent: [] for agent in self.trained}
        rewards: list[np.ndarray] = []  # (B, 2) each
        self._slot_rewards: list[np.ndarray] = []
        ends: list[tuple[int, int, bool, dict[str, Observation]]] = []  # row, round, left, final
        finished = Finished()
        ended_sums = np.zeros(3)
        while len(rewards) < rounds if rounds is not None else finished.visits < (visits or 1):
            now = len(rewards)
            rewards.append(self._round(actors, turns))
            rows = np.flatnonzero(self.state.ended != LIVE)
            if len(rows) == 0:
                continue
            last = self._take(rows)
            left = last.ended == LEFT
            finals = self._finals(last, actors)
            for i, row in enumerate(rows):
                final = {a: {k: v[i] for k, v in o.items()} for a, o in finals.items()}
                ends.append((int(row), now, bool(left[i]), final))
            finished.visits += len(rows)
            ended_sums += [last.round.sum(), *self._total[rows].sum(0)]
            self._begin(rows)
        finished.rounds_played = len(rewards) * self.batch
        if finished.visits:
            length, ours, theirs = ended_sums / finished.visits
            finished.length, finished.recommender_reward = float(length), float(ours)
            finished.user_reward = float(theirs)
        self.finished = finished
        return list(self._chunks(turns, np.stack(rewards), ends))

    def _finals(self, last: State, actors: dict[str, Actor]) -> dict[str, Observation]:
        """What the learning agents would see next in visits that have ended.

        A visit cut off by the round limit is worth what would have followed. For the user that
        is a turn with a slate on screen, as every turn that it learns from; so one is shown.

        Args:
            last: a copy of the ended visits' state; changed.
            actors: as in ``play``.
        """
        finals: dict[str, Observation] = {}
        if RECOMMENDER_AGENT in self.trained:
            finals[RECOMMENDER_AGENT] = self._observe(RECOMMENDER_AGENT, last)
        if USER_AGENT in self.trained:
            last.ended[:] = LIVE
            k = self.simulator.game.slate_size
            if self.opponent is None:
                action = actors[RECOMMENDER_AGENT](finals[RECOMMENDER_AGENT]).action
                slates = env_action(RECOMMENDER_AGENT, action, k)
            else:
                known = self.simulator.recommender_observation(last)
                slates = self.opponent.recommend(known, last.key, k)
            self.simulator.show(last, slates)
            finals[USER_AGENT] = self._observe(USER_AGENT, last)
        return finals

    def _round(self, actors: dict[str, Actor], turns: dict[str, list[Turn]]) -> np.ndarray:
        """One round in every visit; (B, 2) rewards."""
        simulator, state, k = self.simulator, self.state, self.simulator.game.slate_size
        if self.opponent is None:
            turn = actors[RECOMMENDER_AGENT](self._observe(RECOMMENDER_AGENT, state))
            turns[RECOMMENDER_AGENT].append(turn)
            slates = env_action(RECOMMENDER_AGENT, turn.action, k)
        else:
            slates = self.opponent.recommend(simulator.recommender_observation(state), state.key, k)
        simulator.show(state, slates)
        if USER_AGENT in self.trained:
            turn = actors[USER_AGENT](self._observe(USER_AGENT, state))
            turns[USER_AGENT].append(turn)
            outcome = simulator.respond(state, env_action(USER_AGENT, turn.action, k))
        else:
            outcome = simulator.respond_fitted(state)
        rewards = np.stack([outcome.recommender_reward, outcome.user_reward], axis=1)
        self._total += rewards
        self._slot_rewards.append(self._by_slot(outcome))
        return rewards

    def _by_slot(self, outcome: Outcome) -> np.ndarray:
        """(B, K) what each slot's answer added to the recommender's reward."""
        weights = self.simulator.game.reward
        response = outcome.answers[:, :-1]
        paid = weights.purchase * (response == PURCHASE)
        if weights.purchase_by_value:
            paid = paid * self.simulator.tables.items["price"][self.state.last_slate]
        own = weights.click * (response >= CLICK) + paid
        return ((1 - abs(weights.cooperation) / 2) * own).astype(np.float32)

    def _observe(self, agent: str, state: State) -> Observation:
        if agent == RECOMMENDER_AGENT:
            return pick_leaves(agent, self.simulator.recommender_observation(state))
        return pick_leaves(agent, self.simulator.user_observation(state))

    def _take(self, rows: np.ndarray) -> State:
        return State._make(array[rows] for array in self.state)

    def _begin(self, rows: np.ndarray) -> None:
        sessions = self._sessions + np.arange(len(rows))
        self._sessions += len(rows)
        self._total[rows] = 0
        self.simulator.reset_rows(
            self.state, rows, np.full(len(rows), self._seed), sessions=sessions
        )

    def _chunks(
        self,
        turns: dict[str, list[Turn]],
        rewards: np.ndarray,
        ends: list[tuple[int, int, bool, dict[str, Observation]]],
    ) -> Iterator[Chunk]:
        """Cut (T, B) turns at the ends of visits."""
        total = len(rewards)
        tracks: dict[str, _Track] = {}
        if RECOMMENDER_AGENT in self.trained:
            tracks[RECOMMENDER_AGENT] = _Track(
                turns[RECOMMENDER_AGENT], list(rewards[..., 0]), self._slot_rewards
            )
        waiting = np.zeros(self.batch, np.int64)  # 1 where the track begins a round earlier
        shift = 0
        if USER_AGENT in self.trained:
            users, paid = turns[USER_AGENT], list(rewards[..., 1])
            if self._waiting is not None:
                earlier, reward, held = self._waiting
                users, paid, shift = [earlier, *users], [reward, *paid], 1
                waiting = held.astype(np.int64)
            tracks[USER_AGENT] = _Track(users, paid)
        start = np.zeros(self.batch, np.int64)
        for row, at, left, final in ends:
            steps = {}
            for agent, track in tracks.items():
                moved = shift if agent == USER_AGENT else 0
                early = waiting[row] if agent == USER_AGENT else 0
                first = int(start[row] + moved - early)
                steps[agent] = track.steps(row, first, at + 1 + moved, final[agent])
            yield Chunk(steps, int(at + 1 - start[row]), left, not left)
            start[row], waiting[row] = at + 1, 0
        current: Observation = {}
        if RECOMMENDER_AGENT in self.trained:
            current = self._observe(RECOMMENDER_AGENT, self.state)
        for row in np.flatnonzero(start < total).tolist():
            steps = {}
            if RECOMMENDER_AGENT in tracks:
                final = {k: v[row] for k, v in current.items()}
                track = tracks[RECOMMENDER_AGENT]
                steps[RECOMMENDER_AGENT] = track.steps(row, int(start[row]), total, final)
            if USER_AGENT in tracks:
                first, last = int(start[row] + shift - waiting[row]), total - 1 + shift
                if first < last:
                    steps[USER_AGENT] = tracks[USER_AGENT].steps(row, first, last, None)
            if steps:
                yield Chunk(steps, int(total - start[row]), False, False)
        if USER_AGENT in self.trained:
            self._waiting = (turns[USER_AGENT][-1], rewards[-1, :, 1], start < total)
