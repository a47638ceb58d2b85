"""Identifiers: what is one name, what is two, and what is none."""

from __future__ import annotations

import decimal
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recenv.data.cells import codes
from recenv.data.identifiers import identifiers
from recenv.errors import SchemaError

LARGE = 1234567890123456789


def _read(values: Any, dtype: Any = None) -> tuple[list[str], tuple[str, ...]]:
    names, notes = identifiers(pd.Series(values, name="who", dtype=dtype), "user")
    assert names.dtype == object
    assert all(type(name) is str for name in names)
    return list(names), notes


@pytest.mark.parametrize(
    "dtype", ["int64", "float64", "float32", "Int64", "Float64", "int64[pyarrow]", "category",
              object, str],
)  # fmt: skip
def test_whole_numbers_of_every_type(dtype: Any) -> None:
    assert _read([1, 20, 3], dtype) == (["1", "20", "3"], ())


def test_texts() -> None:
    assert _read(["b", " a ", "01", "1.5"]) == (["b", "a", "01", "1.5"], ())
    assert _read(["1.5", "1.50"])[0] == ["1.5", "1.50"]  # numbers of sections, not floats
    assert _read(["1E5", "2E3", "x"])[0] == ["1E5", "2E3", "x"]
    one = uuid.uuid4()
    assert _read([one], object)[0] == [str(one)]
    assert _read(np.array([LARGE]))[0] == [str(LARGE)]
    assert _read([str(LARGE)])[0] == [str(LARGE)]
    assert _read([LARGE, "a"], object)[0] == [str(LARGE), "a"]


def test_one_name_of_several_kinds_is_noted() -> None:
    names, notes = _read([1, 1.0, "1", np.int64(1), decimal.Decimal("1.00")], object)
    assert set(names) == {"1"}
    assert "4 numbers among 5 cells" in notes[0]
    names, notes = _read(["1", "1.0", "2.0"])
    assert names == ["1", "1", "2"]
    assert "2 ids written with a decimal point" in notes[0]
    assert "1 ids differ from another" in notes[1]
    for other in ("1,5", "1.5"):
        names, notes = _read(["1", "1.0", "2.0", other])
        assert names == ["1", "1", "2.0", other]
    assert "1 ids differ from another" in notes[0]
    names, notes = _read(["a", "a "])
    assert names == ["a", "a"]
    assert "1 ids differ" in notes[0]


@pytest.mark.parametrize(
    ("values", "dtype", "row"),
    [
        ([1, 2**53], "float64", 1),
        ([1, 2**24], "float32", 1),
        ([1, 2**24], "Float32", 1),
        ([LARGE + i for i in range(5)], "float64", 0),
        ([1, 1e30], object, 1),
        (["a", float(LARGE)], object, 1),
        ([1, 1.5], None, 1),
        (["a", 1.5], object, 1),
        ([1, float("inf")], None, 1),
        (["a", float("inf")], object, 1),
        (["1", "1.23E+18"], None, 1),
        (["1", "1e30"], None, 1),
        (["1", f"{LARGE}.0"], None, 1),
        ([1, None], None, 1),
        (["a", None], object, 1),
        (["a", " "], None, 1),
        ([True, False], None, 0),
        (["a", True], object, 1),
        (["a", b"a"], object, 1),
        (["a", ["a"]], object, 1),
        (["a", {"a": 1}], object, 1),
        (["a", "\ud800"], object, 1),
        ([decimal.Decimal("1.5")], object, 0),
        ([1, decimal.Decimal("1E+1000000")], object, 1),
        ([1, decimal.Decimal("Infinity")], object, 1),
    ],
)
def test_no_names(values: list[Any], dtype: Any, row: int) -> None:
    with pytest.raises(SchemaError, match=rf"Column 'who', data row {row} \(0-based\)"):
        _read(values, dtype)


def test_whole_numbers_beyond_floats() -> None:
    large = [10**400, decimal.Decimal("1E+40"), 7]
    assert _read(large, object)[0] == [str(10**400), str(10**40), "7"]


def test_decimals_of_arrow() -> None:
    cells = pa.array([decimal.Decimal(LARGE), decimal.Decimal(2)], pa.decimal128(20, 0))
    assert _read(cells, pd.ArrowDtype(pa.decimal128(20, 0)))[0] == [str(LARGE), "2"]


def test_order_of_numbers_of_any_length() -> None:
    names = np.array(["10", "9", "010", "0", "9" * 5000], dtype=object)
    found, code = codes(names)
    assert list(found) == ["0", "9", "010", "10", "9" * 5000]
    assert list(found[code]) == list(names)
