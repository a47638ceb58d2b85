"""Thompson sampling: a bandit over items, which learns click rates while it is used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from recenv import rng
from recenv.errors import ConfigError
from recenv.recommenders.base import Feedback, Observation, top_candidates
from recenv.schema import CLICK
from recenv.sim.state import EMPTY
from recenv.world import World


class ThompsonRecommender:
    """Beta-Bernoulli Thompson sampling (Chapelle & Li, NIPS 2011), one arm for each item.

    An item's click rate has a Beta posterior: ``Beta(prior_clicks + clicks, prior_ignores +
    impressions - clicks)``, of all impressions that it was told of, in any visit of any user. For
    each visit and round one rate is drawn for every candidate, and the K largest are shown. It
    begins knowing nothing: the training log is not read.

    Draws are those of the visits' own keys (by inversion of the Beta distribution), so the same
    history and the same keys give the same slates, whatever the batch. It takes no account of
    users, nor of slots that are seldom looked at.

    Args:
        world: its number of items is that of the arms.
        prior_clicks: pseudo-count of clicks of every item, above 0.
        prior_ignores: pseudo-count of impressions without a click, above 0.
        name: for reports.

    Raises:
        ConfigError: a pseudo-count is not positive.
    """

    def __init__(
        self,
        world: World,
        *,
        prior_clicks: float = 1.0,
        prior_ignores: float = 1.0,
        name: str = "Thompson",
    ) -> None:
        for what, value in (("prior_clicks", prior_clicks), ("prior_ignores", prior_ignores)):
            if not 0 < value < np.inf:
                raise ConfigError(f"{what} must be positive and finite, but is {value!r}.")
        self.name = name
        items = len(world.catalog)
        self.alpha = np.full(items, float(prior_clicks))
        """(N,) float64: first parameter of each item's posterior."""
        self.beta = np.full(items, float(prior_ignores))
        """(N,) float64: second parameter."""

    def recommend(
        self, observation: Observation, keys: npt.NDArray[np.uint64], slate_size: int
    ) -> npt.NDArray[np.int64]:
        """(B, K) candidates with the largest drawn click rates; see ``Recommender``."""
        items = observation["candidates"]
        rounds = np.ascontiguousarray(observation["round"][:, 0], np.int32)
        uniform = rng.uniforms(keys, rounds, rng.POLICY, items.shape[1])
        return top_candidates(betaincinv(self.alpha[items], self.beta[items], uniform), slate_size)

    def update(
        self,
        observation: Observation,
        keys: npt.NDArray[np.uint64],
        slates: npt.NDArray[np.integer],
        feedback: Feedback,
    ) -> None:
        """Count every shown item as clicked or not; see ``LearningRecommender``."""
        shown = feedback.items != EMPTY
        items, clicked = feedback.items[shown], feedback.responses[shown] >= CLICK
        self.alpha += np.bincount(items[clicked], minlength=len(self.alpha))
        self.beta += np.bincount(items[~clicked], minlength=len(self.beta))
