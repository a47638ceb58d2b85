"""Other libraries' own training loops run on the environments as they are.

Each script here is what a user of that library would write. Those that need more than recenv's
base packages run in a virtual environment of their own, made once under RECENV_INTEROP_HOME.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
HOME = Path(os.environ.get("RECENV_INTEROP_HOME", ROOT / ".pytest_cache" / "interop"))
TORCH = "torch==2.13.0"
PETTINGZOO = "pettingzoo==1.27.0"

EVERY = (("dict", 1), ("dict", 5), ("flat", 1), ("flat", 5))
ONE_ITEM = (("dict", 1), ("flat", 1))
FLAT = (("flat", 1), ("flat", 5))
FLAT_ONE_ITEM = (("flat", 1),)


@dataclass(frozen=True)
class Loop:
    """A library's training loop, and the observations and slate sizes that it takes."""

    script: str
    group: str
    library: str
    algorithm: str
    accepted: tuple[tuple[str, int], ...]
    chosen: bool = True  # whether the script takes --algorithm

    def arguments(self, observation, slate_size):
        chosen = ["--algorithm", self.algorithm] if self.chosen else []
        return ["--observation", observation, "--slate-size", str(slate_size), *chosen]


LOOPS = [
    Loop("sb3.py", "latest", "stable-baselines3", "ppo", EVERY),
    Loop("sb3.py", "latest", "stable-baselines3", "dqn", ONE_ITEM),
    Loop("torchrl_ppo.py", "latest", "torchrl", "ippo", EVERY),
    Loop("torchrl_ppo.py", "latest", "torchrl", "mappo", EVERY),
    Loop("skrl_ppo.py", "latest", "skrl", "ippo", EVERY),
    Loop("skrl_ppo.py", "latest", "skrl", "mappo", EVERY),
    Loop("supersuit_ppo.py", "latest", "supersuit", "ppo", FLAT_ONE_ITEM, chosen=False),
    Loop("benchmarl_ppo.py", "older", "benchmarl", "ippo", FLAT_ONE_ITEM),
    Loop("benchmarl_ppo.py", "older", "benchmarl", "mappo", FLAT_ONE_ITEM),
    Loop("tianshou_dqn.py", "older", "tianshou", "dqn", FLAT_ONE_ITEM, chosen=False),
    Loop("agilerl_ppo.py", "agilerl", "agilerl", "ippo", FLAT, chosen=False),
]
NOT_DISCRETE = "as action spaces but MultiDiscrete"
NOT_PADDED = "homogenization only supports Discrete and Box spaces"
NOT_FOR_MLP = "has an invalid shape, maybe you need a CNN or more feature dimensions?"
NO_SLATES = "the second to last spec dimension should be the number of agents"
REFUSALS = {  # what the last line of each refusal says
    ("sb3.py", "dict", 5): NOT_DISCRETE,
    ("sb3.py", "flat", 5): NOT_DISCRETE,
    ("supersuit_ppo.py", "dict", 1): NOT_PADDED,
    ("supersuit_ppo.py", "dict", 5): NOT_PADDED,
    ("supersuit_ppo.py", "flat", 5): NOT_PADDED,
    ("tianshou_dqn.py", "dict", 1): NOT_PADDED,
    ("tianshou_dqn.py", "dict", 5): NOT_PADDED,
    ("tianshou_dqn.py", "flat", 5): NOT_PADDED,
    ("benchmarl_ppo.py", "dict", 1): NOT_FOR_MLP,
    ("benchmarl_ppo.py", "dict", 5): NOT_FOR_MLP,
    ("benchmarl_ppo.py", "flat", 5): NO_SLATES,
    ("agilerl_ppo.py", "dict", 1): "Expected dict observation for Dict space",
    ("agilerl_ppo.py", "dict", 5): "Expected dict observation for Dict space",
}


def cases(*, accepted):
    return [
        pytest.param(loop, *form, id=f"{loop.library}-{loop.algorithm}-{form[0]}-{form[1]}")
        for loop in LOOPS
        for form in EVERY
        if (form in loop.accepted) == accepted
    ]


@cache
def python_of(group):
    """The interpreter of a group's virtual environment, made anew when what it holds changes."""
    folder = HOME / group
    requirements = HERE / f"requirements-{group}.txt"
    wanted = "\n".join([TORCH, PETTINGZOO, str(ROOT), requirements.read_text()])
    stamp = folder / "installed.txt"
    python = folder / "bin" / "python"
    HOME.mkdir(parents=True, exist_ok=True)
    with FileLock(HOME / f"{group}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            for what in (
                [TORCH],
                [TORCH, "--requirement", str(requirements)],
                ["--no-deps", PETTINGZOO, "--editable", str(ROOT)],
            ):
                pip = [python, "-m", "pip", "install", "--quiet", *what]
                done = subprocess.run(pip, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr[-3000:]
            stamp.write_text(wanted)
    return python


def run(python, script, arguments, folder, timeout=300):
    return subprocess.run(
        [python, HERE / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=folder,
    )


def report_of(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mode", ["async", "vector_entry_point"])
@pytest.mark.parametrize(("observation", "slate_size"), EVERY)
def test_gymnasium_vector(observation, slate_size, mode, tmp_path):
    arguments = ["--observation", observation, "--slate-size", str(slate_size), "--mode", mode]
    report = report_of(run(sys.executable, "gymnasium_vector.py", arguments, tmp_path))
    assert report["steps"] >= 300
    assert report["visits_ended"] > 3


@pytest.mark.slow
@pytest.mark.timeout(3600)  # the first one installs
@pytest.mark.parametrize(("loop", "observation", "slate_size"), cases(accepted=True))
def test_trains(loop, observation, slate_size, tmp_path):
    arguments = loop.arguments(observation, slate_size)
    report = report_of(run(python_of(loop.group), loop.script, arguments, tmp_path))
    assert report["library"] == loop.library
    assert (report["observation"], report["slate_size"]) == (observation, slate_size)
    assert report["steps"] >= 256
    assert report["parameters_changed"] > 0
    if loop.library == "supersuit":
        assert report["rows_changed"] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("script", "group", "steps"),
    [
        pytest.param("torchrl_ppo.py", "latest", 2400, id="torchrl"),
        pytest.param("benchmarl_ppo.py", "older", 12000, id="benchmarl"),
    ],
)
def test_a_recommender_learns_with_the_mask(script, group, steps, tmp_path):
    arguments = ["--observation", "flat", "--slate-size", "1", "--action-mask"]
    arguments += ["--steps", str(steps), "--compare", "50"]
    report = report_of(run(python_of(group), script, arguments, tmp_path, timeout=3000))
    assert report["processor_seconds"] < 300  # of its own: a busy machine makes it wait longer
    assert report["low"] > 0, report


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("loop", "observation", "slate_size"), cases(accepted=False))
def test_is_refused_as_documented(loop, observation, slate_size, tmp_path):
    arguments = loop.arguments(observation, slate_size)
    done = run(python_of(loop.group), loop.script, arguments, tmp_path)
    assert done.returncode != 0
    assert REFUSALS[loop.script, observation, slate_size] in done.stderr


def table_of_the_page():
    """{(script, algorithm): (version, forms said to be accepted)} of docs/interop.md."""
    found = {}
    for line in (ROOT / "docs" / "interop.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if script := re.fullmatch(r"`(\w+\.py)`", cells[0]):
            accepted = tuple(f for f, said in zip(EVERY, cells[4:8], strict=True) if said == "yes")
            found[script[1], cells[3].lower()] = cells[2], accepted
    return found


def test_the_page_says_what_is_tested():
    table = table_of_the_page()
    assert table.pop(("gymnasium_vector.py", "sync, async, vector_entry_point"))[1] == EVERY
    tested = {}
    for loop in LOOPS:
        pins = (HERE / f"requirements-{loop.group}.txt").read_text()
        version = re.search(rf"^{loop.library}==(\S+)$", pins, re.M)[1]
        tested[loop.script, loop.algorithm] = version, loop.accepted
    assert table == tested
    page = (ROOT / "docs" / "interop.md").read_text()
    for message in REFUSALS.values():
        assert message in page
