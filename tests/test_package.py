"""What is in the package, as pip installs it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest
from helpers.launched import TINY

import recenv

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this version."""
    base = tmp_path_factory.mktemp("package")
    source = base / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("recenv", "training"):
        ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    _pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", base, source)
    (built,) = base.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with the package as a wheel installs it, and nothing of the checkout."""
    site = wheel.parent / "site"
    _pip(sys.executable, "install", "--no-deps", "--no-index", "--target", site, wheel)
    return site


def _pip(python: str | Path, *arguments: str | Path) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


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


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_commands_of_a_wheel_run_beside_another_package_called_training(
    wheel: Path, tmp_path: Path
) -> None:
    """Its base packages alone are enough to play; with Ray and torch, its processes are ours.

    Ray and torch are those of this environment, behind the wheel's own packages.
    """
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    _pip(scripts / "python", "install", "--constraint", ROOT / "constraints.txt", wheel)
    here = tmp_path / "work"
    for name in ("training", "recenv"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    home = {"RECENV_HOME": str(tmp_path / "home"), "NUMBA_CACHE_DIR": ""}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [scripts / "recenv", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=here,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | home,
        )

    def ran(*words: str) -> tuple[str, str]:
        done = run(*words)
        print(f"$ recenv {shlex.join(words)}", done.stdout, done.stderr, sep="\n")
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, done.stderr

    assert ran("--version") == (f"recenv {recenv.__version__}\n", "")
    out, err = ran("play", "recenv/Toy-v0")
    assert out.startswith("A visit of user ")
    assert err == "recenv: compiling the game (kept for next time) ...\n"
    out, err = ran("play", "recenv/Toy-v0")
    assert err == ""
    out, err = ran("compare", "recenv/Toy-v0", "--episodes", "1")
    assert "oracle (greedy)" in out
    assert "ALS is left out" in err

    missing = run("train", "--env", "recenv/Toy-v0")
    print(missing.stderr)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "pip install 'recenv[train]'" in missing.stderr

    (site,) = (tmp_path / "env").glob("**/site-packages")
    others = site / "others.pth"
    others.write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    ran("train", *TINY, "--rounds", "256", "--num-env-runners", "1", "--name", "run")
    assert (here / "runs" / "run" / "report" / "report.md").is_file()


def test_the_citation_names_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {recenv.__version__}" in lines


def test_every_exported_name_is_there_and_documented() -> None:
    for name in recenv.__all__:
        assert getattr(recenv, name).__doc__, name
    assert set(recenv._LAZY) <= set(recenv.__all__)
