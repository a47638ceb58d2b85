"""Pictures of a fidelity report: calibration, visits and items, on all sides."""

from __future__ import annotations

import numpy as np

from recenv.evaluation.fidelity.results import FidelityReport
from recenv.plots import Panel

SIDES = ("log", "simulator", "trivial")
_FORMS = {"log": "-", "simulator": "--", "trivial": ":"}
_FEW = 12  # points that are marked, and not only joined


def pictures(report: FidelityReport) -> dict[str, list[Panel]]:
    """The panels of each picture by file name, with or without data."""
    return {
        "calibration.png": calibration(report),
        "visits.png": visits(report),
        "items.png": items(report),
    }


def calibration(report: FidelityReport) -> list[Panel]:
    """Held-out rates by what was predicted, and click rates by position."""
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
            (side, slots, [np.nan if r[side] is None else r[side] for r in rows], form)
            for side, form in zip(SIDES, ("s-", "o-", "^:"), strict=True)
        ]
        panels.append(Panel("click rate by position", "slot", "rate", lines))
    return panels


def visits(report: FidelityReport) -> list[Panel]:
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
        for side in SIDES:
            x, count = np.unique(sides[side], return_counts=True)
            at_least = 1 - (np.cumsum(count) - count) / count.sum()
            shown = x <= 1.2 * max(sides["log"])
            marked = "o" if shown.sum() <= _FEW else ""
            lines.append((side, x[shown].tolist(), at_least[shown].tolist(), marked + _FORMS[side]))
        panels.append(Panel(name, xlabel, "share of at least so many", lines))
    return panels


def items(report: FidelityReport) -> list[Panel]:
    """Shares of the items, simulated against logged; what was never consumed lies at the edge."""
    shares = report.series.get("item shares")
    positive = [x for side in ("log", "simulator") for x in (shares or {}).get(side, ()) if x > 0]
    if not shares or not positive:
        return []
    floor = min(positive) / 2
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
