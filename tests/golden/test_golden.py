"""An id's behaviour is frozen, and every version of it has a row in the changelog."""

import copy
import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
from golden import make, versions
from golden.replay import record
from golden.versions import Row, differences, digest, faults, read, table

from recenv.env.registration import REGISTRY, load_world

IDS = list(REGISTRY)
CHANGELOG = (versions.ROOT / "CHANGELOG.md").read_text()


# what the ids do


@pytest.mark.parametrize("env_id", IDS)
def test_behaviour_is_that_of_the_golden_file(env_id):
    assert differences(read(env_id), record(env_id)) == []


def test_every_id_has_its_golden_file_and_its_row():
    assert faults(IDS, table(CHANGELOG), released=versions.released()) == []


# what a golden file notices


def dynamics(**change):
    """Rules by which a visit changes its user, each made from what it was."""

    def changed(model):
        old = model.dynamics
        new = {name: by(getattr(old, name)) for name, by in change.items()}
        return dataclasses.replace(model, dynamics=old._replace(**new))

    return changed


def weights(name, factor):
    return lambda model: dataclasses.replace(
        model, **{name: getattr(model, name) * np.float32(factor)}
    )


def no_position_bias(model):
    return dataclasses.replace(model, examination=np.ones_like(model.examination))


LAWS = {
    "position bias": no_position_bias,
    "affinity": weights("click_weight", 1.02),
    "drift": dynamics(drift_rate=lambda rate: rate + 0.01),
    "boredom": dynamics(boredom_weight=lambda weight: weight + 0.1),
    "forgetting": dynamics(boredom_decay=lambda decay: 0.9 * decay),
    "satisfaction": dynamics(satisfaction_decay=lambda decay: 0.9 * decay),
    "leaving": dynamics(leave_length=lambda weight: weight + 0.01),
    "leaving out of boredom": dynamics(leave_boredom=lambda _: 0.0),
}


def with_model(env_id, change):
    world = load_world(env_id)
    return dataclasses.replace(world, user_model=change(world.user_model))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("env_id", IDS)
def test_a_changed_law_is_noticed_and_changes_nothing_that_counts_as_exact(env_id, law):
    golden, now = read(env_id), record(env_id, with_model(env_id, LAWS[law]))
    assert any(line.startswith("fitted.visits") for line in differences(golden, now))
    assert now["exact"]["visits"] == golden["exact"]["visits"]


@pytest.mark.parametrize("env_id", IDS)
def test_a_probability_that_passes_a_sigmoid_twice_is_noticed(env_id):
    golden = read(env_id)
    now = copy.deepcopy(golden)
    examination = load_world(env_id).user_model.examination
    for visit in now["fitted"]["visits"]:
        for turn in visit["rounds"]:
            for k in range(golden["exact"]["game"]["slate_size"]):
                _, click, buy = turn["behaviour"][3 * k : 3 * k + 3]
                if click + buy > 0:
                    twice = examination[k] / (1 + np.exp(-(click + buy) / examination[k]))
                    click, buy = (float(p * twice / (click + buy)) for p in (click, buy))
                    turn["behaviour"][3 * k : 3 * k + 3] = [1 - click - buy, click, buy]
    assert len(differences(golden, now)) > 50


@pytest.mark.parametrize("env_id", IDS)
def test_last_digits_are_not_noticed(env_id):
    world = load_world(env_id)
    draw = np.random.default_rng(0)

    def nudged(values):
        return (values * (1 + 1e-6 * draw.normal(size=values.shape))).astype(np.float32)

    names = ("user_vectors", "item_vectors", "item_click_bias", "click_weight", "purchase_weight")
    model = world.user_model
    model = dataclasses.replace(model, **{name: nudged(getattr(model, name)) for name in names})
    world = dataclasses.replace(world, user_model=model)
    assert differences(read(env_id), record(env_id, world)) == []


def test_what_is_exact_must_be_the_same():
    golden = read("recenv/Toy-v0")
    for where, value in (("users", 201), ("train", "0" * 16), ("build_version", 99)):
        now = copy.deepcopy(golden)
        now["exact"]["world"][where] = value
        assert [line.partition(":")[0] for line in differences(golden, now)] == [
            f"exact.world.{where}"
        ]


def test_a_new_setting_is_no_change_but_a_new_observation_is():
    golden = read("recenv/Toy-v0")
    now = copy.deepcopy(golden)
    now["exact"]["game"]["reward"]["kindness"] = 0.0
    assert differences(golden, now) == []
    assert differences(now, golden) == ["exact.game.reward.kindness: gone"]
    now["exact"]["spaces"]["user_0"]["observation"]["mood"] = "float32[1]"
    assert differences(golden, now) == ["exact.spaces.user_0.observation.mood: new"]


# a repository of its own, with ids that do little

FIRST, NEXT = "recenv/Fake-v0", "recenv/Fake-v1"


def fake(env_id=FIRST, *, slate=(1, 2), reward=0.5):
    return {
        "id": env_id,
        "exact": {"game": {}, "world": {"config": None}, "slate": list(slate)},
        "fitted": {"reward": [reward, -1.0]},
    }


class Repository:
    def __init__(self, root):
        self.root, self.folder = root, root / "golden"
        self.folder.mkdir()
        (root / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
        self.write("(unreleased)", [])

    def write(self, mark, rows):
        head = ["# Changelog", "", versions.HEADING, "", "Words.", ""]
        lines = [*head, "| id | behaviour | what changed |", "|---|---|---|", *map(str, rows)]
        text = "\n".join([*lines, "", f"## 0.1.0 {mark}".strip(), "", "| no | row | here |", ""])
        (self.root / "CHANGELOG.md").write_text(text)

    def make(self, *records, **settings):
        replay = {r["id"]: r for r in records}.__getitem__
        ids = [r["id"] for r in records]
        return make.make(ids, folder=self.folder, root=self.root, replay=replay, **settings)

    def rows(self):
        return table((self.root / "CHANGELOG.md").read_text())

    def faults(self, *ids, rows=None, released=()):
        return faults(ids or [FIRST], self.rows() if rows is None else rows, self.folder, released)

    def git(self, *words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *who, *words]
        subprocess.run(command, check=True, capture_output=True)

    def release(self):
        for words in (["init"], ["add", "."], ["commit", "-m", "release"], ["tag", "v0.1.0"]):
            self.git(*words)


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path)
    made.write("(unreleased)", made.make(fake()))
    return made


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def test_a_row_that_make_gives_passes_the_check(repository):
    assert repository.faults() == []
    assert repository.rows() == [Row(FIRST, digest(fake()), "...")]


def test_make_leaves_a_file_whose_behaviour_is_as_before(repository):
    file = versions.path(FIRST, repository.folder)
    before = file.read_text()
    rows = repository.make(fake(reward=0.50005))
    assert file.read_text() == before
    assert rows == repository.rows()


@pytest.mark.parametrize("change", [{"slate": (1, 3)}, {"slate": (1,)}, {"reward": 0.5002}])
def test_make_refuses_another_behaviour(repository, change):
    file = versions.path(FIRST, repository.folder)
    before = file.read_text()
    wanted = f"behaviour of {FIRST} changed: register {NEXT}, add its row, keep the old one"
    with pytest.raises(make.BehaviourChangedError, match=wanted):
        repository.make(fake(**change))
    assert file.read_text() == before


def test_make_overwrites_before_the_first_release_and_mends_the_row(repository):
    rows = repository.make(fake(reward=0.7), may_change=True)
    assert read(FIRST, repository.folder)["fitted"]["reward"][0] == 0.7
    assert [fault.partition(" says ")[0] for fault in repository.faults()] == [
        f"the row of {FIRST}"
    ]
    make.mend(rows, repository.root)
    assert repository.faults() == []


def test_make_overwrites_nothing_of_a_released_version(repository):
    repository.write("(2026-01-01)", repository.rows())
    with pytest.raises(make.BehaviourChangedError, match="register recenv/Fake-v1"):
        repository.make(fake(reward=0.7), may_change=True)


@needs_git
def test_make_overwrites_nothing_that_a_tag_has(repository):
    repository.release()
    assert versions.released(repository.root) == repository.rows()
    with pytest.raises(make.BehaviourChangedError, match="register recenv/Fake-v1"):
        repository.make(fake(reward=0.7), may_change=True)


def test_make_writes_the_other_files_when_one_is_refused(repository):
    with pytest.raises(make.BehaviourChangedError):
        repository.make(fake(reward=0.7), fake(NEXT))
    assert read(NEXT, repository.folder) == fake(NEXT)


def test_the_command_says_what_was_refused(monkeypatch, capsys):
    def refuse(ids, *, may_change):
        raise make.BehaviourChangedError(f"{list(ids)} {may_change}")

    monkeypatch.setattr(make, "make", refuse)
    assert make.main([FIRST]) == 1
    assert f"['{FIRST}'] False" in capsys.readouterr().err


def test_the_check_fails_on_a_changed_file_without_a_changed_row(repository):
    versions.write(fake(reward=0.7), repository.folder)
    (fault,) = repository.faults()
    assert digest(fake()) in fault
    assert digest(fake(reward=0.7)) in fault


def test_the_check_fails_on_a_row_with_another_digest(repository):
    (fault,) = repository.faults(rows=[Row(FIRST, "0" * 12, "")])
    assert "says 000000000000" in fault


def test_the_check_fails_without_a_row(repository):
    (fault,) = repository.faults(rows=[])
    assert fault == f"{FIRST} has no row in the changelog: {repository.rows()[0]}"


def test_the_check_fails_without_a_file(repository):
    versions.path(FIRST, repository.folder).unlink()
    (fault,) = repository.faults()
    assert fault.startswith(f"{FIRST} has no golden file")


def test_the_check_fails_on_a_file_of_no_id(repository):
    versions.write(fake("recenv/Lost-v0"), repository.folder)
    (fault,) = repository.faults()
    assert fault.startswith("recenv-Lost-v0.json is the golden file of no id")


def test_the_check_fails_on_two_rows_of_an_id(repository):
    (fault,) = repository.faults(rows=[*repository.rows(), *repository.rows()])
    assert "another row of its id" in fault


def test_the_check_fails_on_a_version_that_came_without_a_row(repository):
    (row,) = repository.make(fake(NEXT, reward=0.7))
    (fault,) = repository.faults(FIRST, NEXT)
    assert fault.startswith(f"{NEXT} has no row")
    assert repository.faults(FIRST, NEXT, rows=[*repository.rows(), row]) == []


def test_the_check_fails_on_a_version_whose_last_one_has_no_row(repository):
    (row,) = repository.make(fake(NEXT, reward=0.7))
    versions.path(FIRST, repository.folder).unlink()  # a retired version: its row stays
    assert repository.faults(NEXT, rows=[*repository.rows(), row]) == []
    (fault,) = repository.faults(NEXT, rows=[row])
    assert fault.startswith(f"{NEXT} has come without a row of {FIRST}")


@needs_git
def test_the_check_fails_on_a_released_row_that_was_edited(repository):
    repository.release()
    released = versions.released(repository.root)
    (old,) = repository.rows()
    assert repository.faults(released=released) == []
    (fault,) = repository.faults(rows=[old._replace(what="other words")], released=released)
    assert fault.startswith(f"{old} was released")


def test_nothing_is_known_to_be_released_without_a_tag(tmp_path):
    assert versions.released(tmp_path) == []


def test_the_table_ends_where_the_next_section_begins(repository):
    assert [row.id for row in repository.rows()] == [FIRST]
