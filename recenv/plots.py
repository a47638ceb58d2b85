"""Figures of results. Matplotlib is imported at first use and its global state left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recenv.errors import ConfigError, MissingDependencyError
from recenv.evaluation import Estimate, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette (2008), which colour-blind readers can tell apart
_BLACK, _BLUE, _ORANGE, _GREEN, _RED = "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00"
_PURPLE, _SKY, _GREY = "#CC79A7", "#56B4E9", "#777777"
_CYCLE = (_BLUE, _RED, _GREEN, _PURPLE, _ORANGE, _SKY)
_TEXT, _FAINT = "#222222", "#DDDDDD"

# kind of policy: colour, marker, filled, words for the legend
_KINDS: dict[str, tuple[str, str, bool, str]] = {
    "random": (_GREY, "o", True, "random"),
    "baseline": (_BLUE, "o", True, "baseline"),
    "untrained": (_RED, "s", False, "seeded, untrained"),
    "trained": (_RED, "s", True, "trained"),
    "privileged": (_BLACK, "D", True, "oracle (reads the true state)"),
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
    figure = _figure(7.2, 1.25 + 0.34 * len(rows))
    axes = figure.add_subplot()
    _style(axes, grid="x")
    for row in rows:
        if row.kind in _FRAMES:
            axes.axvline(row.metrics[metric].mean, color=_GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
    labelled: set[str] = set()
    for y, row in enumerate(rows):
        colour, marker, filled, words = _KINDS.get(row.kind, (_BLUE, "o", True, row.kind))
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
    names = [_short(row.name) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{metric} per visit (mean over users, 95% interval)", fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    _numbers(axes, [row.metrics[metric] for row in rows])
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=_TEXT)
    figure.legend(loc="outside lower left", ncols=3, fontsize=8.5, frameon=False, handletextpad=0.3)
    return _save(figure, path)


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
    figure = _figure(1.0 + 4.2 * len(agents), 3.6)
    panels = figure.subplots(1, len(agents), squeeze=False)[0]
    for axes, agent in zip(panels, agents, strict=True):
        _style(axes, grid="y")
        for label, colour in zip(labels, _colours(len(labels)), strict=True):
            runs = [(x, y) for c, x, y in drawn if (c.agent, c.label) == (agent, label)]
            for x, y in runs:
                lone = len(runs) == 1
                axes.plot(x, y, color=colour, lw=2 if lone else 0.8, alpha=1 if lone else 0.45)
            if len(runs) > 1:
                axes.plot(*_mean_curve(runs), color=colour, lw=2.2)
        for name, value in (baselines or {}).get(agent, {}).items():
            axes.axhline(value, color=_GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
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
        axes.set_title(agent, fontsize=10, loc="left", color=_TEXT)
        axes.set_xlabel("rounds sampled", fontsize=9.5)
        axes.set_ylabel("reward per visit", fontsize=9.5)
        axes.xaxis.set_major_formatter(_short_number)
        axes.margins(x=0.01)
    handles = [
        _line(colour, f"{label} ({_seeds(curves, label)})")
        for label, colour in zip(labels, _colours(len(labels)), strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8.5, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=_TEXT)
    return _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    """A figure without pyplot: no window, no global state, safe in threads."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plots", "recenv.plots") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _style(axes: Axes, *, grid: str) -> None:
    for side in ("top", "right", "left" if grid == "x" else "bottom"):
        axes.spines[side].set_visible(side == "bottom" and grid == "y")
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.grid(axis="x" if grid == "x" else "y", color=_FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_TEXT, labelsize=9)


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
            color=_TEXT,
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


def _colours(count: int) -> list[str]:
    return [_CYCLE[i % len(_CYCLE)] for i in range(count)]


def _line(colour: str, label: str):  # noqa: ANN202 - matplotlib's own class, imported late
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, lw=2.2, label=label)


def _short_number(value: float, _position: int | None = None) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _two_digits(value: float) -> str:
    return _short_number(float(f"{value:.2g}"))


def _short(name: str, width: int = 38) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    return path


@dataclass(frozen=True)
class RankingPoint:
    """How well a fitted world ranks policies, in one setting.

    Attributes:
        label: of the setting.
        at: where on a logarithmic axis it stands; None for settings in no scale.
        tau: Kendall's tau: mean over worlds, low and high end of its interval.
        regret: share of the gain lost by taking the fitted world's favourite, likewise.
        worlds: (tau, regret) of each world.
    """

    label: str
    at: float | None
    tau: tuple[float, float, float]
    regret: tuple[float, float, float]
    worlds: Sequence[tuple[float, float]]


def ranking_plot(
    points: Sequence[RankingPoint],
    path: str | Path,
    *,
    xlabel: str,
    target: float | None = None,
    title: str | None = None,
) -> Path:
    """Kendall's tau and regret over settings: means with intervals, worlds as faint dots.

    Args:
        points: all with ``at`` or all without: then one line per setting, first on top.
        path: of the file; its ending says the format.
        xlabel: what the settings are.
        target: of tau, to draw as a dashed line.
        title: above the figure; without an axis of settings, ``xlabel`` where not given.

    Raises:
        ConfigError: no points, or some with ``at`` and some without.
        MissingDependencyError: matplotlib is not installed.
    """
    scaled = {point.at is not None for point in points}
    if len(scaled) != 1:
        raise ConfigError(
            f"ranking_plot needs points that all have a place on the axis, or none, but got "
            f"{len(points)} points of {'both kinds' if points else 'no kind'}."
        )
    panels = (("tau", "Kendall's τ"), ("regret", "regret / gain on random"))
    if scaled == {True}:
        figure = _figure(8.6, 3.5)
        axes_of = figure.subplots(1, 2)
    else:
        figure = _figure(8.6, 1.3 + 0.36 * len(points))
        axes_of = figure.subplots(1, 2, sharey=True)
    for i, (axes, (name, words)) in enumerate(zip(axes_of, panels, strict=True)):
        _style(axes, grid="y" if scaled == {True} else "x")
        colour = (_BLUE, _RED)[i]
        means = [getattr(point, name)[0] for point in points]
        if scaled == {True}:
            places = [point.at for point in points]
            axes.plot(places, means, color=colour, lw=1.6, zorder=2)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(_short_number)
            axes.set_xlabel(xlabel, fontsize=9.5)
            axes.set_ylabel(words, fontsize=9.5)
        else:
            places = list(range(len(points)))
            axes.set_yticks(places, [_short(point.label) for point in points], fontsize=9)
            axes.set_ylim(len(points) - 0.4, -0.6)
            axes.set_xlabel(words, fontsize=9.5)
            axes.tick_params(axis="y", length=0)
        for place, point in zip(places, points, strict=True):
            mean, low, high = getattr(point, name)
            values = [world[i] for world in point.worlds]
            spots = [place] * len(values)
            if scaled == {True}:
                axes.plot([place, place], [low, high], color=colour, lw=1.8, zorder=2)
                axes.plot(place, mean, "o", color=colour, ms=6, zorder=3)
                axes.plot(spots, values, "o", color=colour, ms=3, alpha=0.4, zorder=1)
            else:
                axes.plot([low, high], [place, place], color=colour, lw=1.8, zorder=2)
                axes.plot(mean, place, "o", color=colour, ms=6, zorder=3)
                axes.plot(values, spots, "o", color=colour, ms=3, alpha=0.4, zorder=1)
        if name == "regret":  # shares: all zero is a result, and no axis of its own
            top = max(0.1, *(max(point.regret) for point in points)) * 1.08
            (axes.set_ylim if scaled == {True} else axes.set_xlim)(-0.02 * top, top)
        if name == "tau" and target is not None:
            line = axes.axhline if scaled == {True} else axes.axvline
            line(target, color=_GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
    if title or scaled == {False}:
        figure.suptitle(title or xlabel, fontsize=11, x=0.01, ha="left", color=_TEXT)
    return _save(figure, path)


@dataclass(frozen=True)
class Panel:
    """One of several small plots; ``lines`` have label, x, y and a matplotlib format each.

    ``reference`` draws the diagonal; ``log`` makes both axes logarithmic.
    """

    title: str
    xlabel: str
    ylabel: str
    lines: Sequence[tuple[str, Sequence[float], Sequence[float], str]]
    reference: bool = False
    log: bool = False


def panels_plot(
    panels: Sequence[Panel],
    path: str | Path,
    *,
    order: Sequence[str] = (),
    columns: int | None = None,
) -> Path:
    """Panels side by side, at most ``columns`` in a row.

    ``order`` gives labels their colours, the same in every figure.

    Raises:
        ConfigError: no panels.
        MissingDependencyError: matplotlib is not installed.
    """
    if not panels:
        raise ConfigError("panels_plot needs at least one panel, but got none.")
    across = min(columns or len(panels), len(panels))
    down = -(-len(panels) // across)
    figure = _figure(0.6 + 3.7 * across, 0.5 + 3.2 * down)
    found = dict.fromkeys(line[0] for panel in panels for line in panel.lines)
    places = {label: i for i, label in enumerate(dict.fromkeys((*order, *found)))}
    colour = {label: (_BLACK, *_CYCLE)[i % (len(_CYCLE) + 1)] for label, i in places.items()}
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid[: len(panels)], panels, strict=True):
        _style(axes, grid="y")
        for label, x, y, form in panel.lines:
            axes.plot(x, y, form, color=colour[label], lw=1.8, ms=4.5)
        if panel.log:
            axes.loglog()
        if panel.reference:
            low, high = max(axes.get_xlim()[0], axes.get_ylim()[0]), axes.get_xlim()[1]
            axes.plot([low, high], [low, high], color=_GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        axes.set_title(panel.title, fontsize=10, loc="left", color=_TEXT)
        axes.set_xlabel(panel.xlabel, fontsize=9.5)
        axes.set_ylabel(panel.ylabel, fontsize=9.5)
    handles = [_line(colour[label], label) for label in places if label in found]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8.5, frameon=False)
    return _save(figure, path)


def scale_plot(
    points: Sequence[tuple[str, float]], path: str | Path, *, xlabel: str, marked: int = 0
) -> Path:
    """One dot per (label, positive value), on a logarithmic axis, each with its figure.

    Args:
        points: first on top.
        path: of the file; its ending says the format.
        xlabel: under the axis.
        marked: so many of the first points have a colour of their own.

    Raises:
        ConfigError: no points.
        MissingDependencyError: matplotlib is not installed.
    """
    if not points:
        raise ConfigError("scale_plot needs at least one point, but got none.")
    figure = _figure(7.2, 0.9 + 0.32 * len(points))
    axes = figure.add_subplot()
    _style(axes, grid="x")
    labels, values = zip(*points, strict=True)
    for y, value in enumerate(values):
        axes.plot(value, y, "o", ms=7, color=_RED if y < marked else _BLUE)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 5)
    axes.set_yticks(range(len(points)), labels=[_short(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel(xlabel, fontsize=9.5)
    for y, value in enumerate(values):
        axes.annotate(
            _two_digits(value),
            (value, y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=_TEXT,
        )
    return _save(figure, path)


@dataclass(frozen=True)
class Shrinkage:
    """Error of one estimate over sizes of the log.

    Attributes:
        label: of the quantity.
        events: (S,) in the log.
        error: (S,) positive.
    """

    label: str
    events: Sequence[float] | npt.NDArray[np.number]
    error: Sequence[float] | npt.NDArray[np.number]


def shrinkage_plot(
    panels: Mapping[str, Sequence[Shrinkage]], path: str | Path, *, columns: int = 3
) -> Path:
    """Error against events on logarithmic axes, a panel per group.

    Every line is drawn relative to its error in the smallest log, beside a dashed one that
    falls as ``1 / sqrt(events)``.

    Args:
        panels: lines by title of the panel.
        path: of the file; its ending says the format.
        columns: panels side by side.

    Raises:
        ConfigError: no panels.
        MissingDependencyError: matplotlib is not installed.
    """
    if not panels:
        raise ConfigError("shrinkage_plot needs at least one panel, but got none.")
    rows = -(-len(panels) // columns)
    figure = _figure(0.4 + 3.9 * columns, 0.5 + 3.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, lines) in zip(grid, panels.items(), strict=False):
        _style(axes, grid="y")
        for i, (line, colour) in enumerate(zip(lines, _colours(len(lines)), strict=True)):
            error = np.asarray(line.error, float)
            label = line.label.removeprefix(f"{title}, ").removeprefix(f"{title}: ")
            dashes = "-" if i < len(_CYCLE) else ":"
            axes.plot(
                line.events, error / error[0], "o" + dashes, color=colour, lw=1.6, ms=4, label=label
            )
        sizes = [n for line in lines for n in np.asarray(line.events, float)]
        if sizes:
            ends = np.array([min(sizes), max(sizes)])
            axes.plot(ends, (ends / ends[0]) ** -0.5, color=_GREY, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.loglog()
        axes.minorticks_off()
        if lines:
            axes.set_xticks(lines[0].events, [_two_digits(n) for n in lines[0].events])
        low, high = axes.get_ylim()
        ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low <= t <= high]
        axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_title(title, fontsize=10, loc="left", color=_TEXT)
        axes.set_xlabel("events", fontsize=9)
        axes.legend(fontsize=7, frameon=False, loc="lower left")
    for axes in grid[::columns]:
        axes.set_ylabel("error / error in the smallest log", fontsize=9)
    figure.suptitle("dashed: 1 / √events", fontsize=9, x=0.01, ha="left", color=_TEXT)
    return _save(figure, path)
