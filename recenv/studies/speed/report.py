"""Report of the speed study: a page and figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recenv.benchmark.tables import markdown
from recenv.plots import Panel, panels_plot, scale_plot
from recenv.studies.speed import peers
from recenv.studies.speed.measurements import Study
from recenv.studies.speed.rates import short

_COLUMNS = 3


def text(study: Study) -> str:
    """All tables, Markdown."""
    parts = [
        "User-steps per second: medians over repeats (least - most). K = 10 slots, C = 50 "
        "candidates, 20 categories, a history of 20. Figures of one run, on whatever else the "
        "machine was doing: compare them with each other.",
        "## The step",
        "Slates in, the fitted users' answers, all laws, next visits begun; both agents' "
        "observations are the state and need no step of their own. Items are observed by code; "
        "`vectors observed` also writes the vectors of all candidates and of the slate.",
        _grid(study),
        _targets(study),
        "## Against the machine",
        "Two bounds at the largest B, each a sum of what a step cannot do without, at the rates of "
        "plain loops. Of memory: gathering the slate's item vectors, looking up two numbers of "
        "every candidate and copying what a step touches of the state (not what is on screen "
        "meanwhile; the mean of the items clicked only where a step brings a click), over arrays "
        "of the same sizes. With arithmetic: besides, the draws of C candidates, K answers and two "
        "more numbers, 2K + 1 logistic functions and two weighted inner products a slot, over "
        "arrays that a core's caches hold, with additions in any order (the step keeps their "
        "order). Above 100 %, the step takes its inner products faster than the plain loop.",
        _bounds(study.bounds),
        "## Environments",
        "Actions were sampled before. The first catalogue and the game above; `toy` is "
        "`recenv/Toy-v0` as it is (K = 5, C = 20, with vectors). A round of the parallel "
        "environment is two calls of `step`.",
        _environments(study),
        "## Start and memory",
        _start(study),
        "## Items in fewer bits",
        "100 000 items of 384 dimensions, B = 16384; errors are of P(click), over 40 960 shown "
        "items.",
        _tables(study.tables),
        "## As the work grows",
        "Nanoseconds per user-step on one thread, one size at a time (the others: B = 4096, "
        "N = 10 000, K = 10, C = 50, D = 64, H = 20). The last column is the exponent between "
        "the two largest sizes: 1 is proportional to the size, 0 does not depend on it.",
        _growth(study.growth),
        "![time per user-step](speed/growth.png)",
    ]
    if study.peers:
        ours = study.median("kernel", 1024, **_first(study), threads=1)
        parts += [
            "## Peers",
            "Each in a process and an environment of its own, in the same run.",
            peers.table(study.peers),
            _ratios(study, ours),
            "![user-steps per second](speed/peers.png)",
        ]
    return "\n\n".join(parts)


def cuda_text(told: dict[str, Any]) -> str:
    """The tables of a GPU, Markdown."""
    lines = []
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in told["rates"]:
        key = (row["items"], row["dim"], row["vectors"], row["rows"])
        middle = statistics.median(row["values"])
        low, high = min(row["values"]), max(row["values"])
        cells.setdefault(key, {})[row["way"]] = f"{short(middle)} ({short(low)} - {short(high)})"
    for (items, dim, vectors, rows), ways in cells.items():
        seen = "yes" if vectors else "no"
        lines.append([f"{items}", f"{dim}", seen, f"{rows}", ways["launched"], ways["captured"]])
    header = ["N", "D", "vectors", "B", "launched one by one", "captured in a graph"]
    best = max(
        statistics.median(r["values"]) for r in told["rates"] if not r["vectors"] and r["dim"] == 64
    )
    return "\n\n".join(
        [
            f"{told['device']}, torch {told['torch']}. User-steps per second: medians over repeats "
            "(least - most); K = 10, C = 50.",
            markdown(header, lines),
            f"A plain copy moves {told['copy_gb_s']:.0f} GB/s (a byte read and written counts "
            f"once): if a step did nothing but copy its state, {short(told['bound'])} user-steps "
            f"per second. The best figure with item codes is {best / told['bound']:.0%} of that.",
        ]
    )


def write_figures(study: Study, folder: Path) -> None:
    """``speed/growth.png`` and, with peers, ``speed/peers.png`` in the folder."""
    names = {"batch": "B", "items": "N", "slots": "K", "candidates": "C", "dimensions": "D"}
    names["history"] = "H"
    panels = [
        Panel(
            title=name,
            xlabel=names[name],
            ylabel="ns per user-step" if i % _COLUMNS == 0 else "",
            lines=[
                ("measured", [p[0] for p in points], [p[1] for p in points], "o-"),
                _proportional(points),
            ],
            log=True,
        )
        for i, (name, points) in enumerate(study.growth.items())
    ]
    if panels:
        panels_plot(panels, folder / "speed" / "growth.png", columns=_COLUMNS)
    if study.peers:
        _peers_plot(study, folder / "speed" / "peers.png")


def _proportional(points: Sequence[Sequence[float]]) -> tuple[str, list[float], list[float], str]:
    """Proportional growth with the size, back from the largest one to half of the least time."""
    size, most = points[-1]
    least = min(y for _, y in points) / 2
    x = [max(size * least / most, points[0][0]), size]
    return "proportional to the size", x, [most * v / size for v in x], ":"


def _peers_plot(study: Study, path: Path) -> None:
    about = {**_first(study), "threads": 1}
    toy: dict[str, Any] = {"observation": "dict"}
    ours = [
        ("recenv step, B = 1024", study.median("kernel", 1024, **about)),
        ("recenv make_vec, B = 1024", study.median("vector environment", 1024, **about)),
        ("recenv Gymnasium, one user", study.median("Gymnasium environment", 1, **toy)),
        ("recenv parallel, one user", study.median("parallel environment", 1, **toy)),
    ]
    theirs = [(p.name, p.median) for p in study.peers if p.error is None]
    label = "user-steps per second, one core"
    scale_plot([*ours, *theirs], path, xlabel=label, marked=len(ours))


def _grid(study: Study) -> str:
    rows: dict[tuple[int, int, str], dict[int, str]] = {}
    batches: list[int] = []
    for told in study.rates:
        if not told["what"].startswith("kernel"):
            continue
        what = told["what"].removeprefix("kernel").lstrip(", ") or "codes"
        if told["threads"] > 1:
            what += f", {told['threads']} threads"
        key = (told["items"], told["dim"], what)
        values = told["values"]
        rows.setdefault(key, {})[told["rows"]] = (
            f"{short(statistics.median(values))} ({short(min(values))} - {short(max(values))})"
        )
        if told["rows"] not in batches:
            batches.append(told["rows"])
    header = ["N, D", "", *(f"B = {b}" for b in batches)]
    lines = [
        [f"{n}, {d}", w, *(cells.get(b, "") for b in batches)] for (n, d, w), cells in rows.items()
    ]
    return markdown(header, lines)


def _targets(study: Study) -> str:
    lines = []
    for batch in (1024, 16384, 65536):
        one = study.median("kernel", batch, **_first(study), threads=1)
        two = study.median("kernel", batch, **_first(study), threads=2)
        if two == two:  # measured: there are two processors, and this batch
            lines.append(f"B = {batch}: two threads {two / one:.2f} times one")
    return "; ".join(lines) + "." if lines else ""


def _first(study: Study) -> dict[str, Any]:
    """The catalogue that was measured first, which environments and peers are beside."""
    return {name: study.rates[0][name] for name in ("items", "dim")}


def _bounds(bounds: Sequence[dict[str, Any]]) -> str:
    rates = ["gather, GB/s", "lookups, 10^9/s", "copy, GB/s"]
    header = ["N, D", "threads", *rates, "memory allows, steps/s", "reached"]
    header += ["draws, 10^9/s", "logistics, 10^9/s", "products, 10^9/s"]
    header += ["with arithmetic, steps/s", "reached"]
    lines = [
        [
            f"{b['items']}, {b['dim']}",
            f"{b['threads']}",
            f"{b['gather_gb_s']:.1f}",
            f"{b['lookups_g_s']:.2f}",
            f"{b['copy_gb_s']:.1f}",
            short(b["steps_per_second"]),
            f"{b['reached']:.0%}",
            f"{b['draws_g_s']:.2f}",
            f"{b['sigmoids_g_s']:.2f}",
            f"{b['products_g_s']:.2f}",
            short(b["steps_with_arithmetic"]),
            f"{b['reached_with_arithmetic']:.0%}",
        ]
        for b in bounds
    ]
    return markdown(header, lines)


def _environments(study: Study) -> str:
    lines = []
    for told in study.rates:
        if told["what"].startswith("kernel"):
            continue
        about = []
        if told.get("world") == "toy" or "observation" in told:
            about.append(f"toy, {told['observation']}")
        if told.get("threads", 1) > 1:
            about.append(f"{told['threads']} threads")
        if told.get("vectors"):
            about.append("with vectors")
        if told.get("copy") is False:
            about.append("no copies")
        values = told["values"]
        rate = f"{short(statistics.median(values))} ({short(min(values))} - {short(max(values))})"
        lines.append([told["what"], ", ".join(about), f"{told['rows']}", rate])
    return markdown(["what", "", "B", "user-steps/s"], lines)


def _start(study: Study) -> str:
    lines = [
        f"In a fresh process with filled caches, `import recenv` takes "
        f"{study.start['import_s']:.2f} s, and the first round of `recenv/Toy-v0` is over "
        f"{study.start['first_step_s']:.2f} s after the interpreter began.",
        markdown(
            ["users", "bytes each", "peak memory, MB", "without users, MB"],
            [
                [
                    f"{m['users']:.0f}",
                    f"{m['bytes_per_user']:.0f}",
                    f"{m['peak_mb']:.0f}",
                    f"{m['base_mb']:.0f}",
                ]
                for m in study.memory
            ],
        ),
    ]
    return "\n\n".join(lines)


def _tables(rows: Sequence[dict[str, Any]]) -> str:
    header = ["table", "both item tables, MB", "mean error", "largest error", "user-steps/s"]
    lines = [
        [
            r["table"],
            f"{r['megabytes']:.0f}",
            f"{r['mean_error']:.1e}",
            f"{r['largest_error']:.1e}",
            short(r["rate"]),
        ]
        for r in rows
    ]
    return markdown(header, lines)


def _growth(grown: dict[str, list[list[float]]]) -> str:
    lines = []
    for name, points in grown.items():
        (x1, y1), (x2, y2) = points[-2:]
        slope = math.log(y2 / y1) / math.log(x2 / x1)
        cells = ", ".join(f"{short(x)}: {y:.0f}" for x, y in points)
        lines.append([name, cells, f"{slope:.2f}"])
    return markdown(["size", "ns per user-step", "exponent"], lines)


def _ratios(study: Study, ours: float) -> str:
    told = [
        f"{ours / p.median:.0f} times {p.name}" for p in study.peers if p.error is None and p.median
    ]
    return f"The step at B = 1024 on one thread does {short(ours)} user-steps per second: " + (
        "; ".join(told) + "."
    )
