"""Policy-ranking study: rankings in a simulator fitted to a log beside those in the true world.

A planted world is the truth. Its users leave a log under a known logging policy; a user model is
fitted to that log as to any other; and a fixed set of policies plays in both worlds, which differ
in the user model alone. The study measures how well the two rankings agree over the size of the
log, over the narrowness of the logging policy, and with parts of the log or of the model taken
away.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recenv.config import WorldConfig
from recenv.progress import Progress
from recenv.studies.cells import Cell, run_cells
from recenv.studies.policy_ranking.cells import (
    LOG_CHANGES,
    RankingConfig,
    code_hash,
    measure_cell,
    measure_truth,
)
from recenv.studies.policy_ranking.report import write_ranking_report

SIZES = (1_000, 10_000, 100_000, 1_000_000)
NARROW: tuple[dict[str, Any], ...] = (
    {"log": "uniform"},
    {"log": "popularity", "mix": 0.3, "temperature": 0.5},
    {"log": "popularity", "mix": 0.1, "temperature": 0.2},
    {"log": "popularity", "mix": 0.0, "temperature": 0.05},
    {"log": "personal", "mix": 0.3, "temperature": 0.5},
    {"log": "personal", "mix": 0.1, "temperature": 0.2},
    {"log": "personal", "mix": 0.0, "temperature": 0.05},
)
QUICK_BUILD = WorldConfig().replace(
    interest={"min_updates": 50}, user_model={"min_updates": 50, "l2_ladder": (1.0,)}
)
_FEW_SEEDS = 100_000  # logs above this many events have one seed


def plan(
    base: RankingConfig, sizes: Sequence[int], seeds: int, *, quick: bool = False
) -> dict[str, list[RankingConfig]]:
    """The cells of the three parts of the study."""
    few = range(min(seeds, 2))
    narrow, changes = NARROW, tuple(LOG_CHANGES)
    if quick:
        narrow, changes = NARROW[1:2], ("the planted model itself",)
    return {
        "size": [
            base.replace(events=n, seed=s)
            for n in sizes
            for s in range(1 if n > _FEW_SEEDS else seeds)
        ],
        "narrowness": [base.replace(seed=s, **how) for how in narrow for s in few],
        "change": [base.replace(seed=s, change=how) for how in changes for s in few],
    }


def measure(
    configs: Sequence[RankingConfig], folder: Path, *, jobs: int = 1, progress: bool | None = None
) -> list[dict[str, Any]]:
    """The results of all cells, in order; true rankings, which cells share, are measured first."""
    keys = {config.truth_key: config for config in configs}
    first = [Cell(f"truth-{key}", measure_truth, (config,)) for key, config in keys.items()]
    total = len(first) + len(configs)
    with Progress("ranking", total, unit="cells", shown=progress) as bar:
        truths = dict(zip(keys, run_cells(first, folder, bar=bar, jobs=jobs), strict=True))
        cells = [
            Cell(f"cell-{config.key}", measure_cell, (config, truths[config.truth_key]))
            for config in configs
        ]
        return run_cells(cells, folder, bar=bar, jobs=jobs)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m recenv.studies.policy_ranking``: run the study and write its report."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m recenv.studies.policy_ranking", description=__doc__
    )
    parser.add_argument("--events", type=int, nargs="+", default=list(SIZES), help="log sizes")
    parser.add_argument("--seeds", type=int, default=3, help="worlds per cell (at most 2 for logs "
                        "that are narrow or changed, 1 above 100 000 events)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("docs/reports"), help="its folder")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--quick", action="store_true", help="tiny, for tests: says nothing")
    options = parser.parse_args(given)
    base, sizes, seeds = RankingConfig(), options.events, options.seeds
    if options.quick:
        base = RankingConfig(
            events=2_000, num_users=20, num_items=40, visits=4, true_visits=8, build=QUICK_BUILD
        )
        sizes, seeds = [500, 2_000], 1
    parts = plan(base, sizes, seeds, quick=options.quick)
    cells = [cell for part in parts.values() for cell in part]
    found = iter(measure(cells, options.out / "policy-ranking" / "cells", jobs=options.jobs))
    results = {name: [next(found) for _ in part] for name, part in parts.items()}
    command = " ".join(["python -m recenv.studies.policy_ranking", *given])
    report = write_ranking_report(options.out, results, base, command, code_hash())
    print(report.read_text())
    return 0
