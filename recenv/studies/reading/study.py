"""Reading study: speed and peak memory of reading a large log.

    python -m recenv.studies.reading --rows 30000000

writes a ``ratings.csv`` and ``movies.csv`` in MovieLens-25M's format (200 000 users, 60 000
films, both skewed) to a temporary folder, reads it in one process with
``read_movielens``, reads it in another with ``pandas.read_csv`` and nothing more, and prints
rows per second and the peak of resident memory of both. ``read_movielens`` does more: it also
codes users and items, sorts by time with random ties, finds visits and checks the log.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from recenv.benchmark.tables import markdown, write_study

USERS, FILMS = 200_000, 60_000
_SLICE = 1_000_000
_FIRST, _LAST = 789_652_009, 1_574_327_703  # seconds; the span of MovieLens-25M


def write_ratings(folder: Path, rows: int, *, seed: int = 0) -> int:
    """Write ``ratings.csv`` and ``movies.csv`` to ``folder``; the bytes of the former.

    Users are sorted as in the original and have lognormally many ratings; films are drawn by a
    power of a uniform number, so that a few have most ratings.
    """
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(sigma=1.2, size=USERS)
    count = rng.multinomial(rows, weight / weight.sum())
    user = np.repeat(np.arange(1, USERS + 1, dtype=np.int32), count)
    films = rng.permutation(np.arange(1, 200_001))[:FILMS]
    with (folder / "ratings.csv").open("wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")  # Arrow would quote the names
        for first in range(0, rows, _SLICE):
            part = user[first : first + _SLICE]
            n = len(part)
            table = pa.table(
                {
                    "userId": part,
                    "movieId": films[(FILMS * rng.random(n) ** 3).astype(np.int64)],
                    "rating": rng.integers(1, 11, n) / 2,
                    "timestamp": rng.integers(_FIRST, _LAST, n),
                }
            )
            options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
            pa_csv.write_csv(table, file, options)
    lines = [f'{film},"Film {film}, The (1999)",Comedy|Drama\n' for film in sorted(films)]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(lines))
    return (folder / "ratings.csv").stat().st_size


def measure(task: str, folder: Path) -> dict[str, Any]:
    """Run one of the tasks in a fresh Python.

    Returns:
        rows, seconds, cpu_seconds (of all threads), rows_per_second, peak_mb (resident memory of
        that process at its highest) and base_mb (the same before it began to read).

    Raises:
        RuntimeError: the process failed.
    """
    script = _TASKS[task] + _MEASURE
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The process that runs {task!r} failed:\n{done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        "rows": told["rows"],
        "seconds": round(told["seconds"], 2),
        "cpu_seconds": round(told["cpu"], 2),
        "rows_per_second": round(told["rows"] / told["seconds"]),
        "peak_mb": round(told["peak"]),
        "base_mb": round(told["base"]),
    }


# each defines read(folder) -> number of rows; the peer imports nothing of recenv
_TASKS = {
    "recenv.load": """
from recenv.data.formats import read_movielens
def read(folder):
    return len(read_movielens(folder, "25m")[0])
""",
    "pandas.read_csv": """
import pandas
def read(folder):
    return len(pandas.read_csv(folder / "ratings.csv"))
""",
}
_MEASURE = """
import json, pathlib, re, resource, sys, time
def peak():
    # Linux hands ru_maxrss down from the parent process; VmHWM is this program's own
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
base, start, used = peak(), time.perf_counter(), time.process_time()
rows = read(pathlib.Path(sys.argv[1]))
seconds, cpu = time.perf_counter() - start, time.process_time() - used
print(json.dumps({"rows": rows, "seconds": seconds, "cpu": cpu, "base": base, "peak": peak()}))
"""


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and return (and with ``--out`` write) the figures."""
    parser = argparse.ArgumentParser(prog="python -m recenv.studies.reading")
    parser.add_argument("--rows", type=int, default=30_000_000, help="ratings to write and read")
    parser.add_argument("--folder", type=Path, help="for the files; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="folder for reading.json and reading.md")
    options = parser.parse_args(argv)
    if options.rows < 1:
        parser.error("--rows must be at least 1")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="recenv-reading-") as name:
        size = write_ratings(Path(name), options.rows)
        measured = {task: measure(task, Path(name)) for task in _TASKS}
    names = ("seconds", "cpu_seconds", "rows_per_second", "peak_mb")
    lines = [[task, *(str(told[k]) for k in names)] for task, told in measured.items()]
    table = markdown(["", "seconds", "CPU seconds", "rows/s", "peak memory, MB"], lines)
    text = f"{options.rows} ratings, {size / 1e6:.0f} MB\n\n{table}"
    print(text)
    result = {
        "rows": options.rows,
        "bytes": size,
        "measured": measured,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {"numpy": np.__version__, "pandas": pd.__version__, "pyarrow": pa.__version__},
    }
    if options.out is not None:
        write_study(options.out, "reading", "Reading a large log", text, result)
    return result
