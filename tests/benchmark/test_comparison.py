"""Comparisons and their report."""

from __future__ import annotations

import doctest
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import recenv.benchmark
from recenv.benchmark import (
    Comparison,
    Contender,
    compare,
    compare_users,
    print_table,
    write_report,
)
from recenv.cli import main
from recenv.config import GameConfig
from recenv.errors import ConfigError, UnknownNameError
from recenv.evaluation import mean_interval
from recenv.plots import Curve
from recenv.recommenders import (
    ContentRecommender,
    OracleRecommender,
    PopularityRecommender,
    RandomRecommender,
    baselines,
)
from recenv.synthetic import planted_world
from recenv.users.user_policy import FittedUser
from recenv.world import World

GAME = GameConfig(num_candidates=20)


class Picky(FittedUser):
    """Stands for a trained user: the fitted one, but never for an item of negative utility."""

    name = "picky"

    def answer(self, observation: dict[str, np.ndarray], keys: np.ndarray) -> np.ndarray:
        answers = super().answer(observation, keys)
        answers[:, :-1] *= observation["utility"] > 0
        return answers


@pytest.fixture(scope="module")
def world() -> World:
    return planted_world()


@pytest.fixture(scope="module")
def comparison(world: World) -> Comparison:
    trained = Contender(ContentRecommender(world, "learned"), "trained")
    fresh = Contender(PopularityRecommender("fresh"), "untrained")
    return compare(world, GAME, [trained, *baselines(world), fresh], episodes_per_user=3, seed=5)


def test_rows_stand_in_their_order(comparison: Comparison) -> None:
    rows = comparison.rows()
    assert [row.name for row in rows] == [
        "random", "popularity", "content", "ALS", "fresh", "learned", "oracle (greedy)",
    ]  # fmt: skip
    assert [row.kind for row in rows] == [
        "random", "baseline", "baseline", "baseline", "untrained", "trained", "privileged",
    ]  # fmt: skip
    assert comparison.visitors == "50 held-out users"
    assert rows[0].visits == 150


def test_policies_that_act_alike_differ_by_nothing(comparison: Comparison) -> None:
    assert comparison.against("content")["learned"][:3] == (0, 0, 0)
    assert comparison.against("popularity")["fresh"][:3] == (0, 0, 0)
    positions = comparison.positions("ALS", "oracle (greedy)")
    assert set(positions) == {"random", "popularity", "content", "fresh", "learned"}
    assert positions["learned"] == positions["content"]
    assert positions["random"].high < 0
    with pytest.raises(UnknownNameError, match="Did you mean 'popularity'"):
        comparison.against("popularty")


def test_a_comparison_does_not_depend_on_who_else_is_in_it(
    world: World, comparison: Comparison
) -> None:
    alone = compare(
        world, GAME, [ContentRecommender(world)], episodes_per_user=3, seed=5, batch_size=11
    )
    np.testing.assert_array_equal(
        alone.rollouts[0].recommender_reward, comparison.rollout("content").recommender_reward
    )


def test_users_are_compared_with_the_fitted_one(world: World, comparison: Comparison) -> None:
    users = compare_users(
        world, GAME, ContentRecommender(world), [Picky()], episodes_per_user=3, seed=5
    )
    assert [row.name for row in users.rows()] == ["fitted (reference)", "picky"]
    np.testing.assert_array_equal(
        users.rollouts[0].user_reward, comparison.rollout("content").user_reward
    )
    assert users.against_fitted()["picky"].low > 0
    assert users.against_fitted("recommender reward")["picky"].high < 0
    again = compare(
        world, GAME, [ContentRecommender(world)], episodes_per_user=3, seed=5, user_policy=Picky()
    )
    assert again.user_policy == "picky"
    np.testing.assert_array_equal(again.rollouts[0].user_reward, users.rollouts[1].user_reward)


def test_wrong_arguments(world: World) -> None:
    with pytest.raises(ConfigError, match="two policies named 'random'"):
        compare(world, GAME, [RandomRecommender(), RandomRecommender()])
    with pytest.raises(ConfigError, match="recommenders is empty"):
        compare(world, GAME, [])
    with pytest.raises(ConfigError, match="user_policies has two policies named 'picky'"):
        compare_users(world, GAME, RandomRecommender(), [Picky(), Picky()])


def test_report(world: World, comparison: Comparison, tmp_path: Path) -> None:
    users = compare_users(world, GAME, ContentRecommender(world), [Picky()], episodes_per_user=2)
    more = compare(world, GAME, baselines(world), episodes_per_user=2, user_policy=Picky())
    path = write_report(
        tmp_path / "report",
        comparison,
        title="A title",
        more=[more],
        users=[users],
        curves=[Curve("recommender_0", "run", [0, 1], [np.nan, 2.0], seed=7)],
        command="python -m something --seed 7",
        seeds={"training": [7]},
        config_hash="cafe",
        notes=["A note of mine."],
        sections={"Extra": "Some words."},
    )
    names = {"comparison.png", "learning_curve.png", "report.md", "results.json"}
    assert {p.name for p in path.parent.iterdir()} == names
    text = path.read_text()
    for wanted in (
        "# A title",
        world.hash,
        GAME.hash,
        "50 held-out users, 3 visits each",
        "| learned (trained) |",
        "| fresh (untrained, seeded) |",
        "| policy | minus random | minus popularity | minus content | minus ALS | minus fresh |",
        "### Position between ALS and oracle (greedy)",
        "## Answered by picky: 50 held-out users",
        "## Users against content",
        "slate_size = 5",
        "python -m something --seed 7",
        "- A note of mine.",
        "## Extra\n\nSome words.",
        "greedy",
    ):
        assert wanted in text
    assert text.index("| random |") < text.index("| learned") < text.index("| oracle (greedy) (p")

    results = json.loads((path.parent / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["made"]["hashes"]["training config"] == "cafe"
    assert results["made"]["seeds"] == {"evaluation": 5, "training": [7]}
    assert results["curves"][0]["reward"] == [None, 2.0]
    found = next(p for p in results["comparisons"][0]["policies"] if p["name"] == "learned")
    rollout = comparison.rollout("learned")
    expected = mean_interval(rollout.recommender_reward, rollout.user)
    assert found["metrics"]["recommender reward"] == expected._asdict()
    assert results["comparisons"][0]["differences"]["content"]["learned"]["mean"] == 0
    assert results["users"][0]["differences"]["user reward"]["picky"]["low"] > 0

    write_report(path.parent, more, title="Again, without curves")
    assert {p.name for p in path.parent.iterdir()} == names - {"learning_curve.png"}
    assert "Baselines only" in path.read_text()


def test_curves_stand_beside_baselines_and_say_whose_they_are(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(
        "recenv.benchmark.report.learning_curve_plot",
        lambda curves, path, **more: drawn.update(more),
    )
    curve = Curve("recommender_0", "run", [0, 1], [1.0, 2.0], users="training")
    text = write_report(tmp_path, comparison, title="A title", curves=[curve]).read_text()
    lines = drawn["baselines"]["recommender_0"]
    assert list(lines) == ["random", "popularity", "content", "ALS", "oracle (greedy)"]
    assert lines["ALS"] == pytest.approx(comparison.rollout("ALS").recommender_reward.mean())
    assert drawn["baseline_users"] == "50 held-out users"
    assert "Curves are of training users" in text
    assert "the dashed lines, as the tables, are of 50 held-out users" in text


def test_als_is_not_left_out_in_silence(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    few = compare(world, GAME, baselines(world), episodes_per_user=2)
    assert "ALS" not in few.names
    text = write_report(tmp_path / "a", few, title="A title").read_text()
    assert "- ALS is not in the tables: ALSRecommender needs the package 'implicit'" in text
    arguments = ["compare", "recenv/Toy-v0", "--episodes", "2", "--out", str(tmp_path / "b")]
    assert main(arguments) == 0
    assert "recenv: ALS is left out. ALSRecommender needs" in capsys.readouterr().err
    assert main(["play", "recenv/Toy-v0", "--recommender", "als"]) == 2
    assert "recenv[benchmark]" in capsys.readouterr().err


def test_als_that_is_there_needs_no_note(comparison: Comparison, tmp_path: Path) -> None:
    text = write_report(tmp_path, comparison, title="A title").read_text()
    assert "not in the tables" not in text


def test_without_matplotlib_nothing_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("recenv.cli.resolve", lambda _: pytest.fail("a world was built"))
    assert main(["compare", "recenv/Toy-v0", "--out", str(tmp_path)]) == 2
    assert "recenv[plots]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report.md", "learning_curve.png"])
def test_nobody_elses_file_is_replaced(
    comparison: Comparison, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"holds a file {name} that no report"):
        write_report(tmp_path, comparison, title="A title")
    assert main(["compare", "recenv/Toy-v0", "--out", str(tmp_path)]) == 2
    assert "it would be lost" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_terminal_table_fits_and_marks(world: World, comparison: Comparison) -> None:
    long = Contender(OracleRecommender("a name that is far too long for any table " * 2), "trained")
    rows = [*comparison.rows(), *compare(world, GAME, [long], episodes_per_user=2).rows()]
    out = io.StringIO()
    print_table(rows, out)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    table = lines[: len(rows) + 2]
    assert len({len(line) for line in table}) == 1
    assert any(line.startswith("* learned") for line in table)
    assert any(line.startswith("+ fresh") for line in table)
    assert "* trained, + untrained, seeded, ! privileged." in lines


def test_the_docstring_runs() -> None:
    assert doctest.testmod(recenv.benchmark).failed == 0
