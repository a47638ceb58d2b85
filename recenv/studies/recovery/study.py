"""Recovery study: errors of the estimators on planted parameters, and their rate in n.

``python -m recenv.studies.recovery`` plants parameters, draws logs of three sizes from them,
fits each log as any other, and measures how far off the estimates are (``laws`` has them). The
slope of log error on log events is -1/2 for an estimator that is consistent and as fast as
parametric ones can be; a bias that stays makes it flatter.

A cell (one law, one log) is kept as JSON, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recenv.artifacts import write_atomically
from recenv.benchmark.tables import markdown
from recenv.config import Config, content_hash
from recenv.errors import UnknownNameError
from recenv.plots import Shrinkage, shrinkage_plot
from recenv.progress import Progress
from recenv.studies.cells import Cell, run_cells, sources_hash
from recenv.studies.recovery.laws import LAWS

SIZES = (1, 4, 16)
"""Multiples of each law's smallest log."""

SEEDS = {"visit length": 16, "return time": 16, "within visits": 12, "window": 8}
"""Cheap laws get more worlds; the others, which need whole fits, ``WHOLE_FIT_SEEDS``."""
WHOLE_FIT_SEEDS = 4

_SOURCES = (
    "users",
    "sim",
    "synthetic",
    "jit",
    "studies/recovery/laws.py",
    "config.py",
    "rng.py",
)
_RESAMPLES = 2000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RecoveryConfig(Config):
    """One cell: one law, one log.

    Attributes:
        law: whose parameters are planted, a key of ``LAWS``.
        size: of the log, as a multiple of the law's smallest, 1 or more.
        seed: of the parameters and the log.
    """

    law: str = "tenure"
    size: int = 1
    seed: int = 0

    def check(self) -> None:
        """Raise UnknownNameError or ConfigError where a value is none."""
        if self.law not in LAWS:
            raise UnknownNameError("law", self.law, LAWS)
        self.require(self.size >= 1, "size", "at least 1")

    @property
    def cell(self) -> Cell:
        """The measurement; another code of laws or fits is another one."""
        law = self.law.replace(",", "").replace(" ", "-")
        return Cell(f"{law}-{content_hash(sources_hash(*_SOURCES), self.hash)}", measure, (self,))


class Recovery(NamedTuple):
    """Recovery of one quantity over the S sizes.

    Attributes:
        name: of the quantity.
        events: (S,) mean number of events.
        error: (S,) root mean square error over worlds.
        slope: of log error on log events; None with a single size.
        spread: standard deviation of the slope over resampled worlds; None with one world.
        bias: mean signed error in the largest logs, and its standard error; None of an array.
        calibration: root mean square of error over reported standard error in the largest logs;
            about 1 if the standard errors are right; None where none is reported.
    """

    name: str
    events: Floats
    error: Floats
    slope: float | None
    spread: float | None
    bias: tuple[float, float] | None
    calibration: float | None


def measure(config: RecoveryConfig) -> dict[str, Any]:
    """One cell: plant, emit, fit, compare."""
    # logs of different sizes share no draw, so that their errors are independent
    measured = LAWS[config.law](config.size, 1000 * config.seed + config.size)
    return {
        "cell": config.to_dict(),
        "events": measured.events,
        "found": {name: found._asdict() for name, found in measured.found.items()},
    }


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, list[Recovery]]:
    """Quantities by law, in the order of ``LAWS``."""
    out: dict[str, list[Recovery]] = {}
    for law in LAWS:
        mine = [r for r in results if r["cell"]["law"] == law]
        names = dict.fromkeys(name for r in mine for name in r["found"])
        if mine:
            out[law] = [_recovery(name, mine) for name in names]
    return out


def _recovery(name: str, results: Sequence[dict[str, Any]]) -> Recovery:
    sizes = sorted({r["cell"]["size"] for r in results})
    by_size = [
        [r for r in results if r["cell"]["size"] == size and name in r["found"]] for size in sizes
    ]
    by_size = [part for part in by_size if part]
    errors = [np.array([r["found"][name]["error"] for r in part]) for part in by_size]
    events = np.array([np.mean([r["events"] for r in part]) for part in by_size], np.float64)
    rmse = np.array([_rms(e) for e in errors])
    last, scalar = by_size[-1], by_size[-1][0]["found"][name]["scalar"]
    reported = [r["found"][name]["reported"] for r in last]
    several = len(errors[-1]) > 1
    bias = None
    if scalar and several:
        bias = float(errors[-1].mean()), float(errors[-1].std(ddof=1) / np.sqrt(len(errors[-1])))
    calibration = None
    if all(v is not None and np.isfinite(v) and v > 0 for v in reported):
        calibration = _rms(errors[-1] / np.array(reported))
    slope = spread = None
    if len(events) > 1 and (rmse > 0).all():
        slope = _slope(events, rmse)
        rng = np.random.default_rng(0)
        if several:
            drawn = [
                _slope(events, np.array([_rms(rng.choice(e, len(e))) for e in errors]))
                for _ in range(_RESAMPLES)
            ]
            spread = float(np.std(drawn))
    return Recovery(name, events, rmse, slope, spread, bias, calibration)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _slope(events: Floats, error: Floats) -> float:
    return float(np.polyfit(np.log(events), np.log(np.maximum(error, 1e-12)), 1)[0])


_INTRODUCTION = """\
# Are planted parameters recovered?

Each row plants parameters, draws logs of three sizes from them, fits each log and compares. The
error is the root mean square over worlds (and, for arrays such as probabilities, over their
entries). *Slope* is that of log error on log events, with its standard deviation over resampled
worlds: **-0.5** is what an estimator without lasting bias has. *Bias* is the mean signed error in
the largest logs with its standard error. *Error / reported* compares the errors in the largest
logs with the standard errors that the fit states (root mean square of the ratio): about 1 if they
are right.
"""

_NOTES = {
    "shown, uniform": "Slates drawn uniformly; price is planted in the purchase law, with no other "
    "differences between items there. Penalties are weak, as what is measured is the likelihood; "
    "they pull the smallest logs towards their prior. The log tells the sum of an item's own bias "
    "and of what its price adds; how the sum is divided is left to the penalties, and the "
    "coefficient is right only as far as the optimiser follows them.",
    "shown, popularity": "The same from slates that prefer popular items (`PopularityLogging`, "
    "mix 0.3, temperature 0.5), impressions weighted by inverse propensity.",
    "tenure": "The rate of purchases falls by 0.4 log-odds per unit of log(1 + items consumed).",
    "within visits": "Vectors and biases are the planted ones, so that these rows judge the "
    "estimators of leaving, boredom and drift alone. Visits end after 8 rounds at the latest; "
    "*censoring ignored* counts the visits that the limit cut as left: its error stays.",
    "visit length": "60 users with lasting effects; a third of the visits are censored at one "
    "length, at which the hazard is not judged.",
    "return time": "Likewise, from 0 days on, with twice as many steps.",
    "window": "60 users and more, no effects, gaps as `return_times` reads them from a log of 40 "
    "days: each user's last is censored by the end of the log.",
    "baskets": "Purchases alone, each visit open to the whole catalogue of 300 items "
    "(`recenv.synthetic.baskets`); weights of 0.3 at a half-life of 5 visits and 0.6 at 80 are "
    "planted. Taste that a small log does not tell looks like a past and the reverse; the "
    "stated errors of the weights hold all else fixed.",
    "whole fit": "The same laws as *within visits*, but with vectors and biases fitted to the "
    "same log and the drift chosen on its last fifth. The stated errors hold the vectors fixed, "
    "and the scale of drift depends on that of the fitted vectors, which the log does not tell.",
}


def write_report(out: Path, results: Sequence[dict[str, Any]], command: str) -> Path:
    """Write ``recovery.md`` and ``recovery.png`` into ``out``; returns the former."""
    found = summarise(results)
    shrinkage_plot(
        {
            law: [Shrinkage(r.name, r.events, r.error) for r in rows if (r.error > 0).all()]
            for law, rows in found.items()
        },
        out / "recovery.png",
    )
    parts = [_INTRODUCTION, "![Error against events, by law](recovery.png)\n"]
    for law, rows in found.items():
        worlds = len({r["cell"]["seed"] for r in results if r["cell"]["law"] == law})
        parts += [
            f"## {law[0].upper()}{law[1:]}\n",
            f"{_NOTES[law]} {worlds} worlds per size.\n",
            _table(rows) + "\n",
        ]
    parts.append(f"Command: `{command}`. Code hash {sources_hash(*_SOURCES)}.\n")
    path = out / "recovery.md"
    write_atomically(path, "\n".join(parts))
    return path


def _table(rows: Sequence[Recovery]) -> str:
    events = rows[0].events
    header = [
        "quantity",
        *(f"error, {round(n):,} events".replace(",", " ", 2).replace("error ", "error,", 1)
          for n in events),
        "slope",
        "bias",
        "error / reported",
    ]  # fmt: skip
    lines = []
    for row in rows:
        errors = [f"{e:.4f}" for e in row.error]
        errors += ["" for _ in range(len(events) - len(errors))]
        slope = "" if row.slope is None else f"{row.slope:+.2f}"
        if row.spread is not None:
            slope += f" ± {row.spread:.2f}"
        bias = "" if row.bias is None else f"{row.bias[0]:+.4f} ± {row.bias[1]:.4f}"
        ratio = "" if row.calibration is None else f"{row.calibration:.2f}"
        lines.append([row.name, *errors, slope, bias, ratio])
    return markdown(header, lines)


def plan(
    seeds: int, laws: Sequence[str], *, sizes: Sequence[int] = SIZES, few: bool = False
) -> list[RecoveryConfig]:
    """All cells, the largest logs last; ``seeds`` worlds for what needs a whole fit."""
    return [
        RecoveryConfig(law=law, size=size, seed=seed)
        for size in sizes
        for law in laws
        for seed in range(seeds if few else SEEDS.get(law, seeds))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m recenv.studies.recovery``: run all cells and write the report."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.recovery", description=__doc__)
    parser.add_argument("--laws", nargs="+", choices=list(LAWS), default=list(LAWS))
    parser.add_argument("--seeds", type=int, default=WHOLE_FIT_SEEDS, help="worlds per whole fit")
    parser.add_argument("--out", type=Path, default=Path("docs/reports"), help="its folder")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--quick", action="store_true", help="two small sizes, two worlds")
    options = parser.parse_args(given)
    sizes = SIZES[:2] if options.quick else SIZES
    seeds = 2 if options.quick else options.seeds
    cells = plan(seeds, options.laws, sizes=sizes, few=options.quick)
    with Progress("recovery", len(cells), unit="logs") as bar:
        folder = options.out / "recovery-cells"
        results = run_cells([c.cell for c in cells], folder, bar=bar, jobs=options.jobs)
    command = " ".join(["python -m recenv.studies.recovery", *given])
    print(write_report(options.out, results, command).read_text())
    return 0
