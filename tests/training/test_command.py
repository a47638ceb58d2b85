"""What a command says of its figures, and of packages that it would need later."""

import sys

import numpy as np
import pytest
from helpers.launched import TINY

from recenv.errors import MissingDependencyError
from training import evaluate, suite
from training.config import TrainConfig
from training.train import main, progress_label


def test_the_screen_says_against_whom_rewards_are_earned():
    assert "each against the other as it learns" in progress_label(TrainConfig(train="both"))
    assert "before the fitted user" in progress_label(TrainConfig(train="recommender"))
    assert "before content" in progress_label(TrainConfig(train="user", opponent="content"))


def test_a_report_says_that_its_tables_are_another_quantity():
    (note,) = evaluate.opponent_notes(TrainConfig(train="both"))
    assert "the fitted user answers" in note
    assert evaluate.opponent_notes(TrainConfig(train="recommender")) == []


def test_without_matplotlib_nothing_is_computed_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*TINY, "--runs", str(tmp_path), "--name", "run"]) == 2
    told = capsys.readouterr().err
    assert "--no-report" in told
    assert "pip install 'recenv[plots]'" in told
    assert not list(tmp_path.iterdir())
    with pytest.raises(MissingDependencyError, match="'matplotlib'"):
        evaluate.evaluate(tmp_path)
    assert suite.main(["--runs", str(tmp_path / "s"), "--out", str(tmp_path / "out")]) == 2
    assert not list(tmp_path.iterdir())


def test_without_implicit_als_is_said_to_be_left_out(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "implicit", None)
    evaluate.tell_left_out()
    assert "Left out: ALS" in capsys.readouterr().err
    settings = ["--network.init", "cf", "--train", "recommender", "--env", "recenv/Toy-v0"]
    assert main([*settings, "--no-report", "--runs", "nowhere"]) == 2
    assert "pip install 'recenv[benchmark]'" in capsys.readouterr().err


def test_a_suite_without_als_has_no_columns_of_it(monkeypatch):
    class Met:
        names = ("random", "popularity", "oracle")

        def rollout(self, name):
            assert name in self.names
            return played

    class Played:
        user = np.array([0, 0, 1, 1])
        recommender_reward = np.array([1.0, 2.0, 3.0, 4.0])

    played = Played()
    monkeypatch.setattr(suite, "paired_position", lambda *arrays: None)
    row = suite.table_row(Met(), ["popularity"], "popularity", "oracle")
    assert "over_random" in row
    assert "over_ALS" not in row
