"""Visits played at random, every turn marked with a number of its own."""

import numpy as np

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.recommenders import PopularityRecommender
from recenv.sim.simulator import Simulator
from training.sampling.turns import Turn
from training.sampling.visit_sampler import VisitSampler

BOTH = {RECOMMENDER_AGENT, USER_AGENT}


def marked_actors(game, seed=0):
    """Random play whose ``inputs`` mark every turn with a number of its own."""
    rng = np.random.default_rng(seed)

    def recommend(observation):
        batch = len(observation["user"])
        action = rng.permuted(np.tile(np.arange(12), (batch, 1)), axis=1)[:, : game.slate_size]
        return Turn(observation, action, rng.random(batch), rng.random((batch, 2)))

    def answer(observation):
        batch = len(observation["slate"])
        response = rng.integers(3, size=(batch, game.slate_size))
        leave = rng.random((batch, 1)) < 0.15
        action = np.concatenate([response, leave], 1).astype(np.int64)
        return Turn(observation, action, rng.random(batch), rng.random((batch, 2)))

    return {RECOMMENDER_AGENT: recommend, USER_AGENT: answer}


def played(world, game, *, trained=BOTH, central=False, times=3, batch=8, rounds=5):
    opponent = None if RECOMMENDER_AGENT in trained else PopularityRecommender()
    rollout = VisitSampler(
        Simulator(world, game), batch, trained, opponent, central=central, every_final=True
    )
    rollout.reset(np.random.SeedSequence(3))
    actors = marked_actors(game)
    return [rollout.play(actors, rounds=rounds) for _ in range(times)]
