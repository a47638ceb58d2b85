"""Training runs in processes of their own, as a shell starts them: Ray leaves much behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from training.runs.folder import RunFolder

TINY = [
    "--env", "recenv/Toy-v0", "--num-envs-per-env-runner", "16", "--ippo.minibatch-size", "64",
    "--ippo.rounds-per-iteration", "128", "--ippo.epochs", "2", "--network.hidden", "8",
    "--evaluation-visits", "20", "--game.slate_size", "3", "--game.max_rounds", "5",
    "--no-progress",
]  # fmt: skip
ROUNDS = 128
"""Of an iteration."""


def start(tmp_path, *flags, new=True, module="training.train", **environment):
    """Begin a tiny run ``tmp_path/run``, or with ``new=False`` whatever the flags say."""
    command = [sys.executable, "-m", module]
    if new:
        command += [*TINY, "--runs", str(tmp_path), "--name", "run"]
    with (tmp_path / "output.txt").open("w") as output:  # a pipe would wait for Ray's processes
        return subprocess.Popen(
            [*command, *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
            start_new_session=True,  # a process group of its own, as in a terminal
        )


def finish(process, tmp_path, code=0):
    """What a run printed, once it ended with the exit code."""
    try:
        process.wait(timeout=300)
    finally:
        process.kill()
    output = (tmp_path / "output.txt").read_text()
    assert process.returncode == code, output
    return output


def wait_until(true, process, seconds=300):
    """Wait for a condition while a run goes on."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        assert process.poll() is None, "the run ended meanwhile"
        time.sleep(0.02)
    process.kill()
    process.wait()
    pytest.fail("waited in vain")


def wait_for_iteration(run, iteration, process):
    """Wait for a checkpoint of an iteration or a later one."""

    def reached():
        found = run.checkpoint()
        return found is not None and found.iteration >= iteration

    wait_until(reached, process)


def children(process, name=""):
    """Processes that a run started whose command line holds a name."""
    out = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if name in " ".join(child.cmdline()):
                out.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return out


def kill(process):
    """SIGKILL to the driver alone; asserts that all that it started ends by itself."""
    started = children(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(started, timeout=240)
    assert not alive, "outlived their driver"


def curve(run, until=float("inf")):
    """Rows of the metrics up to an iteration, without what depends on the clock."""
    return [
        {name: value for name, value in row.items() if "second" not in name}
        for row in run.read_metrics()
        if row["iteration"] <= until
    ]


def folder(tmp_path):
    """The run that ``start`` begins."""
    return RunFolder(tmp_path / "run")


def check_whole(run):
    """A row for every iteration, and every side that learns was trained in each; the rows."""
    rows = run.read_metrics()
    assert [row["iteration"] for row in rows] == list(range(len(rows)))
    assert [row["rounds"] for row in rows] == [ROUNDS * n for n in range(len(rows))]
    for side in run.config().trained:
        steps = [row[f"{side}_steps_trained"] for row in rows[1:]]
        assert steps[0] > 0
        assert (np.diff(steps) > 0).all()
        assert np.isfinite([row[f"{side}_reward"] for row in rows[1:]]).all()
        assert np.isfinite(rows[0][f"evaluation_{side}_reward"])
    assert (np.diff([row["seconds"] for row in rows]) > 0).all()
    return rows


def train_each(folder, jobs, seconds):
    """Train the jobs of ``train_configs``, in a process of their own that has so long."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("train_configs.py")
    process = subprocess.run(
        [sys.executable, str(script), str(folder / "jobs.json"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=False,
        timeout=seconds,
    )
    assert process.returncode == 0, process.stdout + process.stderr
