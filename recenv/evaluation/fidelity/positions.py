"""Position bias: the click rate of each slot, of simulated draws beside the log."""

from __future__ import annotations

from typing import Any

import numpy as np

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.distances import Sides, distance
from recenv.evaluation.fidelity.events import joined
from recenv.evaluation.fidelity.findings import Findings, Judge
from recenv.evaluation.fidelity.resample import Compared
from recenv.evaluation.fidelity.results import Check, Figure, Value


def positions(judge: Judge, sides: Sides, least: int) -> Findings:
    """Click rate of each slot, a z score for each, and chi-square per slot."""
    found = []
    for simulator in (sides.simulated, sides.trivial):
        events, side = joined(sides.log, simulator)
        measure = m.chi_square(events.slot, events.response >= least)
        found.append(judge.resampler.compare(measure, events.user, side))
    figures = [distance(("position", "chi-square per position"), found, best="about 1")]
    rows = []
    for slot in np.unique(sides.log.slot):
        figure, row = _slot(judge, sides, least, int(slot))
        figures.append(figure)
        rows.append(row)
    return Findings(
        tuple(figures),
        (_check(judge, found[0], rows),),
        {"click rate by position": rows},
    )


def _slot(judge: Judge, sides: Sides, least: int, slot: int) -> tuple[Figure, dict[str, Any]]:
    events, simulated = joined(sides.log, sides.simulated)
    hit, at = events.response >= least, events.slot == slot
    gap = judge.resampler.compare(m.mean_difference(hit[at]), events.user[at], simulated[at])
    rates = [
        float((e.response[e.slot == slot] >= least).mean()) if (e.slot == slot).any() else np.nan
        for e in sides.all
    ]
    score = gap.value / gap.error if gap.error > 0 else 0.0
    spread = np.sqrt(rates[0] * (1 - rates[0]) / max(int((sides.log.slot == slot).sum()), 1))
    figure = Figure(
        "position",
        f"click rate in slot {slot + 1}",
        Value(rates[1], rates[1] - 1.96 * gap.error, rates[1] + 1.96 * gap.error),
        Value(rates[2]),
        Value(rates[0]),
        "the log",
        "the log's",
        f"z = {score:+.1f}",
    )
    row = {
        "slot": slot + 1,
        "log": rates[0],
        "log error": float(spread),
        "simulator": rates[1],
        "trivial": rates[2],
        "z": score,
    }
    return figure, row


def _check(judge: Judge, found: Compared, rows: list[dict[str, Any]]) -> Check:
    log, simulator = (np.array([r[k] for r in rows]) for k in ("log", "simulator"))
    worst = max(rows, key=lambda r: abs(r["z"]))
    level = simulator.sum() / log.sum()
    return judge.check(
        "position",
        found.value - found.noise,
        judge.config.position,
        found.error,
        ["examination", "click level"],
        f"click rates by slot differ most in slot {worst['slot']} (z = {worst['z']:+.1f}); "
        f"over all slots they are {level:.2f} times the log's",
        two_sided=False,
    )
