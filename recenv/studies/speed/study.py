"""Speed study: step rates beside other simulators and the machine's bounds."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from recenv.artifacts import home
from recenv.benchmark.tables import write_study
from recenv.studies.speed.cuda import measure_cuda
from recenv.studies.speed.measurements import measure
from recenv.studies.speed.rates import Clock
from recenv.studies.speed.report import cuda_text, text, write_figures


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the tables, and return (and with ``--out`` write) the figures."""
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.speed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="leave the other simulators out")
    parser.add_argument("--folder", type=Path, default=None, help="of the peers' environments")
    parser.add_argument("--out", type=Path, help="folder for speed.json, speed.md and pictures")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(argv)
    if options.seconds <= 0 or options.repeats < 1:
        parser.error("--seconds must be positive and --repeats at least 1")
    clock = Clock(options.seconds, options.repeats)
    machine = {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
    }
    if options.device == "cuda":
        result = {**machine, **measure_cuda(clock, progress=not options.quiet)}
        page = cuda_text(result)
        print(page)
        if options.out is not None:
            write_study(
                options.out, "speed-cuda", "Speed on a GPU", page, result, "speed --device cuda"
            )
        return result
    folder = options.folder or home() / "peers"
    study = measure(
        clock, with_peers=not options.no_peers, folder=folder, progress=not options.quiet
    )
    page = text(study)
    print(page)
    result = {**machine, **json.loads(json.dumps(dataclasses.asdict(study)))}
    if options.out is not None:
        write_figures(study, options.out)
        write_study(options.out, "speed", "Speed", page, result)
    return result
