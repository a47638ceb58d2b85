"""Shared worlds, made before the first test; caches live in RECENV_HOME, or pytest's own cache."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".pytest_cache"
os.environ.setdefault("RECENV_HOME", str(CACHE / "recenv-home"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# also for the processes and tests that have a RECENV_HOME of their own
_COMPILED = Path(os.environ["RECENV_HOME"]).expanduser() / "compiled"
os.environ.setdefault("NUMBA_CACHE_DIR", str(_COMPILED))

from recenv.env.registration import REGISTRY, load_world
from recenv.errors import RecenvError
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.world import World

TOY, MOVIELENS = "recenv/Toy-v0", "recenv/MovieLens100K-v0"
_FIXTURES = {"toy": TOY, "movielens": MOVIELENS}
_PLAYED = {"toy", "movielens", "still_world", "world", "env_config"}
"""Fixtures of tests that play games, whose compiling takes a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests more time than the others, where they do not say how much."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Build and compile what the chosen tests share, before the clock of any of them runs."""
    if session.config.option.collectonly:
        return
    ids, played = needed(getattr(session, "items", []))  # processes of xdist have them
    stages: dict[str, Callable[[], object]] = {}
    if ids or played:
        stages["the game, compiled"] = compile_game
    stages |= {env_id: lambda env_id=env_id: load_world(env_id) for env_id in sorted(ids)}
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    # a second process makes first what the first makes last; locks let one wait for the other
    order = list(stages.items())
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        order.reverse()
    for name, make in order:
        began = time.monotonic()
        try:
            make()
            told = f"ready after {time.monotonic() - began:.0f} s"
        except RecenvError as error:  # the tests that need it will fail by it
            told = f"could not be made: {error}"
        if reporter is not None:
            reporter.write_line(f"{name}: {told}")
        else:
            print(f"{name}: {told}", file=sys.__stderr__)


def needed(items: list[pytest.Item]) -> tuple[set[str], bool]:
    """The ids whose worlds these tests take, as fixtures or parameters; whether any plays."""
    ids, played = set[str](), False
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        played |= bool(fixtures & _PLAYED)
        ids |= {_FIXTURES[name] for name in fixtures & set(_FIXTURES)}
        values = getattr(getattr(item, "callspec", None), "params", {}).values()
        ids |= {value for value in values if isinstance(value, str) and value in REGISTRY}
    return ids, played


def compile_game() -> None:
    """Play a little in all the ways that tests play, each with what the baselines need."""
    import numpy as np

    from recenv import parallel_env, vector_env
    from recenv.evaluation import rollout
    from recenv.recommenders import baselines
    from recenv.sim.simulator import Simulator

    world, game = load_world(TOY), REGISTRY[TOY].game
    env = parallel_env(world, **game.to_dict())
    env.reset(seed=0)
    while env.agents:
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    envs = vector_env(world, num_envs=2, **game.to_dict())
    envs.reset(seed=0)
    envs.step(np.zeros(envs.action_space.shape, int))
    simulator = Simulator(world, game)
    for recommender in baselines(world):
        rollout(simulator, recommender, users=np.arange(2), episodes_per_user=1)


@pytest.fixture(scope="session")
def toy() -> World:
    return load_world(TOY)


@pytest.fixture(scope="session")
def movielens() -> World:
    return load_world(MOVIELENS)


@pytest.fixture(scope="session")
def still_world() -> World:
    """A planted world whose users do not change or leave: the laws that a fit must recover."""
    world = planted_world(PlantedConfig(num_users=150, num_items=80, dim=4, seed=3))
    still = world.user_model.dynamics._replace(
        boredom_weight=0.0, drift_rate=0.0, leave_intercept=-20.0, leave_length=0.0
    )
    model = dataclasses.replace(world.user_model, dynamics=still)
    return dataclasses.replace(world, user_model=model)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty RECENV_HOME."""
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many bytes, or changes its size; needs the right to mount one."""
    place = tmp_path / "disk"

    def make(size: int) -> Path:
        options = f"size={size}"
        if place.is_mount():
            options += ",remount"
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no right to mount a file system")
        return place

    yield make
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)
