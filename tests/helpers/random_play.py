"""Actors that draw any legal action, and can be told apart afterwards."""

import numpy as np

from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from training.sampling.turns import Turn


def marked(game, number, seed=0):
    """Actors that draw anything, and leave their number beside every action."""
    rng = np.random.default_rng(seed)

    def turn(observation, action):
        batch = len(observation["round"])
        inputs = np.stack([np.full(batch, number), rng.random(batch)], axis=1)
        return Turn(observation, action, rng.random(batch), inputs)

    def recommend(observation):
        batch = len(observation["round"])
        action = rng.permuted(np.tile(np.arange(12), (batch, 1)), axis=1)[:, : game.slate_size]
        return turn(observation, action)

    def answer(observation):
        batch = len(observation["round"])
        response = rng.integers(3, size=(batch, game.slate_size))
        leave = rng.random((batch, 1)) < 0.2
        return turn(observation, np.concatenate([response, leave], 1).astype(np.int64))

    return {RECOMMENDER_AGENT: recommend, USER_AGENT: answer}
