"""Report of the cold-start study: figures, a page and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recenv.artifacts import write_atomically
from recenv.benchmark.tables import interval, markdown
from recenv.errors import MissingDependencyError
from recenv.evaluation import Estimate, mean_interval

CONTROL = "random"
_COLOURS = {"lm": "#0072B2", "cf": "#009E73", "hybrid": "#CC79A7", "random": "#D55E00"}
_GREY = "#777777"
_CAVEATS = (
    'The simulated users\' tastes are made of the very vectors that "lm" begins as (fitted with '
    "them, or planted and shown with noise): the world favours it. A held-out user has a history "
    "of training events, of which vectors (by the encoder) and factors (by fold-in) were made; "
    "users without any history are not in it. In the vectors of the world the platform keeps a "
    "mean of all that a visit clicked, in other tables of the last events only "
    "(`game.history_length`)."
)


def over_seeds(values: Sequence[float] | npt.NDArray[np.floating]) -> Estimate:
    """Mean of one number a seed, with Student's t interval."""
    return mean_interval(np.asarray(values), np.arange(len(values)))


def summary(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    frames: Mapping[str, npt.NDArray[np.float64]],
    few: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """All figures of the report.

    Args:
        runs: of each beginning, one a seed, as ``ColdStart.train`` writes them.
        frames: (U,) mean rewards from held-out users, of those who do not learn.
        few: (U,) held-out users with the shortest histories.

    Returns:
        ``frames``, and for each beginning in ``inits``: ``rounds``; ``curve``, an estimate over
        seeds at each of them; ``mean`` over the curve, ``last``, ``few`` and ``trained_users`` at
        its end, estimates over seeds; ``over_random`` of the first four, paired by seed, and
        ``users_over_random``, the last paired by user; ``head_start``, the first rounds at which
        the control reaches what this one has untrained, None if it never does.
    """
    numbers = {init: _numbers(seeds, few) for init, seeds in runs.items()}
    control = numbers.get(CONTROL)
    inits = {}
    for init, seeds in runs.items():
        mine = numbers[init]
        curve = np.array([run["heldout"] for run in seeds])  # (seeds, points)
        entry: dict[str, Any] = {
            "rounds": list(seeds[0]["rounds"]),
            "curve": [over_seeds(point) for point in curve.T],
            **{name: over_seeds(values) for name, values in mine.items()},
            "seconds": float(np.median([run["seconds"] for run in seeds])),
            "steps_trained": [run["steps_trained"] for run in seeds],
        }
        if control is not None and init != CONTROL:
            entry["over_random"] = {name: over_seeds(mine[name] - control[name]) for name in mine}
            users = [np.mean([run["heldout_users"] for run in runs[i]], 0) for i in (init, CONTROL)]
            entry["users_over_random"] = over_seeds(users[0] - users[1])
            theirs = np.mean([run["heldout"] for run in runs[CONTROL]], 0)
            reached = np.flatnonzero(theirs >= curve[:, 0].mean())
            entry["head_start"] = int(seeds[0]["rounds"][reached[0]]) if len(reached) else None
        inits[init] = entry
    return {
        "seeds": [run["seed"] for run in next(iter(runs.values()))],
        "heldout_users": len(few),
        "few_users": int(few.sum()),
        "frames": {name: over_seeds(rewards) for name, rewards in frames.items()},
        "inits": inits,
    }


def _numbers(
    seeds: Sequence[Mapping[str, Any]], few: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.floating]]:
    """One number a seed, of each kind."""
    return {
        "mean": np.array([np.mean(run["heldout"]) for run in seeds]),
        "last": np.array([np.mean(run["heldout_users"]) for run in seeds]),
        "few": np.array([np.mean(np.array(run["heldout_users"])[few]) for run in seeds]),
        "trained_users": np.array([np.mean(run["trained_users"]) for run in seeds]),
    }


def write_cold_start(out: Path, figures: Mapping[str, Any], command: str) -> Path:
    """Write ``cold-start.json``, ``cold-start.png`` and ``cold-start.md``.

    Args:
        out: folder; it is made.
        figures: of ``summary``, with ``about``: env, world, algorithm, config (hash of the first
            run's), episodes_per_user.
        command: that made them.

    Returns:
        Path of the page.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "cold-start.json", json.dumps(figures, indent=1) + "\n")
    plot(figures, out / "cold-start.png")
    page = out / "cold-start.md"
    write_atomically(page, _page(figures, command))
    return page


def _page(figures: Mapping[str, Any], command: str) -> str:
    about, inits = figures["about"], figures["inits"]
    last = next(iter(inits.values()))["rounds"][-1]
    several = len(figures["seeds"])
    parts = [
        "# Users never trained on: what the tables begin as",
        f"`{command}`",
        f"Recommenders trained by {about['algorithm']} in {about['env']} for {_thousands(last)} "
        f"rounds against the fitted user, {several} seeds of each beginning "
        "([what each is](../training/networks.md)). Their greedy policies play "
        f"{about['episodes_per_user']} visits of each of the {figures['heldout_users']} held-out "
        "users, the same draws for all. Reward is the recommender's, a visit. Intervals are 95 % "
        f"(Student's t) over the {several} seeds, which share the world, its split and the visits; "
        "where it says so, over users.",
        "![learning curves](cold-start.png)",
        "## Held-out users",
        markdown(
            ["begins as", "before training", "mean over training", "at the end",
             f"at the end, the {figures['few_users']} users with the shortest histories"],
            [
                [init, interval(e["curve"][0]), *(interval(e[n]) for n in ("mean", "last", "few"))]
                for init, e in inits.items()
            ],
        ),
        markdown(
            ["does not learn", "reward (interval over users)"],
            [[_frame(n), interval(e)] for n, e in figures["frames"].items()],
        ),
    ]  # fmt: skip
    compared = {init: e for init, e in inits.items() if "over_random" in e}
    if compared:
        parts += [
            "## Over a random beginning",
            "Paired by seed; the last but one column is paired by user, after a mean over seeds. "
            "The head start is how many rounds the random beginning takes to reach, in the mean "
            "over seeds, what this one has untrained.",
            markdown(
                ["begins as", "mean over training", "at the end",
                 "at the end, shortest histories", "at the end, over users", "head start"],
                [
                    [
                        init,
                        *(
                            interval(e["over_random"][n], signed=True)
                            for n in ("mean", "last", "few")
                        ),
                        interval(e["users_over_random"], signed=True),
                        _head_start(e["head_start"]),
                    ]
                    for init, e in compared.items()
                ],
            ),
        ]  # fmt: skip
    parts += [
        "## Users that were trained on",
        markdown(
            ["begins as", "at the end", "over a random beginning"],
            [
                [
                    init,
                    interval(e["trained_users"]),
                    interval(e["over_random"]["trained_users"], signed=True)
                    if "over_random" in e
                    else "",
                ]
                for init, e in inits.items()
            ],
        ),
        "## What this does not tell",
        _CAVEATS,
        f"World {about['world']}, settings {about['config']}, seeds "
        f"{', '.join(map(str, figures['seeds']))}. One run took "
        + ", ".join(f"{e['seconds']:.0f} s ({init})" for init, e in inits.items())
        + ", evaluations included.",
    ]
    return "\n\n".join(parts) + "\n"


def plot(figures: Mapping[str, Any], path: Path) -> Path:
    """Reward from held-out users against rounds: a mean and a band for each beginning.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plots", "The study's picture") from error
    figure = Figure(figsize=(7.6, 4.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", lw=0.7)
    end = 0
    for init, entry in figures["inits"].items():
        rounds, curve = entry["rounds"], [Estimate(*point) for point in entry["curve"]]
        colour, end = _COLOURS[init], max(end, rounds[-1])
        axes.fill_between(
            rounds, [p.low for p in curve], [p.high for p in curve], color=colour, alpha=0.18, lw=0
        )
        axes.plot(rounds, [p.mean for p in curve], color=colour, lw=2, label=f"begins as {init}")
    low, high = axes.get_ylim()
    frames = {name: estimate[0] for name, estimate in figures["frames"].items()}
    low, high = min(low, *frames.values()), max(high, *frames.values())
    places = _apart(list(frames.values()), 0.035 * (high - low))
    for (name, reward), place in zip(frames.items(), places, strict=True):
        axes.axhline(reward, color=_GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            _frame(name),
            (end, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_GREY,
            annotation_clip=False,
        )
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
    axes.set_xlabel("rounds of training", fontsize=9.5)
    axes.set_ylabel("reward a visit, held-out users", fontsize=9.5)
    axes.tick_params(labelsize=9)
    seeds = len(figures["seeds"])
    axes.set_title(
        f"{figures['about']['env']}: mean of {seeds} seeds, 95 % interval over seeds",
        fontsize=10.5,
        loc="left",
    )
    figure.legend(loc="outside lower left", ncols=4, fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    return path


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Positions of labels of values, in the same order and at least so far apart."""
    out, least = dict.fromkeys(range(len(values)), 0.0), -np.inf
    for index in np.argsort(values, kind="stable"):
        least = max(values[index], least + gap)
        out[int(index)] = float(least)
    return list(out.values())


def _head_start(rounds: int | None) -> str:
    return "not reached" if rounds is None else _thousands(rounds)


def _frame(name: str) -> str:
    return "random slates" if name == "random" else name


def _thousands(value: int) -> str:
    return f"{value:,}".replace(",", " ")
