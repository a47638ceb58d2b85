"""What an id's environment brings under fixed seeds and drawn actions: its behaviour, recorded.

A record has two parts. ``exact`` depends on data, settings and drawn actions alone: it is the same
on every machine, to the last digit. ``fitted`` depends on the users' parameters, which torch fits
with other last bits on other processors: it is compared within a tolerance (``close``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

import recenv
from recenv.env.registration import env_spec, load_world
from recenv.world import BUILD_VERSION, World

PLANTED, FITTED, PLATFORM = 1e-4, 0.02, 0.3
"""How far numbers may differ, as a share of them (``close``): eight times what was seen, at least.

Planted worlds: another order of float32 additions, and another exp, moved the numbers by 1e-6.
Fitted worlds: ``refit.py`` fits them again as other processors would. Most moved what Open Bandit's
log hardly tells: probabilities by 0.2 %, the platform's affinities by 0.035. Probabilities of
Complete Journey moved by 0.07 %, and all of MovieLens by 1e-5. What is changed on purpose moves
more: a click weight 2 % larger moves a probability by 3 % in every world, a drift 0.01 faster by
9 %. Rules that all worlds share are held to ``PLANTED`` by the toy.
"""

LEAST = {"behaviour": 1e-5}
"""Numbers count as at least so large, by the name of their list; where none is given, as 1."""

ROUNDING = 1e-6
"""What may come on top: a small probability can be 1 less a large one, in float32's last digits."""

DIGITS = 6
"""Significant digits of fitted numbers in a golden file."""

ANSWERS = (0.7, 0.15, 0.15)
"""P(ignore, click, purchase) of a drawn answer to a slot."""

LEAVING = (0.0, 0.2, 0.2, 0.2)
"""P(leave) that the user of each visit draws with: the first plays up to the round limit."""

Record = dict[str, Any]


def record(env_id: str, world: World | None = None) -> Record:
    """Behaviour of an id, ready for JSON; of another world in its place, where one is given."""
    world = world or load_world(env_id)
    game = env_spec(env_id).game
    env = recenv.parallel_env(world, **game.to_dict())
    exact_visits, fitted_visits = [], []
    for seed, leaving in enumerate(LEAVING):
        exact, fitted = _visit(env, seed, leaving)
        exact_visits.append(exact)
        fitted_visits.append(fitted)
    record = {
        "id": env_id,
        "exact": {
            "game": game.to_dict(),
            "world": _about(world),
            "spaces": {agent: _spaces(env, agent) for agent in env.possible_agents},
            "visits": exact_visits,
        },
        "fitted": {"visits": fitted_visits},
    }
    if world.config is None:  # its probabilities are the same everywhere, and so are draws on them
        record["exact"]["drawn"], record["fitted"]["drawn"] = _drawn(world, game.to_dict())
    return json.loads(json.dumps(record))


def close(golden: Record) -> Callable[[float, float, str], bool]:
    """Whether a number of the fitted part is still that of a golden file: (golden, now, where)."""
    planted = golden["exact"]["world"]["config"] is None

    def same(a: float, b: float, where: str) -> bool:
        name = where.rpartition(".")[2].partition("[")[0]
        tolerance = PLANTED if planted else PLATFORM if name == "platform" else FITTED
        return abs(a - b) <= tolerance * max(abs(a), LEAST.get(name, 1)) + ROUNDING

    return same


def _about(world: World) -> Record:
    held = np.packbits(world.heldout).tobytes()
    return {
        "build_version": BUILD_VERSION,
        "config": None if world.config is None else world.config.to_dict(),
        "users": world.num_users,
        "items": len(world.catalog),
        "heldout": hashlib.sha256(held).hexdigest()[:16],
        "catalog": world.catalog.hash,
        "train": world.train.hash,
    }


def _spaces(env: Any, agent: str) -> Record:
    leaves = env.observation_space(agent)
    return {
        "action": _choices(env.action_space(agent)),
        "observation": {k: f"{v.dtype}{list(v.shape)}" for k, v in leaves.items()},
        "flat": list(env.layout(agent)),  # in the order of the flat observation
    }


def _choices(space: spaces.Space[Any]) -> int | list[int]:
    return int(space.n) if isinstance(space, spaces.Discrete) else space.nvec.tolist()


def _visit(env: Any, seed: int, leaving: float) -> tuple[Record, Record]:
    """One visit under drawn slates and answers: (exact, fitted), a row per round."""
    draw, game = np.random.default_rng(seed), env.game
    observations, infos = env.reset(seed=seed)
    exact: Record = {"seed": seed, "user": infos["user_0"]["user"], "rounds": []}
    fitted: Record = {"rounds": []}
    while env.agents:
        slate = draw.integers(game.num_candidates, size=game.slate_size)
        answer = draw.choice(3, size=game.slate_size, p=ANSWERS)
        user = np.append(answer, int(draw.random() < leaving))
        actions = {"recommender_0": slate, "user_0": user}
        before = observations["recommender_0"]
        shown = env.step(actions)[0]["user_0"]
        observations, rewards, terminated, truncated, infos = env.step(actions)
        after = observations["recommender_0"]
        exact["rounds"].append(
            {
                "candidates": before["candidates"].tolist(),
                "action": [*slate.tolist(), *user.tolist()],
                "slate": shown["slate"].tolist(),
                "last": [*after["last_slate"].tolist(), *after["last_answer"].tolist()],
                "history": [after[f"history_{k}"].tolist() for k in ("items", "responses")],
                "round": int(after["round"][0]),
                "clicks": infos["recommender_0"]["clicks"],
                "purchases": infos["recommender_0"]["purchases"],
                "reward": rewards["recommender_0"],
                "ended": [terminated["user_0"], truncated["user_0"]],
            }
        )
        felt = observations["user_0"]
        fitted["rounds"].append(
            {
                "behaviour": _rounded(shown["behaviour"]),
                "utility": _rounded(shown["utility"]),
                "reward": _rounded(rewards["user_0"]),
                "user": _rounded([felt[k][0] for k in ("satisfaction", "spent", "fulfilled")]),
                "boredom": _rounded(felt["boredom"].sum()),
                "popularity": _rounded(before["candidate_popularity"][slate]),
                "platform": _rounded(_affinities(before, after, slate)),
            }
        )
    if "return_days" in infos["user_0"]:
        fitted["return_days"] = infos["user_0"]["return_days"]
    return exact, fitted


def _affinities(before: Any, after: Any, slate: Any) -> np.ndarray:
    """Of the shown items, with the interest that the platform knows and that of the visit."""
    vectors = before["candidate_vectors"][slate].astype(float)
    return np.concatenate([vectors @ before["interest"], vectors @ after["visit_interest"]])


def _drawn(world: World, game: Record, steps: int = 12) -> tuple[Record, Record]:
    """Visits of the fitted user in the vector environment: (exact, fitted)."""
    envs = recenv.vector_env(world, num_envs=3, **game)
    draw = np.random.default_rng(0)
    observations, infos = envs.reset(seed=0)
    exact: Record = {"users": infos["user"].tolist(), "steps": []}
    fitted: Record = {"user_rewards": []}
    for _ in range(steps):
        slates = draw.integers(envs.game.num_candidates, size=envs.action_space.shape)
        observations, rewards, terminated, truncated, infos = envs.step(slates)
        zeros = np.zeros(envs.num_envs)
        exact["steps"].append(
            {
                "candidates": observations["candidates"].sum(axis=1).tolist(),
                "slates": observations["last_slate"].tolist(),
                "answers": infos.get("answer", zeros).tolist(),
                "rewards": rewards.tolist(),
                "ended": [terminated.tolist(), truncated.tolist()],
            }
        )
        fitted["user_rewards"].append(_rounded(infos.get("user_reward", zeros)))
    return exact, fitted


def _rounded(values: Any) -> Any:
    """The number or list of numbers, to some significant digits."""
    values = np.asarray(values, float)
    out = [float(f"{value:.{DIGITS}g}") + 0.0 for value in values.ravel()]
    return out if values.ndim else out[0]
