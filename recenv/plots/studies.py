"""Figures of studies: values over settings, in panels, and errors over the size of a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recenv.errors import ConfigError
from recenv.plots.style import (
    BLUE,
    CYCLE,
    DASHES,
    GREY,
    RED,
    TEXT,
    colours,
    colours_of,
    few_ticks,
    line_for_legend,
    logarithmic,
    new_figure,
    plain_axes,
    save,
    shortened,
    two_digits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class RankingPoint:
    """Agreement of a fitted world's ranking of policies, in one setting.

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
    on_axis = scaled == {True}
    if on_axis:
        figure = new_figure(8.6, 3.5)
        both = figure.subplots(1, 2)
    else:
        figure = new_figure(8.6, 1.3 + 0.36 * len(points))
        both = figure.subplots(1, 2, sharey=True)
    draw = _along_axis if on_axis else _in_rows
    draw(both[0], points, [p.tau for p in points], [[w[0] for w in p.worlds] for p in points], BLUE)
    draw(
        both[1], points, [p.regret for p in points], [[w[1] for w in p.worlds] for p in points], RED
    )
    for axes, words in zip(both, ("Kendall's τ", "regret / gain on random"), strict=True):
        if on_axis:
            axes.set_xlabel(xlabel, fontsize=9.5)
            axes.set_ylabel(words, fontsize=9.5)
        else:
            axes.set_xlabel(words, fontsize=9.5)
    # shares: all zero is a result, and no axis of its own
    top = max(0.1, *(max(point.regret) for point in points)) * 1.08
    (both[1].set_ylim if on_axis else both[1].set_xlim)(-0.02 * top, top)
    if target is not None:
        line = both[0].axhline if on_axis else both[0].axvline
        line(target, color=GREY, lw=0.9, ls=DASHES, zorder=1)
    if title or not on_axis:
        figure.suptitle(title or xlabel, fontsize=11, x=0.01, ha="left", color=TEXT)
    return save(figure, path)


def _along_axis(
    axes: Axes,
    points: Sequence[RankingPoint],
    intervals: Sequence[tuple[float, float, float]],
    worlds: Sequence[Sequence[float]],
    colour: str,
) -> None:
    """Settings on a logarithmic axis: a line through their means."""
    plain_axes(axes, grid="y")
    places = [point.at for point in points if point.at is not None]
    axes.plot(places, [mean for mean, _, _ in intervals], color=colour, lw=1.6, zorder=2)
    logarithmic(axes, "x")
    for place, (mean, low, high), values in zip(places, intervals, worlds, strict=True):
        axes.plot([place, place], [low, high], color=colour, lw=1.8, zorder=2)
        axes.plot(place, mean, "o", color=colour, ms=6, zorder=3)
        axes.plot([place] * len(values), values, "o", color=colour, ms=3, alpha=0.4, zorder=1)


def _in_rows(
    axes: Axes,
    points: Sequence[RankingPoint],
    intervals: Sequence[tuple[float, float, float]],
    worlds: Sequence[Sequence[float]],
    colour: str,
) -> None:
    """Settings below each other, named at the left."""
    plain_axes(axes, grid="x")
    axes.set_yticks(range(len(points)), [shortened(p.label) for p in points], fontsize=9)
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    for row, ((mean, low, high), values) in enumerate(zip(intervals, worlds, strict=True)):
        axes.plot([low, high], [row, row], color=colour, lw=1.8, zorder=2)
        axes.plot(mean, row, "o", color=colour, ms=6, zorder=3)
        axes.plot(values, [row] * len(values), "o", color=colour, ms=3, alpha=0.4, zorder=1)


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


def has_data(panel: Panel) -> bool:
    """Whether a panel has a line with two different points; a single one shows nothing."""
    return any(len(_finite(x, y)) > 1 for _, x, y, _ in panel.lines)


def panels_plot(
    panels: Sequence[Panel],
    path: str | Path,
    *,
    order: Sequence[str] = (),
    columns: int | None = None,
) -> Path:
    """Panels side by side, at most ``columns`` in a row.

    Colours are told by the labels, the same in every figure; where two want one, the first of
    ``order``, and then of the panels, has it. A panel without any number says "no data".

    Raises:
        ConfigError: no panels.
        MissingDependencyError: matplotlib is not installed.
    """
    if not panels:
        raise ConfigError("panels_plot needs at least one panel, but got none.")
    across = min(columns or len(panels), len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(0.6 + 3.7 * across, 0.5 + 3.2 * down)
    found = dict.fromkeys(line[0] for panel in panels for line in panel.lines)
    labels = list(dict.fromkeys((*order, *found)))
    colours = colours_of(labels)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid[: len(panels)], panels, strict=True):
        _draw_panel(axes, panel, colours)
    handles = [line_for_legend(colours[label], label) for label in labels if label in found]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8.5, frameon=False)
    return save(figure, path)


def _draw_panel(axes: Axes, panel: Panel, colours: Mapping[str, str]) -> None:
    axes.set_title(panel.title, fontsize=10, loc="left", color=TEXT)
    if not any(_finite(x, y) for _, x, y, _ in panel.lines):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
        return
    plain_axes(axes, grid="y")
    for label, x, y, form in panel.lines:
        axes.plot(x, y, form, color=colours[label], lw=1.8, ms=4.5)
    if panel.log:
        logarithmic(axes, "x")
        logarithmic(axes, "y")
    else:
        few_ticks(axes, "x", [value for _, x, _, _ in panel.lines for value in x])
    if panel.reference:
        low, high = max(axes.get_xlim()[0], axes.get_ylim()[0]), axes.get_xlim()[1]
        axes.plot([low, high], [low, high], color=GREY, lw=0.9, ls=DASHES, zorder=1)
    axes.set_xlabel(panel.xlabel, fontsize=9.5)
    axes.set_ylabel(panel.ylabel, fontsize=9.5)


def _finite(x: Sequence[float], y: Sequence[float]) -> set[tuple[float, float]]:
    """The different points of a line."""
    pairs = zip(np.asarray(x, float).tolist(), np.asarray(y, float).tolist(), strict=True)
    return {pair for pair in pairs if np.isfinite(pair).all()}


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
    figure = new_figure(7.2, 0.9 + 0.32 * len(points))
    axes = figure.add_subplot()
    plain_axes(axes, grid="x")
    labels, values = zip(*points, strict=True)
    for y, value in enumerate(values):
        axes.plot(value, y, "o", ms=7, color=RED if y < marked else BLUE)
    logarithmic(axes, "x")
    axes.set_xlim(min(values) / 3, max(values) * 5)
    axes.set_yticks(range(len(points)), labels=[shortened(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel(xlabel, fontsize=9.5)
    for y, value in enumerate(values):
        axes.annotate(
            two_digits(value),
            (value, y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=TEXT,
        )
    return save(figure, path)


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
    figure = new_figure(0.4 + 3.9 * columns, 0.5 + 3.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, lines) in zip(grid, panels.items(), strict=False):
        _draw_shrinkage(axes, title, lines)
    for axes in grid[::columns]:
        axes.set_ylabel("error / error in the smallest log", fontsize=9)
    figure.suptitle("dashed: 1 / √events", fontsize=9, x=0.01, ha="left", color=TEXT)
    return save(figure, path)


def _draw_shrinkage(axes: Axes, title: str, lines: Sequence[Shrinkage]) -> None:
    plain_axes(axes, grid="y")
    for i, (line, colour) in enumerate(zip(lines, colours(len(lines)), strict=True)):
        error = np.asarray(line.error, float)
        label = line.label.removeprefix(f"{title}, ").removeprefix(f"{title}: ")
        dashes = "-" if i < len(CYCLE) else ":"
        axes.plot(
            line.events, error / error[0], "o" + dashes, color=colour, lw=1.6, ms=4, label=label
        )
    sizes = [n for line in lines for n in np.asarray(line.events, float)]
    if sizes:
        ends = np.array([min(sizes), max(sizes)])
        axes.plot(ends, (ends / ends[0]) ** -0.5, color=GREY, lw=1.2, ls=DASHES, zorder=1)
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    axes.minorticks_off()
    if lines:
        axes.set_xticks(lines[0].events, [two_digits(n) for n in lines[0].events])
    low, high = axes.get_ylim()
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low <= t <= high]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_title(title, fontsize=10, loc="left", color=TEXT)
    axes.set_xlabel("events", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="lower left")
