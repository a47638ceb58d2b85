"""Sampler of visits: a batch of visits, played by learning and fixed agents."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.recommenders.base import Recommender, recommend
from recenv.recommenders.play import respond
from recenv.sim.observation import Observation
from recenv.sim.rewards import slot_rewards
from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import LEFT, LIVE, State, rows_of
from recenv.users.user_policy import UserPolicy
from training.models.observations import env_action, observe
from training.sampling.self_play import Seats
from training.sampling.turns import Actor, Turn

Rows = npt.NDArray[np.int64]


class End(NamedTuple):
    """Visits that ended in the same round."""

    round: int  # since play began
    rows: npt.NDArray[np.intp]  # (E,) which of the B visits
    left: npt.NDArray[np.bool_]  # (E,) nothing follows; else the round limit cut the visit off
    final: Rows  # (E,) row of ``Played.finals``, -1 where it has none


class Waiting(NamedTuple):
    """Users' last steps, which are complete only when the user is on turn again."""

    turn: Turn
    reward: np.ndarray  # (B,)
    held: npt.NDArray[np.bool_]  # (B,) where the visit goes on


@dataclass(frozen=True)
class Played:
    """T rounds of B visits; where one ended, the next began.

    Attributes:
        turns: T turns of each learning agent.
        rewards: (T, B, 2) of recommender and user.
        slot_rewards: (T, B, K) what each slot added to the recommender's reward.
        responses: (T, B, K) int8 how each slot was answered: 0 ignored, 1 clicked, 2 bought.
        fitted_clicks: (T, B, K) the fitted user's probability of a click in each slot; for
            training alone, since no platform knows it.
        ends: in order of rounds.
        finals: (F, ...) leaves that each learning agent would have seen next in visits that ended.
        current: (B, ...) leaves that the recommender sees next, if it learns.
        waiting: the user's steps from before these rounds, if it learns and there are any.
        learns: of each agent, (T, B) whether the policy that learns played it; of none where that
            is all of them.
    """

    turns: dict[str, list[Turn]]
    rewards: np.ndarray
    slot_rewards: np.ndarray
    responses: np.ndarray
    fitted_clicks: np.ndarray
    ends: list[End]
    finals: dict[str, Observation]
    current: Observation
    waiting: Waiting | None
    learns: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)


@dataclass
class Finished:
    """Totals since the last call of ``VisitSampler.play``; means over finished visits."""

    rounds_played: int = 0
    visits: int = 0
    length: float = 0.0
    recommender_reward: float = 0.0
    user_reward: float = 0.0


class VisitSampler:
    """Sampler of B visits side by side; one that ends is followed by the next.

    A user's step is complete only when the user is on turn again, because only then is there
    an observation to bootstrap from. Its last step of an unfinished visit therefore waits for
    the next call of ``play``.

    Args:
        simulator: of the world and game.
        batch: B.
        trained: agents that learn.
        opponent: plays the slates if the recommender does not learn.
        fixed_user: answers if the user does not learn; by default the fitted user.
        seats: who plays in which visit, if past policies do; both sides learn.
        central: observe what a centralised critic reads, too.
        limit_ends: nothing follows the round limit either.
        every_final: tell what would follow visits where nothing does, too: RLlib's episodes have
            a place for it.
    """

    def __init__(
        self,
        simulator: Simulator,
        batch: int,
        trained: Collection[str],
        opponent: Recommender | None,
        *,
        fixed_user: UserPolicy | None = None,
        seats: Seats | None = None,
        central: bool = False,
        limit_ends: bool = False,
        every_final: bool = False,
    ) -> None:
        self.simulator = simulator
        self.batch = batch
        self.trained = trained
        self.opponent = opponent
        self.fixed_user = fixed_user
        self.seats = seats
        self.central = central
        self.limit_ends = limit_ends
        self.every_final = every_final
        self.finished = Finished()

    def reset(self, seeds: np.random.SeedSequence) -> None:
        """Drop all visits and begin new ones; ``generator`` draws what is random beside them."""
        self._seed = int(seeds.generate_state(1)[0])
        self.generator = np.random.default_rng(seeds)
        self._sessions = self.batch
        self.state = self.simulator.reset(
            np.full(self.batch, self._seed), sessions=np.arange(self.batch)
        )
        self._total = np.zeros((self.batch, 2))
        self._waiting: Waiting | None = None
        if self.seats is not None:
            self.seats.draw(np.arange(self.batch), self.generator)

    def play(
        self, actors: dict[str, Actor], *, rounds: int | None = None, visits: int | None = None
    ) -> Played:
        """Play a number of rounds in every visit, or until some number of visits has ended.

        Args:
            actors: one for each learning agent.
            rounds: rounds of each visit.
            visits: visits to finish, over the whole batch.
        """
        turns: dict[str, list[Turn]] = {agent: [] for agent in self.trained}
        rewards: list[np.ndarray] = []  # (B, 2) each
        self._slot_rewards: list[np.ndarray] = []
        self._responses: list[np.ndarray] = []
        self._fitted_clicks: list[np.ndarray] = []
        learns: dict[str, list[np.ndarray]] = {agent: [] for agent in self.trained}
        ends: list[End] = []
        lasts: list[State] = []
        members: list[np.ndarray] = []  # who recommends in them
        finals = 0
        finished = Finished()
        ended_sums = np.zeros(3)
        while len(rewards) < rounds if rounds is not None else finished.visits < (visits or 1):
            now = len(rewards)
            rewards.append(self._round(actors, turns))
            if self.seats is not None:
                for agent, mine in learns.items():
                    mine.append(self.seats.learns(agent))
            rows = np.flatnonzero(self.state.ended != LIVE)
            if len(rows) == 0:
                continue
            left = (self.state.ended[rows] == LEFT) | self.limit_ends
            told = np.flatnonzero(~left | self.every_final)
            final = np.full(len(rows), -1, np.int64)
            final[told] = finals + np.arange(len(told))
            finals += len(told)
            ends.append(End(now, rows, left, final))
            if len(told):
                lasts.append(self._take(rows[told]))
                if self.seats is not None:
                    members.append(self.seats.member[RECOMMENDER_AGENT][rows[told]])
            finished.visits += len(rows)
            ended_sums += [self.state.round[rows].sum(), *self._total[rows].sum(0)]
            self._begin(rows)
        finished.rounds_played = len(rewards) * self.batch
        if finished.visits:
            length, ours, theirs = ended_sums / finished.visits
            finished.length, finished.recommender_reward = float(length), float(ours)
            finished.user_reward = float(theirs)
        self.finished = finished
        current: Observation = {}
        if RECOMMENDER_AGENT in self.trained:
            current = self._observe(RECOMMENDER_AGENT, self.state)
        played = Played(
            turns,
            np.stack(rewards),
            np.stack(self._slot_rewards),
            np.stack(self._responses),
            np.stack(self._fitted_clicks),
            ends,
            self._finals(lasts, members, actors),
            current,
            self._waiting,
            {agent: np.stack(mine) for agent, mine in learns.items() if mine},
        )
        if USER_AGENT in self.trained:
            held = np.ones(self.batch, bool)
            if ends and ends[-1].round == len(rewards) - 1:
                held[ends[-1].rows] = False
            if self.seats is not None:
                held &= learns[USER_AGENT][-1]
            self._waiting = Waiting(turns[USER_AGENT][-1], rewards[-1][:, 1], held)
        return played

    def _finals(
        self, lasts: list[State], members: list[np.ndarray], actors: dict[str, Actor]
    ) -> dict[str, Observation]:
        """Final observations of the learning agents in visits that have ended.

        A visit cut off by the round limit is worth what would have followed. For the user that
        is a turn with a slate on screen, as every turn that it learns from; so one is shown.

        Args:
            lasts: copies of the ended visits' states.
            members: who recommends in them, if there are seats.
            actors: as in ``play``.
        """
        if not lasts:  # what is seen by none of the visits
            last = self._take(np.arange(0))
            return {agent: self._observe(agent, last) for agent in self.trained}
        last = State._make(np.concatenate(parts) for parts in zip(*lasts, strict=True))
        finals: dict[str, Observation] = {}
        if RECOMMENDER_AGENT in self.trained:
            finals[RECOMMENDER_AGENT] = self._observe(RECOMMENDER_AGENT, last)
        if USER_AGENT in self.trained:
            last.ended[:] = LIVE
            k = self.simulator.game.slate_size
            if self.opponent is None:
                member = np.concatenate(members) if members else None
                turn = self._act(RECOMMENDER_AGENT, actors, finals[RECOMMENDER_AGENT], member)
                slates = env_action(RECOMMENDER_AGENT, turn.action, k)
            else:
                slates = recommend(self.opponent, self.simulator, last).slates
            self.simulator.show(last, slates)
            finals[USER_AGENT] = self._observe(USER_AGENT, last)
        return finals

    def _round(self, actors: dict[str, Actor], turns: dict[str, list[Turn]]) -> np.ndarray:
        """One round in every visit; (B, 2) rewards."""
        simulator, state, k = self.simulator, self.state, self.simulator.game.slate_size
        if self.opponent is None:
            turn = self._turn(RECOMMENDER_AGENT, actors)
            turns[RECOMMENDER_AGENT].append(turn)
            slates = env_action(RECOMMENDER_AGENT, turn.action, k)
        else:
            slates = recommend(self.opponent, simulator, state).slates
        simulator.show(state, slates)
        self._fitted_clicks.append(1 - state.behaviour[:, : 3 * k : 3])
        if USER_AGENT in self.trained:
            turn = self._turn(USER_AGENT, actors)
            turns[USER_AGENT].append(turn)
            outcome = simulator.respond(state, env_action(USER_AGENT, turn.action, k))
        else:
            outcome = respond(self.fixed_user, simulator, state)
        rewards = np.stack([outcome.recommender_reward, outcome.user_reward], axis=1)
        self._total += rewards
        self._slot_rewards.append(self._by_slot(outcome))
        self._responses.append(outcome.answers[:, :k])
        return rewards

    def _turn(self, agent: str, actors: dict[str, Actor]) -> Turn:
        member = None if self.seats is None else self.seats.member[agent]
        return self._act(agent, actors, self._observe(agent, self.state), member)

    def _act(
        self,
        agent: str,
        actors: dict[str, Actor],
        observation: Observation,
        member: np.ndarray | None,
    ) -> Turn:
        if self.seats is None or member is None:
            return actors[agent](observation)
        return self.seats.act(agent, actors[agent], observation, member)

    def _by_slot(self, outcome: Outcome) -> np.ndarray:
        """(B, K) what each slot's answer added to the recommender's reward."""
        prices = self.simulator.tables.items["price"][self.state.last_slate]
        return slot_rewards(outcome.answers[:, :-1], prices, self.simulator.game.reward)

    def _observe(self, agent: str, state: State) -> Observation:
        return observe(self.simulator, agent, state, central=self.central)

    def _take(self, rows: np.ndarray) -> State:
        return rows_of(self.state, rows)

    def _begin(self, rows: np.ndarray) -> None:
        sessions = self._sessions + np.arange(len(rows))
        self._sessions += len(rows)
        self._total[rows] = 0
        self.simulator.reset_rows(
            self.state, rows, np.full(len(rows), self._seed), sessions=sessions
        )
        if self.seats is not None:
            self.seats.draw(rows, self.generator)
