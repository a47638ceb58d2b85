"""What the scripts that learn share: a user that begins as the fitted one, and the comparison.

Only torch and recenv are used here, so that every library's script can import it.
"""

from __future__ import annotations

import numpy as np
import torch

from recenv.benchmark import compare
from recenv.recommenders import RandomRecommender
from recenv.sim.observation import flatten, recommender_leaves

SMALLEST = 1e-8  # floor of a probability inside a logarithm


class FromFitted(torch.nn.Module):
    """Logits of ``user_0`` for one slot: the fitted user's log-probabilities, plus what is learned.

    Its last layer begins at zero, so the user begins as the fitted one and learns from there.

    Args:
        behaviour: where ``behaviour`` lies in the flat observation (``env.layout``).
        inputs: length of the flat observation.
    """

    def __init__(self, behaviour: slice, inputs: int) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.first, self.last = torch.nn.Linear(inputs, 64), torch.nn.Linear(64, 6)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(..., F) observations to (..., 6) logits of ``2 * response + leave``."""
        log = seen[..., self.behaviour].clamp_min(SMALLEST).log()
        joint = (log[..., :3, None] + log[..., None, 3:]).flatten(-2)
        return joint + self.last(torch.tanh(self.first(seen)))


def middle_and_half(space):
    """(F,) and (F,) float32: an observation less the first, over the second, is in [-1, 1]."""
    low, high = torch.from_numpy(space.low), torch.from_numpy(space.high)
    return (high + low) / 2, ((high - low) / 2).clamp_min(SMALLEST)


class Learned:
    """A trained policy as a recommender: the candidate with the largest logit.

    Args:
        logits: (B, F) scaled flat observations to (B, C) logits.
        env: the environment that it was trained in.
    """

    name = "learned"

    def __init__(self, logits, env) -> None:
        self.logits = logits
        self.leaves = recommender_leaves(env.world, env.game)
        self.middle, self.half = middle_and_half(env.observation_space("recommender_0"))

    def recommend(self, observation, keys, slate_size):
        flat = torch.from_numpy(flatten(self.leaves, observation))
        with torch.no_grad():
            logits = self.logits((flat - self.middle) / self.half).numpy()
        return np.argsort(-logits, axis=1, kind="stable")[:, :slate_size]


def against_random(logits, env, episodes):
    """The gain over random slates per visit, on held-out users, with its 95 % interval."""
    game = env.game.replace(users="heldout")
    contenders = [RandomRecommender(), Learned(logits, env)]
    found = compare(env.world, game, contenders, episodes_per_user=episodes, seed=1)
    gain = found.against("random")["learned"]
    return {"gain": gain.mean, "low": gain.low, "high": gain.high, "users": gain.users}
