"""Writes tests/golden/<id>.json: what fixed seeds and actions bring.

Run it only when an id's version has gone up: ``python tests/golden/make.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import recenv

# Worlds that are drawn by numpy are the same on every machine; fitted ones are not.
IDS = ("recenv/Toy-v0",)
FOLDER = Path(__file__).parent


def path(env_id: str) -> Path:
    return FOLDER / f"{env_id.replace('/', '-')}.json"


def replay(env_id: str, visits: int = 5) -> list[dict[str, Any]]:
    """Rewards, state sums and endings of visits under actions that numpy draws."""
    env = recenv.parallel_env(env_id)
    steps = []
    for seed in range(visits):
        draw = np.random.default_rng(seed)
        env.reset(seed=seed)
        while env.agents:
            user = draw.integers(3, size=6)
            user[-1] = draw.random() < 0.1
            actions = {"recommender_0": draw.integers(20, size=5), "user_0": user}
            observations, rewards, terminated, truncated, _ = env.step(actions)
            steps.append(
                {
                    "slate": observations["user_0"]["slate"].tolist(),
                    "candidates": int(observations["recommender_0"]["candidates"].sum()),
                    "behaviour": float(
                        observations["user_0"]["behaviour"].astype(float) @ np.arange(17)
                    ),
                    "rewards": list(rewards.values()),
                    "ended": [terminated["user_0"], truncated["user_0"]],
                }
            )
    return steps


if __name__ == "__main__":
    for name in IDS:
        path(name).write_text(json.dumps(replay(name), indent=0) + "\n")
