"""Foreign worlds: policies and estimators by hand, and the study on a simulator of this file.

One slow test plays RecSim and RecoGym themselves, in environments of their own.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recenv.errors import ConfigError, SchemaError
from recenv.studies import simulators
from recenv.studies.foreign import cells, estimators, logs, policies, study, twins, worker
from recenv.studies.foreign.logs import Setting
from recenv.studies.foreign.report import judged

ITEMS, SLOTS = 6, 2
CATEGORY = np.array([0, 0, 1, 1, 2, 2])
RATE = np.array([0.1, 0.4, 0.3, 0.2, 0.6, 0.5])


@pytest.fixture
def tables() -> policies.Tables:
    """Of six items in three categories, and four users."""
    near = np.eye(ITEMS)[:, ::-1]
    return policies.derived(
        {
            "users": np.arange(4),
            "rate": RATE,
            "clicks": 100 * RATE,
            "category": CATEGORY,
            "similar": near,
            "personal": np.tile(np.arange(6.0), (4, 1)),
            "taste": np.tile(RATE, (4, 1)),
        }
    )


def facts(**changes: Any) -> policies.Facts:
    """Of two visits in their third round, with slates (0, 1) and (4, 5) before."""
    known = policies.Facts(
        user=np.array([0, 3]),
        round=np.array([2, 2]),
        last_click=np.array([3, -1]),
        last_slate=np.array([[0, 1], [4, 5]]),
        clicked=np.array([False, True]),
    )
    return known._replace(**changes)


def shown(name: str, tables: policies.Tables, known: policies.Facts) -> list[list[int]]:
    draws = np.random.default_rng(0).random((len(known.user), ITEMS + 1))
    return policies.slates(name, tables, known, draws).tolist()


def test_policies_show_what_their_names_say(tables: policies.Tables) -> None:
    known = facts()
    assert shown("best click rate", tables, known) == [[4, 5], [4, 5]]
    assert shown("least clicked", tables, known) == [[0, 3], [0, 3]]
    # by rate: 4 5 1 2 3 0; the third pair in turn is (3, 0)
    assert shown("all items in turn", tables, known) == [[3, 0], [3, 0]]
    assert shown("last clicked again", tables, known)[0][0] == 3
    assert sorted(shown("same category as last click", tables, known)[0]) == [2, 3]
    assert not set(shown("another category than last click", tables, known)[0]) & {2, 3}
    assert shown("like the last clicked", tables, known)[0][0] == 2  # the mirror of item 3
    assert shown("like the last clicked", tables, known)[1] == [4, 5]  # no click: by rate
    assert shown("same slate again", tables, known) == [[0, 1], [4, 5]]
    assert shown("same slate if clicked", tables, known)[1] == [4, 5]
    assert shown("item-based co-clicks", tables, known) == [[5, 4], [5, 4]]
    # after two rounds of two, categories begin with 4 mod 3 = 1
    assert shown("categories in turn", tables, known)[0] == [2, 4]
    assert set(np.ravel(shown("top fifth at random", tables, known))[::2]) <= {4, 5}


def test_policies_without_categories_or_views_are_left_out(tables: policies.Tables) -> None:
    assert not set(policies.VIEWS) & set(policies.names(tables))
    alone = policies.names({**tables, "category": np.zeros(ITEMS, np.int64)})
    assert not set(policies.CATEGORIES) & set(alone)
    assert set(policies.names({**tables, "views": np.ones((4, ITEMS))})) >= set(policies.VIEWS)


@pytest.mark.parametrize("name", [n for n in policies.POLICIES if n not in policies.VIEWS])
def test_chances_are_the_shares_of_drawn_slates(name: str, tables: policies.Tables) -> None:
    draws = np.random.default_rng(1).random((4000, ITEMS + 1))
    known = policies.rows(facts(), np.zeros(4000, np.int64))
    drawn = policies.slates(name, tables, known, draws)
    one = policies.rows(facts(), np.zeros(ITEMS, np.int64))
    every = np.tile(np.arange(ITEMS)[:, None], (1, SLOTS))
    chance = policies.chances(name, tables, one, every)  # (N, K)
    share = np.array([(drawn == item).mean(axis=0) for item in range(ITEMS)])
    assert chance.sum(axis=0) == pytest.approx(np.ones(SLOTS))
    assert np.abs(chance - share).max() < 4 * np.sqrt(0.25 / 4000)
    values = np.random.default_rng(2).random((ITEMS, ITEMS))
    mean = policies.expected(name, tables, one, values)
    assert mean == pytest.approx(values @ chance)


def test_rounds_of_a_log_know_what_came_before() -> None:
    arrays = {
        "user": np.array([7, 7, 7, 7, 7, 7, 2, 2]),
        "session": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
        "round": np.array([0, 0, 1, 1, 2, 2, 0, 0]),
        "slot": np.array([0, 1, 0, 1, 0, 1, 0, 1]),
        "item": np.array([4, 1, 2, 3, 0, 5, 1, 2]),
        "propensity": np.full(8, 0.2),
        "click": np.array([0, 1, 0, 0, 1, 0, 0, 0]),
    }
    order = np.random.default_rng(0).permutation(8)
    known, log = logs.logged_rounds({name: values[order] for name, values in arrays.items()})
    assert known.user.tolist() == [7, 7, 7, 2]
    assert known.last_click.tolist() == [-1, 1, 1, -1]
    assert known.last_slate.tolist() == [[-1, -1], [4, 1], [2, 3], [-1, -1]]
    assert known.clicked.tolist() == [False, True, False, False]
    assert log["item"].tolist() == [[4, 1], [2, 3], [0, 5], [1, 2]]
    # the same by the steps that are taken while visits are played
    walked = policies.begin(np.array([7]), 2)
    for row in range(2):
        walked = policies.after(walked, log["item"][row : row + 1], log["click"][row : row + 1])
    assert all(np.array_equal(a, b[2:3]) for a, b in zip(walked, known, strict=True))


def test_shrunk_ratios_lie_between_one_and_the_counts() -> None:
    rng = np.random.default_rng(0)
    true = rng.gamma(4, 1 / 4, 3000)  # of variance 1/4
    wanted = rng.uniform(1, 5, 3000)
    hits = rng.poisson(true * wanted).astype(float)
    ratio = logs.shrunk(hits, wanted)
    assert ratio == pytest.approx((hits + 4) / (wanted + 4), rel=0.2)
    assert ((ratio - true) ** 2).mean() < 0.6 * ((hits / wanted - true) ** 2).mean()
    assert logs.shrunk(wanted.round(), wanted) == pytest.approx(1, abs=1e-3)


def test_judgement_counts_sure_pairs_only() -> None:
    truth = {
        "policies": ["a", "b", "c"],
        "value": [1.0, 1.01, 2.0],
        "error": (0.1 * (1 - np.eye(3))).tolist(),
    }
    assert judged([2.0, 1.0, 3.0], truth) == {"tau": 1.0, "regret": 0.0, "favourite": "c"}
    told = judged([1.0, 3.0, 2.0], truth)
    assert (told["tau"], told["favourite"]) == (0.0, "b")
    assert told["regret"] == pytest.approx(0.99 / 2)
    assert judged([float("nan"), 1.0, 2.0], truth) == {
        "tau": 0.5, "regret": 0.0, "favourite": "c",
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"simulator": "recogym", "slate": 2},
        {"simulator": "interest_exploration"},
        {"simulator": "interest_evolution", "slate": 12},
    ],
)
def test_settings_that_no_simulator_plays_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Setting(**{"users": 10, "items": 12, **wrong})


def test_the_worker_and_its_policies_import_numpy_alone() -> None:
    for module in (worker, policies):
        assert module.__file__ is not None
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [node.module or ""]
            assert {name.split(".")[0] for name in found} <= {*sys.stdlib_module_names, "numpy"}


class HandMade:
    """Independent clicks by item, two views before each visit, and an even chance to leave."""

    def __init__(self, setting: Mapping[str, Any]) -> None:
        self.category = np.arange(setting["items"]) % 3
        self.features = np.zeros((setting["items"], 2), np.float32)
        self.rate = np.linspace(0.05, 0.6, setting["items"])
        self.rng = np.random.RandomState(0)

    def begin(self, user: int, key: list[int]) -> bool:
        self.rng = np.random.RandomState(key)
        self.seen = [user % len(self.rate), 0]
        return True

    def show(self, slate: list[int]) -> worker.Shown:
        self.seen = []
        chance = self.rate[slate]
        click = self.rng.random_sample(len(slate)) < chance
        return worker.Shown(chance, click, self.rng.random_sample() < 0.2)

    def views(self) -> list[int]:
        return self.seen


@pytest.fixture
def hand_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The worker in this process, with ``HandMade`` for every simulator."""
    monkeypatch.setattr(worker, "GAMES", dict.fromkeys(worker.GAMES, HandMade))

    def run(script: Path, job: Mapping[str, Any], python: Path, limit: float) -> dict[str, Any]:
        assert script == logs.WORKER
        with contextlib.redirect_stdout(io.StringIO()) as told:
            worker.main(json.dumps(job))
        return json.loads(told.getvalue())

    monkeypatch.setattr(simulators, "run_worker", run)
    monkeypatch.setattr(simulators, "make_environment", lambda folder, name: Path("python"))
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))


SETTING = Setting("interest_evolution", users=60, items=12, slate=2, logging="popular")


@pytest.mark.usefixtures("hand_made")
def test_a_log_has_the_propensities_it_was_drawn_with(tmp_path: Path) -> None:
    arrays = logs.emitted(SETTING.replace(users=400), tmp_path, tmp_path)
    first = arrays["slot"] == 0
    shares = arrays["weight"] / arrays["weight"].sum()
    assert arrays["propensity"][first] == pytest.approx(shares[arrays["item"][first]])
    assert shares.min() > 0.5 / 12
    assert shares[11] > 1.3 * shares[0]  # what the pilot saw clicked most
    # Horvitz and Thompson: weighted by inverse chances, every item is shown as often in a slot
    weight = 1 / arrays["propensity"][first]
    counts = np.bincount(arrays["item"][first], weights=weight, minlength=12) / first.sum()
    assert counts == pytest.approx(np.ones(12), abs=0.3)
    log, catalog = logs.read_log(SETTING, arrays)
    assert len(log) == len(arrays["item"])
    assert log.has_impressions
    assert catalog.category_names == ("topic 0", "topic 1", "topic 2")
    assert catalog.features is not None
    assert logs.users_of(log).tolist() == np.unique(arrays["user"]).tolist()
    pairs = set(zip(log.column("user"), log.column("item"), log.column("time"), strict=True))
    assert len(pairs) == len(log)


@pytest.mark.usefixtures("hand_made")
def test_views_stand_in_order_between_the_slates_of_their_visit(tmp_path: Path) -> None:
    setting = SETTING.replace(visits=2)
    arrays = logs.emitted(setting, tmp_path, tmp_path)
    views = logs.read_views(setting, arrays)
    log, _ = logs.read_log(setting, arrays)
    assert len(views) == 2 * 2 * 60
    assert set(views["event"]) == {"view"}
    first = (
        log.events.assign(user=log.user_ids[log.column("user")]).groupby("session")["time"].min()
    )
    began = views["session"].map(dict(zip(np.unique(arrays["session"]), first, strict=True)))
    assert ((began - views["time"]) == np.tile([20.0, 10.0], 120)).all()
    assert views["user"].nunique() == 60


@pytest.mark.usefixtures("hand_made")
def test_estimators_find_the_value_where_visits_do_not_depend_on_what_is_shown(
    tmp_path: Path,
) -> None:
    setting = SETTING.replace(users=1000, slate=1, logging="uniform")
    arrays = logs.emitted(setting, tmp_path, tmp_path)
    told = estimators.estimates(setting, arrays)
    names = policies.names(logs.tables_of(setting, arrays))
    rate = HandMade({"items": 12}).rate
    rounds = len(arrays["item"]) / 1000
    true = {"random": rate.mean(), "best click rate": rate[-1]}
    true["best click rate, half random"] = (rate[-1] + rate.mean()) / 2
    for method in estimators.NAMES:
        for name, value in true.items():
            at = names.index(name)
            error = 4 * np.sqrt(value / (len(arrays["item"]) / 12))  # at most 1 in 12 rows match
            assert told[method][at] / rounds == pytest.approx(value, abs=error)


def test_a_policy_that_the_log_never_follows_has_no_self_normalised_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = {"click": np.ones((3, 1), bool), "propensity": np.full((3, 1), 0.5)}
    none = np.zeros((3, 1))
    told = estimators._values(log, none, none, none)
    assert np.isnan(told["SNIPS"])
    assert told["IPS"] == 0


@pytest.mark.usefixtures("hand_made")
def test_the_study_on_a_simulator_of_this_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "QUICK", (SETTING,))
    given = ["--quick", "--quiet", "--out", str(tmp_path)]
    assert study.main(given) == 0
    page = (tmp_path / "foreign.md").read_text()
    assert page.strip().endswith(capsys.readouterr().out.strip())
    assert "nan" not in page
    record = json.loads((tmp_path / "foreign.json").read_text())
    (one,) = record["settings"]
    assert one["setting"] == SETTING.to_dict()
    (fit,) = one["fits"]
    assert len(fit["value"]) == len(one["truth"]["policies"]) == 20
    told = fit["logging"]
    assert len(told["fifths"]) == 5
    assert len(told["neighbour"]["simulated"]) == 3
    assert 0 < told["two_clicks"]["logged"] < 1
    # clicks are planted far apart: even a tiny fit tells the best policies from the worst
    assert fit["tau"] > 0.3
    assert told["rounds"]["logged"] == pytest.approx(5, rel=0.3)

    # finished cells are read: nothing is fitted or played again
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("measure_truth", "measure_log", "measure_fit"):
        monkeypatch.setattr(cells, name, refuse)
    assert study.main(given) == 0
    assert json.loads((tmp_path / "foreign.json").read_text()) == record


@pytest.mark.usefixtures("hand_made")
def test_a_log_that_is_refused_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SchemaError("no law of leaving")

    monkeypatch.setattr(cells, "fitted", refuse)
    monkeypatch.setattr(study, "QUICK", (SETTING,))
    assert study.main(["--quick", "--quiet", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "foreign.md").read_text()
    assert "fit 0: SchemaError: no law of leaving" in page


def test_fitting_seeds_reach_every_stage() -> None:
    config = twins.seeded(study.QUICK_CONFIG.build, 5)
    assert (config.split.seed, config.interest.seed, config.user_model.seed) == (5, 5, 5)
    assert config.interest.min_updates == study.QUICK_CONFIG.build.interest.min_updates


@pytest.mark.slow
def test_recsim_and_recogym_themselves(tmp_path: Path) -> None:
    assert study.main(["--quick", "--quiet", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "foreign.json").read_text())
    names = [one["setting"]["simulator"] for one in record["settings"]]
    assert names == ["recogym", "interest_evolution", "interest_exploration"]
    gym, evolution, exploration = record["settings"]
    assert gym["log"]["views"] > 0
    assert 40 < gym["log"]["rounds"] < 160
    assert 50 < evolution["log"]["rounds"] < 120
    assert exploration["log"]["rounds"] == 8
    for one in record["settings"]:
        assert one["truth"]["value"] == pytest.approx(one["truth"]["clicks"], rel=0.5, abs=0.8)
        assert all("error" not in fit for fit in one["fits"])
    assert evolution["fits"][0]["logging"]["two_clicks"]["logged"] == 0  # it allows one click
