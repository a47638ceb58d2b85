"""Open Bandit: invented files in its format, and the sample in the installed wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from recenv.data import load
from recenv.data.formats import open_bandit
from recenv.errors import ConfigError, DataNotFoundError, SchemaError

HEAD = (
    ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,"
    "user_feature_2,user_feature_3,user-item_affinity_0,user-item_affinity_1"
)
RANDOM = [
    "0,2019-11-24 00:00:02.500000+00:00,1,3,0,0.5,aa,bb,cc,dd,0.0,1.0",
    "1,2019-11-24 00:00:01+00:00,0,1,1,0.5,aa,bb,cc,ee,0.0,0.0",
    "2,2019-11-24 00:00:03+00:00,1,2,0,0.5,aa,bb,cc,dd,0.0,0.0",
]
BTS = ["0,2019-11-24 00:00:02+00:00,0,1,1,0.875,aa,bb,cc,dd,0.0,0.0"]
CONTEXT = ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3"
ITEMS = {
    "random": ["0,0,-0.5,f3,a1,90", "1,1,0.5,e2,a1,91"],
    "bts": ["1,1,0.5,77,b5,11", "0,0,-0.5,78,b5,12"],  # other hashes, the same items
}


def _write(root: Path, policy: str, rows: list[str], items: list[str]) -> None:
    folder = root / policy / "men"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "men.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (folder / "item_context.csv").write_text("\n".join([CONTEXT, *items]) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    _write(tmp_path, "random", RANDOM, ITEMS["random"])
    _write(tmp_path, "bts", BTS, ITEMS["bts"])
    return tmp_path


def test_one_policy(root: Path) -> None:
    log, catalog = open_bandit.load(root, campaign="men")
    start = 1_574_553_600.0  # 2019-11-24 00:00 UTC
    assert list(log.column("time")) == [start + 1, start + 2.5, start + 3]
    assert list(log.user_ids) == ["aa-bb-cc-dd", "aa-bb-cc-ee"]
    assert list(log.column("user")) == [1, 0, 0]
    assert list(log.column("item")) == [0, 1, 1]
    assert list(log.column("response")) == [1, 0, 0]
    assert list(log.column("position")) == [1, 3, 2]
    assert list(log.column("propensity")) == [0.5, 0.5, 0.5]
    assert "session" not in log.events
    assert log.has_impressions
    assert not log.exposes_catalog
    assert log.name == "open-bandit-men-random"
    assert list(catalog.item_ids) == ["0", "1"]
    assert catalog.text[1] == "Fashion item 1: first feature B, second feature A, third feature B."
    assert catalog.category_names == ("third feature A", "third feature B")
    assert list(catalog.category) == [0, 1]
    assert catalog.features is not None
    # numeric, two values of the first feature, one of the second, two of the third
    assert catalog.features.tolist() == [[-0.5, 1, 0, 1, 1, 0], [0.5, 0, 1, 1, 0, 1]]


def test_both_policies(root: Path) -> None:
    log, catalog = open_bandit.load(root, campaign="men", policy="both")
    assert list(log.column("propensity")) == [0.5, 0.875, 0.5, 0.5]
    assert log.num_users == 2
    assert catalog.hash == open_bandit.load(root, campaign="men", policy="bts")[1].hash
    _write(root, "bts", BTS, ["0,0,-0.5,78,b5,12", "1,1,0.7,77,b5,11"])
    with pytest.raises(SchemaError, match="the items differ"):
        open_bandit.load(root, campaign="men", policy="both")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0,1,1,0.5,", ",0,4,1,0.5,", r"line 3, column 'position': 4 is not 1, 2 or 3"),
        (",0,1,1,0.5,", ",2,1,1,0.5,", r"line 3, column 'item_id': 2 is not an item"),
        (",0,1,1,0.5,", ",0,1,2,0.5,", r"line 3, column 'click': 2 is not 0 or 1"),
        (",0,1,1,0.5,", ",0,1,1,0,", r"line 3, column 'propensity_score': 0.0 is not a prob"),
        (",0,1,1,0.5,", ",x,1,1,0.5,", r"men.csv, line 3, column 'item_id': .*'x'"),
        ("aa,bb,cc,ee", "aa,bb,,ee", r"line 3, column 'user_feature_2': '' is not an id"),
        (
            "2019-11-24 00:00:01+00:00",
            "yesterday",
            r"men.csv, line 3, column 'timestamp': .*yesterday",
        ),
        (
            "2019-11-24 00:00:01+00:00",
            "0000-01-01 00:00:00+00:00",  # a year that Python does not have
            r"men.csv, line 3, column 'timestamp': -62167219200000000 us since 1970",
        ),
        ("propensity_score", "propensity", r"men.csv lacks a column: .*propensity_score"),
    ],
)
def test_damage(root: Path, old: str, new: str, message: str) -> None:
    path = root / "random" / "men" / "men.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SchemaError, match=message):
        open_bandit.load(root, campaign="men")


def test_damaged_items(root: Path) -> None:
    _write(root, "random", RANDOM, ["0,0,-0.5,f3,a1,90", "1,2,0.5,e2,a1,91"])
    with pytest.raises(SchemaError, match="one whole row for each item from 0 to 1"):
        open_bandit.load(root, campaign="men")
    for cell in ("NaN", "inf", "", "1e39"):
        _write(root, "random", RANDOM, ["0,0,-0.5,f3,a1,90", f"1,1,{cell},e2,a1,91"])
        message = r"item_context.csv, line 3, column 'item_feature_0': .* is not a finite number"
        with pytest.raises(SchemaError, match=message):
            open_bandit.load(root, campaign="men")
    _write(root, "random", RANDOM, [])
    with pytest.raises(SchemaError, match="no rows"):
        open_bandit.load(root, campaign="men")


def test_not_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match=r"women.csv.*pip install --no-deps obp"):
        open_bandit.load(root, campaign="women")
    with pytest.raises(DataNotFoundError, match=r"all.csv"):
        load("open-bandit", root)
    with pytest.raises(ConfigError, match="campaign must be"):
        open_bandit.load(root, campaign="kids")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="policy must be"):
        open_bandit.load(root, policy="greedy")  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFoundError, match="pip install --no-deps obp=="):
        load("open-bandit")


CLICKS = {
    ("all", "random"): 38, ("all", "bts"): 42, ("men", "random"): 46, ("men", "bts"): 69,
    ("women", "random"): 46, ("women", "bts"): 46,
}  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("obp") is None, reason="obp is not there")
@pytest.mark.parametrize(("campaign", "policy"), CLICKS)
def test_the_installed_sample(campaign: open_bandit.Campaign, policy: open_bandit.Policy) -> None:
    log, catalog = open_bandit.load(campaign=campaign, policy=policy)
    items = {"all": 80, "men": 34, "women": 46}[campaign]
    assert (len(log), len(catalog)) == (10_000, items)
    assert (log.column("response") == 1).sum() == CLICKS[campaign, policy]
    assert set(log.column("position")) == {1, 2, 3}
    if policy == "random":
        assert log.column("propensity") == pytest.approx(1 / items)
    if (campaign, policy) == ("all", "random"):
        named, _ = load("open-bandit")
        assert named.hash == log.hash
        assert log.num_users == 240
        assert any("38 to 69 clicks" in note for note in log.notes)
        assert catalog.features is not None
        # one number, then 12, 21 and 7 values one-hot
        assert catalog.features.shape == (80, 41)
        assert np.array_equal(catalog.features[:, 1:].sum(1), np.full(80, 3.0))
