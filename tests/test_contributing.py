"""The recipes of CONTRIBUTING.md, followed on a copy of the source tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.runs.folder import RunFolder

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES: dict[str, str] = dict(
    re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", TEXT.partition("\n## Recipes\n")[2], re.S | re.M)
)
FORMAT, LAW, ALGORITHM, RECOMMENDER, TASK = (
    f"Add a{what}" for what in (" log format", " law of the user", "n algorithm", " recommender",
                                " task")
)  # fmt: skip
BLOCK = re.compile(
    r"^(?:(?:In `(?P<old>[^`]+)`|`(?P<new>[^`]+)` \(new\)):\n\n)?"
    r"```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.S | re.M,
)
"""A block of code, and the line before it if that names the file it changes or is."""


def test_there_are_five_recipes():
    assert list(RECIPES) == [FORMAT, LAW, ALGORITHM, RECOMMENDER, TASK]


@pytest.fixture
def tree(tmp_path):
    """A copy of what the recipes change."""
    copy = tmp_path / "tree"
    skipped = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc", "data")
    for name in ("recenv", "training"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=skipped)
    for name in ("CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    return copy


def changed(old, diff):
    """A file's text after one hunk without line numbers, which must fit one place."""
    lines = diff.splitlines()
    assert lines
    assert all(line[:1] in (" ", "+", "-", "") for line in lines), diff
    before = "".join(line[1:] + "\n" for line in lines if not line.startswith("+"))
    after = "".join(line[1:] + "\n" for line in lines if not line.startswith("-"))
    assert before != after
    assert old.count(before) == 1, f"{old.count(before)} places look like\n{before}"
    return old.replace(before, after)


def follow(recipe, tree):
    """Make the changes of a recipe."""
    for block in BLOCK.finditer(RECIPES[recipe]):
        if block["old"]:
            path = tree / block["old"]
            path.write_text(changed(path.read_text(), block["text"]))
        elif block["new"]:
            path = tree / block["new"]
            assert not path.exists(), path
            path.write_text(block["text"])


def used(recipe, kind="python"):
    """The one block that uses what was added."""
    (text,) = (
        block["text"]
        for block in BLOCK.finditer(RECIPES[recipe])
        if block["kind"] == kind and not (block["old"] or block["new"])
    )
    return text


def run(tree, *command, **environment):
    """What a Python process with the changed source tree prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def lint(tree):
    """What was added passes the linter and the formatter."""
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        run(tree, "-m", "ruff", *command, "recenv", "training")


def test_a_log_format(tree):
    follow(FORMAT, tree)
    lint(tree)
    run(tree, "-c", used(FORMAT))


PURE = """
from dataclasses import replace

import numpy as np
import recenv.synthetic.world as planted
from recenv.config import GameConfig
from recenv.sim import game as rules_of
from recenv.sim import candidates, screens
from recenv.sim.state import make_rules, make_state, make_tables, state_fields

planted.emit_log = lambda blank, *args, **kwargs: blank.train  # a history takes compiled steps
world = planted.planted_world(planted.PlantedConfig(num_users=3, num_items=12, dim=4))
game = GameConfig(num_candidates=6, slate_size=3)
tables = make_tables(world, game)
tables = tables._replace(
    users=tables.users.view(np.recarray), items=tables.items.view(np.recarray)
)


def leaving(weight, spent):
    dynamics = world.user_model.dynamics._replace(leave_spent=weight)
    rules = make_rules(replace(world.user_model, dynamics=dynamics), game).view(np.recarray)[0]
    state = make_state(state_fields(world, game), 1)
    rules_of.begin(0, 1, tables, rules, state)
    candidates.draw_candidates(0, tables, rules, state)
    state.spent[0] = spent
    screens.show(0, np.array([[0, 1, 2]]), tables, rules, state)
    p = float(state.behaviour[0, -1])
    return np.log(p / (1 - p))


usual = leaving(0.0, 1.5)
np.testing.assert_allclose(usual, world.user_model.dynamics.leave_intercept, atol=1e-5)
np.testing.assert_allclose(leaving(2.0, 0.0), usual, atol=1e-5)
np.testing.assert_allclose(leaving(2.0, 1.5), usual + 3.0, atol=1e-5)
"""
"""One round of the game, as plain Python: what is compiled is these very functions."""


def test_a_law_changes_the_odds_of_an_answer(tree):
    follow(LAW, tree)
    lint(tree)
    run(tree, "-c", PURE, NUMBA_DISABLE_JIT="1")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the whole step is compiled anew
def test_a_law_changes_visits(tree):
    follow(LAW, tree)
    run(tree, "-c", used(LAW))


BUILT = """
from training.algorithms.registry import build
from training.config import ALGORITHMS, TrainConfig

config = TrainConfig.from_dict({"env": "recenv/Toy-v0", "algorithm": "a2c", "a2c": {"gamma": 0.5}})
assert TrainConfig.from_toml(config.to_toml()) == config
assert type(config.settings) is ALGORITHMS["a2c"]
built = build(config)
assert built.gamma == 0.5
assert built.learner_class.__name__ == "A2CLearner"
"""


def test_an_algorithm_is_configured_and_built(tree):
    follow(ALGORITHM, tree)
    lint(tree)
    run(tree, "-c", BUILT)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_algorithm_is_trained(tree):
    follow(ALGORITHM, tree)
    python, *command = used(ALGORITHM, "sh").split()
    assert python == "python"
    flags = ["--rounds", "256", "--a2c.rounds-per-iteration", "128", "--network.hidden", "8"]
    flags += ["--num-envs-per-env-runner", "16", "--game.slate_size", "3", "--game.max_rounds", "5"]
    flags += ["--evaluation-visits", "20", "--runs", "runs", "--name", "run", "--no-progress"]
    run(tree, *command, *flags, "--no-report")
    rows = RunFolder(tree / "runs" / "run").read_metrics()
    for side in ("recommender", "user"):
        assert rows[-1][f"{side}_steps_trained"] > 0
        assert np.isfinite(rows[-1][f"{side}_policy_loss"])
        assert (tree / "runs" / "run" / "policy" / side).is_dir()


@pytest.mark.usefixtures("toy")
def test_a_recommender(tmp_path, monkeypatch, capsys):
    (tmp_path / "tree").mkdir()
    follow(RECOMMENDER, tmp_path / "tree")
    monkeypatch.syspath_prepend(str(tmp_path / "tree"))
    exec(compile(used(RECOMMENDER), "recipe", "exec"), {"__name__": "recipe"})
    assert "long tail 1" in capsys.readouterr().out


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("toy")  # its compiled functions serve the copy, whose step is the same
def test_a_task(tree):
    follow(TASK, tree)
    lint(tree)
    run(tree, "-c", used(TASK))
    python, *command = used(TASK, "sh").split()
    assert python == "python"
    row, note = run(tree, *command).strip().rsplit("|", 1)
    assert "CHANGELOG" in note
    changelog = tree / "CHANGELOG.md"
    table = "|---|---|---|\n"
    changelog.write_text(changelog.read_text().replace(table, f"{table}{row}|\n", 1))
    check = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from golden import versions; from recenv.env.registration import REGISTRY\n"
        "text = (versions.ROOT / 'CHANGELOG.md').read_text()\n"
        "print(len(versions.table(text)), versions.faults(REGISTRY, versions.table(text)))\n"
    )
    assert run(tree, "-c", check).split() == ["5", "[]"]
