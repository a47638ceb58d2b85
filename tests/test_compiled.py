"""Compiled functions are kept by all the sources that they come from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from recenv.jit import compiled

ROOT = Path(compiled.__file__).parent


@pytest.mark.parametrize("changed", ["users/laws.py", "sim/game.py", "rng.py", "sim/state.py"])
def test_a_changed_source_is_another_folder(tmp_path, changed):
    copy = tmp_path / "recenv"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert compiled.sources_digest(copy) == compiled.FOLDER.name
    with (copy / changed).open("a") as file:
        file.write("# changed\n")
    assert compiled.sources_digest(copy) != compiled.FOLDER.name


def test_kept_where_it_is_said_and_numba_left_as_it_was(tmp_path):
    code = """
import numba
from recenv.env.registration import load_world
import recenv
env = recenv.single_env("recenv/Toy-v0")
env.reset(seed=0)
env.step(env.action_space.sample())
from recenv.jit import compiled
print(compiled.FOLDER)
print(numba.config.CACHE_DIR)
"""
    environ = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, "RECENV_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    folder, numbas = done.stdout.split("\n")[:2]
    assert Path(folder) == tmp_path / "compiled" / compiled.FOLDER.name
    assert numbas == ""
    assert any(Path(folder).rglob("kernels.step*.nbi"))
    assert not list(ROOT.rglob("kernels.step*.nbi"))


def test_users_own_functions_keep_their_place():
    assert Path(numba.config.CACHE_DIR) == compiled.FOLDER.parent
