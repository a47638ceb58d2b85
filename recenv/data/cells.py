"""Columns of a foreign table, read cell by cell, with errors that name column, row and value."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.errors import SchemaError

_SECONDS = {"s": 1.0, "ms": 1e-3}
_MEND = "Mend or drop these rows."
_LARGEST_WHOLE = 2.0**53  # above it float64 skips whole numbers


def pick(table: pd.DataFrame, column: str) -> pd.Series:
    """One column of the table (pandas's types do not say that one name gives a Series)."""
    return cast("pd.Series", table[column])


def refuse(bad: npt.NDArray[np.bool_], values: pd.Series, wrong: str, remedy: str = _MEND) -> None:
    """Raise SchemaError at the first row where ``bad`` holds."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = values.iloc[row]
        shown = repr(value.item() if isinstance(value, np.generic) else value)
        raise SchemaError(
            f"Column {values.name!r}, data row {row} (0-based): {shown} {wrong} "
            f"({int(bad.sum())} such rows). {remedy}"
        )


def is_blank(values: pd.Series) -> npt.NDArray[np.bool_]:
    """(n,) whether a cell is missing, or text of nothing but blanks."""
    missing = np.asarray(values.isna(), dtype=bool)
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return missing
    return missing | np.asarray(values.astype(str).str.strip() == "", dtype=bool)


def ids(values: pd.Series, key: str) -> npt.NDArray[np.object_]:
    """(n,) names as text; whole numbers without a decimal point.

    Raises:
        SchemaError: a cell is blank.
    """
    refuse(is_blank(values), values, f"names no {key} (the cell is blank)")
    if pd.api.types.is_float_dtype(values):
        number = floats(values)
        if (number == np.trunc(number)).all() and (np.abs(number) < _LARGEST_WHOLE).all():
            values = values.astype(np.int64)
    return np.asarray(values.astype(str).str.strip(), dtype=object)


def texts(values: pd.Series, default: str) -> npt.NDArray[np.object_]:
    """(n,) text without outer blanks, ``default`` where a cell is blank."""
    blank = is_blank(values)
    text = np.asarray(values.astype(object).where(~blank, default).astype(str).str.strip())
    return text.astype(object)


def codes(names: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """Distinct names, sorted (as numbers if all are whole numbers), and each name's code."""
    code, found = pd.factorize(names)
    unique = np.asarray(found, dtype=object)
    if all(u.isascii() and u.isdigit() for u in unique):
        order = np.array(sorted(range(len(unique)), key=lambda i: (int(unique[i]), unique[i])))
    else:
        order = np.argsort(unique, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return unique[order], rank[code]


def floats(values: pd.Series) -> npt.NDArray[np.float64]:
    """(n,) numbers, NaN where a cell is none."""
    return np.asarray(
        cast("pd.Series", pd.to_numeric(values, errors="coerce")).astype("Float64").fillna(np.nan),
        dtype=np.float64,
    )


def numbers(
    values: pd.Series, key: Literal["position", "propensity", "value", "price"]
) -> npt.NDArray[np.float64]:
    """(n,) numbers in the range that the schema gives to ``key``.

    Raises:
        SchemaError: a cell is no number or out of range.
    """
    blank, number = is_blank(values), floats(values)
    refuse(np.isnan(number) & ~blank, values, "is not a number")
    if key in ("value", "price"):
        number = np.where(blank, 0.0, number)
        good, wanted = np.isfinite(number) & (number >= 0), "money: finite, not negative"
    elif key == "position":
        whole = (number == np.trunc(number)) & (number >= 1)
        good, wanted = whole & (number <= np.iinfo(np.int16).max), "a slot counted from 1"
    else:
        good, wanted = (number > 0) & (number <= 1), "a probability in (0, 1]"
    refuse(~good, values, f"is not {wanted}")
    return number


def times(values: pd.Series, unit: str) -> npt.NDArray[np.float64]:
    """(n,) seconds since 1970; text is ISO 8601 unless most of it is numbers.

    Raises:
        SchemaError: a cell is blank, no time, or before 1970.
    """
    if unit not in _SECONDS:
        raise SchemaError(f"time_unit must be 's' or 'ms', but is {unit!r}.")
    refuse(is_blank(values), values, "is no time (the cell is blank)")
    dated = pd.api.types.is_datetime64_any_dtype(values)
    seconds = np.full(len(values), np.nan) if dated else floats(values) * _SECONDS[unit]
    if 2 * int(np.isfinite(seconds).sum()) >= len(values):
        refuse(~np.isfinite(seconds), values, "is not a number")
    else:
        stamps = pd.DatetimeIndex(
            pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
        )
        refuse(np.asarray(stamps.isna()), values, "is no ISO 8601 time")
        seconds = np.asarray(stamps.as_unit("us").asi8, dtype=np.float64) / 1e6
    refuse(seconds < 0, values, "lies before 1970 (it is negative)")
    return seconds
