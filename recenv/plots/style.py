"""Style of figures: size, axes, colours, numbers; and writing them to files."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
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
# of Tol's muted scheme (2021), which goes with it; the brown is ColorBrewer's
OLIVE, TEAL, WINE, INDIGO, BROWN = "#999933", "#44AA99", "#882255", "#332288", "#8C510A"

NAMED = {
    "random": GREY,
    "popularity": OLIVE,
    "content": TEAL,
    "als": WINE,
    "oracle": BLACK,
    "ippo": BLUE,
    "mappo": SKY,
    "impala": GREEN,
    "appo": PURPLE,
    "bc": INDIGO,
    "slateq": RED,
    "idqn": ORANGE,
    "sac": BROWN,
    "log": BLACK,
    "simulator": BLUE,
    "trivial": RED,
}
"""Colours by the first word of a label, the same in every figure."""

_OTHERS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INDIGO, BROWN)
"""For labels without a name: not those of the random floor and the oracle."""

TEXT, FAINT = "#222222", "#DDDDDD"
DASHES = (0, (4, 3))
_WIDE = 5.0  # ends of a logarithmic axis further apart have numbers at 1, 2 and 5 times powers


def require_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plots", "recenv.plots") from error


def new_figure(width: float, height: float) -> Figure:
    """A figure without pyplot: no window, no global state, safe in threads."""
    require_matplotlib()
    from matplotlib.figure import Figure

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
        """Labels of a logarithmic axis: the base class's choice, less those that would not fit."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            low, high = sorted(axis.get_view_interval())
            digit = f"{x:e}"[0]
            if high > _WIDE * low and digit not in "125":
                return ""
            return two_digits(x) if super().__call__(x, pos) else ""

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.4)))


def colours(count: int) -> list[str]:
    """Of so many lines."""
    return [CYCLE[i % len(CYCLE)] for i in range(count)]


def colour_of(label: str) -> str:
    """The colour of a policy or side: by its name, or by a hash that is the same everywhere."""
    by_hash = _OTHERS[zlib.crc32(label.encode()) % len(_OTHERS)]
    return NAMED.get(_first_word(label), by_hash)


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """Colours of the lines of one figure: ``colour_of``, or the next that is free.

    Names of ``NAMED`` come first, so that only others ever give way.
    """
    labels = list(dict.fromkeys(labels))
    chosen: dict[str, str] = {}
    for label in sorted(labels, key=lambda x: _first_word(x) not in NAMED):
        own = colour_of(label)
        start = _OTHERS.index(own) if own in _OTHERS else 0
        others = (*_OTHERS[start:], *_OTHERS[:start], *NAMED.values())
        free = [c for c in (own, *others) if c not in chosen.values()]
        chosen[label] = (free or [own])[0]
    return {label: chosen[label] for label in labels}


def _first_word(label: str) -> str:
    return next(iter(re.findall(r"[a-z0-9]+", label.lower())), "")


def few_ticks(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """Numbers of a linear axis that stay apart; whole ones where all values are whole."""
    from matplotlib.ticker import MaxNLocator

    whole = all(float(v).is_integer() for v in values)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=5, integer=whole))


def line_for_legend(colour: str, label: str, *, dashed: bool = False) -> Line2D:
    """Legend entry of a colour."""
    from matplotlib.lines import Line2D

    style = DASHES if dashed else "-"
    return Line2D([], [], color=colour, lw=1.4 if dashed else 2.2, ls=style, label=label)


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
