"""The fidelity report of an environment: its log, the figures, report.md, JSON and plots."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from recenv.artifacts import write_atomically
from recenv.benchmark import tables
from recenv.config import GameConfig, SplitConfig
from recenv.data import Split, dataset_names, load, make_split
from recenv.errors import ConfigError
from recenv.evaluation.fidelity import Check, FidelityReport, Figure, Value
from recenv.plots import Panel, panels_plot
from recenv.schema import InteractionLog
from recenv.synthetic.log import emit_log
from recenv.world import World

_SIDES = ("log", "simulator", "trivial")
_FORMS = {"log": "-", "simulator": "--", "trivial": ":"}
_PLANTED_VISITS, _PLANTED_SEED = 20, 20_000
_WORDS = {
    "pass": "passes",
    "fail": "**fails**",
    "prior": "prior: not judged",
    "unknown": "the log cannot tell",
}


def held_out(world: World, game: GameConfig) -> tuple[InteractionLog, Split]:
    """The whole log that a world was built from, and its split.

    A planted world has no log: it emits a fresh one, half of it held out, so that the report
    shows what a simulator that is the truth looks like.

    Raises:
        ConfigError: the world was built from a table of your own, which it does not hold.
        DataNotFoundError: see ``recenv.load``.
    """
    name = world.train.name
    if world.config is None:
        log = emit_log(world, game, visits_per_user=_PLANTED_VISITS, seed=_PLANTED_SEED)
        return log, make_split(log, SplitConfig(test_fraction=0.5))
    if name not in dataset_names():
        raise ConfigError(
            f"The world {world.name!r} was built from the log {name!r}, which is no public data "
            "set: call recenv.evaluation.fidelity.fidelity(world, log) with the log itself."
        )
    log = load(name)[0]
    return log, make_split(log, world.config.split)


def write_fidelity(folder: str | Path, report: FidelityReport) -> Path:
    """Write ``report.md``, ``fidelity.json`` and figures; returns the path of ``report.md``.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    folder = Path(folder)
    plots = {
        "calibration.png": _calibration(report),
        "visits.png": _visits(report),
        "items.png": _items(report),
    }
    pictures = []
    for name, panels in plots.items():
        if panels:
            panels_plot(panels, folder / name, order=_SIDES)
            pictures.append(f"![{name.removesuffix('.png')}]({name})")
        else:
            (folder / name).unlink(missing_ok=True)
    write_atomically(
        folder / "fidelity.json", json.dumps(report.to_dict(), indent=1, allow_nan=False)
    )
    write_atomically(folder / "report.md", markdown(report, pictures))
    return folder / "report.md"


def markdown(report: FidelityReport, pictures: list[str] | None = None) -> str:
    """The whole report as Markdown."""
    parts = [
        f"# Fidelity of {report.world}",
        f"**{report.verdict}** Compared with the held-out part of the log `{report.log}`.",
    ]
    if report.broken:
        parts += ["What fails:", "\n".join(f"- {line}" for line in report.broken)]
    parts += [
        *(pictures or []),
        "## Checks",
        tables.markdown(["check", "verdict", "finding"], [_check(c) for c in report.checks]),
        "## Figures",
        "Simulator and trivial simulator against the same held-out events, with 95 % intervals "
        "over users. The reference is named in its column. `docs/fidelity.md` says how to read "
        "them.",
    ]
    for topic in dict.fromkeys(f.topic for f in report.figures):
        rows = [_row(f) for f in report.figures if f.topic == topic]
        header = ["figure", "simulator", "trivial", "reference", "perfect", "note"]
        parts += [f"### {topic[0].upper()}{topic[1:]}", tables.markdown(header, rows)]
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
        tables.markdown(["what", "value"], [[k, str(v)] for k, v in made.items()]),
    ]
    return "\n\n".join(parts) + "\n"


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


def _calibration(report: FidelityReport) -> list[Panel]:
    panels = []
    for name, sides in report.series.items():
        if not name.endswith("reliability"):
            continue
        what = name.removesuffix(" reliability")
        lines = [
            (side, [b["predicted"] for b in rows], [b["observed"] for b in rows], form)
            for (side, rows), form in zip(sides.items(), ("o-", "^:"), strict=True)
        ]
        panels.append(Panel(what, "predicted", "held-out rate", lines, reference=True))
    rows = report.series.get("click rate by position")
    if rows:
        slots = [r["slot"] for r in rows]
        lines = [
            (side, slots, [r[side] for r in rows], form)
            for side, form in zip(_SIDES, ("s-", "o-", "^:"), strict=True)
        ]
        panels.append(Panel("click rate by position", "slot", "rate", lines))
    return panels


def _visits(report: FidelityReport) -> list[Panel]:
    """Survival functions: tails show, and no bins are chosen.

    A little beyond the log's longest they are cut: a log sees nothing longer than itself.
    """
    words = {
        "rounds": "rounds of a visit",
        "items": "items of a visit",
        "purchases": "purchases of a visit",
        "days to the next visit": "days to the next visit",
    }
    panels = []
    for name, xlabel in words.items():
        sides = report.series.get(name)
        if sides is None:
            continue
        lines = []
        for side in _SIDES:
            x, count = np.unique(sides[side], return_counts=True)
            at_least = 1 - (np.cumsum(count) - count) / count.sum()
            shown = x <= 1.2 * max(sides["log"])
            lines.append((side, x[shown].tolist(), at_least[shown].tolist(), _FORMS[side]))
        panels.append(Panel(name, xlabel, "share of at least so many", lines))
    return panels


def _items(report: FidelityReport) -> list[Panel]:
    shares = report.series.get("item shares")
    if not shares:
        return []
    floor = min(x for x in (*shares["log"], *shares["simulator"]) if x > 0) / 2
    x = np.maximum(shares["log"], floor).tolist()
    panels = []
    for side, form in (("simulator", "o"), ("trivial", "^")):
        y = np.maximum(shares[side], floor).tolist()
        panels.append(
            Panel(
                f"item shares, {side}",
                "share in the log",
                "share simulated",
                [(side, x, y, form)],
                reference=True,
                log=True,
            )
        )
    return panels
