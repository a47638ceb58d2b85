import contextlib
import errno
import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from recenv import artifacts
from recenv.errors import ArtifactError

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([True, False]),
    "lone": np.array(1.5),
    "turned": np.arange(6).reshape(2, 3).T,
}


@pytest.fixture
def folder(tmp_path):
    return artifacts.save(tmp_path / "x", "thing", ARRAYS, {"n": 1}, texts={"note.txt": "hello"})


def test_round_trip(folder):
    arrays, meta = artifacts.load(folder, "thing")
    assert meta == {"n": 1}
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape)


def test_saving_again_replaces_and_leaves_nothing_else(folder):
    artifacts.save(folder, "thing", {"a": np.zeros(1)}, {})
    assert artifacts.load(folder, "thing")[0]["a"].shape == (1,)
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


def test_a_failed_save_leaves_the_old_artifact(folder):
    with pytest.raises(TypeError):
        artifacts.save(folder, "thing", ARRAYS, {"not json": object()})
    assert artifacts.load(folder, "thing")[1] == {"n": 1}
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("name", ["arrays.safetensors", "note.txt", "manifest.json"])
def test_a_truncated_file_is_named_with_what_to_do(folder, name):
    file = folder / name
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match=name) as error:
        artifacts.load(folder, "thing")
    assert f"restore {folder} from a copy" in str(error.value)


def test_only_what_recenv_keeps_for_itself_is_advised_to_delete(home):
    folder = artifacts.save(home / "encodings" / "x", "thing", ARRAYS, {})
    (folder / "arrays.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=f"Delete the folder {folder} and run the same"):
        artifacts.load(folder, "thing")


def test_another_format_version_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["format"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ArtifactError, match="format version 3, but this recenv reads version 2.*a newer"
    ):
        artifacts.load(folder, "thing")


def test_another_kind_and_nothing_there(folder, tmp_path):
    with pytest.raises(ArtifactError, match="holds a 'thing', but a 'world' was wanted"):
        artifacts.load(folder, "world")
    with pytest.raises(ArtifactError, match="No artifact at"):
        artifacts.load(tmp_path / "nowhere", "thing")


def test_a_folder_of_something_else_is_not_to_be_deleted(folder, tmp_path):
    """Neither one of another kind, nor one with somebody's own manifest.json, nor a file."""
    other = tmp_path / "extension"
    other.mkdir()
    (other / "manifest.json").write_text('{"manifest_version": 3, "files": ["a.js"]}')
    (tmp_path / "file").write_text("mine")
    for place in (folder, other, tmp_path, tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(ArtifactError, match="[Gg]ive the folder") as error:
            artifacts.load(place, "world")
        assert "elete" not in str(error.value)


def contents(place):
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def test_what_recenv_did_not_write_is_never_replaced(tmp_path):
    """A folder with other files, a file, an artifact of another kind, one with a note in it."""
    for name in ("results", "other", "noted", "noted deeply"):
        (tmp_path / name).mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("notes")
    (tmp_path / "results" / "manifest.json").write_text("[]")
    (tmp_path / "keep.txt").write_text("mine")
    artifacts.save(tmp_path / "other", "other thing", ARRAYS, {})
    artifacts.save(tmp_path / "noted", "thing", ARRAYS, {})
    (tmp_path / "noted" / "note.txt").write_text("mine")
    artifacts.save(tmp_path / "noted deeply", "thing", ARRAYS, {})
    (tmp_path / "noted deeply" / "sub").mkdir()
    (tmp_path / "noted deeply" / "sub" / "note.txt").write_text("mine")
    before = contents(tmp_path)
    for name, wanted in {
        "results": "is not empty and holds no thing",
        "keep.txt": "is a file",
        "other": "holds a 'other thing', not a thing",
        "noted": "'note.txt' too",
        "noted deeply": "'sub' too",
    }.items():
        with pytest.raises(ArtifactError, match=f"{wanted}.*It was left as it is"):
            artifacts.save(tmp_path / name, "thing", {"a": np.zeros(1)}, {})
    assert contents(tmp_path) == before


def test_an_empty_folder_may_stand_there_and_links_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for value in (1.0, 2.0):
        artifacts.save(tmp_path / "link", "thing", {"a": np.full(1, value)}, {})
        assert artifacts.load(tmp_path / "disk", "thing")[0]["a"] == value
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "link"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["arrays.safetensors", "note.txt", "manifest.json"])
def test_no_flipped_bit_is_read_as_something_else(folder, name):
    """Every bit of every file: refused, or (a blank in the manifest) the same."""
    file = folder / name
    whole = file.read_bytes()
    for bit in range(0, 8 * len(whole), max(8 * len(whole) // 600, 1)):
        assert_refused_or_same(folder, file, whole, bit)


def assert_refused_or_same(folder, file, whole, bit):
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    file.write_bytes(flipped)
    try:
        arrays, meta = artifacts.load(folder, "thing")
    except ArtifactError:
        return
    assert meta == {"n": 1}
    for key, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[key], value)


def rewritten(folder, change):
    """The manifest changed by somebody who knows how it is hashed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["hash"] = artifacts._content(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(files={}),
        lambda m: m["files"].update({"../x/note.txt": "0"}),
        lambda m: m["files"].update({"/etc/passwd": "0"}),
        lambda m: m["files"].pop("arrays.safetensors"),
        lambda m: m.update(files=[]),
        lambda m: m.update(meta=[]),
        lambda m: m.update(kind=1),
        lambda m: m.update(format="2"),
        lambda m: m.pop("meta"),
    ],
)
def test_a_manifest_that_was_edited_is_refused(folder, change):
    rewritten(folder, change)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        artifacts.load(folder, "thing")


@pytest.mark.parametrize("text", ["[" * 100_000, "", "null", "\x00", '{"kind": 1}', "\udcff"])
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        artifacts.load(folder, "thing")


def test_an_older_format_is_made_again_where_recenv_keeps_it_and_refused_elsewhere(folder):
    assert artifacts.kept(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["hash"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    assert not artifacts.kept(folder)
    with pytest.raises(ArtifactError, match="format version 1, .*an older recenv"):
        artifacts.load(folder, "thing")
    artifacts.save(folder, "thing", ARRAYS, {"n": 2}, texts={"note.txt": "hello"})
    assert artifacts.load(folder, "thing")[1] == {"n": 2}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "is missing"),
        (np.zeros((2, 2), np.float32), r"must be float32 of shape \(2, 3\)"),
        (np.zeros((2, 3)), "must be float32"),
        (np.full((2, 3), np.nan, np.float32), "not finite"),
        (np.full((2, 3), -1, np.float32), "from 0 to 1, but holds -1"),
        (np.full((2, 3), 2, np.float32), "from 0 to 1, but holds"),
    ],
)
def test_an_array_that_does_not_fit_is_named(array, message):
    with pytest.raises(ArtifactError, match=f"'x'.*{message}"):
        artifacts.check_array(
            {} if array is None else {"x": array}, "x", np.float32, (2, 3), low=0, high=1
        )


def test_a_truth_value_is_0_or_1():
    """A file can hold any byte, and compiled code would take 2 for an index."""
    bytes_ = np.array([0, 1, 2], np.uint8).view(bool)
    with pytest.raises(ArtifactError, match="from 0 to 1"):
        artifacts.check_array({"x": bytes_}, "x", bool, (3,))


FULL = OSError(errno.ENOSPC, "No space left on device")


def fails_at(count):
    """A stand-in for any function that raises a full disk's error at its n-th call."""
    calls = itertools.count(1)

    def of(function):
        def call(*args, **kwargs):
            if next(calls) == count:
                raise FULL
            return function(*args, **kwargs)

        return call

    return of


@pytest.mark.parametrize("count", range(1, 13))
def test_a_full_disk_leaves_the_old_state_whole(folder, monkeypatch, count):
    """ENOSPC at the n-th of all calls that write."""
    fails = fails_at(count)
    for where, name in (
        (artifacts.tempfile, "mkdtemp"),
        (artifacts, "save_file"),
        (artifacts.Path, "write_text"),
        (artifacts.os, "fsync"),
        (artifacts.os, "replace"),
    ):
        monkeypatch.setattr(where, name, fails(getattr(where, name)))
    # a folder, arrays, 2 texts, 3 fsync, the lock's note (which may fail), 2 renames
    failing = count <= 10 and count != 8
    told = pytest.raises(ArtifactError, match=r"could not be written: No space left.*Free space")
    with told if failing else contextlib.nullcontext():
        artifacts.save(folder, "thing", {"a": np.zeros(1)}, {"n": 2}, texts={"note.txt": "new"})
    monkeypatch.undo()
    assert [p.name for p in folder.parent.iterdir()] == ["x"]
    assert artifacts.load(folder, "thing")[1] == {"n": 1 if failing else 2}


def test_a_file_on_a_full_disk_stays_as_it_was(tmp_path, monkeypatch):
    artifacts.write_atomically(tmp_path / "a.txt", "old")

    def full(*args):
        raise FULL

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(artifacts.os, name, full)
            with pytest.raises(ArtifactError, match=r"a\.txt could not be written: No space"):
                artifacts.write_atomically(tmp_path / "a.txt", "new")
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "old"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk of its own can be mounted by root alone")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    artifacts.save(small_disk / "x", "thing", ARRAYS, {"n": 1})
    with pytest.raises(ArtifactError, match="could not be written: No space left on device"):
        artifacts.save(small_disk / "x", "thing", {"a": np.ones(100_000)}, {"n": 2})
    with pytest.raises(ArtifactError, match="could not be written: No space left on device"):
        artifacts.write_atomically(small_disk / "y", bytes(1_000_000))
    assert artifacts.load(small_disk / "x", "thing")[1] == {"n": 1}
    assert [p.name for p in small_disk.iterdir()] == ["x"]


def test_writers_at_once_leave_a_whole_artifact(tmp_path):
    """Four processes write and read one artifact; none fails and nothing else is left."""
    code = f"""
import numpy as np
from pathlib import Path
from recenv import artifacts
for _ in range(20):
    artifacts.save(Path({str(tmp_path / "x")!r}), "thing", {{"a": np.ones(1000)}}, {{}})
    assert artifacts.load(Path({str(tmp_path / "x")!r}), "thing")[0]["a"].sum() == 1000
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [p.wait(timeout=120) for p in processes] == [0, 0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
