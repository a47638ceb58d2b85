"""Figures: they are written, say what they should, and touch no global state."""

from __future__ import annotations

import re
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
    has_data,
    learning_curve_plot,
    panels_plot,
    ranking_plot,
    scale_plot,
    shrinkage_plot,
)
from recenv.plots.style import colour_of, colours_of


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


def test_whose_rewards_are_drawn_is_said(tmp_path: Path) -> None:
    text = learning_curve_plot(
        [Curve("recommender_0", "IPPO", [0, 1], [1.0, 2.0], users="training")],
        tmp_path / "f.svg",
        baselines={"recommender_0": {"ALS": 1.5}},
        baseline_users="50 held-out users",
    ).read_text()
    for wanted in ("reward per visit of training users", "IPPO (1 seed)", "ALS, 50 held-out users"):
        assert f"<!-- {wanted} -->" in text


def test_a_name_has_one_colour_on_every_page(tmp_path: Path) -> None:
    known = ["random", "popularity", "content", "ALS", "oracle (greedy)", "IPPO", "MAPPO"]
    known += ["IMPALA", "APPO", "BC", "SlateQ", "IDQN", "SAC"]
    together = colours_of(known)
    assert len(set(together.values())) == len(known)
    for name in known:
        assert colours_of(["mine", name])[name] == together[name] == colour_of(name)
        assert colour_of(f"{name}, recommender") == colour_of(f"{name.lower()} user #3")
    others = [f"method {i}" for i in range(8)]
    assert len(set(colours_of(others).values())) == 8
    assert colours_of(others)["method 0"] == colours_of(["method 0"])["method 0"]
    curves = [Curve("recommender_0", name, [0, 1], [0.0, 1.0]) for name in ("SAC", "IPPO")]
    rows = [row("IPPO recommender", "trained", 1.0)]
    pages = [
        comparison_plot(rows, tmp_path / "a.svg"),
        learning_curve_plot(curves, tmp_path / "b.svg"),
        learning_curve_plot(curves[1:], tmp_path / "c.svg"),
    ]
    for page in pages:
        assert together["IPPO"].lower() in page.read_text()


def test_a_panel_without_data_says_so(tmp_path: Path) -> None:
    empty = Panel("nothing", "x", "y", [("log", [], [], "-"), ("trivial", [1], [np.nan], "-")])
    point = Panel("a point", "x", "y", [("log", [0, 0], [1, 1], "-")])
    line = Panel("a line", "x", "y", [("log", [1, 2, 3], [1, 1, 1], "-")])
    assert [has_data(p) for p in (empty, point, line)] == [False, False, True]
    text = panels_plot([empty, line], tmp_path / "f.svg").read_text()
    assert "<!-- no data -->" in text
    assert "<!-- 1.5 -->" not in text  # whole numbers have whole ticks


def test_numbers_of_an_axis_stay_apart(tmp_path: Path) -> None:
    lines = [("simulator", [0.0007, 0.0158], [0.0, 0.01], "o-")]
    text = panels_plot([Panel("click", "x", "y", lines)], tmp_path / "f.svg").read_text()
    numbers = re.findall(r"<!-- ([\d.]+) -->", text.split("<!-- x -->")[0])
    assert numbers == ["0.000", "0.004", "0.008", "0.012", "0.016"]


def test_mean_curve_is_where_all_seeds_are() -> None:
    from recenv.plots.policies import mean_curve

    x, y = mean_curve(
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
