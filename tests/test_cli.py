"""The command: what it prints, and that user errors end in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import recenv
from recenv import cli
from recenv.cli import GROUP, main
from recenv.env.registration import REGISTRY

ROOT = Path(__file__).parent.parent
TOY = "recenv/Toy-v0"


def test_list_names_every_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(REGISTRY)


def test_build_describes_the_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", TOY]) == 0
    assert "200 users (50 held out)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["random", "popularity", "content", "ALS", "oracle"])
def test_play_is_a_whole_visit_and_repeats(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["play", TOY, "--seed", "3", "--recommender", name]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert first.startswith("A visit of user ")
    assert "The user leaves." in first or "The round limit is reached." in first
    assert main(arguments) == 0
    assert capsys.readouterr().out == first


def test_play_shows_the_visit_of_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed and slates in the Gymnasium environment give the same transcript."""
    from recenv.recommenders import PopularityRecommender

    assert main(["play", TOY, "--seed", "4"]) == 0
    env = recenv.single_env(TOY, render_mode="ansi")
    observation, _ = env.reset(seed=4)
    done = False
    while not done:
        assert isinstance(observation, dict)
        batch = {name: value[None] for name, value in observation.items()}
        slate = PopularityRecommender().recommend(batch, env.visit.state.key, 5)[0]
        observation, _, terminated, truncated, _ = env.step(slate)
        done = terminated or truncated
    assert capsys.readouterr().out == env.render()


def test_the_folder_of_a_saved_world_is_as_good_as_an_id(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, toy: recenv.World
) -> None:
    folder = str(toy.save(tmp_path / "shop"))
    assert main(["build", folder]) == 0
    assert "200 users (50 held out)" in capsys.readouterr().out
    assert main(["play", folder, "--seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("A visit of user ")
    assert main(["compare", folder, "--episodes", "1"]) == 0
    assert f"{folder}: 50 held-out users" in capsys.readouterr().out
    assert main(["play", f"{folder}-2"]) == 2
    assert "World.save writes one" in capsys.readouterr().err


def test_compare_prints_a_table_and_writes_a_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "a folder"
    arguments = ["compare", TOY, "--users", "train", "--episodes", "2", "--seed", "9"]
    assert main([*arguments, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "150 training users, 2 visits each, seed 9" in captured.out
    assert "oracle (greedy)" in captured.out
    assert max(len(line) for line in captured.out.splitlines()[:-1]) <= 100
    made = json.loads((out / "results.json").read_text())["made"]
    assert (
        made["command"] == f"recenv compare {TOY} --users train --episodes 2 --seed 9 --out '{out}'"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "recenv/Toi-v0"], "Did you mean 'recenv/Toy-v0'?"),
        (["play", TOY, "--recommender", "popularty"], "Did you mean 'popularity'?"),
        (["play", TOY, "--seed", "-1"], "seed must be an integer in"),
        (["compare", TOY, "--episodes", "0"], "episodes_per_user must be at least 1"),
    ],
)
def test_user_errors_are_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    compiling = "recenv: compiling the game (kept for next time) ...\n"  # in a cold cache
    told = captured.err.removeprefix(compiling)
    assert told.count("\n") == 1
    assert told.startswith("recenv: ")
    assert message in told


def test_a_pipe_gets_lines_and_silence_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", TOY, "--episodes", "1"]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert "random: 50 of 50 visits in " in err
    assert "\r" not in err
    assert main([*arguments, "--no-progress"]) == 0
    assert capsys.readouterr().err == ""


def test_play_says_that_it_compiles_unless_that_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recenv.jit import compiled

    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    assert main(["play", TOY]) == 0
    assert capsys.readouterr().err == "recenv: compiling the game (kept for next time) ...\n"
    (tmp_path / "sim_1").mkdir()
    (tmp_path / "sim_1" / "step-1.py311.nbi").touch()
    assert main(["play", TOY]) == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The commands that the package states, found as if this version was installed."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    entries = {name: EntryPoint(name, value, GROUP) for name, value in found[GROUP].items()}
    monkeypatch.setattr(cli, "further", lambda: entries)
    return found[GROUP]


def test_help_lists_every_command_and_its_summary(
    stated: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in [*cli.COMMANDS, *stated]:
        assert f"\n  {name} " in text, name
    assert main([]) == 2
    assert capsys.readouterr().err == text
    assert set(stated) == {"train", "tune", "evaluate", "suite", "record", "export"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"recenv {recenv.__version__}\n"


def test_an_unknown_command_names_the_nearest(
    stated: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trian", "--seed", "3"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("recenv: Unknown command 'trian'. Did you mean 'train'?")
    assert err.count("\n") == 1


def test_an_installation_of_an_older_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "further", dict)
    assert main(["train"]) == 2
    assert "install recenv again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "tune", "evaluate", "suite", "record", "export"])
def test_commands_of_training_have_help_and_name_what_is_missing(
    stated: dict[str, str],
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: recenv {name} " in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main([name, "--help"]) == 2
    assert capsys.readouterr().err == (
        f"error: recenv {name} needs the package 'torch', which is not installed. Install it with: "
        "pip install 'recenv[train]'\n"
    )


def test_another_package_called_training_is_not_run(
    stated: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("raise SystemExit('theirs')")
    for module in [m for m in sys.modules if m.partition(".")[0] == "training"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["train", "--help"]) == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "training" / "__init__.py") in err
    assert "PYTHONPATH" in err
    assert main(["--help"]) == 0
    assert "PYTHONPATH" in capsys.readouterr().out


def test_argparse_errors_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["compare", TOY, "--users", "nobody"])
    assert stop.value.code == 2
    assert "'nobody' is none of heldout, train, all" in capsys.readouterr().err


BUILD = """
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
import recenv.world
from recenv.cli import main
from recenv.env import registration
from recenv.synthetic import planted_world
from recenv.synthetic.world import PlantedConfig
from recenv.world import build_world
from recenv.config import WorldConfig

config = WorldConfig().replace(
    encoder={"model": "hashing", "hashing_dim": 32},
    interest={"dim": 6, "epochs": 2},
    user_model={"epochs": 2, "min_updates": 20},
)
moment, number, at, calls = sys.argv[1], 0, 0, 0

def make():
    world = planted_world(PlantedConfig(num_users=60, num_items=50, history_visits=2))
    sys.setprofile(count if moment == "counted" and at >= 0 else None)
    try:
        return build_world(world.train, world.catalog, config)
    finally:
        sys.setprofile(None)

def slow(*args, **kwargs):
    print("begun", flush=True)
    time.sleep(600)

def slow_write(folder, *args, **kwargs):
    slow()

def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
    if calls == at:
        os.kill(os.getpid(), number)

if moment == "writing":
    recenv.artifacts._swap = slow_write
elif moment == "fitting":
    recenv.world.fit_interests = slow
else:  # a process for each line, which has imported all that takes long
    for line in sys.stdin:
        home, number, at = json.loads(line)
        process = os.fork()
        if process == 0:
            os.setsid()
            os.environ["RECENV_HOME"] = home
            output = os.open(home + ".txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            break
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        print(json.dumps([process, status]), flush=True)
    else:
        sys.exit()
registration.REGISTRY["recenv/Own-v0"] = registration.EnvSpec("recenv/Own-v0", make)
status = main(["build", "recenv/Own-v0"])
print("calls", calls)
sys.exit(status)
"""
ENDED = pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)


def check_ended(home: Path, process: int, told: str, word: str) -> None:
    """One line; no lock, nothing half-written and no process is left."""
    assert told.splitlines()[-1] == f"recenv: {word}; what was finished is kept."
    assert "Traceback" not in told
    assert not list(home.rglob(".part-*"))
    assert [p.name for p in (home / "locks").iterdir()] == ["guard"]
    with pytest.raises(ProcessLookupError):  # its process group
        os.killpg(process, 0)


@pytest.mark.parametrize("moment", ["fitting", "writing"])
@ENDED
def test_a_build_that_is_ended_says_so_in_one_line(
    home: Path, moment: str, number: int, status: int, word: str
) -> None:
    """No traceback; locks are released, and nothing half-written is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, moment],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    assert len(list((home / "locks").glob("*.lock"))) >= 2
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == status
    check_ended(home, process.pid, told, word)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_build_can_be_ended_at_any_moment_and_run_again(tmp_path: Path) -> None:
    """Both signals at ten moments, spread over its calls of functions; then it finishes."""
    server = subprocess.Popen(
        [sys.executable, "-c", BUILD, "counted"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def build(home: Path, number: int = 0, at: int = 0) -> tuple[int, int, str]:
        """(its process, its exit code, what it printed)."""
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps([str(home), number, at]) + "\n")
        server.stdin.flush()
        process, status = json.loads(server.stdout.readline())
        return process, status, home.with_name(f"{home.name}.txt").read_text()

    def whole(home: Path, at: int = -1) -> tuple[int, list[str]]:
        """(calls of functions that it made, if at = 0, what it said of the world)."""
        _, status, told = build(home, at=at)
        assert status == 0, told
        lines = told.splitlines()
        first = next(k for k, line in enumerate(lines) if "60 users" in line)
        return int(lines[-1].removeprefix("calls ")), lines[first:-1]

    try:
        whole(tmp_path / "compiling")
        calls, described = whole(tmp_path / "undisturbed", at=0)
        assert calls > 10_000
        for moment in range(10):
            for number, code, word in ((2, 130, "interrupted"), (15, 143, "terminated")):
                home = tmp_path / f"{word}-{moment}"
                process, status, told = build(home, number, calls * (2 * moment + 1) // 20)
                assert status == code, told
                check_ended(home, process, told.rpartition("calls")[0].strip(), word)
                assert whole(home)[1] == described
    finally:
        server.communicate()
