"""How every figure looks: size, axes, colours, numbers; and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recenv.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Okabe & Ito's palette (2008), which colour-blind readers can tell apart
BLACK, BLUE, ORANGE, GREEN, RED = "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#777777"
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, GREY, BLACK)
TEXT, FAINT = "#222222", "#DDDDDD"


def new_figure(width: float, height: float) -> Figure:
    """A figure without pyplot: no window, no global state, safe in threads."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plots", "recenv.plots") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def plain_axes(axes: Axes, *, grid: Literal["x", "y"]) -> None:
    """Grid lines along one axis, and no more ink than that needs."""
    for side in ("top", "right", "left" if grid == "x" else "bottom"):
        axes.spines[side].set_visible(side == "bottom" and grid == "y")
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    axes.grid(axis="x" if grid == "x" else "y", color=FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=TEXT, labelsize=9)


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, its numbers in plain digits.

    Matplotlib's own, powers of ten, are set in mathematical type, for which it looks for fonts
    that few machines have, and says so.
    """
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        """What has a number is the base class's choice."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return two_digits(x) if super().__call__(x, pos) else ""

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.4)))


def colours(count: int) -> list[str]:
    """Of so many lines."""
    return [CYCLE[i % len(CYCLE)] for i in range(count)]


def line_for_legend(colour: str, label: str) -> Line2D:
    """What stands for a colour in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, lw=2.2, label=label)


def short_number(value: float, _position: int | None = None) -> str:
    """With k or M; also what matplotlib wants of a formatter."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def two_digits(value: float) -> str:
    """``short_number``, rounded."""
    return short_number(float(f"{value:.2g}"))


def shortened(name: str, width: int = 38) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= width else name[: width - 1] + "…"


def save(figure: Figure, path: str | Path) -> Path:
    """Write the file, and its folder; the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    return path
