"""Other simulators: what the worker counts, and that one peer's failure loses no other.

The peers here are made up: a wheel written by the test, whose environments raise if they are
played against their protocol. One slow test installs and plays RecSim itself.
"""

from __future__ import annotations

import ast
import json
import math
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recenv.errors import ConfigError
from recenv.studies import simulators
from recenv.studies.simulators import PeerError, PeerGroup
from recenv.studies.speed import peers, peers_worker
from recenv.studies.speed.peers import Peer, PeerResult

RECSIM = """
    print('{"steps_per_second": "not the answer"}', end="")

    class Environment:
        left = 0  # no session has begun

        def reset(self):
            self.left = 4

        def step(self, slate):
            if len(set(slate.tolist())) != 10 or not 0 <= min(slate) <= max(slate) < 50:
                raise ValueError(f"not ten of fifty: {slate}")
            if not self.left:
                raise RuntimeError("stepped after the end")
            self.left -= 1
            return None, 0.0, not self.left, {}

    def create_environment(config):
        wanted = {"slate_size": 10, "num_candidates": 50, "resample_documents": True, "seed": 0}
        if config != wanted:
            raise ValueError(str(config))
        return Environment()
"""
RECOGYM = """
    env_1_args = {"K": 5}

    class RecoEnv1:
        def init_gym(self, args):
            self.products = args["num_products"]
            if args["K"] != 5:
                raise ValueError(str(args))

        def reset(self, user_id):
            self.user, self.steps, self.over = user_id, 0, False

        def step(self, product):
            if self.over or (product is None) != (self.steps == 0):
                raise RuntimeError(f"product {product} at step {self.steps}")
            if product is not None and not 0 <= product < self.products:
                raise ValueError(product)
            self.steps += 1
            self.over = self.user % 3 == 0 or self.steps == 5  # each third sees only its own views
            return None, None, self.over, {}
"""
GYM_RECSYS = """
    class Env:
        def __init__(self, user_ids, item_category, item_popularity, hist_seq_len, slate_size,
                     user_state_model_callback, reward_model_callback):
            self.users, self.items, self.size = user_ids, len(item_category), slate_size
            self.state, self.rewards = user_state_model_callback, reward_model_callback

        def seed(self, seed=None):
            pass

        def reset(self):
            self.timestep = 0
            return self.state(self.users[-1], [-1])

        def step(self, slate):
            if len(set(slate.tolist())) != self.size or max(slate) >= self.items:
                raise ValueError(str(slate))
            if self.timestep == 50:
                raise RuntimeError("stepped after the end")
            if self.rewards(self.users[0], [-1], [*slate, -1]).shape != (self.size + 1,):
                raise ValueError("rewards")
            self.timestep += 1
            return None, 0.0, False, {}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """For virtual environments; pytest would keep them."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One package that stands for all three peers, and a pip that sees no other."""
    files = {
        "recsim/__init__.py": "",
        "recsim/environments/__init__.py": "",
        "recsim/environments/interest_evolution.py": RECSIM,
        "recsim/environments/long_term_satisfaction.py": RECSIM,
        "recogym/__init__.py": "",
        "recogym/envs/__init__.py": "",
        "recogym/envs/reco_env_v1.py": RECOGYM,
        "gym_recsys.py": GYM_RECSYS,
        "numpy_of_the_tests.pth": str(Path(np.__file__).parents[1]),
        "madeup-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: madeup\nVersion: 1.0\n",
        "madeup-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},,\n" for name in [*files, "madeup-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(tmp_path / "madeup-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, "madeup-1.0.dist-info/RECORD": record}.items():
            wheel.writestr(name, textwrap.dedent(text))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def clocked(monkeypatch: pytest.MonkeyPatch, *, length: int) -> tuple[peers_worker.Game, list[int]]:
    """A game of sessions of ``length`` slates: a step takes 1 s of its clock and a reset 4 s."""
    now, left, shown = [0.0], [0], []

    def reset() -> None:
        now[0] += 4
        left[0] = length

    def step(slate: int) -> bool:
        shown.append(slate)
        now[0] += 1
        left[0] -= 1
        return left[0] == 0

    monkeypatch.setattr(peers_worker.time, "perf_counter", lambda: now[0])
    return peers_worker.Game(reset, step, [7, 8, 9]), shown


def test_resets_take_time_but_are_not_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    game, shown = clocked(monkeypatch, length=6)
    assert peers_worker.rate(game, 100) == 6 / 10  # ten whole sessions; the first reset is free
    assert len(shown) == 60
    assert shown[:4] == [7, 8, 9, 7]


def test_a_step_longer_than_the_repeat_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    game, shown = clocked(monkeypatch, length=6)
    assert peers_worker.rate(game, 0.1) == 1
    assert len(shown) == 1


def test_slates_are_distinct_candidates_drawn_evenly() -> None:
    slates = peers_worker.draw_slates(10, 50)
    assert slates == peers_worker.draw_slates(10, 50)
    assert all(len(set(slate)) == 10 for slate in slates)
    count = np.bincount(np.ravel(slates), minlength=50)
    assert count.sum() == 10 * peers_worker.POOL
    # a candidate's count is binomial: 205 expected, standard error 12.8
    assert abs(count - 10 * peers_worker.POOL / 50).max() < 4.5 * 12.8


def test_the_worker_needs_only_the_standard_library() -> None:
    tree = ast.parse(Path(peers_worker.__file__).read_text())
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert names <= sys.stdlib_module_names


@pytest.mark.usefixtures("made_up")
def test_every_peer_is_played_by_its_own_rules(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(simulators.GROUPS, "recsim", PeerGroup("madeup==1.0", (), "recsim"))
    python = simulators.make_environment(folder, "recsim")
    monkeypatch.setattr(simulators, "make_environment", lambda folder, name: python)
    results = peers.measure_peers(folder, seconds=0.02, repeats=3, progress=False)
    assert [told.error for told in results] == [None] * 5
    assert [told.name for told in results] == [peer.name for peer in peers.PEERS]
    assert [told.work for told in results] == [peer.work for peer in peers.PEERS]
    for told in results:
        assert len(told.steps_per_second) == 3
        assert min(told.steps_per_second) <= told.median <= max(told.steps_per_second)
        assert min(told.steps_per_second) > 0
        assert 0 < told.first_step_s < 60
        assert 5 < told.peak_mb < 500


@pytest.mark.usefixtures("made_up")
def test_failures_lose_nothing_and_are_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = "recsim.environments.interest_evolution"
    groups = {
        "recogym": PeerGroup("no-such-peer==3.1", (), "recogym"),
        "gym-recsys": PeerGroup("madeup==1.0", (), "no_such_module"),
        "recsim": PeerGroup("madeup==1.0", (), environment),
    }
    monkeypatch.setattr(simulators, "GROUPS", groups)
    results = {
        told.name: told
        for told in peers.measure_peers(folder, seconds=0.02, repeats=1, progress=False)
    }
    assert list(results) == [peer.name for peer in peers.PEERS]
    assert results["RecSim interest_evolution"].error is None
    assert results["RecSim interest_evolution"].version == "1.0"
    pip, module = results["RecoGym reco-gym-v1, 10 products"], results["gym-recsys"]
    assert "No matching distribution found for no-such-peer==3.1" in (pip.error or "")
    assert "No module named 'no_such_module'" in (module.error or "")
    assert pip.version == "3.1"
    assert (pip.steps_per_second, module.steps_per_second) == ((), ())
    assert math.isnan(pip.median)
    assert math.isnan(pip.first_step_s)

    # the complete one is kept, the others begin again; one whose pins changed does too
    begun: list[str] = []

    def refuse(name: str, command: list[str], environ: object = None) -> None:
        begun.append(name)
        raise PeerError(f"{name} is refused")

    monkeypatch.setattr(simulators, "_do", refuse)
    with pytest.raises(PeerError, match=r"recogym is refused\n.*gym-recsys is refused"):
        peers.make_environments(folder, progress=False)
    assert begun == ["recogym", "gym-recsys"]
    recsim = tuple(peer for peer in peers.PEERS if peer.group == "recsim")
    monkeypatch.setattr(peers, "PEERS", recsim)
    pythons = peers.make_environments(folder, progress=False)
    assert list(pythons) == ["recsim"]
    assert pythons["recsim"].exists()
    monkeypatch.setitem(groups, "recsim", PeerGroup("madeup==1.0", ("six==1.17.0",), environment))
    with pytest.raises(PeerError, match="recsim is refused"):
        peers.make_environments(folder, progress=False)


def test_a_folder_of_something_else_is_left_alone(folder: Path) -> None:
    mine = folder / "recsim" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(PeerError, match="holds something else"):
        simulators.make_environment(folder, "recsim")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo oh no >&2; exit 3", "status 3:\noh no"),
        ("echo hello", "no line of JSON figures, but:\nhello"),
        ("true", r"no line of JSON figures, but:\n\(nothing\)"),
        ("""echo '{"steps_per_second": [1.0]}'""", "no line of JSON figures"),
        ("echo '[1]'", "no line of JSON figures"),
        ("exec sleep 60", "did not end within 0 s"),
    ],
)
def test_a_process_that_fails_is_an_error_in_the_result(
    script: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    if "sleep" in script:
        monkeypatch.setattr(peers, "_START_SECONDS", 0.2)
    told = peers.measure_peer(peers.PEERS[0], python, 0.01, 1)
    assert told.steps_per_second == ()
    with pytest.raises(RuntimeError, match=error):
        raise RuntimeError(told.error)


def test_a_python_that_is_not_there_is_an_error_in_the_result(tmp_path: Path) -> None:
    told = peers.measure_peer(peers.PEERS[0], tmp_path / "bin" / "python", 0.01, 1)
    assert "cannot be started" in (told.error or "")


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": math.inf}, {"repeats": 0}])
def test_wrong_numbers_are_refused_before_anything_is_made(
    wrong: dict[str, float], folder: Path
) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        peers.measure_peers(folder, progress=False, **wrong)
    assert list(folder.iterdir()) == []


def test_main_prints_and_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [
        PeerResult("quick", "1.0", "a slate", (300.0, 100.0, 200.4), 1.25, 42.4, None),
        PeerResult("broken", "2.0", "a slate", (), math.nan, math.nan, "it broke"),
    ]
    seen = []

    def measured(folder: Path, **settings: object) -> list[PeerResult]:
        seen.append((folder, settings))
        return results

    monkeypatch.setattr(peers, "measure_peers", measured)
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    out = tmp_path / "told"
    assert peers.main(["--repeats", "3", "--seconds", "0.5", "--out", str(out), "--quiet"]) == 1
    settings = {"seconds": 0.5, "repeats": 3, "progress": False}
    assert seen == [(tmp_path / "home" / "peers", settings)]
    printed = capsys.readouterr().out
    assert "| quick | 1.0 | a slate | 200 | 100 to 300 | 1.2 | 42 |" in printed
    assert "| broken | 2.0 | a slate | failed |  |  |  |" in printed
    assert "broken failed:\n\n```\nit broke\n```" in printed
    assert printed.strip() in (out / "peers.md").read_text()
    quick, broken = json.loads((out / "peers.json").read_text())["peers"]
    assert (quick["median"], quick["steps_per_second"]) == (200.4, [300.0, 100.0, 200.4])
    assert (broken["median"], broken["peak_mb"], broken["error"]) == (None, None, "it broke")
    monkeypatch.setattr(peers, "measure_peers", lambda *a, **k: results[:1])
    assert peers.main(["--quiet"]) == 0


def test_main_refuses_wrong_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        peers.main(["--repeats", "0", "--folder", str(tmp_path)])
    assert "repeats must be at least 1, not 0" in capsys.readouterr().err


def test_peers_name_their_group_and_their_work() -> None:
    names = [peer.name for peer in peers.PEERS]
    assert len(set(names)) == len(names)
    assert {peer.group for peer in peers.PEERS} == set(simulators.GROUPS) == set(peers_worker.PEERS)
    for group in simulators.GROUPS.values():
        pinned = [group.package, *group.requirements]
        assert all(requirement.count("==") == 1 for requirement in pinned)
        packages = [requirement.partition("==")[0].lower() for requirement in pinned]
        assert len(set(packages)) == len(packages)


@pytest.mark.slow
def test_recsim_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recsim: tuple[Peer, ...] = tuple(peer for peer in peers.PEERS if peer.group == "recsim")
    monkeypatch.setattr(peers, "PEERS", recsim)
    made = peers.make_environments(folder, progress=False)
    evolution, satisfaction = peers.measure_peers(folder, seconds=0.5, repeats=2, progress=False)
    assert peers.make_environments(folder, progress=False) == made
    assert (evolution.error, satisfaction.error) == (None, None)
    for told in (evolution, satisfaction):
        assert told.version == "0.2.3"
        assert len(told.steps_per_second) == 2
        assert 200 < told.median < 200_000
        assert told.first_step_s < 60
        assert 20 < told.peak_mb < 500
    # the one without a choice model does less
    assert satisfaction.median > evolution.median
