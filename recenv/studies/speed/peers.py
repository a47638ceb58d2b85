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
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.artifacts import home
from recenv.benchmark.tables import markdown, write_study
from recenv.errors import ConfigError
from recenv.progress import Progress
from recenv.studies import simulators
from recenv.studies.simulators import PeerError

SLATE, CANDIDATES = 10, 50

_WORKER = Path(__file__).with_name("peers_worker.py")
_START_SECONDS = 300  # what a peer may take beside its timed repeats: imports and compilation


@dataclass(frozen=True)
class Peer:
    """One simulator at one size."""

    name: str
    group: str
    """Its virtual environment, a key of ``simulators.GROUPS``."""
    work: str
    """What one step is, for the table."""
    settings: dict[str, str | int]
    """What ``peers_worker.py`` builds it with."""


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
            pythons[name] = simulators.make_environment(folder, name)
        except (PeerError, OSError) as error:
            errors[name] = str(error)
    return pythons, errors


def measure_peer(peer: Peer, python: Path, seconds: float, repeats: int) -> PeerResult:
    """Step rate of one peer, measured by ``peers_worker`` in a process of its environment."""
    job = {"peer": peer.group, "settings": peer.settings, "seconds": seconds, "repeats": repeats}
    limit = _START_SECONDS + 2 * seconds * repeats
    try:
        told = simulators.run_worker(_WORKER, job, python, limit)
    except PeerError as error:
        return _failed(peer, str(error))
    try:
        rates = tuple(float(rate) for rate in told["steps_per_second"])
        first, peak = float(told["first_step_s"]), float(told["peak_mb"])
    except (LookupError, TypeError, ValueError):
        return _failed(peer, f"It answered no line of JSON figures, but:\n{json.dumps(told)}")
    return PeerResult(peer.name, _version(peer), peer.work, rates, first, peak, None)


def _failed(peer: Peer, error: str) -> PeerResult:
    return PeerResult(peer.name, _version(peer), peer.work, (), math.nan, math.nan, error)


def _version(peer: Peer) -> str:
    return simulators.GROUPS[peer.group].package.partition("==")[2]


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
            "pins": {
                name: [one.package, *one.requirements] for name, one in simulators.GROUPS.items()
            },
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        write_study(given.out, "peers", "Other simulators", text, figures)
    return int(any(one.error is not None for one in results))


if __name__ == "__main__":
    sys.exit(main())
