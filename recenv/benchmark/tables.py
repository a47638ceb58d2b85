"""Results as tables: Markdown for reports, aligned text for terminals; and the pages of studies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recenv.evaluation import Estimate, Row
from recenv.evaluation.markdown import table as markdown

WIDTH = 100
"""Columns of a terminal table, at most."""

_COLUMNS = {  # heading in a terminal -> metric
    "rec. reward": "recommender reward",
    "user reward": "user reward",
    "clicks": "clicks",
    "purchases": "purchases",
    "rounds": "rounds",
}

_MARKS = {"trained": "trained", "untrained": "untrained, seeded", "privileged": "privileged"}
_SIGNS = {"trained": "*", "untrained": "+", "privileged": "!"}


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """``1.23 [1.10, 1.36]``, with plus signs if asked for."""
    mean, low, high = (_number(v, signed=signed) for v in estimate[:3])
    return f"{mean} [{low}, {high}]"


def results(rows: Sequence[Row], metrics: Sequence[str], *, exposure: bool = True) -> str:
    """A Markdown table of rows: mean and interval of each metric, and how items were shown."""
    header = ["policy", *metrics, *(["coverage", "Gini"] if exposure else [])]
    lines = []
    for row in rows:
        shown = [f"{row.coverage:.0%}", _number(row.gini)] if exposure else []
        lines.append([_marked(row), *(interval(row.metrics[m]) for m in metrics), *shown])
    return markdown(header, lines)


def text_table(rows: Sequence[Row]) -> str:
    """Aligned plain text of at most ``WIDTH`` columns: mean and half of the 95 % interval."""
    header = ["policy", *_COLUMNS, "coverage"]
    lines = [
        [
            f"{_SIGNS.get(row.kind, ' ')} {row.name}",
            *(_half(row.metrics[m]) for m in _COLUMNS.values()),
            f"{row.coverage:.0%}",
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    widths[0] = max(min(widths[0], WIDTH - sum(w + 2 for w in widths[1:])), 8)
    out = []
    for line in [header, *lines]:
        name = line[0] if len(line[0]) <= widths[0] else line[0][: widths[0] - 1] + "…"
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        out.append("  ".join([name.ljust(widths[0]), *cells]))
    out.insert(1, "-" * len(out[0]))
    out.append("Per visit: mean over users ± half of its 95% interval. Rounds: length of a visit.")
    kinds = [kind for kind in _SIGNS if any(row.kind == kind for row in rows)]
    if kinds:
        out.append(", ".join(f"{_SIGNS[kind]} {_MARKS[kind]}" for kind in kinds) + ".")
    return "\n".join(out)


def _marked(row: Row) -> str:
    return f"{row.name} ({_MARKS[row.kind]})" if row.kind in _MARKS else row.name


def _half(estimate: Estimate) -> str:
    return f"{_number(estimate.mean)} ± {_number((estimate.high - estimate.low) / 2)}"


def _number(value: float, *, signed: bool = False) -> str:
    if math.isnan(value):
        return "unknown"
    digits = 2 if abs(value) < 100 else 1
    value = round(value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{value:{'+' if signed else ''}.{digits}f}"


def write_study(
    folder: Path,
    name: str,
    title: str,
    text: str,
    figures: Mapping[str, Any],
    command: str | None = None,
) -> None:
    """Write ``<name>.json`` and ``<name>.md``; the folder is made.

    Args:
        folder: of both files.
        name: with hyphens.
        title: of the page.
        text: the page, Markdown.
        figures: JSON-able.
        command: after ``python -m recenv.studies.``, what makes them; by default the name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    called = command or name.replace("-", "_")
    page = f"# {title}\n\n`python -m recenv.studies.{called}`\n\n{text}\n"
    (folder / f"{name}.md").write_text(page)
