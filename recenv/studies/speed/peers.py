"""Step rates of other recommender simulators, measured on this machine.

    python -m recenv.studies.speed.peers --repeats 5

installs the simulators that PyPI has, each into its own virtual environment (RecSim without
TensorFlow, RecoGym, gym-recsys; about 2 GB, most of it the torch that RecoGym imports, and more
where the package index's torch brings CUDA), plays each in a fresh process, and prints answered
slates per second. One step is one user answering one slate. Where a peer lets one choose, slates
have ``SLATE`` of ``CANDIDATES`` items; the table's column ``work`` says what each did. Slates are
drawn before the clock starts; the next user's beginning at the end of a visit is inside the
time, as part of simulating users. Numeric libraries are held to one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from recenv.artifacts import home, write_atomically
from recenv.benchmark.tables import markdown, write_study
from recenv.errors import ConfigError, RecenvError
from recenv.progress import Progress

SLATE, CANDIDATES = 10, 50

_WORKER = Path(__file__).with_name("peers_worker.py")
_READY = "peers-ready.json"  # written into an environment when it is complete
_START_SECONDS = 300  # what a peer may take beside its timed repeats: imports and compilation
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


@dataclass(frozen=True)
class Peer:
    """One simulator at one size."""

    name: str
    group: str
    """Its virtual environment, a key of ``GROUPS``."""
    work: str
    """What one step is, for the table."""
    settings: dict[str, str | int]
    """What ``peers_worker.py`` builds it with."""


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

_SIZES: dict[str, str | int] = {"slate_size": SLATE, "num_candidates": CANDIDATES}
PEERS: tuple[Peer, ...] = (
    Peer(
        "RecSim interest_evolution",
        "recsim",
        f"slate of {SLATE}, {CANDIDATES} candidates redrawn every step",
        {"environment": "interest_evolution", **_SIZES},
    ),
    Peer(
        "RecSim long_term_satisfaction",
        "recsim",
        f"slate of {SLATE} (the first is always clicked), {CANDIDATES} candidates redrawn "
        "every step",
        {"environment": "long_term_satisfaction", **_SIZES},
    ),
    *(
        Peer(
            f"RecoGym reco-gym-v1, {products} products",
            "recogym",
            f"1 of {products} products shown, its defaults; organic views between",
            {"num_products": products},
        )
        for products in (10, 1000)
    ),
    Peer(
        "gym-recsys",
        "gym-recsys",
        f"slate of {SLATE}, catalogue of {CANDIDATES}, its README's model, 50 rounds a session",
        {**_SIZES, "users": 100, "dim": 10, "history": 3, "rounds": 50},
    ),
)
"""What is measured, in the table's order."""


class PeerError(RecenvError, RuntimeError):
    """A peer's virtual environment cannot be made."""


@dataclass(frozen=True)
class PeerResult:
    """Measured step rate of one peer; without figures if ``error`` is set."""

    name: str
    version: str
    """Of the peer's package, as pinned."""
    work: str
    """What one step is."""
    steps_per_second: tuple[float, ...]
    """Answered slates per second, one entry per repeat; empty after an error."""
    first_step_s: float
    """Seconds from before its import to its first answered slate; NaN after an error."""
    peak_mb: float
    """Resident memory of its process at its highest, in MiB; NaN after an error."""
    error: str | None
    """Why there are no figures, or None."""

    @property
    def median(self) -> float:
        """Of the repeats, in steps per second; NaN after an error."""
        return statistics.median(self.steps_per_second) if self.steps_per_second else math.nan


def make_environments(folder: Path, *, progress: bool | None = None) -> dict[str, Path]:
    """Make the virtual environments that ``PEERS`` needs; those that are complete are kept.

    An environment that was interrupted, failed, or was made of other pins or by another Python is
    made anew; the others are not touched. Needs a package index that pip can reach.

    Args:
        folder: for the environments, one folder each; made if needed.
        progress: False for silence; see ``recenv.progress``.

    Returns:
        The Python of each, by the group's name.

    Raises:
        PeerError: one or more could not be made, after all were tried; the message has the last
            lines of the command that failed.
    """
    pythons, errors = _make_all(folder, progress=progress)
    if errors:
        raise PeerError("\n".join(errors.values()))
    return pythons


def measure_peers(
    folder: Path, *, seconds: float = 2.0, repeats: int = 5, progress: bool | None = None
) -> list[PeerResult]:
    """Measure every peer of ``PEERS``, each in a fresh process of its own environment.

    Args:
        folder: of the environments (see ``make_environments``), which are made first.
        seconds: length of a repeat.
        repeats: of each peer, one after another in the same process.
        progress: False for silence; see ``recenv.progress``.

    Returns:
        One result per peer, in the order of ``PEERS``. A peer that cannot be installed or run has
        its ``error`` set.

    Raises:
        ConfigError: ``seconds`` or ``repeats`` is not positive.
    """
    if not 0 < seconds < math.inf:
        raise ConfigError(f"seconds must be positive and finite, not {seconds}.")
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, not {repeats}.")
    pythons, errors = _make_all(folder, progress=progress)
    results = []
    stage = Progress("peers", len(PEERS), unit="peers", shown=progress)
    for peer in stage.of(PEERS):
        if peer.group in errors:
            results.append(_failed(peer, errors[peer.group]))
        else:
            results.append(measure_peer(peer, pythons[peer.group], seconds, repeats))
    return results


def table(results: Sequence[PeerResult]) -> str:
    """A Markdown table of results, and below it the errors of those that have none."""
    header = ["", "version", "work", "steps/s", "lowest to highest", "first step, s", "memory, MB"]
    lines, errors = [], []
    for told in results:
        rates = told.steps_per_second
        figures = (
            [
                f"{told.median:.0f}",
                f"{min(rates):.0f} to {max(rates):.0f}",
                f"{told.first_step_s:.1f}",
                f"{told.peak_mb:.0f}",
            ]
            if rates
            else ["failed", "", "", ""]
        )
        lines.append([told.name, told.version, told.work, *figures])
        if told.error is not None:
            errors.append(f"{told.name} failed:\n\n```\n{told.error}\n```")
    return "\n\n".join([markdown(header, lines), *errors])


def _make_all(folder: Path, *, progress: bool | None) -> tuple[dict[str, Path], dict[str, str]]:
    """Pythons of the groups that could be made, and what went wrong with the others."""
    wanted = list(dict.fromkeys(peer.group for peer in PEERS))
    pythons: dict[str, Path] = {}
    errors: dict[str, str] = {}
    stage = Progress("environments", len(wanted), unit="venvs", shown=progress)
    for name in stage.of(wanted):
        try:
            pythons[name] = make_environment(folder, name)
        except (PeerError, OSError) as error:
            errors[name] = str(error)
    return pythons, errors


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


def measure_peer(peer: Peer, python: Path, seconds: float, repeats: int) -> PeerResult:
    """Step rate of one peer, measured by ``peers_worker`` in a process of its environment."""
    job = {"peer": peer.group, "settings": peer.settings, "seconds": seconds, "repeats": repeats}
    limit = _START_SECONDS + 2 * seconds * repeats
    try:
        done = subprocess.run(
            [str(python), "-I", str(_WORKER), json.dumps(job)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=_environ(python),
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return _failed(peer, f"It did not end within {limit:.0f} s.")
    except OSError as error:
        return _failed(peer, f"{python} cannot be started: {error}")
    if done.returncode:
        return _failed(peer, f"It ended with status {done.returncode}:\n{_last(done.stderr)}")
    try:
        told = json.loads(done.stdout.splitlines()[-1])
        rates = tuple(float(rate) for rate in told["steps_per_second"])
        first, peak = float(told["first_step_s"]), float(told["peak_mb"])
    except (LookupError, TypeError, ValueError):
        return _failed(peer, f"It answered no line of JSON figures, but:\n{_last(done.stdout)}")
    return PeerResult(peer.name, _version(peer), peer.work, rates, first, peak, None)


def _failed(peer: Peer, error: str) -> PeerResult:
    return PeerResult(peer.name, _version(peer), peer.work, (), math.nan, math.nan, error)


def _version(peer: Peer) -> str:
    return GROUPS[peer.group].package.partition("==")[2]


def _last(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:]) or "(nothing)"


def _json(told: PeerResult) -> dict[str, Any]:
    figures = {**dataclasses.asdict(told), "median": told.median}
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in figures.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table; 1 if a peer could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.speed.peers")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a repeat")
    parser.add_argument("--repeats", type=int, default=5, help="of each peer")
    parser.add_argument(
        "--folder", type=Path, help="for the environments; default: peers in recenv's cache folder"
    )
    parser.add_argument("--out", type=Path, help="folder for peers.json and peers.md")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    given = parser.parse_args(argv)
    folder = home() / "peers" if given.folder is None else given.folder
    try:
        results = measure_peers(
            folder, seconds=given.seconds, repeats=given.repeats, progress=not given.quiet
        )
    except ConfigError as error:
        parser.error(str(error))
    told = f"median of {given.repeats} repeats of {given.seconds:g} s"
    text = f"Answered slates per second, {told}\n\n{table(results)}"
    print(text)
    if given.out is not None:
        figures = {
            "seconds": given.seconds,
            "repeats": given.repeats,
            "peers": [_json(one) for one in results],
            "pins": {name: [one.package, *one.requirements] for name, one in GROUPS.items()},
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        write_study(given.out, "peers", "Other simulators", text, figures)
    return int(any(one.error is not None for one in results))


if __name__ == "__main__":
    sys.exit(main())
