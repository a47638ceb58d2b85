"""Columns of Parquet files: what is taken for a whole number, a number, a text or a time."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recenv.data import read_table
from recenv.data.parquet import read_columns
from recenv.errors import SchemaError

NOON = dt.datetime(2017, 9, 13, 12)


def _read(tmp_path: Path, cells: pa.Array, kind: pa.DataType, *, blank: bool = False) -> list[Any]:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"x": cells}), path)
    return read_columns(path, {"x": kind}, blank=["x"] * blank)["x"].cells.to_pylist()


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([1, 20], pa.int16()),
        pa.array([1, 20], pa.uint64()),
        pa.array([1.0, 20.0]),
        pa.array(["1", "20"]),
        pa.array(["1", "20"]).dictionary_encode(),
        pa.array([decimal.Decimal("1.0"), decimal.Decimal("20.0")]),
    ],
    ids=lambda cells: str(cells.type),
)
def test_whole_numbers_and_numbers(tmp_path: Path, cells: pa.Array) -> None:
    assert _read(tmp_path, cells, pa.int64()) == [1, 20]
    assert _read(tmp_path, cells, pa.float64()) == [1.0, 20.0]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([1, 2.5]), pa.int64()),
        (pa.array([1, 2.0**53]), pa.int64()),
        (pa.array([1, float("inf")]), pa.int64()),
        (pa.array([1, float("nan")]), pa.int64()),
        (pa.array([1, 2**63], pa.uint64()), pa.int64()),
        (pa.array(["1", "0x1f"]), pa.int64()),
        (pa.array(["1", "1.0"]), pa.int64()),
        (pa.array(["1", "inf"]), pa.float64()),
        (pa.array(["1", "1e3"]), pa.float64()),
        (pa.array([1, None]), pa.int64()),
        (pa.array([NOON, NOON.replace(year=1905)]), pa.timestamp("us")),
        (pa.array([1_500_000_000_000, 2**50], pa.timestamp("ms")), pa.timestamp("us")),
    ],
)
def test_the_first_wrong_cell_is_named(tmp_path: Path, cells: pa.Array, kind: pa.DataType) -> None:
    with pytest.raises(SchemaError, match=r"file.parquet, row 1 \(0-based\), column 'x': .*afresh"):
        _read(tmp_path, cells, kind)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([True]), pa.int64()),
        (pa.array([NOON]), pa.int64()),
        (pa.array([NOON.date()]), pa.float64()),
        (pa.array([dt.timedelta(1)]), pa.int64()),
        (pa.array([b"1"]), pa.float64()),
        (pa.array([1]), pa.string()),
        (pa.array([1_500_000_000]), pa.timestamp("us")),
        (pa.array(["2017-09-13"]), pa.timestamp("us")),
    ],
    ids=str,
)
def test_other_kinds_are_none(tmp_path: Path, cells: pa.Array, kind: pa.DataType) -> None:
    with pytest.raises(SchemaError, match=r"row 0 .*column 'x'"):
        _read(tmp_path, cells, kind)


def test_times_texts_and_missing_cells(tmp_path: Path) -> None:
    for unit in ("s", "ms", "us", "ns"):
        cells = pa.array([NOON], pa.timestamp(unit))
        assert _read(tmp_path, cells, pa.timestamp("us")) == [NOON]
    zoned = pa.array([NOON.replace(tzinfo=dt.UTC)], pa.timestamp("ns", "Europe/Paris"))
    assert _read(tmp_path, zoned, pa.timestamp("us")) == [NOON]
    assert _read(tmp_path, pa.array([None, "a"]), pa.string(), blank=True) == [None, "a"]
    assert _read(tmp_path, pa.array([None]), pa.string(), blank=True) == [None]


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(SchemaError, match="must have the column 'y' once; its columns are 'x'"):
        read_columns(path, {"y": pa.int64()})
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), path)
    with pytest.raises(SchemaError, match="has no rows"):
        read_columns(path, {"x": pa.int64()})
    path.write_bytes(b"PAR1")
    with pytest.raises(SchemaError, match="is damaged"):
        read_columns(path, {"x": pa.int64()})


def _undecodable() -> pa.Array:
    """Texts of which the second is not UTF-8, as a flipped bit in a file leaves them."""
    raw = pa.array([b"u1", b"u\xb4", b"u3"])
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def test_texts_that_are_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    for cells in (_undecodable(), _undecodable().dictionary_encode()):
        pq.write_table(pa.table({"x": cells}), path)
        with pytest.raises(SchemaError, match=r"file\.parquet is damaged .*UTF8.* afresh"):
            read_columns(path, {"x": pa.string()})


def test_ones_own_texts_that_are_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    table = pa.table({"user": _undecodable(), "item": ["i", "i", "j"], "time": [1e9, 2e9, 3e9]})
    pq.write_table(table, path)
    with pytest.raises(SchemaError, match=r"event table .*events\.parquet cannot be read .*UTF8"):
        read_table(path)
    frame = pd.DataFrame(
        {
            "user": pd.Series(pd.arrays.ArrowExtensionArray(_undecodable())),
            "item": ["i", "i", "j"],
            "time": [1e9, 2e9, 3e9],
        }
    )
    with pytest.raises(SchemaError, match=r"Column 'user', data row 1 .*: b'u\\xb4' is no text in"):
        read_table(frame)
