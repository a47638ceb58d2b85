"""Rollouts: whole visits under one recommender, on common random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recenv.errors import ConfigError
from recenv.progress import Progress
from recenv.recommenders.base import PrivilegedRecommender, Recommender
from recenv.recommenders.play import Round, play
from recenv.sim.simulator import Simulator
from recenv.sim.state import EMPTY, LIVE
from recenv.users.user_policy import UserPolicy

Pool = Literal["train", "heldout", "all"]
IntArray = npt.NDArray[np.integer]

_EVALUATION = 1 << 63
_EPISODES = 1 << 24
_SMALLEST = 1e-8  # floor of a probability inside a logarithm


@dataclass(frozen=True)
class Rollout:
    """V whole visits, ordered by user and then by number. Rewards are sums over a visit.

    Attributes:
        recommender: name of who filled the slates.
        user_policy: name of who answered them.
        seed: of the draws.
        user: (V,) int32 code of the visitor.
        recommender_reward: (V,) float64, undiscounted.
        user_reward: (V,) float64, undiscounted.
        clicks: (V,) int64.
        purchases: (V,) int64.
        rounds: (V,) int64.
        terminated: (V,) whether the user left before the round limit.
        log_likelihood: (V,) float64 nats, log probability of the visit's answers under the
            fitted user (the observation's ``behaviour``).
        expected_log_likelihood: (V,) float64 nats, what the fitted user's own answers would
            have had on average, on the very same slates and states.
        impressions: (N,) int64 how often each item was shown, over all visits.
    """

    recommender: str
    user_policy: str
    seed: int
    user: npt.NDArray[np.int32]
    recommender_reward: npt.NDArray[np.float64]
    user_reward: npt.NDArray[np.float64]
    clicks: npt.NDArray[np.int64]
    purchases: npt.NDArray[np.int64]
    rounds: npt.NDArray[np.int64]
    terminated: npt.NDArray[np.bool_]
    log_likelihood: npt.NDArray[np.float64]
    expected_log_likelihood: npt.NDArray[np.float64]
    impressions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    @property
    def surprise(self) -> npt.NDArray[np.float64]:
        """(V,) minus the log probability of the answers, over the mean number of rounds.

        Its mean is the cross-entropy in nats per round, from whoever answered to the fitted
        user. Divided by one number and not by each visit's own rounds, which depend on the
        answers: that would bias it.
        """
        return -self.log_likelihood / self.rounds.mean()

    @property
    def excess_surprise(self) -> npt.NDArray[np.float64]:
        """(V,) ``surprise`` beyond what the fitted user has on average on the same slates.

        Its mean, in nats per round, has expectation 0 for the fitted user (a martingale), and
        else tells another user apart from it. It is negative for one who keeps to the fitted
        user's likeliest answers; a user may differ and still have 0.
        """
        return (self.expected_log_likelihood - self.log_likelihood) / self.rounds.mean()


def rollout(
    simulator: Simulator,
    recommender: Recommender | PrivilegedRecommender,
    user_policy: UserPolicy | None = None,
    *,
    users: Pool | IntArray | Sequence[int],
    episodes_per_user: int = 10,
    seed: int = 0,
    batch_size: int = 4096,
    progress: bool | None = None,
) -> Rollout:
    """Play ``episodes_per_user`` visits of every user to their end.

    A visit's random key is a function of (seed, user, number of the visit) alone. So its draws
    (candidates, answers, leaving) are the same under every recommender and user policy: comparisons
    on common random numbers (Law, "Simulation Modeling and Analysis", 2015, ch. 11.2). Nor do they
    depend on ``batch_size``, if the policies' own answers do not. No visit of an environment
    that was reset with the same seed shares them.

    A recommender with ``update`` is told of every answer, the last of a visit included
    (``LearningRecommender``). It goes on from what it had learned before; its results depend on
    ``batch_size``, since answers of the visits of one batch come together.

    Args:
        simulator: the world and the game.
        recommender: fills the slates; a privileged one is given the true state.
        user_policy: answers them; the fitted user by default.
        users: a pool of the world, or codes without repeats.
        episodes_per_user: visits per user, below 2**24.
        seed: zero or more.
        batch_size: visits at a time; memory grows with it, results do not change unless the
            recommender learns.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        ConfigError: an argument is out of range, a pool is empty, or a user does not exist.
        ActionError: a policy gave an illegal slate or answer.
    """
    codes = np.asarray(simulator.world.pool(users) if isinstance(users, str) else users)
    if len(codes) == 0 or len(np.unique(codes)) < len(codes):
        raise ConfigError(
            f"users must be one or more different user codes, but {len(codes)} were given, "
            f"{len(np.unique(codes))} of them different. Give each user once."
        )
    for name, value, top in (
        ("episodes_per_user", episodes_per_user, _EPISODES),
        ("batch_size", batch_size, np.inf),
    ):
        if not 1 <= value < top:
            raise ConfigError(f"{name} must be at least 1 (and below {top}), but is {value}.")
    if seed < 0:
        raise ConfigError(f"seed must be zero or more, but is {seed}.")
    visitors = np.repeat(codes.astype(np.int32), episodes_per_user)
    episodes = np.tile(np.arange(episodes_per_user, dtype=np.uint64), len(codes))
    # a range that no environment's count of visits reaches: evaluation draws are fresh
    sessions = visitors.astype(np.uint64) * np.uint64(_EPISODES) + episodes
    sessions += np.uint64(_EVALUATION)
    totals = _Totals(len(visitors), len(simulator.world.catalog))
    with Progress(recommender.name, len(visitors), unit="visits", shown=progress) as bar:
        for start in range(0, len(visitors), batch_size):
            rows = np.arange(start, min(start + batch_size, len(visitors)))
            state = simulator.reset(
                np.full(len(rows), seed), visitors[rows], sessions=sessions[rows]
            )
            for played in play(simulator, recommender, user_policy, state):
                totals.add(rows[played.rows], played)
                bar.update(int((played.state.ended != LIVE).sum()))
    return Rollout(
        recommender=recommender.name,
        user_policy="fitted user" if user_policy is None else user_policy.name,
        seed=seed,
        user=visitors,
        recommender_reward=totals.sums[:, 0],
        user_reward=totals.sums[:, 1],
        clicks=totals.counts[:, 0],
        purchases=totals.counts[:, 1],
        rounds=totals.counts[:, 2],
        terminated=totals.terminated,
        log_likelihood=totals.sums[:, 2],
        expected_log_likelihood=totals.sums[:, 3],
        impressions=totals.impressions,
    )


class _Totals:
    """Sums over the rounds of each visit."""

    def __init__(self, visits: int, items: int) -> None:
        # rewards of recommender and user, log-likelihood, expected log-likelihood
        self.sums = np.zeros((visits, 4))
        self.counts = np.zeros((visits, 3), np.int64)  # clicks, purchases, rounds
        self.terminated = np.zeros(visits, np.bool_)
        self.impressions = np.zeros(items, np.int64)

    def add(self, rows: npt.NDArray[np.intp], played: Round) -> None:
        """Add one round of the visits in (R,) ``rows``."""
        outcome, shown = played.outcome, played.state.last_slate
        log, expected = answer_log_likelihood(played.behaviour, outcome.answers, shown != EMPTY)
        self.sums[rows] += np.stack(
            [outcome.recommender_reward, outcome.user_reward, log, expected], axis=1
        )
        self.counts[rows, 0] += outcome.clicks
        self.counts[rows, 1] += outcome.purchases
        self.counts[rows, 2] += 1
        self.terminated[rows] = outcome.terminated
        self.impressions += np.bincount(shown[shown != EMPTY], minlength=len(self.impressions))


def answer_log_likelihood(
    behaviour: npt.NDArray[np.float32],
    answers: npt.NDArray[np.integer],
    filled: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Log probability of answers under the fitted user, and its mean over that user's answers.

    Args:
        behaviour: (B, 3K + 2) P(ignore, click, purchase) per slot, then P(stay, leave).
        answers: (B, K + 1) the answers taken.
        filled: (B, K) whether a slot holds an item; an answer to an empty one has no effect.

    Returns:
        (B,) and (B,) nats.
    """
    batch, slots = filled.shape
    log = np.log(np.maximum(behaviour.astype(np.float64), _SMALLEST))
    entropy = behaviour * log
    chosen = 3 * np.arange(slots + 1) + answers  # (B, K + 1) columns of behaviour
    taken = np.take_along_axis(log, chosen, axis=1)
    per_slot = entropy[:, : 3 * slots].reshape(batch, slots, 3).sum(axis=2)
    return (
        (taken[:, :-1] * filled).sum(axis=1) + taken[:, -1],
        (per_slot * filled).sum(axis=1) + entropy[:, 3 * slots :].sum(axis=1),
    )
