"""Figures: they are written, say what they should, and touch no global state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recenv.errors import ConfigError, MissingDependencyError
from recenv.evaluation import METRICS, Estimate, Row
from recenv.plots import (
    Curve,
    Panel,
    RankingPoint,
    Shrinkage,
    comparison_plot,
    learning_curve_plot,
    panels_plot,
    ranking_plot,
    scale_plot,
    shrinkage_plot,
)


def row(name: str, kind: str, mean: float) -> Row:
    metrics = dict.fromkeys(METRICS, Estimate(mean, mean - 1, mean + 1, 50))
    return Row(name, kind, 100, metrics, 0.5, 0.5)


ROWS = [
    row("random", "random", 1.0),
    row("ALS", "baseline", 3.0),
    row("learned", "trained", 4.0),
    row("oracle", "privileged", 6.0),
]


def test_comparison_names_every_policy(tmp_path: Path) -> None:
    path = comparison_plot(ROWS, tmp_path / "new" / "figure.svg", title="A title")
    text = path.read_text()
    for wanted in ("random", "ALS", "learned", "oracle", "A title", "recommender reward"):
        assert f"<!-- {wanted}" in text
    assert comparison_plot(ROWS, tmp_path / "figure.png").read_bytes()[1:4] == b"PNG"


def test_learning_curves_have_a_panel_per_agent_and_count_seeds(tmp_path: Path) -> None:
    curves = [
        Curve(agent, "run", np.arange(5), np.arange(5.0), seed=seed)
        for agent in ("recommender_0", "user_0")
        for seed in range(3)
    ]
    text = learning_curve_plot(
        curves, tmp_path / "f.svg", baselines={"recommender_0": {"random floor": 1.0}}
    ).read_text()
    for wanted in ("recommender_0", "user_0", "run (mean of 3 seeds)", "random floor"):
        assert f"<!-- {wanted} -->" in text


def test_mean_curve_is_where_all_seeds_are() -> None:
    from recenv.plots.policies import _mean_curve

    x, y = _mean_curve(
        [
            (np.array([0.0, 10.0]), np.array([0.0, 10.0])),
            (np.array([4.0, 20.0]), np.array([2.0, 18.0])),
        ]
    )
    np.testing.assert_allclose(x, [4.0, 10.0])
    np.testing.assert_allclose(y, [(4 + 2) / 2, (10 + 8) / 2])


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one row"):
        comparison_plot([], tmp_path / "f.png")
    with pytest.raises(ConfigError, match="at least one curve"):
        learning_curve_plot([], tmp_path / "f.png")
    for bad in (Curve("a", "short", [1, 2], [1.0]), Curve("a", "empty", [1], [np.nan])):
        with pytest.raises(ConfigError, match=r"as many rewards as rounds"):
            learning_curve_plot([bad], tmp_path / "f.png")


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"recenv\[plots\]"):
        comparison_plot(ROWS, tmp_path / "f.png")


def test_pyplot_and_its_global_state_stay_out(tmp_path: Path) -> None:
    code = (
        "import sys; from recenv.plots import Curve, learning_curve_plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"learning_curve_plot([Curve('a', 'b', [0, 1], [0., 1.])], {str(tmp_path / 'f.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def on_logarithmic_axes(folder: Path) -> list[Path]:
    sizes = [1e3, 1e4, 1e5]
    points = [RankingPoint("", n, (0.5, 0.4, 0.6), (0.2, 0.1, 0.3), [(0.5, 0.2)]) for n in sizes]
    lines = [("ours", [4, 7, 9], [0.02, 3e-4, 5e6], "o-")]
    return [
        ranking_plot(points, folder / "ranking.svg", xlabel="events"),
        panels_plot([Panel("a", "x", "y", lines, log=True)], folder / "panels.svg"),
        scale_plot([("ours", 3e6), ("theirs", 4e3)], folder / "scale.svg", xlabel="rate"),
        shrinkage_plot({"a": [Shrinkage("a", sizes, [1, 0.3, 0.1])]}, folder / "shrinkage.svg"),
    ]


def test_logarithmic_axes_have_plain_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mathematical type makes matplotlib look, and complain, for fonts that are not there."""

    def parse(*_: object, **__: object) -> None:
        raise AssertionError("mathematical type")

    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", parse)
    ranking, panels, scale, shrinkage = (p.read_text() for p in on_logarithmic_axes(tmp_path))
    wanted = {
        ranking: ("1k", "10k", "100k"),
        panels: ("4", "6", "0.01", "1", "100", "1M"),  # within a decade, and over many
        scale: ("10k", "100k", "1M", "10M", "3M", "4k"),
        shrinkage: ("1k", "10k", "100k", "0.1", "1"),
    }
    for text, numbers in wanted.items():
        for number in numbers:
            assert f"<!-- {number} -->" in text
