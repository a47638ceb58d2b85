"""Protocols of recommenders: baselines, oracles, bandits and trained policies.

A recommender fills slates (``Recommender``, or ``PrivilegedRecommender`` from the true state). One
that also learns online has ``update`` (``LearningRecommender``), called with every answer.
``recommend`` and ``tell`` are one round of any of them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import State

Observation = dict[str, np.ndarray]


@runtime_checkable
class Recommender(Protocol):
    """Fills slates for a batch of B visits, from what the platform observes."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.integer]:
        """(B, K) candidate index per slot, best first.

        Args:
            observation: the recommender's observation; leaves of shape (B, ...).
            keys: (B,) random key of each visit; a policy that draws uses ``recenv.rng`` with
                the stream ``POLICY`` and ``observation["round"]``.
            slate_size: K.
        """
        ...


@runtime_checkable
class PrivilegedRecommender(Protocol):
    """A recommender that reads the users' true state: a frame for tables, not a competitor."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def recommend_privileged(self, simulator: Simulator, state: State) -> npt.NDArray[np.integer]:
        """(B, K) candidate index per slot, best first, from the true state."""
        ...


class Feedback(NamedTuple):
    """Feedback of one round of B visits, the last round of a visit included."""

    items: npt.NDArray[np.int32]  # (B, K) codes of the items shown; -1 is an empty slot
    responses: npt.NDArray[np.int8]  # (B, K) 0 ignore, 1 click, 2 purchase; 0 in an empty slot
    reward: npt.NDArray[np.float32]  # (B,) the recommender's, of this round
    terminated: npt.NDArray[np.bool_]  # (B,) the user has left
    truncated: npt.NDArray[np.bool_]  # (B,) the round limit was reached


@runtime_checkable
class LearningRecommender(Protocol):
    """A recommender that learns from every answer while it is used, as a bandit does.

    It fills slates as a ``Recommender`` (or a privileged one) does and has ``update`` besides.
    What it has learned stays with it: nobody resets it between visits, users or rollouts. How
    fast it learns depends on the number of visits that go on side by side (``batch_size`` of
    ``rollout``), since answers of one round come together.
    """

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def update(
        self,
        observation: Observation,
        keys: npt.NDArray[np.uint64],
        slates: npt.NDArray[np.integer],
        feedback: Feedback,
    ) -> None:
        """Learn from the answers to the slates of one round.

        Args:
            observation: what the slates were chosen from; leaves of shape (B, ...). Not to be
                written to.
            keys: (B,) random key of each visit, the same in all its rounds: it names the visit.
            slates: (B, K) candidate index per slot, as they were recommended.
            feedback: what was shown and what came of it.
        """
        ...


class Recommendation(NamedTuple):
    """The slates of one round, and what they were chosen from."""

    slates: npt.NDArray[np.integer]  # (B, K) candidate index per slot
    observation: Observation | None  # None: a privileged recommender that does not learn
    keys: npt.NDArray[np.uint64]  # (B,) random key of each visit


def recommend(
    recommender: Recommender | PrivilegedRecommender, simulator: Simulator, state: State
) -> Recommendation:
    """The slates of any recommender for the visits of a state, which stays as it is."""
    if not isinstance(recommender, PrivilegedRecommender):
        seen = simulator.recommender_observation(state)
        slates = recommender.recommend(seen, state.key, simulator.game.slate_size)
        return Recommendation(slates, seen, state.key)
    learns = isinstance(recommender, LearningRecommender)
    seen = simulator.recommender_observation(state) if learns else None
    return Recommendation(recommender.recommend_privileged(simulator, state), seen, state.key)


def tell(
    recommender: Recommender | PrivilegedRecommender,
    turn: Recommendation,
    state: State,
    outcome: Outcome,
) -> None:
    """Tell a recommender that learns what came of its slates; others are not asked.

    Args:
        recommender: whose ``turn`` it was.
        turn: of ``recommend``.
        state: after the answers.
        outcome: of the same round.
    """
    if not isinstance(recommender, LearningRecommender) or turn.observation is None:
        return
    feedback = Feedback(
        items=state.last_slate.copy(),
        responses=outcome.answers[:, :-1],
        reward=outcome.recommender_reward,
        terminated=outcome.terminated,
        truncated=outcome.truncated,
    )
    recommender.update(turn.observation, turn.keys, turn.slates, feedback)


def top_candidates(scores: npt.NDArray[np.floating], slate_size: int) -> npt.NDArray[np.int64]:
    """(B, C) scores to (B, K) indices of the best, best first; ties by index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :slate_size]
