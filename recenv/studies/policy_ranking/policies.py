"""Policies that the policy-ranking study ranks, fixed before any simulator is fitted.

They are built from a planted world and the short history that its users left, never from the
log of the study or from a simulator fitted to it. So the same objects play in both worlds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from recenv import rng
from recenv.recommenders import (
    ALSRecommender,
    ContentRecommender,
    PopularityRecommender,
    RandomRecommender,
    Recommender,
    top_candidates,
)
from recenv.recommenders.base import Observation
from recenv.users.clipping import clipped
from recenv.users.model import UserModel
from recenv.world import World

Scores = npt.NDArray[np.floating]


class ScoreRecommender:
    """Candidates by a fixed table of scores, the same in every world.

    Args:
        name: for reports.
        scores: (U, N), the higher the better.
        random_share: probability that a round's whole slate is random instead (epsilon-greedy).
        category: (N,) codes; where given, an item whose category a better candidate has goes
            behind all others, so that a slate spans as many categories as it can.
    """

    def __init__(
        self,
        name: str,
        scores: Scores,
        *,
        random_share: float = 0.0,
        category: npt.NDArray[np.integer] | None = None,
    ) -> None:
        self.name = name
        self._scores = np.asarray(scores, np.float64)
        self._share, self._category = random_share, category

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.int64]:
        """(B, K) candidates; see ``Recommender``."""
        items = observation["candidates"]
        scores = self._scores[observation["user"], items]
        if self._category is not None:
            group = self._category[items]
            same = group[:, :, None] == group[:, None, :]
            better = scores[:, None, :] > scores[:, :, None]
            span = np.ptp(self._scores) + 1
            scores = scores - span * (same & better).sum(axis=2)
        if self._share:
            rounds = np.ascontiguousarray(observation["round"][:, 0], np.int32)
            draws = rng.uniforms(keys, rounds, rng.POLICY, items.shape[1] + 1)
            scores = np.where(draws[:, -1:] < self._share, draws[:, :-1], scores)
        return top_candidates(scores, slate_size)


def click_values(model: UserModel) -> Scores:
    """(U, N) expected clicks and purchases of a looked-at item at the start of a visit."""
    click, buy = _tables(model)
    return click * (1 + buy)


def greedy(world: World, name: str) -> ScoreRecommender:
    """Greedy by the true parameters of a world's users, as they are at the start of a visit."""
    return ScoreRecommender(name, click_values(world.user_model))


def candidate_policies(world: World, seed: int = 0) -> list[Recommender]:
    """Fifteen policies of different kinds.

    Args:
        world: planted; its training log is the history that popularity, content and ALS know.
        seed: of the noise on the noisy policies' scores.

    Raises:
        MissingDependencyError: ``implicit`` is not installed.
    """
    noise = np.random.default_rng([seed, 20])
    model, category = world.user_model, world.catalog.category
    values = click_values(model)
    click, buy = _tables(model)
    logits = logit(click)
    users, count = values.shape[0], len(world.catalog.category_names)
    appeal = np.broadcast_to(model.item_click_bias, values.shape)
    member = category[:, None] == np.arange(count)
    by_category = np.where(
        member.any(axis=0), values @ member / np.maximum(member.sum(axis=0), 1), -np.inf
    )
    favourite = by_category.argmax(axis=1)  # (U,)
    policies: list[Recommender] = [
        RandomRecommender(),
        ScoreRecommender("least popular", -appeal),
        PopularityRecommender(),
        ScoreRecommender("popularity, half random", appeal, random_share=0.5),
        ScoreRecommender("item bias", appeal),
        ContentRecommender(world),
        ALSRecommender(world),
    ]
    for share in (4.0, 2.0, 1.0):
        disturbed = logits + share * logits.std() * noise.normal(size=(users, logits.shape[1]))
        policies.append(ScoreRecommender(f"true clicks, noise {share:g}", disturbed))
    return [
        *policies,
        ScoreRecommender("true purchases given a click", buy),
        ScoreRecommender("favourite category", values + 10 * (category == favourite[:, None])),
        ScoreRecommender("true value, half random", values, random_share=0.5),
        ScoreRecommender("true value, categories apart", values, category=category),
        ScoreRecommender("true value", values),
    ]


def _tables(model: UserModel) -> tuple[Scores, Scores]:
    """(U, N) P(click | looked at) and P(purchase | click)."""
    shape = len(model.user_vectors), len(model.item_vectors)
    users, items = (codes.ravel() for codes in np.indices(shape))
    click = model.click_probs(users, items).astype(np.float64).reshape(shape)
    return clipped(click), model.purchase_probs(users, items).reshape(shape)
