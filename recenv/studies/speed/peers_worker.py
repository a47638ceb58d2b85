"""Worker that measures one peer's step rate and prints it as JSON, in the peer's environment.

    python -I peers_worker.py '{"peer": "recogym", "settings": {"num_products": 10},
                                "seconds": 2.0, "repeats": 5}'

``recenv.studies.speed.peers`` starts this file as a script. It imports nothing of recenv, and only
the standard library before its clock starts, so that what the peer imports counts as the peer's. A
failure is a traceback on stderr and a status other than 0.
"""

from __future__ import annotations

import importlib
import itertools
import json
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

POOL = 1024
"""Slates that are drawn before any clock starts; the timed loops go round them."""

WARMUP = 0.25
"""Seconds of play before the first repeat, at most; the repeats' length if that is shorter."""


class Game(NamedTuple):
    """A peer behind two calls."""

    reset: Callable[[], None]
    """Begin the next user's visit, up to where a slate is wanted."""
    step: Callable[[Any], bool]
    """Show a slate, let the user answer it; whether the visit is over."""
    actions: Sequence[Any]
    """The drawn slates as the peer wants them."""


def recsim(slates: list[list[int]], settings: dict[str, Any]) -> Game:
    """RecSim through its Gym class; ``environment`` names the module, candidates are redrawn."""
    module = importlib.import_module(f"recsim.environments.{settings['environment']}")
    numpy = importlib.import_module("numpy")
    numpy.random.seed(0)  # several of its draws come from the global generator
    sizes = {name: settings[name] for name in ("slate_size", "num_candidates")}
    env = module.create_environment({**sizes, "resample_documents": True, "seed": 0})
    return Game(env.reset, lambda slate: env.step(slate)[2], list(numpy.array(slates)))


def recogym(slates: list[list[int]], settings: dict[str, Any]) -> Game:
    """RecoGym's reco-gym-v1: a slate is one of ``num_products``; organic views cost time too.

    The class is used as it is: ``gym.make`` of gym 0.26 wraps it in checks that its older
    protocol fails.
    """
    module = importlib.import_module("recogym.envs.reco_env_v1")
    env = module.RecoEnv1()
    products = settings["num_products"]
    env.init_gym({**module.env_1_args, "num_products": products, "random_seed": 0})
    users = itertools.count()

    def reset() -> None:
        over = True
        while over:  # some users leave before they are shown anything
            env.reset(next(users))
            over = env.step(None)[2]

    return Game(reset, lambda product: env.step(product)[2], [slate[0] for slate in slates])


def gym_recsys(slates: list[list[int]], settings: dict[str, Any]) -> Game:
    """gym-recsys with its README's model: the user is a vector, an item's reward an inner product.

    A visit ends after ``rounds`` slates, as in its ``RecSys-t50-v0``; the count is kept here,
    because the time limit of gym 0.26 expects a newer protocol than the environment's.
    """
    module = importlib.import_module("gym_recsys")
    numpy = importlib.import_module("numpy")
    rng = numpy.random.default_rng(0)
    items = settings["num_candidates"]
    user_vectors = rng.normal(size=(settings["users"], settings["dim"])).astype("float32")
    item_vectors = rng.normal(size=(items + 1, settings["dim"])).astype("float32")  # last: skip
    env = module.Env(
        user_ids=numpy.arange(settings["users"]),
        item_category=[item % 10 for item in range(items)],
        item_popularity=rng.random(items),
        hist_seq_len=settings["history"],
        slate_size=settings["slate_size"],
        user_state_model_callback=lambda user, history: user_vectors[user],
        reward_model_callback=lambda user, history, slate: item_vectors[slate] @ user_vectors[user],
    )
    env.seed(0)

    def step(slate: Any) -> bool:
        env.step(slate)
        return env.timestep >= settings["rounds"]

    return Game(env.reset, step, list(numpy.array(slates)))


PEERS: dict[str, Callable[[list[list[int]], dict[str, Any]], Game]] = {
    "recsim": recsim,
    "recogym": recogym,
    "gym-recsys": gym_recsys,
}


def draw_slates(slate_size: int, num_candidates: int) -> list[list[int]]:
    """``POOL`` slates of distinct candidates, uniform, always the same."""
    rng = random.Random(0)
    return [rng.sample(range(num_candidates), slate_size) for _ in range(POOL)]


def rate(game: Game, seconds: float) -> float:
    """Answered slates per second over at least so many seconds; resets take time, not count."""
    reset, step, actions = game
    pool = itertools.cycle(actions)
    reset()
    steps = 0
    start = now = time.perf_counter()
    while steps == 0 or now - start < seconds:
        if step(next(pool)):
            reset()
        steps += 1
        now = time.perf_counter()
    return steps / (now - start)


def measure(
    build: Callable[[list[list[int]], dict[str, Any]], Game],
    settings: dict[str, Any],
    seconds: float,
    repeats: int,
) -> dict[str, Any]:
    """Build a peer's game and play it.

    Returns:
        ``first_step_s``, seconds from before the peer is imported to its first answered slate;
        ``steps_per_second``, a number per repeat; ``peak_mb``, this process's resident memory at
        its highest, in MiB, the interpreter's included.
    """
    size = settings.get("slate_size", 1)
    candidates = settings["num_candidates" if "num_candidates" in settings else "num_products"]
    slates = draw_slates(size, candidates)
    start = time.perf_counter()
    game = build(slates, settings)
    game.reset()
    game.step(game.actions[0])
    first = time.perf_counter() - start
    rate(game, min(seconds, WARMUP))
    rates = [rate(game, seconds) for _ in range(repeats)]
    return {"first_step_s": first, "steps_per_second": rates, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """This process's resident memory at its highest, in MiB."""
    # Linux hands ru_maxrss down from the parent process; VmHWM is this program's own
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    if found is not None:
        return int(found[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(argument: str) -> None:
    """Run the job that the JSON text describes, and print what was measured."""
    job = json.loads(argument)
    with redirect_stdout(sys.stderr):  # what a peer prints must not stand before the answer
        told = measure(PEERS[job["peer"]], job["settings"], job["seconds"], job["repeats"])
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
