"""Tables of one's own: what is read, and what every mistake is told."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recenv.data import read_table
from recenv.errors import SchemaError, UnknownNameError
from recenv.schema import repeated

COLUMNS = {
    "user": "uid",
    "item": "sku",
    "time": "when",
    "event": "what",
    "position": "slot",
    "session": "visit",
    "value": "paid",
    "propensity": "prob",
}
EVENTS = pd.DataFrame(
    {
        "uid": ["u10", "u9", "u10", "u9"],
        "sku": ["a", "b", "b", "c"],
        "when": [30.0, 10.0, 20.5, 40.0],
        "what": ["Purchase", "impression", "click", "view"],
        "slot": [1, 2, 1, 3],
        "visit": ["x", "x", "x", "y"],
        "paid": [9.5, 0.0, 0.0, 0.0],
        "prob": [0.5, 1.0, 0.25, 0.1],
    }
)
ITEMS = pd.DataFrame(
    {
        "sku": ["c", "b", "a"],
        "title": ["Cup.", "Bowl", "Axe"],
        "about": ["Holds tea", "", None],
        "kind": ["kitchen", "kitchen", "tools"],
        "cost": [3.0, None, 9.5],
    }
)
ITEM_COLUMNS = {"item": "sku", "text": ["title", "about"], "category": "kind", "price": "cost"}


def _write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "parquet", "frame"])
def test_every_source_gives_the_same(tmp_path: Path, kind: str) -> None:
    events: Any = EVENTS if kind == "frame" else _write(EVENTS, tmp_path / f"shop.{kind}")
    items: Any = ITEMS if kind == "frame" else _write(ITEMS, tmp_path / f"items.{kind}")
    log, catalog = read_table(
        events, items, columns=COLUMNS, item_columns=ITEM_COLUMNS, name="shop"
    )
    assert list(log.user_ids) == ["u10", "u9"]
    assert list(catalog.item_ids) == ["c", "b", "a"]
    assert list(catalog.text) == ["Cup. Holds tea", "Bowl", "Axe"]
    assert [catalog.category_names[c] for c in catalog.category] == ["kitchen", "kitchen", "tools"]
    assert list(catalog.price) == [3.0, 0.0, 9.5]
    assert list(log.column("time")) == [10.0, 20.5, 30.0, 40.0]
    assert list(log.column("user")) == [1, 0, 0, 1]
    assert list(log.column("item")) == [1, 1, 2, 0]
    assert list(log.column("response")) == [0, 1, 2, 1]
    assert list(log.column("position")) == [2, 1, 1, 3]
    assert list(log.column("value")) == [0.0, 0.0, 9.5, 0.0]
    assert list(log.column("propensity")) == [1.0, 0.25, 0.5, 0.1]
    # the label "x" of two users means two visits
    assert len(set(log.column("session"))) == 3
    assert log.has_impressions
    assert log.name == "shop"


def test_csv_and_parquet_agree_bit_for_bit(tmp_path: Path) -> None:
    hashes = set()
    for kind in ("csv", "parquet"):
        path = _write(EVENTS, tmp_path / f"shop.{kind}")
        log, catalog = read_table(path, columns=COLUMNS)
        hashes.add((log.hash, catalog.hash))
    assert len(hashes) == 1


def test_without_events_and_items() -> None:
    frame = pd.DataFrame({"user": [10, 9, 9], "item": [3.0, 20.0, 3.0], "time": [1, 2, 3]})
    log, catalog = read_table(frame, short_users="keep")
    assert list(catalog.item_ids) == ["3", "20"]  # as numbers, and without ".0"
    assert list(catalog.text) == ["3", "20"]
    assert catalog.category_names == ("all",)
    assert list(log.user_ids) == ["9", "10"]
    assert list(log.column("response")) == [1, 1, 1]
    assert not log.has_impressions
    assert len(log.notes) == 3  # no events, no impressions, times before 1980


def test_times() -> None:
    base = {"user": [1, 1], "item": [1, 2]}
    iso = pd.DataFrame(base | {"time": ["1970-01-01T00:00:01.5Z", "1970-01-01 01:00:02+01:00"]})
    assert list(read_table(iso)[0].column("time")) == [1.5, 2.0]
    stamps = pd.DataFrame(base | {"time": pd.to_datetime(["1970-01-02", "1970-01-03"])})
    assert list(read_table(stamps)[0].column("time")) == [86400.0, 172800.0]
    ms = pd.DataFrame(base | {"time": [1500, 2500]})
    assert list(read_table(ms, time_unit="ms")[0].column("time")) == [1.5, 2.5]


def test_ties_are_random_but_fixed() -> None:
    n = 200
    frame = pd.DataFrame({"user": 0, "item": np.arange(n), "time": 5.0})
    log, _ = read_table(frame)
    items = log.column("item")
    assert abs(np.corrcoef(items, np.arange(n))[0, 1]) < 0.2
    again, _ = read_table(frame.sample(frac=1, random_state=1))
    assert log.hash == again.hash


def test_own_event_types() -> None:
    frame = pd.DataFrame(
        {"user": [1, 1], "item": [1, 2], "time": [1, 2], "event": ["LIKE ", "pass"]}
    )
    log, _ = read_table(frame, event_types={"like": "purchase", "pass": "ignore"})
    assert list(log.column("response")) == [2, 0]
    with pytest.raises(SchemaError, match="event_types"):
        read_table(frame, event_types={"like": "love"})  # pyright: ignore[reportArgumentType]


def test_duplicates() -> None:
    frame = pd.DataFrame(
        {
            "user": [1, 1, 1, 1],
            "item": [1, 1, 1, 2],
            "time": [1, 1, 1, 1],
            "event": ["impression", "click", "click", "impression"],
        }
    )
    with pytest.raises(SchemaError, match=r"row 2 .*duplicates='drop'"):
        read_table(frame)
    assert sorted(read_table(frame, duplicates="drop")[0].column("response")) == [0, 0, 1]
    strongest, _ = read_table(frame, duplicates="strongest")
    assert sorted(strongest.column("response")) == [0, 1]


def test_a_user_with_one_event() -> None:
    frame = pd.DataFrame({"user": ["b", "b", "a"], "item": [1, 2, 1], "time": [1, 2, 3]})
    with pytest.raises(SchemaError, match=r"User 'a' \(data row 2 .*short_users=\"drop\""):
        read_table(frame)
    log, _ = read_table(frame, short_users="drop")
    assert list(log.user_ids) == ["b"]
    assert list(log.column("user")) == [0, 0]
    kept, _ = read_table(frame, short_users="keep")
    assert list(kept.user_ids) == ["a", "b"]
    with pytest.raises(SchemaError, match="no user has min_user_events=3"):
        read_table(frame, min_user_events=3, short_users="drop")


def _changed(column: str, row: int, value: object) -> pd.DataFrame:
    cells = EVENTS[column].tolist()
    cells[row] = value
    return EVENTS.assign(**{column: pd.Series(cells, dtype=object)})


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (EVENTS.drop(columns="when"), r"no column 'when' \(wanted for 'time'\).*'uid'"),
        (EVENTS.rename(columns={"paid": "payd"}), r"no column 'paid'.*Did you mean 'payd'"),
        (EVENTS.iloc[:0], "empty"),
        (_changed("sku", 2, "zzz"), r"'sku', data row 2 \(0-based\).*: item 'zzz' is not in"),
        (_changed("sku", 1, " "), r"'sku', data row 1 .*' ' names no item"),
        (_changed("uid", 3, None), r"'uid', data row 3 .*names no user"),
        (_changed("when", 1, float("nan")), r"'when', data row 1 .*is no time"),
        (_changed("when", 1, -1.0), r"'when', data row 1 .*'?-1.0'? lies before 1970"),
        (_changed("when", 1, "soon"), r"'when', data row 1 .*'soon' is not a number"),
        (_changed("when", 1, float("inf")), r"'when', data row 1 .*'?inf'? is not a number"),
        (_changed("what", 3, "wishlist"), r"'what', data row 3 .*'wishlist' is an unknown event"),
        (_changed("slot", 0, "top"), r"'slot', data row 0 .*'top' is not a number"),
        (_changed("slot", 0, 0), r"'slot', data row 0 .*'?0'? is not a slot counted from 1"),
        (_changed("slot", 0, 1.5), r"'slot', data row 0 .*'?1.5'? is not a slot"),
        (_changed("prob", 0, 0), r"'prob', data row 0 .*not a probability"),
        (_changed("prob", 2, ""), r"'prob', data row 2 .*not a probability"),
        (_changed("paid", 0, -3), r"'paid', data row 0 .*'?-3'? is not money"),
        (_changed("paid", 0, "free"), r"'paid', data row 0 .*'free' is not a number"),
        (_changed("visit", 0, ""), r"'visit', data row 0 .*names no session"),
        (pd.concat([EVENTS, EVENTS.iloc[[1]]]), r"row 4 .*repeats.*'u9', item 'b'"),
        (EVENTS.assign(what="impression"), "no click"),
    ],
)
@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_mistakes(tmp_path: Path, events: pd.DataFrame, message: str, kind: str) -> None:
    source: Any = events if kind == "frame" else _write(events, tmp_path / "shop.csv")
    with pytest.raises(SchemaError, match=message):
        read_table(source, ITEMS, columns=COLUMNS, item_columns=ITEM_COLUMNS)


@pytest.mark.parametrize(
    ("items", "columns", "message"),
    [
        (ITEMS.drop(columns="kind"), ITEM_COLUMNS, "no column 'kind'"),
        (ITEMS.drop(columns="about"), ITEM_COLUMNS, "no column 'about'"),
        (ITEMS.iloc[:0], ITEM_COLUMNS, "item table is empty"),
        (pd.concat([ITEMS, ITEMS]), ITEM_COLUMNS, "'c' stands there twice"),
        (ITEMS.assign(cost=-1.0), ITEM_COLUMNS, r"'cost', data row 0 .*-1.0 is not money"),
        (ITEMS.assign(cost="dear"), ITEM_COLUMNS, "'dear' is not a number"),
        (ITEMS, {"item": "sku", "price": ["cost", "kind"]}, "must be one column"),
        (None, ITEM_COLUMNS, "no item table"),
    ],
)
def test_mistakes_in_items(items: pd.DataFrame | None, columns: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        read_table(EVENTS, items, columns=COLUMNS, item_columns=columns)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'position'"):
        read_table(EVENTS, columns={**COLUMNS, "positon": "slot"})
    with pytest.raises(SchemaError, match="needs a column for 'time'"):
        read_table(EVENTS, columns={"user": "uid", "item": "sku"})
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
    with pytest.raises(SchemaError, match="no known kind"):
        read_table(_write(EVENTS, tmp_path / "shop.xls"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(SchemaError, match="cannot be read"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(SchemaError, match="cannot be read"):
        read_table(tmp_path / "cut.parquet")
    (tmp_path / "latin.csv").write_bytes("user,item,time\né,1,1\n".encode("latin-1"))
    with pytest.raises(SchemaError, match="UTF-8"):
        read_table(tmp_path / "latin.csv")
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(SchemaError, match="cannot be read"):
        read_table(tmp_path / "cut.csv.gz")


def test_the_order_of_rows_does_not_show_where_a_user_meets_an_item_again() -> None:
    n = 300
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, 3, n),
            "item": rng.integers(0, 4, n),
            "time": rng.integers(0, 9, n),
        }
    ).drop_duplicates()
    hashes = {read_table(frame.sample(frac=1, random_state=k))[0].hash for k in range(5)}
    assert len(hashes) == 1


PLAIN = pd.DataFrame(
    {
        "user": [f"u{i % 5}" for i in range(60)],
        "item": [f"i{i % 7}" for i in range(60)],
        "time": [1_570_000_000 + 60 * i for i in range(60)],
    }
)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "NoneType"),
        (PLAIN["user"], "Series.*pass the DataFrame"),
        (PLAIN.to_dict("records"), r"list.*pandas.DataFrame\(...\)"),
        (PLAIN.to_numpy(), r"ndarray.*pandas.DataFrame\(...\)"),
        (pa.Table.from_pandas(PLAIN), r"pyarrow.*Table.*table.to_pandas\(\)"),
        (iter([]), "list_iterator.*Read it into a DataFrame"),
        (pd.concat([PLAIN, PLAIN[["user"]]], axis=1), "2 columns 'user'"),
    ],
)
def test_what_is_no_table(source: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        read_table(source)
    if source is not None:
        renamed = source if not isinstance(source, pd.DataFrame) else source.rename(
            columns={"user": "item", "item": "user"})  # fmt: skip
        with pytest.raises(SchemaError, match=message.replace("'user'", "'item'")):
            read_table(PLAIN, renamed)


def test_one_column_is_one_name() -> None:
    with pytest.raises(SchemaError, match="column for 'user' must be one name"):
        read_table(PLAIN, columns={"user": ["user"], "item": "item", "time": "time"})  # pyright: ignore[reportArgumentType]


def test_event_types_of_one_spelling() -> None:
    frame = PLAIN.assign(event="view")
    with pytest.raises(SchemaError, match=r"event_types\['view'\] is 'ignore'.*lower case"):
        read_table(frame, event_types={"View": "click", "view": "ignore"})
    same, _ = read_table(frame, event_types={"View": "click", "view": "click"})
    assert (same.column("response") == 1).all()


@pytest.mark.parametrize("cell", [["Beauty", "Hair"], {"a": 1}, b"Beauty", "\ud800"])
@pytest.mark.parametrize("column", ["text", "category"])
def test_cells_that_are_no_text(column: str, cell: object) -> None:
    items = pd.DataFrame({"item": [f"i{k}" for k in range(7)], "text": "a", "category": "b"})
    items[column] = pd.Series(["x"] * 6 + [cell], dtype=object)
    with pytest.raises(SchemaError, match=rf"Column '{column}', data row 6 \(0-based\)"):
        read_table(PLAIN, items)


def test_numbers_of_every_type() -> None:
    money = [decimal.Decimal("1.5"), decimal.Decimal("2")] * 30
    kinds = (object, pd.ArrowDtype(pa.decimal128(10, 2)), "category", float, "float64[pyarrow]")
    for kind in kinds:
        log, _ = read_table(PLAIN.assign(value=pd.Series(money, dtype=object).astype(kind)))
        assert log.column("value").tolist() == [1.5, 2.0] * 30
    for kind in (object, pd.ArrowDtype(pa.decimal128(20, 2))):
        times = pd.Series(PLAIN["time"].map(decimal.Decimal), dtype=object).astype(kind)
        log, _ = read_table(PLAIN.assign(time=times))
        assert log.column("time").tolist() == PLAIN["time"].tolist()


@pytest.mark.parametrize(
    "cell", ["0x10", "12,99", "1_000", "inf", "1e400", True, "-0.01", [1.0], 10**400, "\f.5"]
)
def test_values_that_are_no_numbers(tmp_path: Path, cell: Any) -> None:
    frame = PLAIN.assign(value=pd.Series(["1"] * 59 + [cell], dtype=object))
    with pytest.raises(SchemaError, match=r"Column 'value', data row 59 \(0-based\): "):
        read_table(frame)
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SchemaError, match=r"Column 'value', data row 59 \(0-based\), line 61: "):
        read_table(tmp_path / "t.csv")


def test_times_of_another_unit() -> None:
    with pytest.raises(SchemaError, match=r"'time', data row 0 .*1570000000000.*time_unit='ms'"):
        read_table(PLAIN.assign(time=PLAIN["time"] * 1000))
    log, _ = read_table(PLAIN.assign(time=PLAIN["time"] * 1000), time_unit="ms")
    assert log.hash == read_table(PLAIN)[0].hash
    assert not any("1980" in note for note in log.notes)
    counted, _ = read_table(PLAIN.assign(time=range(60)))
    assert any("from 0 to 59 s, before 1980" in note for note in counted.notes)


def test_what_was_left_out_is_noted() -> None:
    frame = pd.concat([PLAIN, PLAIN.iloc[:3]]).assign(value=[1.0] * 61 + [2.0] * 2)
    log, _ = read_table(frame, duplicates="drop")
    assert len(log) == 60
    assert any(n.startswith("3 of 63 rows repeat another") for n in log.notes)
    assert any(n.startswith("2 of the rows left out have another value") for n in log.notes)
    short = pd.concat([PLAIN, PLAIN.iloc[:1].assign(user="once")])
    log, _ = read_table(short, short_users="drop")
    assert any(n.startswith("1 users with fewer than 2 events (1 events)") for n in log.notes)
    log, _ = read_table(PLAIN.assign(user=[0, 1.0, "2", "u", "v"] * 12))
    assert any("24 numbers among 60 cells" in n for n in log.notes)


def test_ids_that_floats_have_merged() -> None:
    large = [float(1234567890123456789 + i % 5) for i in range(60)]
    with pytest.raises(SchemaError, match=r"'user', data row 0 .*dtype=\{...: str\}"):
        read_table(PLAIN.assign(user=large))


def test_an_event_that_stands_twice_is_refused() -> None:
    log, catalog = read_table(PLAIN)
    twice = log.take(np.array([0, 1, 1, 2, 3, 3, 3]))
    with pytest.raises(SchemaError, match=r"row 2: an event stands twice, user 'u1' with .*3 such"):
        twice.validate(catalog)
    once = twice.take(~twice.events.duplicated().to_numpy())
    assert len(once.validate(catalog)) == 4


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.integers(0, 1)),
        max_size=40,
    )
)
def test_repeats_are_those_of_pandas(rows: list[tuple[int, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "response"], dtype=np.int64)
    frame = frame.sort_values("time", kind="stable", ignore_index=True)
    found = repeated({str(name): frame[name].to_numpy() for name in frame})
    assert found.tolist() == frame.duplicated().tolist()


def test_an_index_of_a_parquet_file_is_a_column(tmp_path: Path) -> None:
    PLAIN.set_index("user").to_parquet(tmp_path / "shop.parquet")
    assert read_table(tmp_path / "shop.parquet")[0].hash == read_table(PLAIN, name="shop")[0].hash


def test_damaged_parquet_is_told_or_read_rightly(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    pq.write_table(pa.Table.from_pandas(PLAIN), path, write_page_checksum=True)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    told = 0
    for _ in range(200):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data[: len(data) // 2] if rng.random() < 0.1 else data)
        try:
            read_table(path)
        except SchemaError:
            told += 1
    assert told > 100
