"""Files of a run that are damaged, missing or of another version: a clear error, or no change."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from helpers.training_without_ray import StandIn, begin

from recenv.errors import ArtifactError, RecenvError
from training.runs.folder import RunFolder, seed_runs
from training.runs.load_policy import load
from training.train import main, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory, env_config):
    with pytest.MonkeyPatch.context() as patch:
        run = begin(patch, env_config, tmp_path_factory.mktemp("runs") / "run")
        assert train(run, progress=False)
    return run


def read(run):
    """Everything that is read of a run, as one thing that can be compared."""
    checkpoint = run.checkpoint()
    checkpoint.check()
    rows = run.read_metrics()
    weights = {}
    for which in (None, "best", "last"):
        for name, value in load(run.path, checkpoint=which).network.state_dict().items():
            weights[f"{which} {name}"] = value.numpy()
    told = (run.config().to_dict(), run.finished, checkpoint.iteration, checkpoint.seconds, rows)
    state = json.loads((checkpoint.rllib / "state.json").read_text())
    return json.dumps([*told, state], sort_keys=True), weights


def same(one, other):
    return one[0] == other[0] and all(
        np.array_equal(value, other[1][name]) for name, value in one[1].items()
    )


def flipped(data, bit):
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


OWN = (
    "config.toml",
    "world.json",
    "metrics.parquet",
    "checkpoints/index.json",
    "checkpoints/*/files.json",
    "checkpoints/*/rllib/state.json",
    "checkpoints/*/policy/recommender/arrays.safetensors",
    "policy/recommender/arrays.safetensors",
)


@pytest.mark.parametrize("name", OWN)
def test_a_flipped_bit_is_an_error_or_changes_nothing(finished, tmp_path, name):
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    wanted, draws = read(run), random.Random(name)
    errors = 0
    for file in sorted(run.path.glob(name)):
        whole = file.read_bytes()
        for bit in draws.sample(range(8 * len(whole)), min(20, 8 * len(whole))):
            file.write_bytes(flipped(whole, bit))
            try:
                run.pin_world(run.config().resolve()[0].name, run.config().resolve()[0].hash)
                found = read(run)
            except RecenvError as error:
                errors += len(str(error)) > 40  # says something
            else:
                assert same(found, wanted), f"{file} bit {bit} changed what is read"
        file.write_bytes(whole)
    assert errors > 5
    assert same(read(run), wanted)


@pytest.mark.parametrize("name", OWN[2:6])
@pytest.mark.parametrize("left", [0, 10, 0.5])
def test_a_truncated_file_is_an_error(finished, tmp_path, name, left):
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    for file in run.path.glob(name):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(left * len(whole)) if left < 1 else min(left, len(whole) - 1)])
    with pytest.raises(ArtifactError):
        read(run)


def test_resuming_what_is_no_run_is_told(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for folder in ("nowhere", "other"):
        assert main(["--resume", str(tmp_path / folder), "--no-report"]) == 2
        assert "There is no run in" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_run_of_another_version_is_told(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    text = config.read_text().replace("# recenv ", "# recenv 9.")
    config.write_text(text + "\n[later]\nsetting = 1\n")
    with pytest.raises(ArtifactError, match=r"'later'.*written by recenv 9\."):
        seed_runs(tmp_path / "run")[0].config()


def test_settings_changed_by_hand_are_told(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    config = run.path / "config.toml"
    config.write_text(config.read_text().replace("seed = 0", "seed = 1", 1))
    with pytest.raises(ArtifactError, match="damaged or changed.*--config"):
        run.config()
    whole = config.read_text()
    config.write_text(whole.partition("\n")[2])  # as versions before wrote it
    assert run.config().seed == 1


def test_a_checkpoint_that_rllib_cannot_read_is_told_with_versions(finished, tmp_path):
    from training.session import Session, TrainingError

    session = object.__new__(Session)

    class Algorithm:
        logdir = tmp_path / "none"

        def restore_from_path(self, path):
            raise AttributeError("no attribute 'old'")

        def stop(self):
            pass

    session.algorithm = Algorithm()
    with pytest.raises(TrainingError, match=f"no attribute 'old'.*torch {torch.__version__[:3]}"):
        session._restore(finished.checkpoint().rllib)


def test_a_damaged_checkpoint_stops_a_resumption_before_anything_starts(
    finished, tmp_path, monkeypatch
):
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    run.write_config(run.config().replace(rounds=1024))

    def never(*args, **kwargs):
        raise AssertionError("RLlib was started")

    (run.checkpoint().rllib / "state.json").write_text("5")
    before = run.metrics.read_bytes()
    monkeypatch.setattr("training.train.Session", never)
    with pytest.raises(ArtifactError, match=r"state\.json is missing, truncated or changed"):
        train(run, progress=False)
    assert run.metrics.read_bytes() == before
    monkeypatch.setattr("training.train.Session", StandIn)
