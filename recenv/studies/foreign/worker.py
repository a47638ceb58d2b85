"""Worker that plays another's simulator: emits a log, or measures the true values of policies.

    python -I worker.py '{"job": "log", "setting": {...}, "out": "log.npz"}'

``recenv.studies.foreign`` starts this file as a script in the simulator's own environment. It
imports nothing of recenv but the file of policies, which needs numpy alone. The users are the
same in both jobs: functions of the setting's seed and their number. A visit is a function of the
seed, the user, its number and what is shown. Arrays go to ``out`` (NPZ), a line of JSON to
stdout.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

LOGGED, PILOT, HELDOUT, TRUE, POLICY, USERS = range(6)
"""Streams of random numbers."""
_PILOT_VISITS = 200
_MIX = 0.5  # of a popular log's slots, the share that is uniform


class Shown(NamedTuple):
    """Answer to a slate."""

    chance: Any  # (K,) the simulator's own probability of a click on each slot
    click: Any  # (K,) whether it was clicked
    over: bool  # whether the visit has ended


class Game(Protocol):
    """A simulator of others behind two calls."""

    category: Any
    """(N,) of the items, from 0."""
    features: Any
    """(N, F) what a platform sees of the items."""

    def begin(self, user: int, key: list[int]) -> bool:
        """Begin a visit on the draws of ``key``; whether anything can be shown in it."""
        ...

    def show(self, slate: list[int]) -> Shown:
        """Show a slate, let the user answer."""
        ...

    def views(self) -> list[int]:
        """Items that the user viewed on their own since the last call."""
        ...


class RecSim:
    """RecSim's users, asked directly: its own choice model, transitions and end of a visit."""

    def __init__(self, setting: dict[str, Any]) -> None:
        kind = setting["simulator"]
        module = importlib.import_module(f"recsim.environments.{kind}")
        sizes = {"slate_size": setting["slate"], "num_candidates": setting["items"]}
        made = module.create_environment(
            {**sizes, "resample_documents": False, "seed": setting["seed"]}
        ).environment
        self._model = made.user_model
        self._model.reset_sampler()
        self._users = []
        for _ in range(setting["users"]):
            self._model.reset()
            self._users.append(copy.deepcopy(self._model._user_state))
        self._items = made.candidate_set.get_all_documents()
        self._cap, self._round = setting["rounds"], 0
        self.category = np.array([item.cluster_id for item in self._items])
        seen = [item.create_observation() for item in self._items]
        if isinstance(seen[0], dict):
            seen = [[float(one["quality"])] for one in seen]
        self.features = np.array(seen, np.float32)

    def begin(self, user: int, key: list[int]) -> bool:
        """See ``Game``."""
        np.random.seed(key)  # noqa: NPY002 - its draws come from the global generator
        self._model._user_state = copy.deepcopy(self._users[user])
        self._round = 0
        return True

    def show(self, slate: list[int]) -> Shown:
        """See ``Game``."""
        items, model = [self._items[i] for i in slate], self._model
        responses = model.simulate_response(items)
        scores = np.append(model.choice_model.scores, model.choice_model.score_no_click)
        model.update_state(items, responses)
        self._round += 1
        over = model.is_terminal() or self._round == self._cap
        click = np.array([response.clicked for response in responses])
        return Shown(scores[:-1] / scores.sum(), click, bool(over))

    def views(self) -> list[int]:
        """See ``Game``."""
        return []


class RecoGym:
    """RecoGym's reco-gym-v1; its class is used as it is."""

    def __init__(self, setting: dict[str, Any]) -> None:
        module = importlib.import_module("recogym.envs.reco_env_v1")
        self._rate = module.ff
        self._env = module.RecoEnv1()
        self._seed = setting["seed"]
        self._env.init_gym(
            {
                **module.env_1_args,
                "num_products": setting["items"],
                "random_seed": setting["seed"],
            }
        )
        self._views: list[int] = []
        self.category = np.zeros(setting["items"], np.int64)
        self.features = np.zeros((setting["items"], 0), np.float32)

    def begin(self, user: int, key: list[int]) -> bool:
        """See ``Game``."""
        env = self._env
        env.rng = np.random.RandomState([self._seed, USERS, user])
        env.reset(user)  # draws who the user is
        env.rng = np.random.RandomState(key)
        seen, _, over, _ = env.step(None)
        self._views = [int(view["v"]) for view in seen.sessions()]
        return not over

    def show(self, slate: list[int]) -> Shown:
        """See ``Game``."""
        seen, click, over, _ = self._env.step(slate[0])
        self._views = [int(view["v"]) for view in seen.sessions()]
        chance = self._rate(self._env.cached_state_seed[slate[0]])
        return Shown(np.array([chance]), np.array([bool(click)]), bool(over))

    def views(self) -> list[int]:
        """See ``Game``."""
        return self._views


GAMES = {
    "interest_evolution": RecSim,
    "interest_exploration": RecSim,
    "recogym": RecoGym,
}
"""Simulators by name."""


def draw_slate(weight: Any, size: int, rng: Any) -> tuple[list[int], list[float]]:
    """Items without repeats, by weight, and the probability of each given those before."""
    left = weight / weight.sum()
    items, chances = [], []
    for _ in range(size):
        item = int(rng.choice(len(left), p=left / left.sum()))
        items.append(item)
        chances.append(float(left[item] / left.sum()))
        left = left.copy()
        left[item] = 0
    return items, chances


def emit(
    game: Game, setting: dict[str, Any], stream: int, users: Any, visits: int, weight: Any
) -> dict[str, Any]:
    """Arrays of a log: one entry per slot shown, and one per view."""
    shown: list[tuple[float, ...]] = []
    viewed: list[tuple[int, ...]] = []
    number = 0
    for visit in range(visits):
        for user in users:
            key = [setting["seed"], stream, int(user), visit]
            rng = np.random.RandomState([*key, POLICY])
            over, round_ = not game.begin(int(user), key), 0
            viewed += [(user, number, 0, item) for item in game.views()]
            while not over:
                slate, chances = draw_slate(weight, setting["slate"], rng)
                told = game.show(slate)
                for slot, item in enumerate(slate):
                    row = user, visit, number, round_, slot, item, told.click[slot], chances[slot]
                    shown.append(row)
                over, round_ = told.over, round_ + 1
                viewed += [(user, number, round_, item) for item in game.views()]
            number += 1
    rows = np.array(shown, np.float64).reshape(-1, 8)
    names = ("user", "visit", "session", "round", "slot", "item", "click", "propensity")
    log: dict[str, Any] = {name: rows[:, i].astype(np.int64) for i, name in enumerate(names[:-1])}
    log["propensity"] = rows[:, -1]
    views = np.array(viewed, np.int64).reshape(-1, 4)
    of_view = ("view_user", "view_session", "view_round", "view_item")
    return log | {name: views[:, i] for i, name in enumerate(of_view)}


def log(game: Game, setting: dict[str, Any]) -> dict[str, Any]:
    """The log, a later one of the same users under the same policy, and the items."""
    everyone = np.arange(setting["users"])
    weight = np.ones(setting["items"])
    if setting["logging"] == "popular":
        pilot = emit(game, setting, PILOT, everyone[:_PILOT_VISITS], 1, weight)
        clicks = np.bincount(pilot["item"], weights=pilot["click"], minlength=len(weight)) + 1
        weight = _MIX / len(weight) + (1 - _MIX) * clicks / clicks.sum()
    logged = emit(game, setting, LOGGED, everyone, setting["visits"], weight)
    later = emit(game, setting, HELDOUT, everyone[::2], 1, weight)
    return {
        **logged,
        **{f"later_{name}": values for name, values in later.items()},
        "weight": weight,
        "category": game.category,
        "features": game.features,
    }


def truth(game: Game, job: dict[str, Any], policies: Any) -> dict[str, Any]:
    """(P, V) clicks and rounds of V visits under every policy, and (V,) whose they are.

    ``value`` adds up the simulator's own probabilities of a click: its mean is that of the
    clicks, with less noise.
    """
    setting, names = job["setting"], job["names"]
    with np.load(job["tables"]) as stored:
        tables = policies.derived(dict(stored))
    known = tables["users"]
    pick = known[np.arange(job["visits"]) * len(known) // job["visits"]]
    out = {name: np.zeros((len(names), len(pick))) for name in ("value", "clicks", "rounds")}
    for p, name in enumerate(names):
        for v, user in enumerate(pick):
            key = [setting["seed"], TRUE, int(user), v]
            rng = np.random.RandomState([*key, POLICY])
            over = not game.begin(int(user), key)
            facts = policies.begin(np.array([user]), setting["slate"])
            while not over:
                draws = rng.random_sample((1, setting["items"] + 1))
                slate = policies.slates(name, tables, facts, draws)
                told = game.show(slate[0].tolist())
                facts = policies.after(facts, slate, told.click[None, :])
                over = told.over
                out["value"][p, v] += told.chance.sum()
                out["clicks"][p, v] += told.click.sum()
                out["rounds"][p, v] += 1
    return {**out, "user": pick}


def load(path: str) -> Any:
    """A module of a file."""
    spec = importlib.util.spec_from_file_location("policies", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["policies"] = module
    spec.loader.exec_module(module)
    return module


def main(argument: str) -> None:
    """Run the job that the JSON text describes."""
    job = json.loads(argument)
    with contextlib.redirect_stdout(sys.stderr):  # what a simulator prints is no answer
        setting = job["setting"]
        game = GAMES[setting["simulator"]](setting)
        if job["job"] == "log":
            arrays = log(game, setting)
        else:
            arrays = truth(game, job, load(job["policies"]))
        out = Path(job["out"])
        part = out.with_name(f"{out.stem}-{os.getpid()}.npz")
        np.savez_compressed(part, **arrays)
        part.replace(out)
    print(json.dumps({name: len(values) for name, values in arrays.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
