"""Searches: what they begin with, what they write, and that they go on after a kill."""

import csv
import os
import re
import signal

import pytest
from helpers.launched import ROUNDS, TINY, check_whole, finish, kill, start, wait_until

from recenv import artifacts
from recenv.errors import ArtifactError, ConfigError
from training.config import TrainConfig
from training.search.folder import Search, SearchFolder
from training.search.space import Space, config_with

SPACE = """
[ippo]
learning_rate = { loguniform = [1e-4, 1e-1] }
epochs = { grid = [1, 2] }
"""
METRIC = "evaluation_recommender_reward"
SEARCH = Search(
    samples=2, seed=0, metric=METRIC, asha=False, grace_rounds=1, at_once=1
)  # fmt: skip


def begun(path, search=SEARCH, text=SPACE, **settings):
    folder = SearchFolder(path)
    base = TrainConfig(env="recenv/Toy-v0", rounds=8192, **settings)
    folder.create(search, base, Space.from_toml(text), text)
    return folder, base


def trained(folder, base, number, scores, *, finished=True):
    """Files as a trial's run leaves them."""
    run = folder.run(number)
    run.create(config_with(base, folder.read()[2][number]))
    rows = [{"iteration": 0, "rounds": 0, METRIC: 99.0, "seconds": 0.5}]
    for n, score in enumerate(scores, start=1):
        row = {"iteration": n, "rounds": 4096 * n, "seconds": 2.0 * n}
        rows.append(row if score is None else {**row, METRIC: score})
    run.write_metrics(rows)
    run.save_checkpoint(lambda part: part.mkdir(), len(scores), 1.0, scores[-1])
    if finished:
        for side in base.trained:
            artifacts.save(run.policy / side, f"{side}-policy", {}, {})


def test_a_search_is_drawn_once_and_for_all(tmp_path):
    folder, base = begun(tmp_path / "search")
    search, again, trials = folder.read()
    assert (search, again) == (SEARCH, base)
    assert len(trials) == 4
    assert trials == Space.from_toml(SPACE).draw(2, seed=0)
    assert [trial.state for trial in folder.trials()] == ["unfinished"] * 4
    with pytest.raises(ConfigError, match="--resume"):
        begun(tmp_path / "search")
    with pytest.raises(ArtifactError, match="no search"):
        SearchFolder(tmp_path).read()


def test_what_cannot_be_searched_leaves_no_folder(tmp_path):
    for text, match in (
        ("num_env_runners = { grid = [0, 1] }", "cannot be searched"),
        ("ippo.epochs = { grid = [0] }", "positive"),
        # each is fine alone, but not together
        ("num_envs_per_env_runner.grid = [3]\nippo.rounds_per_iteration.grid = [128]", "divide"),
    ):
        with pytest.raises(ConfigError, match=match):
            begun(tmp_path / "search", text=text)
        assert not (tmp_path / "search").exists()


def test_results_rank_by_the_last_score_and_the_best_has_ended(tmp_path):
    folder, base = begun(tmp_path / "search")
    trained(folder, base, 0, [9.0, 3.0])
    trained(folder, base, 1, [2.0, 4.0])
    trained(folder, base, 2, [8.0], finished=False)
    folder.mark(2, "stopped")
    ranked = folder.trials()
    assert [(t.number, t.state, t.score) for t in ranked] == [
        (2, "stopped", 8.0),
        (1, "finished", 4.0),
        (0, "finished", 3.0),
        (3, "unfinished", None),
    ]
    assert [(t.rounds, t.best, t.seconds) for t in ranked[1:3]] == [
        (8192, 4.0, 4.0),
        (8192, 9.0, 4.0),
    ]
    assert folder.write_results().number == 1
    values = folder.read()[2][1]
    assert TrainConfig.from_toml(folder.best) == config_with(base, values)
    assert folder.best.read_text().startswith(f"# trial 00001: {METRIC} 4.0000\n")
    with (folder.path / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["trial"] for row in table] == ["00002", "00001", "00000", "00003"]
    assert float(table[1]["ippo.learning_rate"]) == values["ippo.learning_rate"]
    assert table[3][METRIC] == ""
    lines = (folder.path / "results.md").read_text().splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1


def test_without_a_finished_trial_there_is_no_best(tmp_path):
    folder, base = begun(tmp_path / "search")
    trained(folder, base, 0, [None, None])
    assert folder.write_results() is None
    assert not folder.best.exists()


def test_a_failed_trial_that_is_tried_again_is_no_longer_failed(tmp_path):
    folder, base = begun(tmp_path / "search")
    trained(folder, base, 0, [1.0], finished=False)
    folder.mark(0, "failed")
    assert folder.trials()[0].state == "failed"
    folder.mark(0, "unfinished")
    assert folder.trials()[0].state == "unfinished"


def launch(tmp_path, *flags, new=True):
    if new:
        (tmp_path / "space.toml").write_text(SPACE)
        settings = [flag for flag in TINY if flag != "--no-progress"]
        flags = (*settings, "--evaluation-every", "2", "--checkpoint-every", "2", *flags,
                 "--space", str(tmp_path / "space.toml"), "--samples", "2",
                 "--searches", str(tmp_path), "--name", "search")  # fmt: skip
    return start(tmp_path, *flags, new=False, module="training.tune")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_goes_on_after_a_kill_and_after_an_interrupt(tmp_path):
    folder = SearchFolder(tmp_path / "search")
    resume = ("--resume", str(folder.path))
    rounds = 30 * ROUNDS
    process = launch(tmp_path, "--rounds", str(rounds))
    wait_until(lambda: folder.run(1).checkpoint(), process, seconds=600)
    kill(process)
    assert sorted((t.number, t.state) for t in folder.trials())[:2] == [
        (0, "finished"),
        (1, "unfinished"),
    ]
    at = folder.run(1).checkpoint().iteration
    before = folder.run(0).metrics.read_bytes(), folder.run(1).read_metrics()[: at + 1]

    process = launch(tmp_path, *resume, new=False)
    wait_until(lambda: folder.run(2).checkpoint(), process, seconds=600)
    os.killpg(process.pid, signal.SIGINT)
    output = finish(process, tmp_path, code=130)
    assert "--resume" in output
    assert {t.number: t.state for t in folder.trials()}[2] == "unfinished"

    process = launch(tmp_path, *resume, new=False)
    process.wait(timeout=900)
    output = finish(process, tmp_path)
    assert "Traceback" not in output
    assert "Best settings" in output
    # each trial that was left ended once, and those that had ended were not trained again
    assert sorted(re.findall(r"Trial (\d+) finished", output)) == ["00002", "00003"]
    assert before == (folder.run(0).metrics.read_bytes(), folder.run(1).read_metrics()[: at + 1])
    trials = folder.trials()
    assert [t.state for t in trials] == ["finished"] * 4
    assert [t.rounds for t in trials] == [rounds] * 4
    for number, values in enumerate(folder.read()[2]):
        run = folder.run(number)
        assert len(check_whole(run)) == 31
        assert run.config().ippo.learning_rate == values["ippo.learning_rate"]
        assert run.config().ippo.epochs == values["ippo.epochs"]
    best = TrainConfig.from_toml(folder.best)
    assert best == folder.run(trials[0].number).config()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_trials_that_fall_behind_are_stopped(tmp_path):
    folder = SearchFolder(tmp_path / "search")
    rounds = 40 * ROUNDS
    process = launch(
        tmp_path, "--rounds", str(rounds), "--asha", "--grace-rounds", str(4 * ROUNDS)
    )  # fmt: skip
    process.wait(timeout=1500)
    finish(process, tmp_path)
    trials = folder.trials()
    assert {t.state for t in trials} == {"finished", "stopped"}
    for trial in trials:
        check_whole(folder.run(trial.number))
        assert (trial.rounds == rounds) == (trial.state == "finished")
    assert folder.best.is_file()


def test_bad_flags_are_told_in_one_line(tmp_path):
    (tmp_path / "space.toml").write_text("ippo.clap = { grid = [0.1] }")
    process = start(
        tmp_path, "--space", str(tmp_path / "space.toml"), "--env", "recenv/Toy-v0",
        "--searches", str(tmp_path), new=False, module="training.tune",
    )  # fmt: skip
    output = finish(process, tmp_path, code=2)
    assert "Did you mean 'clip'" in output
    assert "Traceback" not in output
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
