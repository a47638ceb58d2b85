import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recenv
from recenv import artifacts
from recenv.config import WorldConfig
from recenv.errors import ArtifactError, ConfigError, SchemaError
from recenv.sim import planted_world
from recenv.sim.synthetic import PlantedConfig
from recenv.world import World, build_world

SMALL = WorldConfig().replace(
    encoder={"model": "hashing", "hashing_dim": 32},
    interest={"dim": 6, "epochs": 2},
    user_model={"epochs": 2, "min_updates": 20},
)


@pytest.fixture(scope="module")
def small_log():
    world = planted_world(PlantedConfig(num_users=60, num_items=50, history_visits=2))
    return world.train, world.catalog


def assert_same_world(a: World, b: World) -> None:
    assert a.hash == b.hash
    for name, value in a.user_model.to_artifact()[0].items():
        np.testing.assert_array_equal(value, b.user_model.to_artifact()[0][name])
    np.testing.assert_array_equal(a.interests.users, b.interests.users)


def test_a_world_survives_saving(toy, tmp_path):
    loaded = World.load(toy.save(tmp_path / "toy"))
    assert_same_world(loaded, toy)
    assert loaded.describe() == toy.describe()
    assert list(loaded.catalog.text) == list(toy.catalog.text)
    assert loaded.train.events.equals(toy.train.events)
    assert loaded.train.events.dtypes.equals(toy.train.events.dtypes)
    np.testing.assert_array_equal(loaded.log_popularity, toy.log_popularity)


def test_building_is_cached_and_deterministic(home, small_log, monkeypatch):
    first = build_world(*small_log, SMALL, progress=False)
    folders = {p.name: p.stat().st_mtime_ns for p in (home / "worlds").iterdir()}
    assert_same_world(build_world(*small_log, SMALL, progress=False), first)
    assert {p.name: p.stat().st_mtime_ns for p in (home / "worlds").iterdir()} == folders
    monkeypatch.setenv("RECENV_HOME", str(home / "other"))
    assert_same_world(build_world(*small_log, SMALL, progress=False), first)


def test_a_changed_setting_redoes_only_what_depends_on_it(home, small_log):
    build_world(*small_log, SMALL, progress=False)
    before = {p.name for p in (home / "worlds").iterdir() if p.is_dir()}
    build_world(*small_log, SMALL.replace(user_model={"click_rate": 0.2}), progress=False)
    new = {p.name for p in (home / "worlds").iterdir() if p.is_dir()} - before
    assert len(new) == 1
    assert "-world-" in new.pop()


def test_held_out_users_touch_nothing_shared(home, small_log):
    """Other answers of held-out users change no item, no weight and no other user."""
    log, catalog = small_log
    world = build_world(log, catalog, SMALL, progress=False)
    theirs = world.heldout[log.column("user")]
    changed = log.events["response"].where(~theirs, 2).astype(np.int8)
    other_log = type(log)(
        log.events.assign(response=changed), log.user_ids, log.name, log.has_impressions
    )
    other = build_world(other_log, catalog, SMALL, progress=False)
    np.testing.assert_array_equal(world.heldout, other.heldout)
    for name in ("item_vectors", "item_click_bias", "item_purchase_bias", "click_weight"):
        np.testing.assert_array_equal(
            getattr(world.user_model, name), getattr(other.user_model, name), err_msg=name
        )
    np.testing.assert_array_equal(world.interests.items, other.interests.items)
    kept = ~world.heldout
    np.testing.assert_array_equal(world.interests.users[kept], other.interests.users[kept])
    np.testing.assert_array_equal(world.log_popularity, other.log_popularity)
    assert not np.array_equal(world.user_model.user_vectors, other.user_model.user_vectors)


def test_a_damaged_stage_is_named_and_nothing_is_overwritten(home, small_log):
    build_world(*small_log, SMALL, progress=False)
    (world,) = [p for p in (home / "worlds").iterdir() if p.is_dir() and "-world-" in p.name]
    file = world / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="truncated or changed. Delete the folder"):
        build_world(*small_log, SMALL, progress=False)
    assert file.stat().st_size == 100


def test_a_world_of_another_format_version_is_refused(toy, tmp_path, monkeypatch):
    folder = toy.save(tmp_path / "toy")
    monkeypatch.setattr(artifacts, "FORMAT_VERSION", artifacts.FORMAT_VERSION + 1)
    with pytest.raises(
        ArtifactError, match="has format version 1, but this recenv reads version 2"
    ):
        World.load(folder)


def test_an_empty_pool_is_named(toy, tmp_path):
    import dataclasses

    nobody = dataclasses.replace(toy, heldout=np.zeros(toy.num_users, bool))
    with pytest.raises(ConfigError, match="has no 'heldout' users"):
        recenv.parallel_env(nobody, users="heldout")


def test_a_broken_log_is_refused_before_anything_is_written(home, small_log):
    log, catalog = small_log
    bad = log.events.assign(item=log.events["item"].where(log.events.index != 7, 999))
    broken = type(log)(bad.astype({"item": np.int32}), log.user_ids, "broken")
    with pytest.raises(SchemaError, match="Column 'item', row 7: 999"):
        build_world(broken, catalog, SMALL, progress=False)
    assert not home.exists() or not list(home.rglob("*broken*"))


BUILD = """
from recenv.sim import planted_world
from recenv.sim.synthetic import PlantedConfig
from recenv.world import build_world
from test_world import SMALL
world = planted_world(PlantedConfig(num_users=60, num_items=50, history_visits=2))
print("begun", flush=True)
print(build_world(world.train, world.catalog, SMALL, progress=False).hash, flush=True)
"""


def test_kill_during_the_build_leaves_nothing_that_the_next_run_cannot_use(
    home, small_log, monkeypatch
):
    """SIGKILL at five moments of the build; then a run to the end gives the very same world."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    for delay in (0.0, 0.3, 0.8, 1.5, 3.0):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD], env=env, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    done = subprocess.run(
        [sys.executable, "-c", BUILD], env=env, capture_output=True, text=True, check=True
    )
    got = done.stdout.splitlines()[-1]
    monkeypatch.setenv("RECENV_HOME", str(home / "undisturbed"))
    expected = build_world(*small_log, SMALL, progress=False).hash
    assert got == expected


def test_a_single_item_is_nothing_to_choose_from(home):
    table = pd.DataFrame(
        {"user": [f"u{k % 10}" for k in range(40)], "item": "a", "time": range(40)}
    )
    with pytest.raises(SchemaError, match="has one item, 'a'.*at least two items"):
        build_world(*recenv.read_table(table), progress=False)
