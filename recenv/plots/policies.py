"""Figures of policies: comparisons and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from recenv.errors import ConfigError
from recenv.plots.style import (
    DASHES,
    GREY,
    TEXT,
    colour_of,
    colours_of,
    few_ticks,
    line_for_legend,
    new_figure,
    plain_axes,
    save,
    short_number,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# kind of policy: marker, filled, words for the legend
_KINDS: dict[str, tuple[str, bool, str]] = {
    "random": ("v", True, "random"),
    "baseline": ("o", True, "baseline"),
    "untrained": ("s", False, "seeded, untrained"),
    "trained": ("s", True, "trained"),
    "privileged": ("D", True, "oracle (reads the true state)"),
}
_FRAMES = ("random", "privileged")

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class Interval(Protocol):
    """A mean and the ends of its interval, as ``recenv.evaluation.Estimate`` has them."""

    @property
    def mean(self) -> float:
        """The mean."""
        ...

    @property
    def low(self) -> float:
        """The lower end."""
        ...

    @property
    def high(self) -> float:
        """The upper end."""
        ...


class PolicyRow(Protocol):
    """A policy's results, as ``recenv.evaluation.Row`` has them."""

    @property
    def name(self) -> str:
        """The policy's."""
        ...

    @property
    def kind(self) -> str:
        """Kind of the policy: see ``recenv.benchmark.Contender``."""
        ...

    @property
    def metrics(self) -> Mapping[str, Interval]:
        """By name."""
        ...


@dataclass(frozen=True)
class Curve:
    """One training run's learning curve for one agent.

    Attributes:
        agent: "recommender_0" or "user_0"; one panel each.
        label: what was trained; runs with one label are seeds of the same thing.
        rounds: (T,) rounds sampled so far, increasing.
        reward: (T,) mean reward of the agent per visit; NaN where not measured.
        seed: of the training.
        users: whose visits the rewards are of, in words ("train", "held-out"); "" leaves it open.
    """

    agent: str
    label: str
    rounds: Sequence[float] | npt.NDArray[np.number]
    reward: Sequence[float] | npt.NDArray[np.number]
    seed: int = 0
    users: str = ""


def comparison_plot(
    rows: Sequence[PolicyRow],
    path: str | Path,
    *,
    metric: str = "recommender reward",
    title: str | None = None,
) -> Path:
    """One dot with its interval per policy, in the order given, first on top.

    Rows of kind "random" and "privileged" are drawn on as dashed lines: they frame the others.
    Colours say the name, the same in every figure; markers say the kind.

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
    for y, row in enumerate(rows):
        marker, filled, _ = _KINDS.get(row.kind, ("o", True, row.kind))
        colour, estimate = colour_of(row.name), row.metrics[metric]
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=1.8, zorder=2)
        face = colour if filled else "white"
        axes.plot(estimate.mean, y, marker, ms=6.5, color=colour, mfc=face, mew=1.5, zorder=3)
    names = [shortened(row.name) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{metric} per visit (mean over users, 95% interval)", fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    _numbers(axes, [row.metrics[metric] for row in rows])
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=TEXT)
    figure.legend(
        handles=_markers(rows),
        loc="outside lower left",
        ncols=3,
        fontsize=8.5,
        frameon=False,
        handletextpad=0.3,
    )
    return save(figure, path)


def learning_curve_plot(
    curves: Sequence[Curve],
    path: str | Path,
    *,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    baseline_users: str = "",
    title: str | None = None,
) -> Path:
    """Reward against rounds sampled: a thin line per seed, a thick one for their mean.

    Args:
        curves: at least one; a panel per agent, a colour per label.
        path: of the file; its ending says the format.
        baselines: per agent, named rewards to draw as dashed lines.
        baseline_users: whose visits those are of, in words, for the legend.
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
    beside = {agent: dict((baselines or {}).get(agent, {})) for agent in agents}
    names = list(dict.fromkeys(name for lines in beside.values() for name in lines))
    colours = colours_of([*labels, *names])
    figure = new_figure(1.0 + 4.2 * len(agents), 3.6)
    panels = figure.subplots(1, len(agents), squeeze=False)[0]
    for axes, agent in zip(panels, agents, strict=True):
        plain_axes(axes, grid="y")
        for label in labels:
            runs = [(x, y) for c, x, y in drawn if (c.agent, c.label) == (agent, label)]
            _draw_runs(axes, runs, colours[label])
        for name, value in beside[agent].items():
            axes.axhline(value, color=colours[name], lw=1.2, ls=DASHES, zorder=1)
        users = list(dict.fromkeys(c.users for c in curves if c.agent == agent and c.users))
        axes.set_title(agent, fontsize=10, loc="left", color=TEXT)
        axes.set_xlabel("rounds sampled", fontsize=9.5)
        of = f" of {' and '.join(users)} users" if users else ""
        axes.set_ylabel(f"reward per visit{of}", fontsize=9.5)
        few_ticks(axes, "x", ())
        axes.xaxis.set_major_formatter(short_number)
        axes.margins(x=0.01)
    handles = [line_for_legend(colours[x], f"{x} ({_seeds(curves, x)})") for x in labels]
    of = f", {baseline_users}" if baseline_users else ""
    handles += [line_for_legend(colours[x], f"{x}{of}", dashed=True) for x in names]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2 * len(agents),
        fontsize=8.5,
        frameon=False,
    )
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=TEXT)
    return save(figure, path)


def _draw_runs(axes: Axes, runs: Sequence[Points], colour: str) -> None:
    lone = len(runs) == 1
    for x, y in runs:
        axes.plot(x, y, color=colour, lw=2 if lone else 0.8, alpha=1 if lone else 0.45)
    if len(runs) > 1:
        axes.plot(*mean_curve(runs), color=colour, lw=2.2)


def _markers(rows: Sequence[PolicyRow]) -> list[Line2D]:
    """One entry of the legend for each kind of policy, in the order of the rows."""
    from matplotlib.lines import Line2D

    handles = []
    for kind in dict.fromkeys(row.kind for row in rows):
        marker, filled, words = _KINDS.get(kind, ("o", True, kind))
        face = GREY if filled else "white"
        handles.append(
            Line2D([], [], marker=marker, ls="", color=GREY, mfc=face, mew=1.5, label=words)
        )
    return handles


def _numbers(axes: Axes, estimates: Sequence[Interval]) -> None:
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


def _points(curve: Curve) -> Points:
    x, y = np.asarray(curve.rounds, float), np.asarray(curve.reward, float)
    if x.ndim != 1 or x.shape != y.shape or not np.isfinite(y).any():
        raise ConfigError(
            f"The curve {curve.label!r} of {curve.agent!r} needs as many rewards as rounds and "
            f"at least one number, but has shapes {y.shape} and {x.shape}."
        )
    keep = np.isfinite(y)
    return x[keep], y[keep]


def mean_curve(runs: Sequence[Points]) -> Points:
    """Mean of the runs where all of them have values, interpolated between their points."""
    low, high = max(x[0] for x, _ in runs), min(x[-1] for x, _ in runs)
    grid = np.unique(np.concatenate([x for x, _ in runs]))
    grid = grid[(grid >= low) & (grid <= high)]
    return grid, np.mean([np.interp(grid, x, y) for x, y in runs], axis=0)


def _seeds(curves: Sequence[Curve], label: str) -> str:
    count = len({curve.seed for curve in curves if curve.label == label})
    return "1 seed" if count == 1 else f"mean of {count} seeds"
