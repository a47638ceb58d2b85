"""What is in the package, as pip installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import recenv

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as a wheel installs it, and nothing of the checkout."""
    base = tmp_path_factory.mktemp("package")
    source, site = base / "source", base / "site"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("recenv", "training"):
        ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for command in (
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", base, source],
        ["install", "--no-deps", "--no-index", "--find-links", base, "--target", site, "recenv"],
    ):
        done = subprocess.run([*pip, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    return site


@pytest.mark.slow
def test_an_installed_package_is_whole_and_makes_environments_in_any_process(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("recenv/py.typed", "training/py.typed", "training/launch/two_nodes.sh"):
        assert (installed / name).is_file(), name
    script = tmp_path / "spawned.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            import gymnasium


            def play(queue):
                env = gymnasium.make("recenv:recenv/Toy-v0")
                env.reset(seed=0)
                import recenv
                queue.put((env.spec.id, recenv.__file__))


            if __name__ == "__main__":
                context = multiprocessing.get_context("spawn")
                queue = context.Queue()
                process = context.Process(target=play, args=(queue,))
                process.start()
                print(*queue.get(timeout=300))
                process.join()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["recenv/Toy-v0", str(installed / "recenv" / "__init__.py")]


def test_the_citation_names_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {recenv.__version__}" in lines


def test_every_exported_name_is_there_and_documented() -> None:
    for name in recenv.__all__:
        assert getattr(recenv, name).__doc__, name
    assert set(recenv._LAZY) <= set(recenv.__all__)
