"""The cold-start study: what is averaged, what is paired, and going on where it stopped."""

import json

import numpy as np
import pytest
from scipy import stats

from recenv.errors import ConfigError
from training.config import TrainConfig
from training.studies.cold_start import ColdStart, main
from training.studies.cold_start_report import summary, write_cold_start

TINY = [
    "--env", "recenv/Toy-v0", "--rounds", "256", "--num-envs-per-env-runner", "32",
    "--ippo.rounds-per-iteration", "128", "--ippo.minibatch-size", "64", "--ippo.epochs", "1",
    "--network.hidden", "8", "--game.slate_size", "3", "--game.max_rounds", "4",
    "--seeds", "2", "--episodes-per-user", "1", "--no-progress",
]  # fmt: skip


def run(seed, curve, users):
    return {
        "seed": seed,
        "rounds": [0, 100, 200],
        "heldout": curve,
        "heldout_users": users,
        "trained_users": [curve[-1] + 1.0],
        "steps_trained": 300,
        "seconds": 10.0 * (seed + 1),
    }


@pytest.fixture
def figures():
    runs = {
        "random": [run(0, [1.0, 3, 6], [4.0, 8, 6]), run(1, [1.0, 5, 8], [6.0, 10, 8])],
        "lm": [run(0, [4.0, 6, 7], [9.0, 5, 7]), run(1, [4.0, 7, 9], [10.0, 9, 8])],
        "cf": [run(0, [9.0, 9, 9], [9.0, 9, 9]), run(1, [9.0, 9, 9], [9.0, 9, 9])],
    }
    frames = {"random": np.array([0.0, 1, 2]), "oracle": np.array([11.0, 12, 13])}
    return summary(runs, frames, np.array([True, False, False]))


def test_curves_and_ends_are_means_over_seeds(figures):
    lm = figures["inits"]["lm"]
    assert [point.mean for point in lm["curve"]] == [4, 6.5, 8]
    half = stats.t.ppf(0.975, 1) * np.std([7, 9], ddof=1) / np.sqrt(2)
    assert lm["curve"][2].high == pytest.approx(8 + half)
    assert lm["curve"][0].low == lm["curve"][0].high == 4
    assert lm["mean"].mean == pytest.approx((17 / 3 + 20 / 3) / 2)
    assert lm["last"].mean == 8
    assert lm["few"].mean == 9.5
    assert lm["trained_users"].mean == 9
    assert figures["seeds"] == [0, 1]
    assert (figures["heldout_users"], figures["few_users"]) == (3, 1)
    assert figures["frames"]["oracle"].mean == 12


def test_differences_are_paired_by_seed_and_by_user(figures):
    lm = figures["inits"]["lm"]
    over = lm["over_random"]["last"]
    assert (over.mean, over.low, over.high) == (1, 1, 1)  # 7 - 6 and 9 - 8
    users = lm["users_over_random"]  # 9.5 - 5, 7 - 9 and 7.5 - 7
    assert users.mean == pytest.approx(1)
    assert users.high == pytest.approx(1 + stats.t.ppf(0.975, 2) * stats.sem([4.5, -2, 0.5]))
    assert "over_random" not in figures["inits"]["random"]


def test_a_head_start_is_when_the_control_has_caught_up(figures):
    assert figures["inits"]["lm"]["head_start"] == 100  # 1, 4, 7 in the mean over seeds
    assert figures["inits"]["cf"]["head_start"] is None


def test_the_page_tells_what_was_found(figures, tmp_path):
    about = {"env": "recenv/Toy-v0", "world": "w", "algorithm": "ippo", "config": "c"}
    figures["about"] = {**about, "episodes_per_user": 5}
    page = write_cold_start(tmp_path, figures, "python -m training.studies.cold_start")
    text = page.read_text()
    (line, over, _) = [part for part in text.splitlines() if part.startswith("| lm")]
    assert "4.00 [4.00, 4.00]" in line
    assert "+1.00 [+1.00, +1.00]" in over
    assert over.endswith("| 100 |")
    assert "not reached" in text
    stored = json.loads((tmp_path / "cold-start.json").read_text())
    assert stored["inits"]["lm"]["last"][0] == 8
    assert (tmp_path / "cold-start.png").stat().st_size > 10_000


@pytest.fixture
def study(tmp_path):
    base = TrainConfig(env="recenv/Toy-v0", train="recommender", seed=3)
    return ColdStart(base, ["random", "lm"], 2, tmp_path)


def test_every_run_differs_in_its_beginning_and_seed_alone(study, tmp_path):
    waiting = study.waiting()
    assert [(c.network.init, c.seed) for c in waiting] == [
        ("random", 3), ("random", 4), ("lm", 3), ("lm", 4),
    ]  # fmt: skip
    assert len({c.replace(seed=0, network={"init": "lm"}).hash for c in waiting}) == 1
    files = {study._file(c).name for c in waiting}
    other = ColdStart(
        TrainConfig(env="recenv/Toy-v0", train="recommender", seed=3, rounds=4096),
        ["lm"],
        2,
        tmp_path,
    )
    assert not files & {other._file(c).name for c in other.waiting()}
    study._file(waiting[2]).write_text("{}")
    assert [(c.network.init, c.seed) for c in study.waiting()][2:] == [("lm", 4)]


def test_a_third_of_the_held_out_users_has_few_clicks(study):
    few, world = study.few(), study.world
    clicked = world.train.events[world.train.events["response"] >= 1].groupby("user").size()
    clicks = clicked.reindex(world.pool("heldout"), fill_value=0).to_numpy()
    assert few.sum() == -(-len(clicks) // 3)
    assert clicks[few].max() <= clicks[~few].min()


def test_who_does_not_learn_frames_the_rest(study):
    frames = study.frames()
    assert set(frames) >= {"random", "popularity", "ALS"}
    assert all(len(rewards) == study.world.heldout.sum() for rewards in frames.values())
    oracle = frames[next(name for name in frames if "oracle" in name)]
    assert oracle.mean() > frames["popularity"].mean() > frames["random"].mean()


def test_too_few_seeds_for_an_interval_are_refused(tmp_path, capsys):
    with pytest.raises(ConfigError, match="--seeds must be at least 2, but is 1"):
        ColdStart(TrainConfig(env="recenv/Toy-v0", train="recommender"), ["lm"], 1, tmp_path)
    assert main([*TINY, "--seeds", "1", "--out", str(tmp_path)]) == 2
    assert "--seeds must be at least 2" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_trains_each_seed_once(tmp_path):
    flags = [*TINY, "--inits", "random", "cf", "--runs", str(tmp_path / "runs")]
    assert main([*flags, "--out", str(tmp_path / "first")]) == 0
    files = sorted((tmp_path / "runs").iterdir())
    assert len(files) == 4
    found = [json.loads(file.read_text()) for file in files]
    assert all(one["rounds"] == [0, 128, 256] for one in found)
    assert all(one["steps_trained"] == 256 for one in found)
    curves = [one["heldout"] for one in found]
    assert any(curve[0] != curve[-1] for curve in curves)
    before = [file.stat().st_mtime_ns for file in files]
    files[0].unlink()
    assert main([*flags, "--out", str(tmp_path / "again")]) == 0
    after = [file.stat().st_mtime_ns for file in files]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True, True]
    assert json.loads(files[0].read_text())["heldout"] == curves[0]  # the same seed, the same curve
    first, again = (
        (tmp_path / name / "cold-start.json").read_text() for name in ("first", "again")
    )
    first, again = json.loads(first), json.loads(again)
    assert first["inits"]["cf"]["curve"] == again["inits"]["cf"]["curve"]
