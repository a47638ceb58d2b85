"""Cells of a study: independent measurements, kept as JSON so that a run can be resumed."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from recenv.artifacts import write_atomically
from recenv.progress import Progress

_PACKAGE = Path(__file__).parents[1]


class Cell(NamedTuple):
    """One measurement.

    Attributes:
        name: of its file, without the ending; it holds a hash of all that the result depends on.
        measure: a function of a module, so that another process finds it.
        arguments: of the function.
    """

    name: str
    measure: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]


@functools.cache
def sources_hash(*paths: str) -> str:
    """16 hexadecimal digits of the code that a result depends on, as it was at the first call.

    Args:
        paths: files and folders, relative to the package.
    """
    digest = hashlib.sha256()
    for name in paths:
        path = _PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def run_cells(
    cells: Sequence[Cell], folder: Path, *, bar: Progress | None = None, jobs: int = 1
) -> list[dict[str, Any]]:
    """The results of all cells, in order; those that ``folder`` holds already are read.

    Args:
        cells: what to measure.
        folder: of the results; made if needed.
        bar: counts the cells.
        jobs: processes.
    """
    write_atomically(folder / ".gitignore", "*\n")  # a cache, not a result
    todo = [(cell, folder) for cell in cells]
    if jobs == 1:
        return _collect(map(_run, todo), bar)
    context = multiprocessing.get_context("spawn")  # numba's and torch's threads do not fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        return _collect(pool.map(_run, todo), bar)


def _run(job: tuple[Cell, Path]) -> dict[str, Any]:
    cell, folder = job
    path = folder / f"{cell.name}.json"
    if path.is_file():
        return json.loads(path.read_text())
    result = cell.measure(*cell.arguments)
    write_atomically(path, json.dumps(result, indent=1))
    return result


def _collect(results: Any, bar: Progress | None) -> list[dict[str, Any]]:
    collected = []
    for result in results:
        collected.append(result)
        if bar is not None:
            bar.update()
    return collected
