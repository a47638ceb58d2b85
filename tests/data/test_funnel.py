"""Funnels: what was one decision is one event, and the true numbers come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recenv.data import read_table
from recenv.errors import SchemaError
from recenv.schema import CLICK, IGNORE, PURCHASE, InteractionLog

START = 1_570_000_000
WITHIN = 1800


def _shop(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A shop's log with a row for each step, shuffled; and the decisions behind it.

    A user sees pages of five items, a page each hour or so, the same item on many of them; clicks
    some a minute later, puts some of these into the cart, and buys some of these.
    """
    rng = np.random.default_rng(seed)
    steps, truth = [], []
    for user in range(30):
        time = START + int(rng.integers(0, 1000))
        for page in range(20):
            time += int(rng.integers(2 * WITHIN, 4 * WITHIN))
            for slot, item in enumerate(rng.permutation(12)[:5], start=1):
                at, response, paid = time, IGNORE, 0.0
                request = f"{user}-{page}"
                steps.append((user, item, at, "impression", slot, None, request))
                if rng.random() < 0.4:
                    at, response = at + int(rng.integers(1, 120)), CLICK
                    steps.append((user, item, at, "click", None, None, request))
                    if rng.random() < 0.5:
                        at += int(rng.integers(1, 600))
                        steps.append((user, item, at, "cart", None, None, request))
                        if rng.random() < 0.5:
                            at, response = at + int(rng.integers(1, 1000)), PURCHASE
                            paid = float(rng.integers(1, 100))
                            steps.append((user, item, at, "purchase", None, paid, request))
                truth.append((user, item, time, response, slot, paid))
    names = ["user", "item", "time", "event", "position", "value", "request"]
    log = pd.DataFrame(steps, columns=names).sample(frac=1, random_state=seed)
    known = ["user", "item", "time", "response", "position", "value"]
    return log, pd.DataFrame(truth, columns=known)


def _sorted(log: InteractionLog, catalog_ids: np.ndarray) -> pd.DataFrame:
    events = log.events.assign(
        user=log.user_ids[log.column("user")].astype(int),
        item=catalog_ids[log.column("item")].astype(int),
    )
    return events.sort_values(["user", "time", "item"], ignore_index=True)


def _same(log: InteractionLog, ids: np.ndarray, truth: pd.DataFrame) -> None:
    found = _sorted(log, ids)
    truth = truth.sort_values(["user", "time", "item"], ignore_index=True)
    assert len(found) == len(truth)
    for name in truth.columns:
        assert (found[name].to_numpy() == truth[name].to_numpy()).all(), name


@pytest.mark.parametrize("kind", ["frame", "csv"])
@pytest.mark.parametrize("by", ["window", "request"])
def test_the_true_numbers_come_out(tmp_path: Path, by: str, kind: str) -> None:
    table, truth = _shop()
    if by == "window":
        table = table.drop(columns="request")
    source: pd.DataFrame | Path = table
    if kind == "csv":
        source = tmp_path / "shop.csv"
        table.to_csv(source, index=False)
    log, catalog = read_table(
        source, duplicates="strongest", merge_within=WITHIN if by == "window" else 0
    )
    _same(log, catalog.item_ids, truth)
    responses = np.bincount(log.column("response")).tolist()
    assert responses == np.bincount(truth["response"]).tolist()
    assert any(f"{len(table) - len(truth)} rows are merged" in note for note in log.notes)
    assert not any("without an impression" in note for note in log.notes)
    assert log.column("position").dtype == np.int16


def test_rows_read_as_decisions_of_their_own_are_noted() -> None:
    table, truth = _shop()
    plain = table.drop(columns=["request", "position"])
    log, _ = read_table(plain)
    clicks = int((log.column("response") == CLICK).sum())
    assert clicks > 1.5 * (truth["response"] == CLICK).sum()
    follow = int((truth["response"] >= CLICK).sum() + (truth["response"] == PURCHASE).sum())
    assert any(n.startswith(f"{follow} rows follow") and "merge_within" in n for n in log.notes)
    merged, _ = read_table(plain, duplicates="strongest", merge_within=WITHIN)
    assert not any("rows follow" in note for note in merged.notes)


def _table(rows: list[tuple], names: str = "item time event position value") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=names.split()).assign(user="u")


def test_what_belongs_together() -> None:
    t = START
    table = _table(
        [
            ("a", t, "impression", 1, 0),
            ("a", t + 50, "click", None, 0),
            ("a", t + 60, "impression", 2, 0),  # shown again: a decision of its own
            ("a", t + 70, "click", None, 0),
            ("a", t + 75, "click", 1, 0),  # says that it is the first one's
            ("a", t + 160, "purchase", None, 5),  # within 100 s of the row before
            ("a", t + 260, "purchase", None, 6),  # and of this one
            ("b", t, "impression", 3, 0),
            ("b", t, "impression", 4, 0),
            ("b", t, "click", 4, 0),
        ]
    )
    log, catalog = read_table(table, duplicates="strongest", merge_within=100)
    found = log.events.assign(item=catalog.item_ids[log.column("item")])
    rows = found.sort_values(["item", "position"])[
        ["item", "time", "response", "position", "value"]
    ]
    assert [tuple(row) for row in rows.itertuples(index=False)] == [
        ("a", t, PURCHASE, 1, 11.0),
        ("a", t + 60, CLICK, 2, 0.0),
        ("b", t, IGNORE, 3, 0.0),
        ("b", t, CLICK, 4, 0.0),
    ]
    assert any(n.startswith("1 purchases among them") for n in log.notes)


def test_clicks_without_an_impression() -> None:
    t = START
    rows = [
        ("a", t, "impression", 1, 0),
        ("b", t + 9, "click", None, 0),
        ("a", t + 500, "click", None, 0),
    ]
    table = _table(rows)
    with pytest.raises(SchemaError, match=r"'position', data row 1 .*up to 100 s.*\(2 such rows\)"):
        read_table(table, duplicates="strongest", merge_within=100)
    log, _ = read_table(table.drop(columns="position"), duplicates="strongest", merge_within=100)
    assert len(log) == 3
    assert any(n.startswith("2 events are clicks or purchases without") for n in log.notes)
    with pytest.raises(SchemaError, match=r"'position', data row 1 .*nan is not a slot"):
        read_table(table)
    blank = table.assign(position=[np.nan, 1, 1])
    with pytest.raises(SchemaError, match=r"'position', data row 0 .*not a slot"):
        read_table(blank, duplicates="strongest", merge_within=1000)


def test_without_impressions_the_first_time_counts() -> None:
    t = START
    table = _table(
        [
            ("a", t, "view", 0),
            ("a", t + 9, "cart", 0),
            ("a", t + 18, "buy", 3),
            ("a", t + 99, "view", 0),
        ],
        "item time event value",
    )
    log, _ = read_table(table, duplicates="strongest", merge_within=10)
    assert log.column("time").tolist() == [t, t + 99]
    assert log.column("response").tolist() == [PURCHASE, CLICK]
    assert log.column("value").tolist() == [3.0, 0.0]


def test_sessions_and_repeats() -> None:
    t = START
    table = _table(
        [
            ("a", t, "view", "x"),
            ("a", t, "view", "x"),
            ("a", t + 9, "buy", "y"),
            ("a", t + 9, "view", "x"),
        ],
        "item time event session",
    )
    log, _ = read_table(table, duplicates="strongest", merge_within=100)
    assert sorted(log.column("response").tolist()) == [CLICK, PURCHASE]
    assert any(n.startswith("1 of 4 rows repeat another") for n in log.notes)


def test_two_requests_of_one_time() -> None:
    table = _table(
        [("a", START, "view", "r1"), ("a", START, "view", "r2"), ("b", START, "view", "r2")],
        "item time event request",
    )
    log, _ = read_table(table, duplicates="strongest")
    assert len(log) == 2
    assert any(n.startswith("1 of 3 rows repeat another") for n in log.notes)


def test_wrong_arguments() -> None:
    table, _ = _shop()
    with pytest.raises(SchemaError, match="A request column needs duplicates='strongest'"):
        read_table(table.assign(position=1))
    with pytest.raises(SchemaError, match="not both"):
        read_table(table, duplicates="strongest", merge_within=1)
    with pytest.raises(SchemaError, match="merge_within needs duplicates='strongest'"):
        read_table(table.drop(columns=["request", "position"]), merge_within=1)
    for wrong in (-1, float("nan"), float("inf"), "1800", None):
        with pytest.raises(SchemaError, match="merge_within must be seconds"):
            read_table(table, duplicates="strongest", merge_within=wrong)  # pyright: ignore[reportArgumentType]


def test_order_of_rows_does_not_matter() -> None:
    hashes = set()
    for seed in range(3):
        table = _shop()[0].drop(columns="request").sample(frac=1, random_state=seed)
        hashes.add(read_table(table, duplicates="strongest", merge_within=WITHIN)[0].hash)
    assert len(hashes) == 1
