"""Training end to end."""

import json

import numpy as np
import pytest
from helpers.launched import (
    ROUNDS,
    TINY,
    check_whole,
    curve,
    finish,
    folder,
    kill,
    start,
    wait_for_iteration,
)
from ray.exceptions import RayError

from recenv import artifacts
from recenv.env.registration import load_world
from training.config import TrainConfig
from training.runs.folder import RunFolder, seed_runs
from training.runs.load_policy import load, load_user
from training.session import Session, TrainingError
from training.train import main

SHORT = ("--rounds", "384", "--evaluation-every", "2", "--checkpoint-every", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, what was printed) of a run of both sides."""
    tmp_path = tmp_path_factory.mktemp("trained")
    # the order of sets of names differs between these two hash seeds
    return tmp_path, finish(start(tmp_path, *SHORT, PYTHONHASHSEED="1"), tmp_path)


def test_ippo_trains_both_sides_and_reports(trained):
    tmp_path, output = trained
    run = folder(tmp_path)
    rows = check_whole(run)
    assert len(rows) == 4
    assert [r["iteration"] for r in rows if "evaluation_user_reward" in r] == [0, 2, 3]
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


@pytest.mark.timeout(600)
def test_the_same_seed_gives_the_same_run(trained, tmp_path):
    finish(start(tmp_path, *SHORT, "--no-report", PYTHONHASHSEED="2"), tmp_path)
    first, again = (folder(path) for path in (trained[0], tmp_path))
    assert curve(again) == curve(first)
    one, other = (
        artifacts.load(run.policy / "recommender", "recommender-policy")[0]
        for run in (first, again)
    )
    assert one.keys() == other.keys()
    for name, weights in one.items():
        np.testing.assert_array_equal(weights, other[name], err_msg=name)


@pytest.mark.slow
def test_one_runner_in_a_process_of_its_own_gives_the_same_run_again(tmp_path):
    curves = []
    for name in "12":
        place = tmp_path / name
        place.mkdir()
        flags = (*SHORT, "--no-report", "--num-env-runners", "1")
        finish(start(place, *flags, PYTHONHASHSEED=name), place)
        curves.append(curve(folder(place)))
    assert curves[0] == curves[1]
    assert len(curves[0]) == 4


@pytest.mark.slow
def test_another_seed_gives_another_run(trained, tmp_path):
    first = folder(trained[0])
    finish(start(tmp_path, "--rounds", "128", "--no-report", "--seed", "1"), tmp_path)
    assert curve(folder(tmp_path))[1] != curve(first)[1]


@pytest.mark.timeout(600)
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
    assert curve(run, at) == before
    assert len(check_whole(run)) == at + 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--train", "user", "--opponent", "content"),
        ("--num-env-runners", "1", "--rounds", "512"),
        ("--no-batched-runner", "--num-envs-per-env-runner", "4"),
        ("--game.slate_size", "1"),
        ("--num-learners", "2", "--game.slate_size", "1"),
        ("--num-learners", "2", "--no-ippo.slot-credit"),
        (
            "--num-learners",
            "2",
            "--algorithm",
            "impala",
            "--impala.rounds-per-iteration",
            "128",
            "--no-impala.slot-credit",
        ),
        ("--seeds", "2"),
    ],
)
def test_other_ways_to_train(tmp_path, flags):
    output = finish(start(tmp_path, "--rounds", "256", *flags), tmp_path)
    assert "Report:" in output
    runs = seed_runs(tmp_path / "run")
    assert len(runs) == (2 if "--seeds" in flags else 1)
    for run in runs:
        assert len(check_whole(run)) == 1 + run.config().iterations


def test_bad_flags_are_told_in_one_line(tmp_path):
    output = finish(start(tmp_path, "--env", "recenv/Toi-v0"), tmp_path, code=2)
    assert "Did you mean 'recenv/Toy-v0'" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--game.num_candidates", "100000"), "candidates"),
        (("--warm-start", "nowhere"), "holds no trained"),
        (("--algorithm", "bc", "--bc.data", "nothing.parquet"), "nothing.parquet"),
        (("--train", "user", "--opponent", "alice"), "opponent"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(tmp_path, capsys, flags, told):
    assert main([*TINY, "--runs", str(tmp_path), "--name", "run", *flags]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_in_training_keeps_its_settings(tmp_path, capsys, monkeypatch):
    run, lock = RunFolder(tmp_path / "run"), RunFolder.lock
    run.create(TrainConfig(env="recenv/Toy-v0"))
    monkeypatch.setattr(RunFolder, "lock", lambda self: lock(self, wait=0.1))
    with lock(run):
        assert main(["--resume", str(run.path), "--rounds", "10"]) == 2
    assert "Another process trains" in capsys.readouterr().err
    assert run.config().rounds == TrainConfig().rounds


class _Silent:
    """An algorithm whose learner died: it goes on returning results without updates."""

    env_runner_group = None

    def train(self):
        return {"learners": {"recommender": {"num_module_steps_trained_lifetime": 100}}}


def test_training_that_does_not_train_is_an_error(tmp_path):
    session = object.__new__(Session)
    session.config = TrainConfig(train="recommender")
    session.algorithm, session._steps, session.iteration = _Silent(), {}, 0
    session._prepare = lambda learning: None
    session.iterate()
    with pytest.raises(TrainingError, match="recommender module was not trained"):
        session.iterate()


class _Lost:
    """An algorithm whose learner's process died: whatever asks it gets Ray's error."""

    env_runner_group = None

    def _ask(self, *args, **kwargs):
        raise RayError("gone")

    train = save_to_path = get_state = _ask

    @property
    def learner_group(self):
        return self


@pytest.mark.parametrize(
    "ask", [lambda s, path: s.iterate(), lambda s, path: s.save(path), lambda s, path: s.networks()]
)
def test_a_lost_learner_is_told_with_a_way_on_whoever_meets_it(tmp_path, ask):
    session = object.__new__(Session)
    session.config = TrainConfig(env="recenv/Toy-v0", train="recommender")
    session.algorithm, session._steps, session.iteration = _Lost(), {}, 0
    session._prepare = lambda learning: None
    with pytest.raises(TrainingError, match="learns was lost.*--resume"):
        ask(session, tmp_path)
