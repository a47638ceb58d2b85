"""Report of the policy-ranking study: Markdown, JSON and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recenv.artifacts import write_atomically
from recenv.benchmark import tables
from recenv.config import content_hash
from recenv.plots import RankingPoint, ranking_plot
from recenv.studies.policy_ranking.cells import FITTED_SEED, LOG_CHANGES, TRUE_SEED, RankingConfig

TARGET = 0.9
"""Kendall's tau that is wanted of 100 000 events under a popularity-mixed policy."""

Result = dict[str, Any]
_HEADER = (
    "",
    "worlds",
    "Kendall's τ",
    "τ, sure pairs",
    "τ, better half",
    "τ, held-out users",
    "regret",
    "regret / gain",
    "slope",
)


def write_ranking_report(
    out: str | Path,
    results: Mapping[str, Sequence[Result]],
    base: RankingConfig,
    command: str,
    code: str,
) -> Path:
    """Write ``policy-ranking.md`` and, in ``policy-ranking/``, ``results.json`` and two figures.

    Args:
        out: folder.
        results: cells of ``measure_cell`` by part: "size", "narrowness", "change".
        base: what the cells have in common.
        command: that made the results.
        code: hash of the code that fits and simulates.

    Returns:
        Path of the Markdown file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    out = Path(out)
    folder = out / "policy-ranking"
    size = _group(results["size"], lambda c: f"{c['events']:,}".replace(",", " "))
    narrow = _group(results["narrowness"], _logging)
    change = _group(results["change"], lambda c: c["change"])
    main = [r for r in results["size"] if r["config"]["events"] == base.events]
    change = {"as it is": main, **change}
    ranking_plot(
        [_point(label, rows, rows[0]["config"]["events"]) for label, rows in size.items()],
        folder / "size.png",
        xlabel="impressions in the log",
        target=TARGET,
        title=f"Ranking of {len(main[0]['policies'])} policies, fitted against true world",
    )
    ranking_plot(
        [_point(label, rows, None) for label, rows in narrow.items()],
        folder / "narrowness.png",
        xlabel=f"logging policy, {_thousands(base.events)} impressions",
        target=TARGET,
    )
    text = "\n\n".join(
        [
            "# Does the simulator rank policies as the true world does?",
            _headline(main, base),
            _how(base, main),
            "![Agreement over the size of the log](policy-ranking/size.png)",
            "## Over the size of the log",
            _table("impressions", size),
            "## Over the narrowness of the logging policy",
            f"Logs of {_thousands(base.events)} impressions. Effective candidates: the inverse of "
            "the geometric mean of the logged propensities; uniform slates have the most.",
            "![Agreement over the narrowness](policy-ranking/narrowness.png)",
            _table("logging policy", narrow, candidates=True),
            "## What breaks it",
            f"Logs of {_thousands(base.events)} impressions, {_logging(base.to_dict())}.",
            _table("change", change),
            "\n".join(f"- {name}: {words}." for name, words in LOG_CHANGES.items()),
            "## The policies",
            _policies(main[0]),
            "## Optimised in the simulator",
            "The slates that are greedy by the fitted model, as the simulator values them "
            "(promised) and as the true world does (delivered). No ranking counts this policy.",
            _own(size),
            "## Made with",
            _made(results, base, command, code),
        ]
    )
    record = {"base": base.to_dict(), "command": command, "code": code, "parts": _plain(results)}
    write_atomically(folder / "results.json", json.dumps(record, indent=1) + "\n")
    write_atomically(out / "policy-ranking.md", text + "\n")
    return out / "policy-ranking.md"


def _headline(main: Sequence[Result], base: RankingConfig) -> str:
    tau = _mean(main, "tau_draws", "tau")
    share = _mean(main, "share_draws", "share")
    reached = "reaches" if tau[0] >= TARGET else "misses"
    return (
        f"With {_thousands(base.events)} logged impressions under a {_logging(base.to_dict())} "
        f"policy, Kendall's τ between the two rankings is **{_interval(tau)}**: it {reached} the "
        f"target of {TARGET}. Taking the simulator's favourite costs {share[0]:.1%} "
        f"[{share[1]:.1%}, {share[2]:.1%}] of what the best policy gains on random slates."
    )


def _how(base: RankingConfig, main: Sequence[Result]) -> str:
    pairs = len(main[0]["policies"]) * (len(main[0]["policies"]) - 1) // 2
    sure = ", ".join(str(r["certain_pairs"]) for r in main)
    return "\n".join(
        [
            f"- The true worlds are planted: {base.num_users} users, {base.num_items} items, "
            "parameters drawn at random, a new world for each seed. Nothing here says anything "
            "about people.",
            "- Their users leave a log: whole visits in random order, until it has as many "
            "impressions as wanted. It is split, interest vectors and a user model are fitted, "
            "as for any other log; the planted item vectors with noise stand for a text encoder's.",
            f"- {len(main[0]['policies'])} policies, fixed beforehand, play in both worlds, which "
            f"differ in the user model alone: {base.true_visits} visits of each user in the true "
            f"one, {base.visits} in the fitted one, on other draws. A policy's value is the mean "
            "reward of the recommender per visit.",
            f"- Of {pairs} pairs of policies, the true values of {sure} (by world) differ by three "
            "standard errors or more: the sure pairs. τ is Kendall's tau-b over all pairs.",
            "- Intervals: 95 %, a percentile bootstrap over users, the mean over worlds taken in "
            "each resample. Regret: true value lost by taking the simulator's favourite; its "
            "share is of what the truly best policy gains on random slates. Slope: of fitted on "
            "true values; below 1 the simulator understates the differences.",
        ]
    )


def _table(first: str, groups: Mapping[str, Sequence[Result]], *, candidates: bool = False) -> str:
    header = [first, *_HEADER[1:], *(["effective candidates"] if candidates else [])]
    lines = []
    for label, rows in groups.items():
        agreements = [r["all"] for r in rows]
        shares = _mean(rows, "share_draws", "share")
        line = [
            label,
            str(len(rows)),
            _interval(_mean(rows, "tau_draws", "tau")),
            *(_number([a[k] for a in agreements]) for k in ("sure_tau", "better_tau")),
            _number([r["heldout"]["tau"] for r in rows]),
            _number([a["regret"] for a in agreements]),
            f"{shares[0]:.1%} [{shares[1]:.1%}, {shares[2]:.1%}]",
            _number([a["slope"] for a in agreements]),
        ]
        if candidates:
            line.append(f"{np.mean([r['effective_candidates'] for r in rows]):.1f}")
        lines.append(line)
    return tables.markdown(header, lines)


def _policies(result: Result) -> str:
    order = np.argsort(result["true"])[::-1]
    lines = [
        [result["policies"][i], f"{result['true'][i]:.2f}", f"{result['fitted'][i]:.2f}"]
        for i in order
    ]
    seed = result["config"]["seed"]
    words = (
        f"In the world of seed {seed}. Popularity, content and ALS know the short history that "
        "every planted user left on uniform slates, the others the planted parameters, or those "
        "with noise (in standard deviations of the click log-odds). None knows the log or the "
        "fitted model."
    )
    return words + "\n\n" + tables.markdown(["policy", "true value", "fitted value"], lines)


def _own(groups: Mapping[str, Sequence[Result]]) -> str:
    lines = []
    for label, rows in groups.items():
        promised, delivered = (
            np.mean([r["own"][k] for r in rows]) for k in ("promised", "delivered")
        )
        best = np.mean([max(r["true"]) for r in rows])
        floor = np.mean([r["true"][0] for r in rows])
        lines.append([label, *(f"{v:.2f}" for v in (promised, delivered, best, floor))])
    header = ["impressions", "promised", "delivered", "truly best of the ranked", "random"]
    return tables.markdown(header, lines)


def _made(
    results: Mapping[str, Sequence[Result]], base: RankingConfig, command: str, code: str
) -> str:
    rows = [r for part in results.values() for r in part]
    config = ", ".join(f"{k} = {v}" for k, v in base.to_dict().items() if k != "build")
    worlds = ", ".join(sorted({f"{r['config']['seed']}: {r['world']}" for r in rows}))
    logs = content_hash(sorted({r["log"] for r in rows}))
    return "\n".join(
        [
            f"- Command: `{command}`",
            f"- Cells: {config} (hash {base.hash}), but for what a table says.",
            f"- Worlds by seed: {worlds}. A log is drawn with its world's seed plus 1; true values "
            f"with seed {TRUE_SEED}, fitted ones with seed {FITTED_SEED}.",
            f"- Hashes: all logs {logs}, code of fit and simulator {code}.",
            "- Every cell is in `policy-ranking/results.json`.",
        ]
    )


def _group(results: Sequence[Result], label: Any) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(label(result["config"]), []).append(result)
    return groups


def _logging(config: Mapping[str, Any]) -> str:
    if config["log"] == "uniform":
        return "uniform"
    return f"{config['log']} (mix {config['mix']:g}, temperature {config['temperature']:g})"


def _point(label: str, rows: Sequence[Result], at: float | None) -> RankingPoint:
    return RankingPoint(
        label=label,
        at=at,
        tau=_mean(rows, "tau_draws", "tau"),
        regret=_mean(rows, "share_draws", "share"),
        worlds=[(r["all"]["tau"], r["all"]["share"]) for r in rows],
    )


def _mean(rows: Sequence[Result], draws: str, value: str) -> tuple[float, float, float]:
    """Mean over worlds, and the interval of that mean over bootstrap samples of users."""
    resampled = np.mean([r["all"][draws] for r in rows], axis=0)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(np.mean([r["all"][value] for r in rows])), float(low), float(high)


def _interval(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def _number(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}"


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _plain(value: Any) -> Any:
    """JSON without NaN, the bootstrap's draws and each cell's copy of the build."""
    if isinstance(value, Mapping):
        left_out = ("build", "tau_draws", "share_draws")
        return {k: _plain(v) for k, v in value.items() if k not in left_out}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
