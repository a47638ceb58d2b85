"""What tests do inside ``training/launch/two_nodes.sh``; the last line that it prints is JSON.

on_cluster.py train FOLDER RUNNERS      a few iterations in the world of the folder
on_cluster.py ask RUNNERS LEARNERS      for more than the cluster has
on_cluster.py lose FOLDER FLAGS...      kill the second node of a run, then start a third
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from launched import curve, folder, start, wait_for_iteration, wait_until

from training.cluster import ClusterError, ray_session
from training.config import TrainConfig
from training.session import Session
from training.studies.scaling import look, summary

SMALL = {
    "num_envs_per_env_runner": 16,
    "ippo": {"rounds_per_iteration": 128, "minibatch_size": 64, "epochs": 1},
    "game": {"slate_size": 3, "num_candidates": 12, "max_rounds": 6},
}


def train(world, runners):
    config = TrainConfig.from_dict({"env": world, "num_env_runners": int(runners), **SMALL})
    with ray_session(config, verbose=False):
        session = Session(config, None)
        rows = [session.iterate() for _ in range(3)]
        group = session.algorithm.env_runner_group
        looks = group.foreach_env_runner(look, local_env_runner=False)
        sampled = group.foreach_env_runner(
            lambda runner: runner.num_env_steps_sampled_lifetime, local_env_runner=False
        )
        session.close()
    steps = {side: [row[f"{side}_steps_trained"] for row in rows] for side in config.trained}
    return {"steps": steps, "sampled": sampled, "on": [x["node"] for x in looks], **summary(looks)}


def ask(runners, learners):
    config = TrainConfig(num_env_runners=int(runners), num_learners=int(learners))
    try:
        with ray_session(config, verbose=False):
            return {"error": None}
    except ClusterError as error:
        return {"error": str(error)}


def third_node(log):
    script = Path(__file__).parents[2] / "training/launch/ray_node.sh"
    temp = Path(os.environ["TOKEN_FILE"]).parent / "third"
    settings = {"NODE_IP": "127.0.0.4", "FIRST_PORT": "7000", "TEMP": str(temp)}
    command = [str(script), "worker", os.environ["RAY_ADDRESS"]]
    with log.open("w") as output:
        started = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=output, stderr=subprocess.STDOUT
        )
    return psutil.Process(started.pid)


def samples_on(node):
    """Whether a runner was made and called there: Ray names processes by what they do."""
    names = [p.cmdline()[0] for p in node.children(recursive=True) if p.cmdline()]
    return any("BatchedEnvRunner" in name and "__init__" not in name for name in names)


def lose(at, *flags):
    at = Path(at)
    run = folder(at)
    process = start(at, "--rounds", str(10**7), "--checkpoint-every", "1", "--no-report", *flags)
    wait_for_iteration(run, 2, process)
    node = psutil.Process(int(os.environ["WORKER_PID"]))
    raylet = next(p for p in node.children(recursive=True) if p.name() == "raylet")
    before = len(run.read_metrics())
    raylet.send_signal(signal.SIGKILL)
    ended = psutil.wait_procs([node], timeout=60)[1] == []
    replaced = False
    try:
        wait_until(lambda: len(run.read_metrics()) >= before + 4, process)
        third = third_node(at / "third.txt")
        wait_until(lambda: samples_on(third), process)
        replaced, then = True, len(run.read_metrics())
        wait_until(lambda: len(run.read_metrics()) >= then + 4, process)
        process.send_signal(signal.SIGINT)
    except AssertionError:  # the run ended meanwhile
        pass
    code = process.wait(timeout=120)
    return {
        "node_ended": ended,
        "replaced": replaced,
        "before": before,
        "code": code,
        "iteration": run.checkpoint().iteration,
        "curve": curve(run),
        "output": (at / "output.txt").read_text(),
    }


if __name__ == "__main__":
    command = {"train": train, "ask": ask, "lose": lose}[sys.argv[1]]
    print("\n" + json.dumps(command(*sys.argv[2:])))
