"""Virtual environments of other simulators: pinned packages, and workers that run in them.

Each is made once, by pip, in a folder of its own, and kept. A worker is a script that runs inside
one, imports nothing of recenv, is told its job as JSON, and answers with one line of JSON.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from recenv.artifacts import write_atomically
from recenv.errors import RecenvError

_READY = "peers-ready.json"  # written into an environment when it is complete
_ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM", "NUMEXPR")


@dataclass(frozen=True)
class PeerGroup:
    """Virtual environment of one peer: the packages in it."""

    package: str
    """The peer, pinned. Its own list of dependencies is not followed: RecoGym's has TensorFlow and
    Jupyter, which it never imports, and RecSim's lacks six, which it does."""
    requirements: tuple[str, ...]
    """What it does import, pinned."""
    module: str
    """Imported once after installing: a broken environment is found, caches are filled."""


# gym 0.26 needs numpy 1; these run on Python 3.11 and 3.12
_GYM = "cloudpickle==3.1.2 gym==0.26.2 gym-notices==0.1.0 numpy==1.26.4 scipy==1.11.4"
_PLOTS = """
    contourpy==1.3.3 cycler==0.12.1 fonttools==4.58.5 kiwisolver==1.4.8 matplotlib==3.10.3
    packaging==25.0 pandas==2.2.3 pillow==11.3.0 pyparsing==3.2.3 python-dateutil==2.9.0.post0
    pytz==2025.2 six==1.17.0 tzdata==2025.2
"""
_LEARNING = """
    joblib==1.5.1 llvmlite==0.44.0 numba==0.61.2 scikit-learn==1.6.1 threadpoolctl==3.6.0
    torch==2.13.0 tqdm==4.67.1
"""
GROUPS: dict[str, PeerGroup] = {
    "recsim": PeerGroup(
        "recsim-no-tf==0.2.3",
        (*_GYM.split(), "absl-py==2.3.0", "gin-config==0.5.0", "six==1.17.0"),
        "recsim.environments.interest_evolution",
    ),
    "recogym": PeerGroup(  # scipy 1.11 is the last that has scipy.rand
        "recogym==0.1.3", (*_GYM.split(), *_PLOTS.split(), *_LEARNING.split()), "recogym"
    ),
    "gym-recsys": PeerGroup(
        "gym-recsys==0.0.3", (*_GYM.split(), *_PLOTS.split(), "seaborn==0.13.2"), "gym_recsys"
    ),
}
"""Virtual environments by name."""


class PeerError(RecenvError, RuntimeError):
    """A peer's virtual environment cannot be made."""


def make_environment(folder: Path, name: str) -> Path:
    """One group's Python; the environment is made unless it is complete."""
    group, target = GROUPS[name], folder.resolve() / name
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = {
        "package": group.package,
        "requirements": list(group.requirements),
        "python": sys.version,
        "folder": str(target),  # an environment's scripts do not survive being moved
    }
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        if python.exists() and _read(target / _READY) == pins:
            return python
        if target.exists():
            if any(target.iterdir()) and not (target / "pyvenv.cfg").is_file():
                raise PeerError(
                    f"{target} is wanted for a virtual environment, but holds something else. "
                    "Name another folder."
                )
            shutil.rmtree(target)
        pip = [str(python), "-I", "-m", "pip", "install", "--quiet", "--no-input"]
        pip += ["--disable-pip-version-check"]
        _do(name, [sys.executable, "-I", "-m", "venv", str(target)])
        if group.requirements:
            _do(name, [*pip, *group.requirements])
        _do(name, [*pip, "--no-deps", group.package])
        _do(name, [str(python), "-I", "-c", f"import {group.module}"], _environ(python))
        write_atomically(target / _READY, json.dumps(pins, indent=1))
    return python


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _do(name: str, command: list[str], environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, env=environ
    )
    if done.returncode:
        packages = ", ".join([GROUPS[name].package, *GROUPS[name].requirements])
        raise PeerError(
            f"The environment {name!r} ({packages}; Python {platform.python_version()}) cannot be "
            f"made: `{' '.join(command[1:5])} ...` ended with status {done.returncode}. It wants "
            "Python 3.11 or 3.12 and a package index; the same command tries again. Its last "
            f"lines:\n{_last(done.stderr or done.stdout)}"
        )


def _environ(python: Path) -> dict[str, str]:
    """Environment variables of a peer's process: one thread, caches beside its Python."""
    threads = {f"{library}_NUM_THREADS": "1" for library in _ONE_THREAD}
    caches = {"MPLCONFIGDIR": str(python.parents[1] / "matplotlib"), "MPLBACKEND": "agg"}
    return {**os.environ, **threads, **caches}


def run_worker(worker: Path, job: Mapping[str, Any], python: Path, limit: float) -> dict[str, Any]:
    """What a worker answers to a job.

    Args:
        worker: a script.
        job: what it is told, JSON-able.
        python: of the environment that it runs in.
        limit: seconds that it may take.

    Raises:
        PeerError: it cannot be started, fails, takes longer or answers something else.
    """
    try:
        done = subprocess.run(
            [str(python), "-I", str(worker), json.dumps(job)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=_environ(python),
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"It did not end within {limit:.0f} s.") from error
    except OSError as error:
        raise PeerError(f"{python} cannot be started: {error}") from error
    if done.returncode:
        raise PeerError(f"It ended with status {done.returncode}:\n{_last(done.stderr)}")
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (LookupError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise PeerError(f"It answered no line of JSON figures, but:\n{_last(done.stdout)}")
    return told


def _last(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:]) or "(nothing)"
