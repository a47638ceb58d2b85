"""Figures of policies: how they compare, and how they were learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recenv.errors import ConfigError
from recenv.evaluation import Estimate, Row
from recenv.plots.style import (
    BLACK,
    BLUE,
    GREY,
    RED,
    TEXT,
    colours,
    line_for_legend,
    new_figure,
    plain_axes,
    save,
    short_number,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# kind of policy: colour, marker, filled, words for the legend
_KINDS: dict[str, tuple[str, str, bool, str]] = {
    "random": (GREY, "o", True, "random"),
    "baseline": (BLUE, "o", True, "baseline"),
    "untrained": (RED, "s", False, "seeded, untrained"),
    "trained": (RED, "s", True, "trained"),
    "privileged": (BLACK, "D", True, "oracle (reads the true state)"),
}
_FRAMES = ("random", "privileged")


@dataclass(frozen=True)
class Curve:
    """One training run's learning curve for one agent.

    Attributes:
        agent: "recommender_0" or "user_0"; one panel each.
        label: what was trained; runs with one label are seeds of the same thing.
        rounds: (T,) rounds sampled so far, increasing.
        reward: (T,) mean reward of the agent per visit; NaN where not measured.
        seed: of the training.
    """

    agent: str
    label: str
    rounds: Sequence[float] | npt.NDArray[np.number]
    reward: Sequence[float] | npt.NDArray[np.number]
    seed: int = 0


def comparison_plot(
    rows: Sequence[Row],
    path: str | Path,
    *,
    metric: str = "recommender reward",
    title: str | None = None,
) -> Path:
    """One dot with its interval per policy, in the order given, first on top.

    Rows of kind "random" and "privileged" are drawn on as dashed lines: they frame the others.

    Args:
        rows: of ``recenv.evaluation.summarise``.
        path: of the file; its ending says the format.
        metric: a name in ``recenv.evaluation.METRICS``.
        title: above the figure.

    Raises:
        ConfigError: no rows.
        MissingDependencyError: matplotlib is not installed.
    """
    if not rows:
        raise ConfigError("comparison_plot needs at least one row, but got none.")
    figure = new_figure(7.2, 1.25 + 0.34 * len(rows))
    axes = figure.add_subplot()
    plain_axes(axes, grid="x")
    for row in rows:
        if row.kind in _FRAMES:
            axes.axvline(row.metrics[metric].mean, color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
    labelled: set[str] = set()
    for y, row in enumerate(rows):
        colour, marker, filled, words = _KINDS.get(row.kind, (BLUE, "o", True, row.kind))
        estimate = row.metrics[metric]
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=1.8, zorder=2)
        axes.plot(
            estimate.mean,
            y,
            marker,
            ms=6.5,
            color=colour,
            mfc=colour if filled else "white",
            mew=1.5,
            zorder=3,
            label=None if row.kind in labelled else words,
        )
        labelled.add(row.kind)
    names = [shortened(row.name) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{metric} per visit (mean over users, 95% interval)", fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    _numbers(axes, [row.metrics[metric] for row in rows])
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=TEXT)
    figure.legend(loc="outside lower left", ncols=3, fontsize=8.5, frameon=False, handletextpad=0.3)
    return save(figure, path)


def learning_curve_plot(
    curves: Sequence[Curve],
    path: str | Path,
    *,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    title: str | None = None,
) -> Path:
    """Reward against rounds sampled: a thin line per seed, a thick one for their mean.

    Args:
        curves: at least one; a panel per agent, a colour per label.
        path: of the file; its ending says the format.
        baselines: per agent, named rewards to draw as dashed lines.
        title: above the figure.

    Raises:
        ConfigError: no curves, or a curve whose lengths differ or that has no number.
        MissingDependencyError: matplotlib is not installed.
    """
    if not curves:
        raise ConfigError("learning_curve_plot needs at least one curve, but got none.")
    drawn = [(curve, *_points(curve)) for curve in curves]
    agents = list(dict.fromkeys(curve.agent for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    figure = new_figure(1.0 + 4.2 * len(agents), 3.6)
    panels = figure.subplots(1, len(agents), squeeze=False)[0]
    for axes, agent in zip(panels, agents, strict=True):
        plain_axes(axes, grid="y")
        for label, colour in zip(labels, colours(len(labels)), strict=True):
            runs = [(x, y) for c, x, y in drawn if (c.agent, c.label) == (agent, label)]
            for x, y in runs:
                lone = len(runs) == 1
                axes.plot(x, y, color=colour, lw=2 if lone else 0.8, alpha=1 if lone else 0.45)
            if len(runs) > 1:
                axes.plot(*_mean_curve(runs), color=colour, lw=2.2)
        for name, value in (baselines or {}).get(agent, {}).items():
            axes.axhline(value, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
            axes.annotate(
                name,
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color="#555555",
            )
        axes.set_title(agent, fontsize=10, loc="left", color=TEXT)
        axes.set_xlabel("rounds sampled", fontsize=9.5)
        axes.set_ylabel("reward per visit", fontsize=9.5)
        axes.xaxis.set_major_formatter(short_number)
        axes.margins(x=0.01)
    handles = [
        line_for_legend(colour, f"{label} ({_seeds(curves, label)})")
        for label, colour in zip(labels, colours(len(labels)), strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8.5, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=TEXT)
    return save(figure, path)


def _numbers(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """The means in figures, in a column at the right."""
    for y, estimate in enumerate(estimates):
        axes.annotate(
            f"{estimate.mean:.2f}",
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(36, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
            color=TEXT,
        )


def _points(curve: Curve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.asarray(curve.rounds, float), np.asarray(curve.reward, float)
    if x.ndim != 1 or x.shape != y.shape or not np.isfinite(y).any():
        raise ConfigError(
            f"The curve {curve.label!r} of {curve.agent!r} needs as many rewards as rounds and "
            f"at least one number, but has shapes {y.shape} and {x.shape}."
        )
    keep = np.isfinite(y)
    return x[keep], y[keep]


def _mean_curve(
    runs: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean of the runs where all of them have values, interpolated between their points."""
    low, high = max(x[0] for x, _ in runs), min(x[-1] for x, _ in runs)
    grid = np.unique(np.concatenate([x for x, _ in runs]))
    grid = grid[(grid >= low) & (grid <= high)]
    return grid, np.mean([np.interp(grid, x, y) for x, y in runs], axis=0)


def _seeds(curves: Sequence[Curve], label: str) -> str:
    count = len({curve.seed for curve in curves if curve.label == label})
    return "1 seed" if count == 1 else f"mean of {count} seeds"
