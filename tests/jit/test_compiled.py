"""Compiled functions are kept by all the sources that they come from, and privately."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba.core.dispatcher import Dispatcher

from recenv.jit import compiled

ROOT = Path(compiled.__file__).parents[1]


@pytest.mark.parametrize(
    "changed", ["users/laws/leaving.py", "sim/game.py", "rng.py", "sim/state.py"]
)
def test_a_changed_source_is_another_folder(tmp_path, changed):
    copy = tmp_path / "recenv"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert compiled.sources_digest(copy) == compiled.FOLDER.name
    with (copy / changed).open("a") as file:
        file.write("# changed\n")
    assert compiled.sources_digest(copy) != compiled.FOLDER.name


def test_a_file_in_a_deeper_folder_takes_part(tmp_path):
    copy = tmp_path / "recenv"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "sim" / "part").mkdir()
    (copy / "sim" / "part" / "laws.py").write_text("")
    deeper = compiled.sources_digest(copy)
    assert deeper != compiled.FOLDER.name
    (copy / "sim" / "part" / "laws.py").rename(copy / "sim" / "laws.py")
    assert compiled.sources_digest(copy) != deeper


def kept_functions():
    """All functions that ``recenv.jit.compiled`` keeps, whichever module they stand in."""
    found = set()
    for path in sorted(ROOT.rglob("*.py")):
        if "from recenv.jit.compiled import" not in path.read_text():
            continue
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        module = importlib.import_module(name)
        for value in vars(module).values():
            if isinstance(value, Dispatcher) and isinstance(value._cache, compiled._Kept):
                found.add(value.py_func)
    return found


def names_in(code):
    """Global names that a function, or one within it, looks up."""
    inner = (c for c in code.co_consts if hasattr(c, "co_names"))
    return set(code.co_names).union(*map(names_in, inner))


def origins(path, names):
    """Files of recenv from which a module imports these names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("recenv"):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) in names:
                for module in (f"{node.module}.{alias.name}", node.module):
                    file = ROOT.parent / Path(*module.split(".")).with_suffix(".py")
                    if file.is_file():
                        yield file
                        break


def test_every_compiled_function_stands_in_a_source_that_takes_part():
    """And so does what it calls, and the constants that are compiled into it."""
    functions, taking_part = kept_functions(), set(compiled.sources(ROOT))
    assert len(functions) > 50
    for function in functions:
        path = Path(function.__code__.co_filename)
        assert path in taking_part, function
        for file in origins(path, names_in(function.__code__)):
            assert file in taking_part, (function, file)


def test_nothing_is_kept_elsewhere():
    """Numba's own way of keeping looks for changes in a function's own file alone."""
    for path in [*ROOT.rglob("*.py"), *(ROOT.parent / "training").rglob("*.py")]:
        assert "cache=True" not in path.read_text(), path


def run(code, **environ):
    """A process of its own: compiled functions are looked for when recenv is first imported."""
    inherited = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        check=True,
    )


LOOK_UP = """
import numba, numpy as np
from recenv import rng
from recenv.jit import compiled
from recenv.users.repeat_law import RepeatLaw
law = RepeatLaw.at_end(np.array([0, 0]), np.array([3, 1]), np.array([0, 1]), 2, weights=(1.0, 2.0))
print(compiled.FOLDER)
print(repr(numba.config.CACHE_DIR))
print(law.of([0, 0, 1], [3, 2, 3]).tolist())
from recenv.users import repeat_law
print(sum(repeat_law._lookup.stats.cache_hits.values()))
"""


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """(home, what ``LOOK_UP`` printed) after its first run."""
    home = tmp_path_factory.mktemp("kept")
    return home, run(LOOK_UP, RECENV_HOME=str(home)).stdout.splitlines()


@pytest.fixture
def kept(compiled_once, tmp_path):
    """A copy of such a home, the files of one compiled function in it, and what was printed."""
    home, printed = compiled_once
    shutil.copytree(home, tmp_path / "home")
    files = sorted((tmp_path / "home" / "compiled").rglob("repeat_law._lookup*"))
    assert [f.suffix for f in files] == [".nbc", ".nbi"]
    assert printed[3] == "0"
    return tmp_path / "home", files, printed[1:3]


def test_kept_where_it_is_said_and_numba_left_as_it_was(compiled_once, kept):
    first, printed = compiled_once
    assert Path(printed[0]) == first / "compiled" / compiled.FOLDER.name
    assert printed[1] == "''"
    again = run(LOOK_UP, RECENV_HOME=str(kept[0])).stdout.splitlines()
    assert again[1:] == [*kept[2], "1"]


def test_damaged_files_are_compiled_again(kept):
    """Every file of a home: the data ends LLVM with a signal if it is not told."""
    home, files, printed = kept
    for file in files:
        whole = bytearray(file.read_bytes())
        for at in range(100, len(whole), 500):
            whole[at] ^= 4
        file.write_bytes(whole)
    for hits in "01":
        assert run(LOOK_UP, RECENV_HOME=str(home)).stdout.splitlines()[1:] == [*printed, hits]


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "other"])
@pytest.mark.parametrize("which", [".nbi", ".nbc"])
def test_a_damaged_file_counts_as_missing(tmp_path, which, damage):
    kept = compiled._File(str(tmp_path), "f", "stamp")
    kept.save("key", {"code": b"x" * 1000})
    assert kept.load("key") == {"code": b"x" * 1000}
    (file,) = (p for p in tmp_path.iterdir() if p.suffix == which)
    (other,) = (p for p in tmp_path.iterdir() if p.suffix != which)
    whole = file.read_bytes()
    damaged = {
        "cut": [whole[:n] for n in range(1, len(whole), 7)],
        "emptied": [b""],
        "flipped": [_flipped(whole, bit) for bit in range(0, 8 * len(whole), 13)],
        "other": [other.read_bytes()[:-1]],
    }[damage]
    for content in damaged:
        file.write_bytes(content)
        assert kept.load("key") is None
    kept.save("key", {"code": b"y"})
    assert kept.load("key") == {"code": b"y"}


def _flipped(data, bit):
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows keeps folders private by itself")
def test_only_the_owner_may_write_there(compiled_once, kept):
    folders = [compiled_once[0] / "compiled", compiled_once[0] / "compiled" / compiled.FOLDER.name]
    assert [f.stat().st_mode & 0o777 for f in folders] == [0o700, 0o700]
    mine = kept[0] / "compiled"
    mine.chmod(0o777)  # as an older recenv may have left it
    assert run(LOOK_UP, RECENV_HOME=str(kept[0])).stdout.splitlines()[3] == "1"
    assert mine.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="root alone can give away"
)
def test_a_folder_of_somebody_else_is_not_used(kept):
    home, _, printed = kept
    os.chown(home / "compiled", 12345, 12345)
    code = "import warnings; warnings.simplefilter('always')\n" + LOOK_UP
    done = run(code, RECENV_HOME=str(home))
    assert done.stdout.splitlines()[1:] == [*printed, "0"]
    assert done.stderr.count("belongs to user 12345, who could run code as you") == 1


def test_a_home_that_cannot_be_written_to_is_said_once(compiled_once, tmp_path):
    (tmp_path / "file").write_text("")
    code = "import warnings; warnings.simplefilter('always')\n" + LOOK_UP
    done = run(code, RECENV_HOME=str(tmp_path / "file"))
    assert done.stdout.splitlines()[1:] == compiled_once[1][1:]
    assert done.stderr.count("Compiled functions cannot be kept in") == 1


def test_a_full_disk_is_told_and_the_function_runs(compiled_once, tmp_path):
    code = """
import errno, warnings
warnings.simplefilter("always")
from recenv.jit import compiled
def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")
compiled._Digested.write = full
"""
    done = run(code + LOOK_UP, RECENV_HOME=str(tmp_path))
    assert done.stdout.splitlines()[1:] == compiled_once[1][1:]
    assert "could not be kept in" in done.stderr
    assert "No space left on device" in done.stderr
    assert not [p for p in (tmp_path / "compiled").rglob("*") if p.is_file()]


def test_users_own_functions_keep_their_place():
    assert Path(numba.config.CACHE_DIR) == compiled.FOLDER.parent
