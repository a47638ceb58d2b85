"""Report of a comparison: report.md, results.json and figures in one folder."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from recenv.artifacts import write_atomically
from recenv.benchmark import tables
from recenv.benchmark.comparison import Comparison, UserComparison
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.evaluation import CONFIDENCE, Estimate, Row
from recenv.evaluation.report_folder import ReportFolder
from recenv.plots import Curve, comparison_plot, learning_curve_plot
from recenv.recommenders import left_out

FOLDER = ReportFolder(
    "results.json",
    "comparisons",
    ("results.json", "report.md", "comparison.png", "learning_curve.png"),
)
"""What a report's folder holds; ``FOLDER.check(path)`` says whether it can be written."""

_METRICS = ("recommender reward", "user reward", "clicks", "purchases", "rounds")
_USER_METRICS = (*_METRICS, "surprise", "excess surprise")
_PACKAGES = ("recenv", "numpy", "scipy", "numba", "pandas", "implicit", "ray", "torch")
_ALS = "ALS"


def print_table(rows: Sequence[Row], file: TextIO | None = None) -> None:
    """Print rows as an aligned table of at most 100 columns, to stdout by default."""
    print(tables.text_table(rows), file=file or sys.stdout)


def write_report(
    folder: str | Path,
    comparison: Comparison,
    *,
    title: str,
    more: Sequence[Comparison] = (),
    users: Sequence[UserComparison] = (),
    curves: Sequence[Curve] = (),
    curve_baselines: Mapping[str, Mapping[str, float]] | None = None,
    command: str = "",
    seeds: Mapping[str, Any] | None = None,
    config_hash: str | None = None,
    notes: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> Path:
    """Write ``report.md``, ``results.json``, ``comparison.png``, and curves if there are any.

    Args:
        folder: made if needed; an earlier report in it is replaced, no other file is.
        comparison: the main table, usually against the fitted user.
        title: heading of the report.
        more: further comparisons (against a trained user, of another pool), a section each.
        users: user policies against one recommender, a section each.
        curves: of training, drawn to ``learning_curve.png``.
        curve_baselines: per agent, named rewards to draw there; see ``learning_curve_plot``. By
            default the baselines of ``comparison``, and the fitted user of ``users``.
        command: that made the results, to be run again.
        seeds: of training and whatever else drew, by purpose.
        config_hash: of the training's config.
        notes: what else a reader has to know.
        sections: further Markdown by heading.

    Returns:
        Path of ``report.md``.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        ConfigError: too few users for an interval, a curve is not one, or see
            ``ReportFolder.check``.
    """
    folder = FOLDER.check(folder)
    rows = comparison.rows()
    made = _provenance(comparison, command, seeds, config_hash)
    cautions = [*_cautions([comparison, *more]), *notes]
    record = {
        "title": title,
        "made": made,
        "game": comparison.game.to_dict(),
        "comparisons": [_comparison_json(c) for c in (comparison, *more)],
        "users": [_user_json(c) for c in users],
        "curves": [_curve_json(c) for c in curves],
        "notes": cautions,
    }
    parts = [f"# {title}", *_results(comparison, more, users)]
    if curves:
        parts += _training_section(curves, comparison)
    for heading, body in (sections or {}).items():
        parts += [f"## {heading}", body]
    parts += _colophon(comparison, cautions, made)
    write_atomically(folder / FOLDER.record, json.dumps(record, indent=1, allow_nan=False))
    comparison_plot(rows, folder / "comparison.png", title=title)
    if curves:
        learning_curve_plot(
            curves,
            folder / "learning_curve.png",
            baselines=_beside_curves(comparison, users)
            if curve_baselines is None
            else curve_baselines,
            baseline_users=comparison.visitors if curve_baselines is None else "",
        )
    FOLDER.drop(folder, [n for n in FOLDER.files if curves or n != "learning_curve.png"])
    write_atomically(folder / "report.md", "\n\n".join(parts) + "\n")
    return folder / "report.md"


def _results(
    comparison: Comparison, more: Sequence[Comparison], users: Sequence[UserComparison]
) -> list[str]:
    """The picture and the tables."""
    parts = [
        _headline(comparison),
        "![Reward of each policy](comparison.png)",
        "## Results",
        _setting(comparison),
        tables.results(comparison.rows(), _METRICS),
        *_differences(comparison),
        *_position(comparison),
    ]
    for other in more:
        parts += [f"## Answered by {other.user_policy}: {other.visitors}", _setting(other)]
        parts += [tables.results(other.rows(), _METRICS), *_differences(other)]
    for one in users:
        parts += _user_section(one)
    return parts


def _beside_curves(
    comparison: Comparison, users: Sequence[UserComparison]
) -> dict[str, dict[str, float]]:
    """Per agent, the mean rewards that its learning curve is to be seen beside."""
    shown = comparison.of_kind("random", "baseline", "privileged")
    means = {r.recommender: float(np.mean(r.recommender_reward)) for r in shown}
    beside = {RECOMMENDER_AGENT: means}
    if users:
        beside[USER_AGENT] = {"fitted user": float(np.mean(users[0].rollouts[0].user_reward))}
    return beside


def _training_section(curves: Sequence[Curve], comparison: Comparison) -> list[str]:
    who = " and ".join(dict.fromkeys(c.users for c in curves if c.users))
    of = f"{who} users" if who else "the users that training met"
    return [
        "## Training",
        "![Learning curves](learning_curve.png)",
        f"Curves are of {of}, during training; the dashed lines, as the tables, are of "
        f"{comparison.visitors}. Other users have other rewards, so that the height of a curve "
        "is no result: the tables are.",
    ]


def _colophon(
    comparison: Comparison, cautions: Sequence[str], made: Mapping[str, Any]
) -> list[str]:
    """World, game, cautions and provenance."""
    return [
        "## World",
        comparison.world.describe().strip(),
        "## Game",
        "The rules of a visit (`GameConfig`). `users` is the pool that an environment draws its "
        "visitors from; those of this report are named with its results.",
        f"```toml\n{comparison.game.to_toml().strip()}\n```",
        "## What these numbers cannot say",
        "\n".join(f"- {note}" for note in cautions),
        "## How they were made",
        tables.markdown(["what", "value"], [[k, str(v)] for k, v in _flat(made)]),
    ]


def _headline(comparison: Comparison) -> str:
    """One sentence per trained policy: its reward, and what it gains."""
    floor = [r.recommender for r in comparison.of_kind("random", "baseline")]
    lines = []
    for row in comparison.rows():
        if row.kind != "trained":
            continue
        mean = tables.interval(row.metrics["recommender reward"])
        gains = [
            f"{tables.interval(comparison.against(name)[row.name], signed=True)} over {name}"
            for name in floor
        ]
        lines.append(
            f"**{row.name}** earns {mean} per visit" + (f": {'; '.join(gains)}." if gains else ".")
        )
    return "\n\n".join(lines) or "Baselines only: no trained policy was compared."


def _setting(comparison: Comparison) -> str:
    return (
        f"{comparison.visitors}, {comparison.episodes_per_user} visits each, answered by: "
        f"{comparison.user_policy}; evaluation seed {comparison.seed}. Per visit: mean over users "
        f"[{CONFIDENCE:.0%} interval]. All policies met the same users, candidates and draws. "
        "Rounds are the length of a visit; coverage is the share of the catalogue shown at least "
        "once in these visits; Gini is of the items' impressions (0 even, 1 concentrated)."
    )


def _subjects(comparison: Comparison) -> list[str]:
    """Policies that the report is about: trained and untrained, or else all but random."""
    found = comparison.of_kind("trained", "untrained") or comparison.of_kind(
        "baseline", "privileged"
    )
    return [r.recommender for r in found]


def _references(comparison: Comparison) -> list[str]:
    return [r.recommender for r in comparison.of_kind("random", "baseline", "untrained")]


def _differences(comparison: Comparison) -> list[str]:
    subjects, references = _subjects(comparison), _references(comparison)
    if not references:
        return []
    columns = {name: comparison.against(name) for name in references}
    lines = []
    for subject in subjects:
        cells = [columns[n].get(subject) for n in references]
        shown = ["" if c is None else tables.interval(c, signed=True) for c in cells]
        lines.append([subject, *shown])
    return [
        "### Paired differences in recommender reward",
        f"Row minus column, per visit, on the same visits and draws [{CONFIDENCE:.0%} interval].",
        tables.markdown(["policy", *(f"minus {n}" for n in references)], lines),
    ]


def _ends(comparison: Comparison) -> tuple[str, str] | None:
    """Names of ALS and the oracle, where both were compared."""
    top = comparison.of_kind("privileged")
    return (_ALS, top[-1].recommender) if top and _ALS in comparison.names else None


def _position(comparison: Comparison) -> list[str]:
    ends = _ends(comparison)
    subjects = [r.recommender for r in comparison.of_kind("trained", "untrained")]
    if ends is None or not subjects:
        return []
    found = comparison.positions(*ends)
    lines = [[name, tables.interval(found[name])] for name in subjects]
    return [
        f"### Position between {ends[0]} and {ends[1]}",
        f"Share of the way from {ends[0]} (0) to {ends[1]} (1) in recommender reward: a ratio of "
        f"paired differences, with a bootstrap over users [{CONFIDENCE:.0%} interval]. The oracle "
        "is greedy, so a policy that plans ahead can pass 1.",
        tables.markdown(["policy", "position"], lines),
    ]


def _user_section(one: UserComparison) -> list[str]:
    rows = one.rows()
    metrics = ("user reward", "recommender reward", "surprise", "excess surprise")
    found = {metric: one.against_fitted(metric) for metric in metrics}
    lines = [
        [name, *(tables.interval(found[metric][name], signed=True) for metric in metrics)]
        for name in one.names[1:]
    ]
    return [
        f"## Users against {one.recommender}",
        f"{one.visitors}, {one.episodes_per_user} visits each, slates by {one.recommender}; "
        f"evaluation seed {one.seed}. Surprise is the distance to the fitted user: the "
        "cross-entropy of the answers under it, in nats per round. Excess surprise is taken from "
        "its own mean on the same slates: 0 for the fitted user, negative for one who keeps to "
        "its likeliest answers.",
        tables.results(rows, _USER_METRICS, exposure=False),
        "### Paired differences from the fitted user",
        f"Trained minus fitted, on the same users and draws [{CONFIDENCE:.0%} interval].",
        tables.markdown(["user policy", *metrics], lines),
    ]


def _cautions(comparisons: Sequence[Comparison]) -> list[str]:
    world = comparisons[0].world
    priors = [name for name, law in world.user_model.laws.items() if law.source == "prior"]
    notes = [
        "Every number is about simulated users. Whether people would act alike is not measured "
        "here; a fidelity report says how far the simulator agrees with its log.",
        "Intervals cover the choice of users and the draws of their visits. They do not cover "
        "the error of the fitted world, nor chance in training: for that, train several seeds.",
        f"Each interval is {CONFIDENCE:.0%} by itself; of many differences some miss by chance.",
    ]
    names = comparisons[0].names
    notes += [
        f"{name} is not in the tables: {why}"
        for name, why in left_out().items()
        if name not in names and comparisons[0].of_kind("baseline")
    ]
    if priors:
        notes.append(
            f"Laws that the log cannot tell, stated and not fitted: {', '.join(priors)}. "
            "Levels and differences depend on them."
        )
    if any(c.of_kind("privileged") for c in comparisons):
        notes.append(
            "The oracle reads the users' true state and is greedy: best for this round's reward, "
            "not for the visit's. It is a frame, neither a competitor nor an upper bound."
        )
    if any(c.user_policy != comparisons[0].user_policy for c in comparisons[1:]):
        notes.append(
            "The oracle expects the fitted user's answers, so against another user it is not one."
        )
    return notes


def _provenance(
    comparison: Comparison,
    command: str,
    seeds: Mapping[str, Any] | None,
    config_hash: str | None,
) -> dict[str, Any]:
    world = comparison.world
    return {
        "command": command or "not recorded",
        "seeds": {"evaluation": comparison.seed, **(seeds or {})},
        "hashes": {
            "world": world.hash,
            "world config": world.config.hash if world.config else "none (planted)",
            "game": comparison.game.hash,
            "training config": config_hash or "none",
        },
        "users": len(set(comparison.rollouts[0].user.tolist())),
        "visits per policy": len(comparison.rollouts[0]),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "recenv" not in found:  # run from a checkout that is not installed
        import recenv

        found["recenv"] = recenv.__version__
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        out += _flat(value, f"{name}: ") if isinstance(value, Mapping) else [(name, value)]
    return out


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    ends = _ends(comparison)
    return {
        **_visits_json(comparison),
        "user_policy": comparison.user_policy,
        "policies": [_row_json(row) for row in comparison.rows()],
        "differences": {
            name: _estimates_json(comparison.against(name)) for name in _references(comparison)
        },
        "position": None
        if ends is None
        else {"low": ends[0], "high": ends[1], **_estimates_json(comparison.positions(*ends))},
    }


def _user_json(one: UserComparison) -> dict[str, Any]:
    metrics = ("user reward", "recommender reward", "surprise", "excess surprise")
    return {
        **_visits_json(one),
        "recommender": one.recommender,
        "policies": [_row_json(row) for row in one.rows()],
        "differences": {m: _estimates_json(one.against_fitted(m)) for m in metrics},
    }


def _visits_json(played: Comparison | UserComparison) -> dict[str, Any]:
    return {
        "visitors": played.visitors,
        "episodes_per_user": played.episodes_per_user,
        "seed": played.seed,
        "world": played.world.hash,
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "visits": row.visits,
        "coverage": _finite(row.coverage),
        "gini": _finite(row.gini),
        "metrics": _estimates_json(row.metrics),
    }


def _estimates_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        name: {key: _finite(value) for key, value in estimate._asdict().items()}
        for name, estimate in estimates.items()
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    return {
        "agent": curve.agent,
        "label": curve.label,
        "seed": curve.seed,
        "rounds": [_finite(x) for x in curve.rounds],
        "reward": [_finite(y) for y in curve.reward],
    }


def _finite(value: Any) -> float | int | None:
    """JSON has no NaN; numpy's numbers become Python's."""
    number = value.item() if isinstance(value, np.generic) else value
    return number if math.isfinite(number) else None
