"""Study of foreign worlds: which policy is best in RecSim and RecoGym, asked of fitted users.

Needs a package index the first time: each simulator gets a virtual environment of its own
(``recenv.studies.simulators``), which is kept in recenv's cache folder. Finished cells are kept,
so that the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recenv.config import WorldConfig
from recenv.progress import Progress
from recenv.studies.cells import run_cells
from recenv.studies.foreign.cells import (
    ForeignConfig,
    code_hash,
    fit_cell,
    log_cell,
    truth_cell,
)
from recenv.studies.foreign.logs import Setting
from recenv.studies.foreign.report import summary, write_foreign_report

EVOLUTION, EXPLORATION = "interest_evolution", "interest_exploration"
SETTINGS = (
    Setting("recogym", users=2000, items=50),
    Setting("recogym", users=2500, items=100),
    Setting("recogym", users=2000, items=20, logging="popular"),
    Setting(EVOLUTION, users=1000, items=50, slate=2),
    Setting(EVOLUTION, users=1000, items=100, slate=3),
    Setting(EVOLUTION, users=500, items=50, slate=2, visits=2, logging="popular"),
    Setting(EXPLORATION, users=4000, items=50, slate=2, rounds=16),
    Setting(EXPLORATION, users=2000, items=100, slate=3, rounds=20),
    Setting(EXPLORATION, users=2000, items=20, slate=2, visits=2, rounds=8, logging="popular"),
)
"""What is measured by default, each with every seed."""
QUICK = (
    Setting("recogym", users=40, items=10),
    Setting(EVOLUTION, users=20, items=12, slate=2),
    Setting(EXPLORATION, users=40, items=12, slate=2, rounds=8, logging="popular"),
)
QUICK_CONFIG = ForeignConfig(
    true_visits=20,
    visits=40,
    fits=1,
    build=WorldConfig().replace(
        encoder={"model": "hashing"},
        interest={"min_updates": 50},
        user_model={"min_updates": 50, "l2_ladder": (1.0,)},
    ),
)
"""Tiny: for tests, says nothing."""


def measure(
    settings: Sequence[Setting],
    config: ForeignConfig,
    folder: Path,
    *,
    jobs: int = 1,
    progress: bool | None = None,
) -> list[dict[str, Any]]:
    """A summary of each setting; see ``report.summary``.

    Args:
        settings: what to play.
        config: sizes of the measurements.
        folder: of logs and finished cells.
        jobs: processes.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        PeerError: a simulator's environment cannot be made, or it fails.
    """
    cells = [
        cell
        for setting in settings
        for cell in (
            log_cell(setting, folder),
            truth_cell(setting, config, folder),
            *(fit_cell(setting, config, seed, folder) for seed in range(config.fits)),
        )
    ]
    with Progress("foreign worlds", len(cells), unit="cells", shown=progress) as bar:
        found = iter(run_cells(cells, folder, bar=bar, jobs=jobs))
    out = []
    for setting in settings:
        log, truth, *fits = (next(found) for _ in range(2 + config.fits))
        out.append(summary(setting, truth, log, fits))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m recenv.studies.foreign``: run the study and write its report."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.foreign", description=__doc__)
    parser.add_argument("--simulator", nargs="+", choices=("recogym", EVOLUTION, EXPLORATION),
                        help="only these; default: all")  # fmt: skip
    parser.add_argument("--setting", type=int, nargs="+",
                        help="only these of each simulator's, from 0; default: all")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, help="worlds of each setting")
    parser.add_argument("--fits", type=int, help="of each log; default: 3")
    parser.add_argument("--true-visits", type=int, help="of each policy in the simulator itself")
    parser.add_argument("--visits", type=int, help="of each policy in a fitted world")
    parser.add_argument("--out", type=Path, default=Path("docs/reports"), help="its folder")
    parser.add_argument("--cells", type=Path, help="of logs and finished cells; default: "
                        "foreign/cells in the folder of the report")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="tiny, for tests: says nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(given)
    config, settings = (QUICK_CONFIG, QUICK) if options.quick else (ForeignConfig(), SETTINGS)
    sizes = {"fits": options.fits, "true_visits": options.true_visits, "visits": options.visits}
    config = config.replace(**{name: n for name, n in sizes.items() if n is not None})
    chosen = [
        setting.replace(seed=seed)
        for seed in range(options.seeds)
        for setting in _chosen(settings, options.simulator, options.setting)
    ]
    if not chosen:
        parser.error("no setting is left; see --simulator, --setting and --seeds")
    folder = options.cells or options.out / "foreign" / "cells"
    summaries = measure(chosen, config, folder, jobs=options.jobs, progress=not options.quiet)
    command = " ".join(["foreign", *given])
    print(write_foreign_report(options.out, summaries, config, command, code_hash()))
    return 0


def _chosen(
    settings: Sequence[Setting], simulators: Sequence[str] | None, numbers: Sequence[int] | None
) -> list[Setting]:
    out = []
    for simulator in dict.fromkeys(setting.simulator for setting in settings):
        own = [setting for setting in settings if setting.simulator == simulator]
        if simulators is None or simulator in simulators:
            out += [s for i, s in enumerate(own) if numbers is None or i in numbers]
    return out
