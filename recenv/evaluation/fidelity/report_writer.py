"""Writer of a fidelity report: report.md, fidelity.json and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recenv.artifacts import write_atomically
from recenv.evaluation.fidelity.pictures import SIDES, pictures
from recenv.evaluation.fidelity.results import Check, FidelityReport, Figure, Value
from recenv.evaluation.markdown import table
from recenv.evaluation.report_folder import ReportFolder
from recenv.plots import Panel, has_data, panels_plot

FOLDER = ReportFolder(
    "fidelity.json",
    "world_hash",
    ("fidelity.json", "report.md", "calibration.png", "visits.png", "items.png"),
)
"""What a report's folder holds; ``FOLDER.check(path)`` says whether it can be written."""

_WORDS = {
    "pass": "passes",
    "fail": "**fails**",
    "prior": "prior: not judged",
    "unknown": "the log cannot tell",
}


def write_fidelity(folder: str | Path, report: FidelityReport) -> Path:
    """Write ``report.md``, ``fidelity.json`` and pictures; returns the path of ``report.md``.

    Panels without data are left out and named in the report.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        ConfigError: see ``ReportFolder.check``.
    """
    folder = FOLDER.check(folder)
    record = json.dumps(report.to_dict(), indent=1, allow_nan=False)
    write_atomically(folder / FOLDER.record, record)
    plots = pictures(report)
    drawn = {name: [p for p in panels if has_data(p)] for name, panels in plots.items()}
    names = [name for name, panels in drawn.items() if panels]
    for name in names:
        panels_plot(drawn[name], folder / name, order=SIDES)
    FOLDER.drop(folder, [FOLDER.record, "report.md", *names])
    empty = [p for panels in plots.values() for p in panels if not has_data(p)]
    lines = [f"![{name.removesuffix('.png')}]({name})" for name in names] + _not_drawn(empty)
    write_atomically(folder / "report.md", markdown(report, lines))
    return folder / "report.md"


def markdown(report: FidelityReport, pictures: Sequence[str] = ()) -> str:
    """The whole report as Markdown; ``pictures`` are lines of it."""
    parts = [
        f"# Fidelity of {report.world}",
        f"**{report.verdict}** Compared with the held-out part of the log `{report.log}`.",
    ]
    if report.broken:
        parts += ["What fails:", "\n".join(f"- {line}" for line in report.broken)]
    parts += [
        *pictures,
        "## Checks",
        table(["check", "verdict", "finding"], [_check(c) for c in report.checks]),
        "## Figures",
        "Simulator and trivial simulator against the same held-out events, with 95 % intervals "
        "over users. The reference is named in its column. `docs/fidelity.md` says how to read "
        "them.",
    ]
    for topic in dict.fromkeys(f.topic for f in report.figures):
        rows = [_row(f) for f in report.figures if f.topic == topic]
        header = ["figure", "simulator", "trivial", "reference", "perfect", "note"]
        parts += [f"### {topic[0].upper()}{topic[1:]}", table(header, rows)]
    made: dict[str, Any] = {
        "command": report.command or "not recorded",
        "world hash": report.world_hash,
        "log": f"{report.log} ({report.log_hash})",
        **report.counts,
        **report.settings,
    }
    parts += [
        "## What to know",
        "\n".join(f"- {note}" for note in report.notes) or "Nothing further.",
        "## How it was made",
        table(["what", "value"], [[k, str(v)] for k, v in made.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _not_drawn(panels: Sequence[Panel]) -> list[str]:
    if not panels:
        return []
    return [f"Not drawn, as there is no data: {'; '.join(panel.title for panel in panels)}."]


def _check(check: Check) -> list[str]:
    return [check.name, _WORDS[check.status], check.words]


def _row(figure: Figure) -> list[str]:
    reference = _value(figure.reference)
    if reference and figure.reference_is:
        reference = f"{reference} ({figure.reference_is})"
    sides = [_value(figure.simulator), _value(figure.trivial)]
    return [figure.name, *sides, reference, figure.best, figure.note]


def _value(value: Value) -> str:
    if not math.isfinite(value.value):
        return ""
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"
