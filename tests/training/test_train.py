"""Training end to end, in processes of their own: Ray leaves much behind."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recenv.env.registration import load_world
from training.policy import load, load_user
from training.runs import RunFolder
from training.session import Session, TrainingError

TINY = [
    "--env", "recenv/Toy-v0", "--num-envs-per-env-runner", "16", "--ippo.minibatch-size", "64",
    "--ippo.rounds-per-iteration", "128", "--ippo.epochs", "2", "--network.hidden", "8",
    "--evaluation-visits", "20", "--game.slate_size", "3", "--game.max_rounds", "5",
    "--no-progress",
]  # fmt: skip


def start(tmp_path, *flags, new=True):
    command = [sys.executable, "-m", "training.train"]
    if new:
        command += [*TINY, "--runs", str(tmp_path), "--name", "run"]
    with (tmp_path / "output.txt").open("w") as output:  # a pipe would wait for Ray's processes
        return subprocess.Popen(
            [*command, *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )


def finish(process, tmp_path, code=0):
    process.wait(timeout=300)
    output = (tmp_path / "output.txt").read_text()
    assert process.returncode == code, output
    return output


def wait_for_iteration(run, iteration, process):
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        found = run.checkpoint() if (run.path / "checkpoints" / "index.json").is_file() else None
        if found and found.iteration >= iteration:
            return
        assert process.poll() is None
        time.sleep(0.05)
    pytest.fail("no checkpoint came")


def curve(run, until):
    return [
        {k: v for k, v in row.items() if "seconds" not in k}
        for row in run.read_metrics()
        if row["iteration"] <= until
    ]


def test_ippo_trains_both_sides_and_reports(tmp_path):
    output = finish(
        start(tmp_path, "--rounds", "384", "--evaluation-every", "2", "--checkpoint-every", "2"),
        tmp_path,
    )
    run = RunFolder(tmp_path / "run")
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
    run = RunFolder(tmp_path / "run")
    try:
        wait_for_iteration(run, 2, first)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    at = run.checkpoint().iteration
    before = curve(run, at)
    assert len(before) == at + 1  # and the evaluation before training
    rounds = str(128 * (at + 2))
    finish(start(tmp_path, "--resume", str(run.path), "--rounds", rounds, "--no-report",
                 "--no-progress", new=False), tmp_path)  # fmt: skip
    after = run.read_metrics()
    assert curve(run, at) == before
    assert [row["iteration"] for row in after] == list(range(at + 3))
    assert (np.diff([row["recommender_steps_trained"] for row in after[1:]]) > 0).all()
    assert (np.diff([row["seconds"] for row in after]) > 0).all()


@pytest.mark.slow
def test_interrupt_ends_with_a_checkpoint(tmp_path):
    process = start(tmp_path, "--rounds", "1280000", "--checkpoint-every", "1000", "--no-report")
    run = RunFolder(tmp_path / "run")
    deadline = time.monotonic() + 200
    while len(run.read_metrics()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output = finish(process, tmp_path, code=130)
    assert "--resume" in output
    assert run.checkpoint().iteration == len(run.read_metrics()) - 1 >= 2


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
