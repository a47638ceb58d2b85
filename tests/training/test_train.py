"""Training end to end."""

import json

import numpy as np
import pytest
from launched import ROUNDS, curve, finish, folder, kill, start, wait_for_iteration

from recenv.env.registration import load_world
from training.policy import load, load_user
from training.session import Session, TrainingError


def test_ippo_trains_both_sides_and_reports(tmp_path):
    output = finish(
        start(tmp_path, "--rounds", "384", "--evaluation-every", "2", "--checkpoint-every", "2"),
        tmp_path,
    )
    run = folder(tmp_path)
    rows = run.read_metrics()
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert [row["rounds"] for row in rows] == [0, 128, 256, 384]
    before, *rows = rows
    assert np.isfinite(before["evaluation_recommender_reward"])
    for side in ("recommender", "user"):
        steps = [row[f"{side}_steps_trained"] for row in rows]
        assert steps[0] > 0
        assert (np.diff(steps) > 0).all()
        assert all(np.isfinite(row[f"{side}_reward"]) for row in rows)
    assert [r["iteration"] for r in rows if "evaluation_user_reward" in r] == [2, 3]
    for name in (
        "config.toml",
        "checkpoints/index.json",
        "report/report.md",
        "report/comparison.png",
        "report/learning_curve.png",
        "report/results.json",
    ):
        assert (run.path / name).is_file(), name
    assert list(run.tensorboard.glob("events*"))
    world = load_world("recenv/Toy-v0")
    assert load(run.path, world).name == "trained recommender"
    assert load_user(run.path, world).name == "trained user"
    manifest = json.loads((run.policy / "user" / "manifest.json").read_text())
    assert manifest["meta"]["config"] == run.config().hash
    for line in ("IPPO recommender", "seeded, untrained", "popularity", "oracle", "IPPO user"):
        assert line in output
    assert "Warning" not in output
    assert "Traceback" not in output


def test_killed_run_resumes_with_the_same_curve(tmp_path):
    first = start(tmp_path, "--rounds", "1280000", "--checkpoint-every", "2", "--train",
                  "recommender", "--no-report")  # fmt: skip
    run = folder(tmp_path)
    try:
        wait_for_iteration(run, 2, first)
    finally:
        kill(first)
    at = run.checkpoint().iteration
    before = curve(run, at)
    assert len(before) == at + 1  # and the evaluation before training
    rounds = str(ROUNDS * (at + 2))
    finish(start(tmp_path, "--resume", str(run.path), "--rounds", rounds, "--no-report",
                 "--no-progress", new=False), tmp_path)  # fmt: skip
    after = run.read_metrics()
    assert curve(run, at) == before
    assert [row["iteration"] for row in after] == list(range(at + 3))
    assert (np.diff([row["recommender_steps_trained"] for row in after[1:]]) > 0).all()
    assert (np.diff([row["seconds"] for row in after]) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--train", "user", "--opponent", "content"),
        ("--num-env-runners", "1", "--rounds", "512"),
        ("--no-batched-runner", "--num-envs-per-env-runner", "4"),
        ("--game.slate_size", "1"),
        ("--seeds", "2"),
    ],
)
def test_other_ways_to_train(tmp_path, flags):
    output = finish(start(tmp_path, "--rounds", "256", *flags), tmp_path)
    assert "Report:" in output


def test_bad_flags_are_told_in_one_line(tmp_path):
    output = finish(start(tmp_path, "--env", "recenv/Toi-v0"), tmp_path, code=2)
    assert "Did you mean 'recenv/Toy-v0'" in output
    assert "Traceback" not in output


class _Silent:
    """An algorithm whose learner died: it goes on returning results without updates."""

    env_runner_group = None

    def train(self):
        return {"learners": {"recommender": {"num_module_steps_trained_lifetime": 100}}}


def test_training_that_does_not_train_is_an_error(tmp_path):
    from training.config import TrainConfig

    session = object.__new__(Session)
    session.config = TrainConfig(train="recommender")
    session.algorithm = _Silent()
    session._steps = {}
    session.iterate()
    with pytest.raises(TrainingError, match="recommender module was not trained"):
        session.iterate()
