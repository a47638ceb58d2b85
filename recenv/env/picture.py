"""A visit as a picture: what is on screen, what the user did, and how bored it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.errors import MissingDependencyError
from recenv.schema import CLICK, PURCHASE
from recenv.sim.state import EMPTY, LEFT, TRUNCATED, USER, State
from recenv.world import World

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 960, 600
"""Pixels of a picture."""

_DPI = 100
_INK, _FAINT, _LINE, _SCREEN = "#1b1f24", "#6b7480", "#e3e7ec", "#ffffff"
_BACKGROUND, _BAR = "#f4f6f8", "#4f6d9a"
_ANSWERS = {
    0: ("ignored", "#eef0f3", _FAINT),
    CLICK: ("clicked", "#dcebfb", "#12529c"),
    PURCHASE: ("purchased", "#d9f2e1", "#11652f"),
}  # words, background and ink of what the user did
_MOST_SLOTS, _MOST_BARS = 10, 8


def draw_visit(world: World, game: GameConfig, state: State, row: int) -> npt.NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3) picture of one visit as it is now.

    On the user's turn the slate on screen; otherwise the last one, with the user's answers.

    Args:
        world: for the items' texts and categories.
        game: rules of the visit.
        state: of visits that have begun.
        row: which.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        purpose = "render_mode='rgb_array'"
        raise MissingDependencyError("matplotlib", "plots", purpose) from error
    figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")
    _head(axes, world, game, state, row)
    _slate(axes, world, state, row)
    _boredom(axes, world, state, row)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _head(axes: Axes, world: World, game: GameConfig, state: State, row: int) -> None:
    user_id = world.train.user_ids[state.user[row]]
    _text(axes, 32, 40, f"{world.name}", size=17, weight="bold")
    _text(axes, 32, 66, _cut(f"user {user_id}", 60), size=11, color=_FAINT)
    done = int(state.round[row])
    on_screen = state.turn[row] == USER
    number = min(done + 1, game.max_rounds) if on_screen else done
    _text(axes, WIDTH - 32, 40, f"round {number} of {game.max_rounds}", size=13, ha="right")
    if state.ended[row] == LEFT:
        said, color = "the user has left", "#a3341f"
    elif state.ended[row] == TRUNCATED:
        said, color = "the round limit is reached", "#a3341f"
    else:
        said, color = ("the user's turn" if on_screen else "the recommender's turn"), _FAINT
    _text(axes, WIDTH - 32, 66, said, size=11, color=color, ha="right")


def _slate(axes: Axes, world: World, state: State, row: int) -> None:
    left, right, top, bottom = 32, 660, 96, HEIGHT - 32
    on_screen = state.turn[row] == USER
    _box(axes, left, top, right - left, bottom - top, _SCREEN, edge=_LINE, radius=10)
    if not on_screen and state.round[row] == 0:
        middle = (left + right) / 2
        text = "A visit begins: nothing is on screen yet."
        _text(axes, middle, (top + bottom) / 2, text, size=12, color=_FAINT, ha="center")
        return
    items = (state.slate if on_screen else state.last_slate)[row].tolist()
    answers = state.last_answer[row].tolist()
    shown = items[:_MOST_SLOTS]
    more = len(items) - len(shown)
    height = min((bottom - top - 16) / (len(shown) + (0.5 if more else 0)), 84)
    small = height < 56
    for slot, item in enumerate(shown):
        middle = top + 8 + (slot + 0.5) * height
        if slot:
            y = top + 8 + slot * height
            axes.plot([left + 16, right - 16], [y, y], color=_LINE, linewidth=0.8)
        _text(axes, left + 24, middle, f"{slot + 1}", size=12, color=_FAINT)
        if item == EMPTY:
            _text(axes, left + 54, middle, "empty", size=12, color=_FAINT, style="italic")
            continue
        step = 8 if small else 11
        title = _cut(str(world.catalog.text[item]), 48)
        _text(axes, left + 54, middle - step, title, size=10 if small else 12.5)
        _text(axes, left + 54, middle + step, _about(world, item), size=8.5, color=_FAINT)
        if not on_screen:
            word, background, ink = _ANSWERS[answers[slot]]
            _box(axes, right - 122, middle - 13, 100, 26, background, radius=13)
            _text(axes, right - 72, middle, word, size=10, color=ink, ha="center")
    if more:
        y = top + 8 + (len(shown) + 0.25) * height
        _text(axes, left + 54, y, f"and {more} more", size=10, color=_FAINT)


def _about(world: World, item: int) -> str:
    category = _cut(world.catalog.category_names[world.catalog.category[item]], 40)
    price = float(world.catalog.price[item])
    return f"{category}  ·  {price:,.2f}" if price > 0 else category


def _boredom(axes: Axes, world: World, state: State, row: int) -> None:
    left, right, top = 688, WIDTH - 32, 96
    _text(axes, left, top + 10, "Boredom", size=13, weight="bold")
    names, values = world.catalog.category_names, state.boredom[row]
    order = np.argsort(-values, kind="stable")[:_MOST_BARS]
    longest = max(float(values.max(initial=0)), 1.0)
    for place, category in enumerate(order.tolist()):
        y = top + 42 + 44 * place
        value = float(values[category])
        _text(axes, left, y, _cut(names[category], 26), size=10)
        _text(axes, right, y, f"{value:.2f}", size=10, color=_FAINT, ha="right")
        _box(axes, left, y + 12, right - left, 8, _LINE, radius=4)
        if value / longest > 0.02:
            width = max((right - left) * value / longest, 8)
            _box(axes, left, y + 12, width, 8, _BAR, radius=4)
    more = len(names) - len(order)
    if more:
        y = top + 42 + 44 * len(order)
        _text(axes, left, y, f"{more} other categories: no higher", size=9, color=_FAINT)
    _text(axes, left, HEIGHT - 62, "Satisfaction", size=10)
    _text(axes, right, HEIGHT - 62, f"{float(state.satisfaction[row]):.2f}", size=10, ha="right")
    _text(axes, left, HEIGHT - 40, "Clicks in this visit", size=10)
    _text(axes, right, HEIGHT - 40, f"{int(state.visit_clicks[row])}", size=10, ha="right")


def _text(
    axes: Axes, x: float, y: float, text: str, *, size: float, color: str = _INK, **more: Any
) -> None:
    # titles are data: a dollar sign in one begins no formula
    axes.text(x, y, text, fontsize=size, color=color, va="center", parse_math=False, **more)


def _box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    color: str,
    *,
    radius: float,
    edge: str = "none",
) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = f"round,pad=0,rounding_size={radius}"
    box = FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=color, edgecolor=edge)
    axes.add_patch(box)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
