"""Columns of a foreign table, read cell by cell, with errors that name column, row and value."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recenv.errors import SchemaError

_MEND = "Mend or drop these rows."
MOST_MONEY = 1e12
"""The highest price or amount that is taken for one."""

_MOST_FLOAT = int(np.finfo(np.float64).max)
_MONEY = f"money: not negative, and up to {MOST_MONEY:.0e}"
_WRITTEN = "Write numbers as 1234.5, with a point and nothing else. " + _MEND


def pick(table: pd.DataFrame, column: str) -> pd.Series:
    """One column of the table; times as datetime64 without a zone (UTC).

    Raises:
        SchemaError: a text in it is not UTF-8: pandas takes texts from Arrow as they are, and Arrow
            reads them from a damaged file without a look.
    """
    values = cast("pd.Series", table[column])  # pandas's types do not say it of one name
    dtype = values.dtype
    # times in a zone, and Arrow's, become Python's on the way: those end with the year 9999
    if isinstance(dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert(None)
    if not isinstance(dtype, pd.ArrowDtype | pd.StringDtype):
        return values
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_timestamp(dtype.pyarrow_dtype):
        stamps = pa.array(values.array).cast(pa.timestamp(dtype.pyarrow_dtype.unit))
        return pd.Series(stamps.to_numpy(zero_copy_only=False), values.index, name=values.name)
    texts = pa.array(values.array)
    large = pa.types.is_large_string(texts.type)
    if not (large or pa.types.is_string(texts.type)):
        return values
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        told = texts.cast(pa.large_binary() if large else pa.binary()).to_pylist()
        bad = [text is not None and not _is_utf_8(text) for text in told]
        row = bad.index(True)
        raise SchemaError(
            f"Column {values.name!r}, {place(values.index, row)}: {told[row][:80]!r} is no text in "
            f"UTF-8 ({sum(bad)} such rows). The file that it comes from is damaged: get it afresh, "
            "or drop these rows."
        ) from error
    return values


def shown(cell: pa.Scalar) -> str:
    """A cell of Arrow for a message; Python has no times beyond its years 1 to 9999."""
    try:
        return repr(cell.as_py())
    except OverflowError:
        return f"{cell.value} {cell.type.unit} since 1970"  # pyright: ignore


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def refuse(bad: npt.NDArray[np.bool_], values: pd.Series, wrong: str, remedy: str = _MEND) -> None:
    """Raise SchemaError at the first row where ``bad`` holds."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = values.iloc[row]
        shown = repr(value.item() if isinstance(value, np.generic) else value)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
        raise SchemaError(
            f"Column {values.name!r}, {place(values.index, row)}: {shown} {wrong} "
            f"({int(bad.sum())} such rows). {remedy}"
        )


def place(index: pd.Index, row: int) -> str:
    """Where a row stands, in words; an index named "line" tells the lines of a text file."""
    line = f", line {index[row]}" if index.name == "line" else ""
    return f"data row {row} (0-based){line}"


def is_blank(values: pd.Series) -> npt.NDArray[np.bool_]:
    """(n,) whether a cell is missing, or text of nothing but blanks."""
    if not _holds_text(values):
        return np.asarray(values.isna(), dtype=bool)
    cells = [isinstance(cell, str) and not cell.strip() for cell in values]
    return np.asarray(values.isna(), dtype=bool) | np.array(cells, dtype=bool)


def refuse_surrogates(values: pd.Series) -> None:
    """Check that all text can be written as UTF-8.

    Raises:
        SchemaError: a cell holds half of a character (a lone surrogate).
    """
    if not _holds_text(values):
        return
    try:
        "".join(cell for cell in values if isinstance(cell, str)).encode()
    except UnicodeEncodeError:  # or two halves were joined: then neither cell is text
        lone = [isinstance(cell, str) and any("\ud800" <= c <= "\udfff" for c in cell)
                for cell in values]  # fmt: skip
        refuse(np.array(lone), values, "holds half of a character (a lone surrogate)",
               "Decode the text afresh, as in text.encode('utf-16', 'surrogatepass')"
               ".decode('utf-16', 'replace').")  # fmt: skip


def texts(values: pd.Series, default: str) -> npt.NDArray[np.object_]:
    """(n,) text without outer blanks, ``default`` where a cell is blank.

    Raises:
        SchemaError: a cell holds several values, bytes or half of a character.
    """
    refuse_surrogates(values)
    if values.dtype == object:
        several = [isinstance(cell, (list, tuple, set, dict, np.ndarray, bytes)) for cell in values]
        wanted = "Join its parts into one text, or keep the first of them."
        refuse(np.array(several, dtype=bool), values, "is not one text", wanted)
    blank = is_blank(values)
    text = np.empty(len(values), dtype=object)
    text[:] = [
        default if none else str(cell).strip() for cell, none in zip(values, blank, strict=True)
    ]
    return text


def listed(value: object) -> list[str]:
    """The texts of a cell that may hold several; a bare text is one, and None is none."""
    if value is None:
        return []
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [str(part) for part in value]
    return [str(value)]


def codes(names: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """Distinct names, sorted (as numbers if all are whole numbers), and each name's code."""
    code, found = pd.factorize(names)
    unique = np.asarray(found, dtype=object)
    if all(u.isascii() and u.isdigit() for u in unique):
        digits = [u.lstrip("0") for u in unique]  # shorter ones are smaller numbers
        order = np.array(
            sorted(range(len(unique)), key=lambda i: (len(digits[i]), digits[i], unique[i]))
        )
    else:
        order = np.argsort(unique, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return unique[order], rank[code]


def floats(values: pd.Series) -> npt.NDArray[np.float64]:
    """(n,) numbers, NaN where a cell is none; booleans, complex, durations and dates are none."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype == object:
        plain = [
            isinstance(cell, (str, Real, Decimal))
            and not isinstance(cell, (bool, np.bool_))
            and not (
                isinstance(cell, int) and abs(int(cell)) > _MOST_FLOAT
            )  # to_numeric would raise
            for cell in values
        ]
        values = values.where(pd.Series(plain, values.index, dtype=bool), None)
    elif (
        pd.api.types.is_bool_dtype(values)
        or pd.api.types.is_complex_dtype(values)
        or not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_string_dtype(values))
    ):
        return np.full(len(values), np.nan)
    if _holds_text(values):  # a form feed or the like is a damaged digit; to_numeric passes it over
        odd = [isinstance(c, str) and c.strip() != c.strip(" \t") for c in values]
        values = values.mask(pd.Series(odd, values.index, dtype=bool), None)
    number = cast("pd.Series", pd.to_numeric(values, errors="coerce"))
    return np.asarray(number.astype("Float64").fillna(np.nan), dtype=np.float64)


def numbers(
    values: pd.Series,
    key: Literal["position", "propensity", "value", "price"],
    idle: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """(n,) numbers in the range that the schema gives to ``key``.

    Args:
        values: column.
        key: what they are. A blank value or price is 0.
        idle: (n,) rows that need no number: a blank cell is NaN there.

    Raises:
        SchemaError: a cell is no number, out of range, or blank where a number is needed.
    """
    blank, number = is_blank(values), floats(values)
    refuse(np.isnan(number) & ~blank, values, "is not a number", _WRITTEN)
    if key in ("value", "price"):
        number = np.where(blank, 0.0, number)
        good, wanted = (number >= 0) & (number <= MOST_MONEY), _MONEY
    elif key == "position":
        whole = (number == np.trunc(number)) & (number >= 1)
        good, wanted = whole & (number <= np.iinfo(np.int16).max), "a slot counted from 1"
    else:
        good, wanted = (number > 0) & (number <= 1), "a probability in (0, 1]"
    if idle is not None:
        good |= blank & idle
    refuse(~good, values, f"is not {wanted}")
    return number


def _holds_text(values: pd.Series) -> bool:
    return values.dtype == object or not (
        pd.api.types.is_numeric_dtype(values)
        or pd.api.types.is_datetime64_any_dtype(values)
        or pd.api.types.is_timedelta64_dtype(values)
    )
