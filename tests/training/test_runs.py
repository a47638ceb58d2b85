"""The folder of a run."""

import pytest

from recenv.errors import ArtifactError, ConfigError
from training.config import TrainConfig
from training.runs import RunFolder, seed_runs


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


def test_metrics_round_trip_with_gaps(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_metrics() == []
    rows = [{"iteration": 1.0, "reward": 0.1}, {"iteration": 2.0, "reward": -1e-9, "extra": 3.0}]
    run.write_metrics(rows)
    assert run.read_metrics() == rows


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


def test_a_run_stays_in_its_world(tmp_path):
    run = RunFolder(tmp_path)
    run.pin_world("toy", "aaaa")
    run.pin_world("toy", "aaaa")
    with pytest.raises(ArtifactError, match="begun in the world 'toy'"):
        run.pin_world("toy", "bbbb")
