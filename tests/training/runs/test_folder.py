"""The folder of a run."""

import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from recenv.errors import ArtifactError, ConfigError
from training.config import TrainConfig
from training.runs import folder as runs
from training.runs.folder import RunFolder, create_seeds, seed_runs


def save(folder):
    folder.mkdir()
    (folder / "state").write_text("state")


def test_the_last_and_the_best_checkpoint_are_kept(tmp_path):
    run = RunFolder(tmp_path / "run")
    for iteration, reward in enumerate([None, 1.0, -3.0, 5.0, 4.0, 2.0], start=1):
        made = run.save_checkpoint(save, iteration, 10.0 * iteration, reward)
        assert (made.folder / "state").is_file()
    last, best = run.checkpoint("last"), run.checkpoint("best")
    assert (last.iteration, last.seconds, last.reward) == (6, 60.0, 2.0)
    assert (best.iteration, best.reward) == (4, 5.0)
    kept = {p.name for p in (run.path / "checkpoints").iterdir() if p.is_dir()}
    assert kept == {last.folder.name, best.folder.name}


def test_what_a_user_puts_beside_checkpoints_stays(tmp_path):
    run = RunFolder(tmp_path / "run")
    place = run.path / "checkpoints"
    run.save_checkpoint(save, 1, 1.0, 1.0)
    mine = [place / name for name in ("keep-this-one", "iteration-000001-copy", "iteration-000002")]
    for folder in mine:
        save(folder)
    (place / "notes.txt").write_text("mine")
    for iteration in range(2, 6):
        run.save_checkpoint(save, iteration, 1.0, float(iteration))
    for folder in mine:
        assert (folder / "state").read_text() == "state"
    assert (place / "notes.txt").read_text() == "mine"
    made = {p.name for p in place.iterdir()} - {p.name for p in mine}
    assert made == {"notes.txt", "index.json", "iteration-000005"}


def test_checkpoints_of_an_earlier_version_are_kept_and_dropped(tmp_path):
    run = RunFolder(tmp_path / "run")
    place = run.path / "checkpoints"
    entries = {}
    for which, iteration, reward in (("best", 3, 9.0), ("last", 4, 1.0)):
        name = f"iteration-{iteration:06d}"
        (place / name).mkdir(parents=True)
        entries[which] = {"name": name, "iteration": iteration, "seconds": 1.0, "reward": reward}
    (place / "index.json").write_text(json.dumps(entries))
    assert run.checkpoint("best").iteration == 3
    run.save_checkpoint(save, 5, 1.0, 2.0)
    assert {p.name for p in place.iterdir()} == {
        "index.json", "iteration-000003", "iteration-000005"
    }  # fmt: skip


def test_negative_and_zero_rewards_are_rewards(tmp_path):
    run = RunFolder(tmp_path / "run")
    for iteration, reward in enumerate([-2.0, 0.0, -1.0], start=1):
        run.save_checkpoint(save, iteration, 1.0, reward)
    assert run.checkpoint("best").iteration == 2


def test_a_failed_checkpoint_leaves_the_one_before(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.save_checkpoint(save, 1, 1.0, 0.0)

    def fail(folder):
        save(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run.save_checkpoint(fail, 2, 2.0, 1.0)
    assert run.checkpoint().iteration == 1
    assert (run.checkpoint().folder / "state").is_file()
    run.save_checkpoint(save, 2, 2.0, 1.0)
    assert run.checkpoint().iteration == 2


def test_a_checkpoint_that_was_not_indexed_is_replaced(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    run.save_checkpoint(save, 1, 1.0, 0.0)
    write, calls = runs.write_atomically, itertools.count()

    def killed(path, data):
        if path.name == "index.json" and next(calls) == 1:  # the folder has its name by now
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(runs, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save_checkpoint(save, 2, 2.0, 1.0)
    monkeypatch.undo()
    assert (run.path / "checkpoints" / "iteration-000002").is_dir()
    assert run.checkpoint().iteration == 1
    (run.path / "checkpoints" / ".part-abcd1234").write_text("{")
    made = run.save_checkpoint(save, 2, 2.0, 1.0)
    assert run.checkpoint().folder == made.folder
    assert {p.name for p in (run.path / "checkpoints").iterdir()} == {
        "index.json",
        made.folder.name,
    }


WRITER = """
import sys
from pathlib import Path
from training.runs.folder import RunFolder

run = RunFolder(Path(sys.argv[1]))
begin = run.checkpoint().iteration + 1 if run.checkpoint() else 1

def save(folder, iteration):
    for name in "abcdefgh":
        (folder / name).mkdir(parents=True)
        (folder / name / "state").write_text(f"{iteration} {name}" * 2000)

rows = [row for row in run.read_metrics() if row["iteration"] < begin]
for iteration in range(begin, 10**9):
    rows = [*rows, {"iteration": iteration, "reward": 0.5}][-200:]
    run.write_metrics(rows)
    run.save_checkpoint(lambda folder: save(folder, iteration), iteration, 1.0, iteration % 7)
    print(iteration, flush=True)
"""


def test_a_writer_killed_at_random_moments_leaves_whole_checkpoints(tmp_path):
    run, moments = RunFolder(tmp_path / "run"), random.Random(0)
    reached = 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run.path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline()
        time.sleep(moments.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        for which in ("last", "best"):
            found = run.checkpoint(which)
            for name in "abcdefgh":
                text = (found.folder / name / "state").read_text()
                assert text == f"{found.iteration} {name}" * 2000
        last = run.checkpoint().iteration
        assert last > reached
        reached = last
        iterations = [row["iteration"] for row in run.read_metrics()]
        assert iterations == list(range(iterations[0], iterations[-1] + 1))
        assert iterations[-1] - last in (0, 1)  # the row is written before the checkpoint


def test_metrics_round_trip_with_gaps(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_metrics() == []
    rows = [{"iteration": 1.0, "reward": 0.1}, {"iteration": 2.0, "reward": -1e-9, "extra": 3.0}]
    run.write_metrics(rows)
    assert run.read_metrics() == rows
    table = pd.read_parquet(run.metrics)
    assert dict(table.dtypes) == {"iteration": "int64", "reward": "float64", "extra": "float64"}
    np.testing.assert_array_equal(table["extra"], [np.nan, 3.0])


def test_metrics_can_be_read_at_any_time_of_a_run(tmp_path):
    run, done = RunFolder(tmp_path), threading.Event()

    def write():
        rows = []
        for iteration in range(200):
            rows.append({"iteration": iteration, "reward": float(iteration)})
            run.write_metrics(rows)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    lengths = []
    while not done.is_set():
        rows = run.read_metrics()
        assert [row["reward"] for row in rows] == list(range(len(rows)))
        lengths.append(len(rows))
    writer.join()
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 5


def test_a_run_is_not_begun_twice_and_must_exist(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(ArtifactError, match="no run"):
        run.config()
    run.create(TrainConfig(seed=4))
    assert run.config().seed == 4
    with pytest.raises(ConfigError, match="--resume"):
        run.create(TrainConfig())
    with pytest.raises(ArtifactError, match="no run"):
        seed_runs(tmp_path / "nothing")


def test_runs_of_seeds_are_found_in_order(tmp_path):
    for seed in (10, 2):
        RunFolder(tmp_path / f"seed-{seed}").create(TrainConfig(seed=seed))
    assert [run.config().seed for run in seed_runs(tmp_path)] == [2, 10]


@pytest.mark.parametrize("name", ["seed-0-old", "seed-", "seed-x", "seed-\u0663", "seed-2.bak"])
def test_copies_beside_seeds_are_left_alone(tmp_path, name):
    create_seeds(tmp_path / "r", [TrainConfig(seed=seed) for seed in (0, 1)])
    RunFolder(tmp_path / "r" / name).create(TrainConfig(seed=7))
    assert [run.path.name for run in seed_runs(tmp_path / "r")] == ["seed-0", "seed-1"]
    assert (tmp_path / "r" / name).is_dir()


def test_a_relative_path_in_the_settings_holds_from_everywhere(tmp_path, monkeypatch, world):
    here, elsewhere = tmp_path / "a", tmp_path / "b"
    for folder in (here, elsewhere, here / "random", here / "rec", here / "warm"):
        folder.mkdir()
    monkeypatch.chdir(here)
    world.save("world")
    told = {"env": "world", "train": "user", "opponent": "rec", "warm_start": "warm"}
    run = RunFolder(here / "run")
    run.create(TrainConfig(**told))
    RunFolder(here / "named").create(TrainConfig(env="world", train="user", opponent="random"))
    monkeypatch.chdir(elsewhere)
    config = run.config()
    assert config.resolve()[0].hash == world.hash
    assert (config.opponent, config.warm_start) == (str(here / "rec"), str(here / "warm"))
    assert RunFolder(here / "named").config().opponent == "random"  # a name is no path
    (here / "world").rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="no saved world in .*--env FOLDER"):
        config.resolve()


def test_runs_of_seeds_begin_together_or_not_at_all(tmp_path):
    configs = [TrainConfig(seed=seed) for seed in (3, 4)]
    runs = create_seeds(tmp_path / "many", configs)
    assert [(run.path.name, run.config().seed) for run in runs] == [("seed-3", 3), ("seed-4", 4)]
    with pytest.raises(ConfigError, match="--resume"):
        create_seeds(tmp_path / "many", configs)

    def failing():
        yield configs[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        create_seeds(tmp_path / "none", failing())
    assert [p.name for p in tmp_path.iterdir()] == ["many"]


def test_two_processes_do_not_train_the_same_run(tmp_path):
    run = RunFolder(tmp_path / "run")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path\n"
            "from training.runs.folder import RunFolder\n"
            "with RunFolder(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(99)",
            str(run.path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="Another process trains"), run.lock(wait=0.1):
        pass
    holder.kill()
    holder.communicate()
    with run.lock(wait=0.1):
        pass


def test_a_run_is_finished_once_its_policies_are_written(tmp_path):
    run = RunFolder(tmp_path)
    config = TrainConfig(rounds=8192, train="recommender")
    run.create(config)
    assert not run.finished
    run.save_checkpoint(save, 2, 1.0, 0.0)
    assert not run.finished
    (run.policy / "recommender").mkdir(parents=True)
    (run.policy / "recommender" / "manifest.json").write_text(json.dumps({}))
    assert run.finished
    run.write_config(config.replace(rounds=16384))
    assert not run.finished


def test_a_run_stays_in_its_world(tmp_path):
    run = RunFolder(tmp_path)
    run.pin_world("toy", "aaaa")
    run.pin_world("toy", "aaaa")
    with pytest.raises(ArtifactError, match="begun in the world 'toy'"):
        run.pin_world("toy", "bbbb")
