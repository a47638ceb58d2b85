import dataclasses
import errno
import itertools
import json
import os
import re
import shutil
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
from recenv import world as world_module
from recenv.config import WorldConfig, content_hash
from recenv.data.continuation import Continuation
from recenv.data.split import make_split
from recenv.errors import ArtifactError, ConfigError, SchemaError
from recenv.folders import slug
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.users.duration_law import DurationLaw
from recenv.users.repeat_law import RepeatLaw
from recenv.world import BUILD_VERSION, World, build_world

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
        ArtifactError, match="has format version 2, but this recenv reads version 3.*an older"
    ):
        World.load(folder)


def test_a_cached_world_of_an_older_format_is_built_again(home, small_log):
    first = build_world(*small_log, SMALL, progress=False)
    for folder in (home / "worlds").iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["hash"]
        (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    assert_same_world(build_world(*small_log, SMALL, progress=False), first)
    assert_same_world(build_world(*small_log, SMALL, progress=False), first)


@pytest.mark.parametrize("per_file", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_no_flipped_bit_makes_another_world(toy, tmp_path, per_file, capsys):
    """Single bits of each file, spread over it: refused, or the very same world."""
    folder = toy.save(tmp_path / "toy")
    refused = dict.fromkeys(("arrays.safetensors", "manifest.json", "names.json"), 0)
    for name in refused:
        file = folder / name
        whole = file.read_bytes()
        for bit in np.linspace(0, 8 * len(whole) - 1, per_file).astype(int).tolist():
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            try:
                read = World.load(folder)
            except ArtifactError:
                refused[name] += 1
                continue
            assert_same_world(read, toy)
            assert read.describe() == toy.describe()
            assert read.train.user_ids.tolist() == toy.train.user_ids.tolist()
        file.write_bytes(whole)
    World.load(folder)
    with capsys.disabled():
        print(f"\nof {per_file} flipped bits each, refused: {refused}")
    assert refused["arrays.safetensors"] == refused["names.json"] == per_file


def _set(name, index, value):
    def change(arrays, meta, names):
        arrays[name] = arrays[name].copy()
        arrays[name][index] = value

    return change


def _with(name, value):
    return lambda arrays, meta, names: arrays.update({name: value(arrays[name])})


def _told(*path, value):
    def change(arrays, meta, names):
        place = {"meta": meta, "names": names}
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


EDITS = [
    (_set("train.item", 3, 200), "Column 'item', row 3: 200"),
    (_set("train.user", 0, -1), "Column 'user', row 0: -1"),
    (_set("train.response", 0, 3), "Column 'response', row 0"),
    (_set("train.time", 0, np.nan), "Column 'time', row 0: nan"),
    (_set("train.time", 0, 1e300), "must be sorted by time"),
    (_set("category", 5, 8), "Catalog.category, row 5"),
    (_set("price", 5, -1), "Catalog.price, row 5"),
    (_set("model.user_vectors", (0, 0), np.nan), "'user_vectors' holds values that are not finite"),
    (_set("model.item_click_bias", 0, np.inf), "'item_click_bias' holds values that are not"),
    (_set("model.examination", 0, 1.5), "'examination' must hold values from 0 to 1"),
    (_set("interests.items", (0, 0), np.nan), "'items' holds values that are not finite"),
    (_set("model.repeat.start", 1, 10**9), "A repeat law needs"),
    (_set("model.repeat.start", -1, 1), "A repeat law needs"),
    (_set("model.repeat.items", 0, 200), "'items' must hold values from 0 to 199"),
    (_set("model.repeat.items", 1, 3), "A repeat law needs"),
    (_set("goes_on.sessions", 0, 9), "in ascending order"),
    (_with("model.repeat.items", lambda a: a.astype(np.int64)), "'items' must be int32"),
    (_with("model.repeat.bonus", lambda a: a[:-1]), r"'bonus' must be float32 of shape \(3\)"),
    (_with("model.visit_length.baseline", lambda a: a[:0]), "needs a baseline"),
    (_with("model.visit_length.effect", lambda a: a[:-1]), "'effect' must be"),
    (_with("model.examination", lambda a: a[:5]), r"'examination' must be .* \(100\)"),
    (_with("model.user_vectors", lambda a: a[:0]), "0 users"),
    (_with("model.user_vectors", lambda a: a[:, :-1]), "'item_vectors' must be"),
    (_with("model.user_vectors", lambda a: a.astype(np.float64)), "must be float32"),
    (_with("model.click_weight", lambda a: a[:, None]), "'click_weight' must be"),
    (_with("interests.users", lambda a: a[:, :-1]), "'users' must be"),
    (_with("interests.users", lambda a: a[:-1]), "of other numbers"),
    (_with("heldout", lambda a: a[:-1]), "'heldout' must be bool"),
    (_with("heldout", lambda a: a.astype(np.int8)), "'heldout' must be bool"),
    (_with("category", lambda a: a.astype(np.int64)), "'category' must be int32"),
    (_with("train.user", lambda a: a[:-1]), "All arrays must be of the same length"),
    (_with("train.user", lambda a: a.astype(np.int64)), "must have dtype int32"),
    (_told("names", "item_ids", value=["a"]), "of other numbers"),
    (_told("names", "user_ids", value="a" * 200), "lists of texts"),
    (_told("names", "text", value=[1] * 200), "lists of texts"),
    (_told("meta", "content_dim", value=99), "Of 8 dimensions 99"),
    (_told("meta", "content_dim", value=1.5), "Of 8 dimensions 1.5"),
    (_told("meta", "model", "dynamics", value={}), "TypeError"),
    (_told("meta", "model", "dynamics", "drift_rate", value="x"), "could not convert"),
    (_told("meta", "model", "dynamics", "drift_rate", value=np.inf), "must be finite"),
    (_told("meta", "model", "dynamics", "funnel", value=0), "a funnel in"),
    (_told("meta", "model", "laws", "click", value=["guessed", "", {}]), "not from 'guessed'"),
    (_told("meta", "model", "repeat", "weights", value=[0.1] * 5), "A repeat law needs"),
    (_told("meta", "model", "visit_length", "first", value=10**9), "a shortest duration below"),
    (_told("meta", "config", value={"splitt": {}}), "Did you mean 'split'"),
    (_told("meta", "name", value="other"), None),
    (_set("model.item_click_bias", 0, 1.0), "has the hash .* not"),
    (_set("interests.users", (0, 0), 1.0), "has the hash .* not"),
    (_told("meta", "hash", value="0123456789abcdef"), "has the hash .* not"),
]


@pytest.fixture(scope="module")
def rich(toy):
    """A world with all parts that a world can have."""
    start = np.full(201, 3)
    start[:2] = 0, 2
    model = dataclasses.replace(
        toy.user_model,
        repeat=RepeatLaw(start, np.array([3, 4, 0], np.int32), np.ones(3, np.float32), (0.5, 0.5)),
        visit_length=DurationLaw(np.zeros(3, np.float32), np.zeros(200, np.float32), 1, 1.0),
    )
    goes_on = Continuation(np.array([3, 5]), np.array([-1, 4]), np.full(200, np.inf), np.array(1e6))
    return dataclasses.replace(toy, user_model=model, goes_on=goes_on)


def test_a_world_with_all_parts_survives_saving(rich, tmp_path):
    loaded = World.load(rich.save(tmp_path / "rich"))
    assert_same_world(loaded, rich)
    for name in ("sessions", "lengths", "next_visit", "end"):
        np.testing.assert_array_equal(getattr(loaded.goes_on, name), getattr(rich.goes_on, name))


@pytest.mark.parametrize(("change", "message"), EDITS)
def test_a_world_that_was_edited_with_right_hashes_is_refused(rich, tmp_path, change, message):
    """Nothing that does not fit together reaches compiled code."""
    folder = rich.save(tmp_path / "rich")
    arrays, meta = artifacts.load(folder, "world")
    names = json.loads((folder / "names.json").read_text())
    change(arrays, meta, names)
    artifacts.save(folder, "world", arrays, meta, texts={"names.json": json.dumps(names)})
    if message is None:  # what no result depends on
        World.load(folder)
        return
    with pytest.raises(ArtifactError, match=f"rich is damaged.*{message}"):
        World.load(folder)


def test_nothing_but_what_was_saved_is_replaced(toy, tmp_path):
    """Whatever is saved, a folder of the user's, or a file, stays as it is."""
    (tmp_path / "results" / "sub").mkdir(parents=True)
    (tmp_path / "results" / "thesis.txt").write_text("notes")
    (tmp_path / "results" / "sub" / "log.csv").write_text("a,b")
    (tmp_path / "keep.txt").write_text("mine")
    split = make_split(toy.train)
    for save in (toy.save, toy.user_model.save, toy.interests.save, split.save):
        for name in ("results", "keep.txt"):
            with pytest.raises(ArtifactError, match="It was left as it is"):
                save(tmp_path / name)
    kept = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert kept == {"results/thesis.txt", "results/sub/log.csv", "keep.txt"}
    toy.save(tmp_path / "toy")
    with pytest.raises(ArtifactError, match="holds a 'world', not a user-model"):
        toy.user_model.save(tmp_path / "toy")
    assert_same_world(World.load(tmp_path / "toy"), toy)


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "x" * 300, "shop.v2", "", ".", "магазин", "a/b\0c\n"]
)
def test_any_name_of_a_log_stays_inside_the_home(home, small_log, name, monkeypatch):
    log, catalog = dataclasses.replace(small_log[0], name=name), small_log[1]
    outside = {p for p in home.parent.iterdir() if p != home}
    if "." in name:  # with a member, and its lock
        world = build_world(log, catalog, SMALL, progress=False)
        world.member(1, progress=False)
        assert world.name == name
    else:  # as far as the first stage: the name is all that differs

        def stop(*args, **kwargs):
            raise InterruptedError

        monkeypatch.setattr(world_module, "encode_items", stop)
        with pytest.raises(InterruptedError):
            build_world(log, catalog, SMALL, progress=False)
    assert {p for p in home.parent.iterdir() if p != home} == outside
    assert {p.name for p in home.iterdir()} <= {"worlds", "locks", "encodings"}
    assert [p.name for p in (home / "locks").iterdir()] == ["guard"]


def test_names_have_folders_of_their_own():
    names = [
        "../../x",
        "..-..-x",
        "x",
        "a b",
        "a-b",
        "a.b",
        "",
        "-",
        "x" * 300,
        "x" * 301,
        "Ä",
        "ä",
    ]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert slug("shop.v2") == "shop.v2"
    for made in slugs:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,80}", made)


def test_a_log_without_a_proper_name(home, small_log):
    for name in (5, None, b"x", "\udcff"):
        with pytest.raises(SchemaError, match="name must be a text"):
            build_world(dataclasses.replace(small_log[0], name=name), small_log[1], SMALL)


def test_users_who_were_not_drawn_keep_a_vector_of_their_own(home, small_log):
    """A member's spread is not to measure that a third of its users became one user."""
    world = build_world(*small_log, SMALL, progress=False)
    member = world.member(1, progress=False)
    own = np.flatnonzero(~world.heldout)
    drawn = np.random.default_rng([SMALL.split.seed, 1]).choice(own, len(own))
    left_out = np.setdiff1d(own, drawn)
    assert len(left_out) > 10
    clicked = world.train.column("user")[world.train.column("response") > 0]
    left_out = np.intersect1d(left_out, clicked)
    vectors = member.user_model.user_vectors[left_out]
    assert len(np.unique(vectors, axis=0)) == len(left_out)
    (folder,) = (p.name for p in (home / "worlds").iterdir() if "-member-1-" in p.name)
    assert folder.endswith(content_hash(BUILD_VERSION, world.hash))


def test_a_full_disk_during_a_build(home, small_log, monkeypatch):
    """Whichever stage it hits: a clear error, nothing half-written, and the next run goes on."""
    expected, real = build_world(*small_log, SMALL, progress=False), artifacts.save_file
    for stage in range(1, 4):
        with monkeypatch.context() as patched:
            place = home.parent / f"full-{stage}"
            patched.setenv("RECENV_HOME", str(place))
            calls = itertools.count(1)

            def save_file(*args, calls=calls, stage=stage):
                if next(calls) == stage:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return real(*args)

            patched.setattr(artifacts, "save_file", save_file)
            with pytest.raises(ArtifactError, match="No space left on device.*Free space"):
                build_world(*small_log, SMALL, progress=False)
            assert not list(place.rglob(".part-*"))
            assert [p.name for p in (place / "locks").iterdir()] == ["guard"]
            assert_same_world(build_world(*small_log, SMALL, progress=False), expected)


@pytest.mark.slow
def test_a_build_on_a_disk_that_is_too_small_can_go_on_on_a_larger_one(
    home, small_log, small_disk, monkeypatch
):
    """Ten sizes of a real file system, from next to nothing to most of what is needed."""
    expected = build_world(*small_log, SMALL, progress=False)
    needed = sum(-(-p.stat().st_size // 4096) for p in home.rglob("*") if p.is_file())
    for size in np.linspace(2, 0.9 * needed, 10).astype(int).tolist():
        place = small_disk(4096 * size)
        monkeypatch.setenv("RECENV_HOME", str(place / "home"))
        with pytest.raises(ArtifactError, match="(?s)No space left on device.*[Ff]ree space"):
            build_world(*small_log, SMALL, progress=False)
        assert not list(place.rglob(".part-*"))
        assert {p.name for p in place.glob("home/locks/*")} <= {"guard"}
        small_disk(4096 * needed * 4)
        assert_same_world(build_world(*small_log, SMALL, progress=False), expected)
        shutil.rmtree(place / "home")


def test_an_empty_pool_is_named(toy, tmp_path):
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
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
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
