import json
import subprocess
import sys

import numpy as np
import pytest

from recenv import artifacts
from recenv.errors import ArtifactError

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}


@pytest.fixture
def folder(tmp_path):
    return artifacts.save(tmp_path / "x", "thing", ARRAYS, {"n": 1}, texts={"note.txt": "hello"})


def test_round_trip(folder):
    arrays, meta = artifacts.load(folder, "thing")
    assert meta == {"n": 1}
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].dtype == value.dtype


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
    assert f"Delete the folder {folder}" in str(error.value)


def test_another_format_version_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["format"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="format version 2, but this recenv reads version 1"):
        artifacts.load(folder, "thing")


def test_another_kind_and_nothing_there(folder, tmp_path):
    with pytest.raises(ArtifactError, match="holds a 'thing', but a 'world' was wanted"):
        artifacts.load(folder, "world")
    with pytest.raises(ArtifactError, match="No artifact at"):
        artifacts.load(tmp_path / "nowhere", "thing")


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
