"""Algorithms side by side: what is averaged, what is paired, and going on where it stopped."""

import numpy as np
import pytest

from recenv.errors import ConfigError
from recenv.evaluation import Estimate
from training.config import TrainConfig
from training.suite import curves, entries, main, report, results, train_all

TINY = {
    "env": "recenv/Toy-v0",
    "rounds": 256,
    "num_envs_per_env_runner": 32,
    "evaluation_every": 1,
    "evaluation_visits": 20,
    "train": "recommender",
    "game": {"slate_size": 3, "max_rounds": 5},
    "network": {"hidden": 8},
    "ippo": {"rounds_per_iteration": 128, "epochs": 1, "minibatch_size": 64},
    "mappo": {"rounds_per_iteration": 128, "epochs": 1, "minibatch_size": 64},
}


def test_a_suite_with_other_settings_is_refused(tmp_path):
    (entry,) = entries(["ippo"], TINY, TrainConfig(), 2, tmp_path)
    assert [run.config().seed for run in entry.runs] == [0, 1]
    again = entries(["ippo"], TINY, TrainConfig(), 2, tmp_path)
    assert again[0].runs[0].path == entry.runs[0].path
    with pytest.raises(ConfigError, match="other settings"):
        entries(["ippo"], {**TINY, "rounds": 512}, TrainConfig(), 2, tmp_path)


def test_the_report_tells_every_row():
    rows = [
        {"name": "random", "reward": Estimate(1.0, 0.5, 1.5, 9), "by_seed": [1.0]},
        {
            "name": "ippo",
            "reward": Estimate(3.0, 2.5, 3.5, 9),
            "by_seed": [2.8, 3.2],
            "over_random": Estimate(2.0, 1.5, 2.5, 9),
            "position": Estimate(0.5, 0.4, 0.6, 9),
            "rounds": 81920,
            "seconds": 9.4,
        },
    ]
    figures = {
        "env": "recenv/Toy-v0",
        "train": "recommender",
        "visitors": "9 held-out users",
        "episodes_per_user": 10,
        "seed": 0,
        "world": "abc",
        "configs": {"ippo": "def"},
        "rows": rows,
    }
    text = report(figures, "python -m training.suite")
    (line,) = [part for part in text.splitlines() if part.startswith("| ippo")]
    for part in ("3.00 [2.50, 3.50]", "2.80 to 3.20", "+2.00 [+1.50, +2.50]", "81 920", "| 9 |"):
        assert part in line
    user = {
        "name": "idqn",
        "reward": Estimate(7.0, 6.0, 8.0, 9),
        "by_seed": [6.9, 7.1],
        "fitted": Estimate(2.0, 1.5, 2.5, 9),
        "over_fitted": Estimate(5.0, 4.5, 5.5, 9),
        "recommender_reward": Estimate(3.0, 2.5, 3.5, 9),
        "rounds": 2048,
        "seconds": 3.2,
    }
    both = report({**figures, "users": [user]}, "python -m training.suite")
    assert both.index("## Recommenders") < both.index("| ippo") < both.index("## Users")
    (line,) = [part for part in both.splitlines() if part.startswith("| idqn")]
    for part in ("7.00 [6.00, 8.00]", "6.90 to 7.10", "2.00 [1.50, 2.50]", "+5.00 [+4.50, +5.50]"):
        assert part in line


@pytest.mark.slow
@pytest.mark.parametrize("train", ["both", "user"])
def test_users_are_compared_with_the_fitted_one_before_the_same_recommender(tmp_path, train):
    suite = entries(["ippo"], {**TINY, "train": train}, TrainConfig(), 2, tmp_path / "runs")
    assert train_all(suite, progress=False)
    figures = results(suite, episodes_per_user=2, progress=False)
    assert ("rows" in figures) == (train == "both")
    (row,) = figures["users"]
    assert row["over_fitted"].mean == pytest.approx(
        row["reward"].mean - row["fitted"].mean, rel=1e-5
    )
    assert "## Users" in report(figures, "python -m training.suite")
    agents = {curve.agent for curve in curves(suite)}
    assert agents == ({"recommender_0", "user_0"} if train == "both" else {"user_0"})


@pytest.mark.slow
def test_algorithms_are_trained_compared_and_not_trained_again(tmp_path, capsys):
    suite = entries(["ippo", "mappo"], TINY, TrainConfig(), 2, tmp_path / "runs")
    assert train_all(suite, progress=False)
    for entry in suite:
        for run in entry.runs:
            steps = [row["recommender_steps_trained"] for row in run.read_metrics()[1:]]
            assert (np.diff([0, *steps]) > 0).all()
    figures = results(suite, episodes_per_user=2, progress=False)
    rows = {row["name"]: row for row in figures["rows"]}
    assert {"random", "popularity", "ALS", "ippo", "mappo", figures["oracle"]} <= set(rows)
    ours = rows["ippo"]
    assert ours["reward"].mean == pytest.approx(np.mean(ours["by_seed"]), rel=1e-6)
    assert ours["over_random"].mean == pytest.approx(
        ours["reward"].mean - rows["random"]["reward"].mean, rel=1e-6
    )
    assert {curve.label for curve in curves(suite)} == {"ippo", "mappo"}
    made = {run.path: run.metrics.stat().st_mtime for entry in suite for run in entry.runs}
    assert train_all(suite, progress=False)  # nothing is left to do
    assert made == {p.path: p.metrics.stat().st_mtime for e in suite for p in e.runs}


def test_no_seeds_are_refused(capsys):
    assert main(["--seeds", "0"]) == 2
    assert "--seeds must be at least 1" in capsys.readouterr().err
