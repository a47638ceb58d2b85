"""What the scripts that learn share: the fitted user, scaled observations, and the comparison.

Only torch and recenv are used here, so that every library's script can import it.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from recenv.benchmark import compare
from recenv.recommenders import RandomRecommender
from recenv.sim.observation import flatten, recommender_leaves

SMALLEST = 1e-8  # floor of a probability inside a logarithm
ROWS = 4000  # observations from which their scale is taken


class FittedAnswers(torch.nn.Module):
    """Logits of ``user_0`` for one slot: the fitted user's log-probabilities.

    Its one parameter, their scale, is 1 and stays so where nothing trains it.

    Args:
        behaviour: where ``behaviour`` lies in the flat observation (``env.layout``).
    """

    def __init__(self, behaviour: slice) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(..., F) observations to (..., 6) logits of ``2 * response + leave``."""
        log = seen[..., self.behaviour].clamp_min(SMALLEST).log()
        return self.scale * (log[..., :3, None] + log[..., None, 3:]).flatten(-2)


def mean_and_deviation(env):
    """(F,) and (F,) float32 of the recommenders' flat observations, in visits of full length."""
    rng = np.random.default_rng(0)
    rows, seen = [], {}
    while len(rows) < ROWS:
        if not env.agents:
            seen, _ = env.reset(seed=0) if not rows else env.reset()
        for agent, value in seen.items():
            if agent.startswith("recommender"):
                rows.append(value["observation"] if isinstance(value, dict) else value)
        chosen = {agent: rng.integers(env.action_space(agent).n) for agent in env.agents}
        stays = {a: 2 * (c // 2) if a.startswith("user") else c for a, c in chosen.items()}
        seen, *_ = env.step(stays)
    found = torch.from_numpy(np.stack(rows))
    return found.mean(0), found.std(0).clamp_min(SMALLEST)


class Learned:
    """A trained policy as a recommender: the candidate with the largest logit.

    Args:
        logits: (B, F) scaled flat observations to (B, C) logits.
        env: the environment that it was trained in.
        scale: what ``mean_and_deviation`` gave when it was trained.
    """

    name = "learned"

    def __init__(self, logits, env, scale) -> None:
        self.logits = logits
        self.leaves = recommender_leaves(env.world, env.game)
        self.mean, self.deviation = scale

    def recommend(self, observation, keys, slate_size):
        flat = torch.from_numpy(flatten(self.leaves, observation))
        with torch.no_grad():
            logits = self.logits((flat - self.mean) / self.deviation).numpy()
        return np.argsort(-logits, axis=1, kind="stable")[:, :slate_size]


def against_random(logits, env, scale, episodes):
    """The gain over random slates per visit, on held-out users, with its 95 % interval.

    The same visits and draws under both, with the fitted user (``recenv.benchmark.compare``).
    """
    contenders = [RandomRecommender(), Learned(logits, env, scale)]
    found = compare(
        env.world, env.game, contenders, users="heldout", episodes_per_user=episodes, seed=1
    )
    gain = found.against("random")["learned"]
    return {"gain": gain.mean, "low": gain.low, "high": gain.high, "users": gain.users}


class Clock:
    """Seconds of the wall and of the processor since it was made."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def read(self):
        """{"seconds", "processor_seconds"}."""
        wall, processor = self.began
        return {
            "seconds": round(time.perf_counter() - wall, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
        }
