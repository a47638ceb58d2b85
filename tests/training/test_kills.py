"""Runs whose processes are killed: nothing that was written is lost."""

import os
import random
import signal
import time

import pytest
from helpers.launched import (
    ROUNDS,
    check_whole,
    children,
    curve,
    finish,
    folder,
    kill,
    start,
    wait_until,
)

from training.runs.load_policy import load, load_user

ENDLESS = ("--rounds", str(10**7), "--no-report")


def check_readable(run):
    """The policies beside RLlib's state; a resumption reads that."""
    for which in ("last", "best"):
        assert run.checkpoint(which).rllib.is_dir()
        load(run.path, checkpoint=which)
        load_user(run.path, checkpoint=which)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_driver_killed_at_ten_random_moments_goes_on_each_time(tmp_path):
    moments, run = random.Random(5), folder(tmp_path)
    often = ("--checkpoint-every", "1", "--evaluation-every", "2")
    process = start(tmp_path, *ENDLESS, *often)
    reached = 0
    for n in range(10):
        if n:
            process = start(
                tmp_path, "--resume", str(run.path), "--no-report", "--no-progress", new=False
            )
        if n % 5 == 4:  # before training, at any moment of the start
            time.sleep(moments.uniform(0, 10))
        else:
            seen = reached + moments.randint(1, 12)
            wait_until(lambda s=seen: run.checkpoint() and run.checkpoint().iteration >= s, process)
            if n % 2:  # while a checkpoint is written
                wait_until((run.path / "checkpoints" / ".part").exists, process)
            else:
                time.sleep(moments.uniform(0, 0.3))
        kill(process)
        check_readable(run)
        last = run.checkpoint().iteration
        assert last >= reached
        if n % 5 != 4:
            assert last > reached
        before = curve(run, last)
        assert [row["iteration"] for row in before] == list(range(last + 1))
        if n:
            assert before[: len(earlier)] == earlier  # noqa: F821
        earlier, reached = before, last
    rounds = str(ROUNDS * (reached + 3))
    process = start(
        tmp_path, "--resume", str(run.path), "--rounds", rounds, "--no-progress", new=False
    )
    assert "Report:" in finish(process, tmp_path)
    assert len(check_whole(run)) == reached + 4
    assert curve(run, reached) == earlier
    assert run.finished


@pytest.mark.slow
@pytest.mark.parametrize(("runners", "victims"), [(2, 1), (2, 2), (1, 1)])
def test_training_goes_on_when_runners_are_killed(tmp_path, runners, victims):
    run = folder(tmp_path)
    process = start(tmp_path, *ENDLESS, "--num-env-runners", str(runners))
    try:
        wait_until(lambda: len(run.read_metrics()) > 4, process)
        before = children(process, "EnvRunner")
        assert len(before) == runners
        for victim in before[:victims]:
            victim.send_signal(signal.SIGKILL)
        known = {child.pid for child in before}
        wait_until(lambda: {c.pid for c in children(process, "EnvRunner")} - known, process)
        came_back = len(run.read_metrics())
        wait_until(lambda: len(run.read_metrics()) > came_back + 10, process)
        assert len(children(process, "EnvRunner")) == runners
    finally:
        process.send_signal(signal.SIGINT)
    finish(process, tmp_path, code=130)
    rows = check_whole(run)
    assert run.checkpoint().iteration == len(rows) - 1
    check_readable(run)


@pytest.mark.slow
def test_a_run_whose_learner_is_killed_ends_and_can_be_resumed(tmp_path):
    run = folder(tmp_path)
    process = start(tmp_path, *ENDLESS, "--num-learners", "1", "--checkpoint-every", "2")
    wait_until(lambda: len(run.read_metrics()) > 5, process)
    (learner,) = children(process, "_WrappedExecutable")
    learner.send_signal(signal.SIGKILL)
    assert "--resume" in finish(process, tmp_path, code=2)
    check_readable(run)
    at = run.checkpoint().iteration
    before = curve(run, at)
    rounds = str(ROUNDS * (at + 2))
    finish(
        start(tmp_path, "--resume", str(run.path), "--rounds", rounds, "--no-report",
              "--no-progress", new=False),
        tmp_path,
    )  # fmt: skip
    assert curve(run, at) == before
    assert len(check_whole(run)) == at + 3


@pytest.mark.slow
def test_an_interrupt_of_the_whole_process_group_ends_with_a_checkpoint(tmp_path):
    """As Ctrl-C in a terminal does: Ray's processes get the signal, too."""
    run = folder(tmp_path)
    process = start(tmp_path, *ENDLESS, "--checkpoint-every", "1000", "--num-env-runners", "1")
    wait_until(lambda: len(run.read_metrics()) > 3, process)
    os.killpg(process.pid, signal.SIGINT)
    output = finish(process, tmp_path, code=130)
    assert f"--resume {run.path}" in output
    assert "Traceback" not in output
    assert run.checkpoint().iteration == len(check_whole(run)) - 1 >= 3
    check_readable(run)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 2, 5])
def test_an_interrupt_before_training_is_told_and_the_run_can_begin_after_it(tmp_path, seconds):
    run = folder(tmp_path)
    process = start(tmp_path, *ENDLESS)
    wait_until(lambda: run.exists, process)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    output = finish(process, tmp_path, code=130)
    assert f"--resume {run.path}" in output
    assert "Traceback" not in output
    done = run.checkpoint().iteration if run.checkpoint() else 0
    rounds = str(ROUNDS * (done + 2))
    finish(
        start(tmp_path, "--resume", str(run.path), "--rounds", rounds, "--no-report",
              "--no-progress", new=False),
        tmp_path,
    )  # fmt: skip
    assert len(check_whole(run)) == done + 3
