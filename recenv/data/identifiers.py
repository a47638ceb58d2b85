"""Identifiers of users, items and visits: whatever a table holds, as text that stays apart."""

from __future__ import annotations

import datetime
import numbers
import re
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.data import cells

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_POINT_ZERO = re.compile(r"([+-]?\d+)\.0*")
_AS_FLOAT = re.compile(r"[+-]?\d+(\.\d*|(\.\d*)?[eE][+-]?\d+)")
_KINDS = (str, numbers.Real, Decimal, uuid.UUID, datetime.date)
_LOST = (
    "A float of this size skips whole numbers, so several ids may have become one. Read the "
    "column as text or as int64 from the start (pandas: dtype={...: str})."
)
_DATES = (datetime.date, np.datetime64)
_DATED = ("session", "request")  # what may go by its date
_WANTED = "Ids are text or whole numbers. Turn the column into text first."


def identifiers(values: pd.Series, key: str) -> tuple[npt.NDArray[np.object_], tuple[str, ...]]:
    """Names as text, without outer blanks; whole numbers without a decimal point.

    The number 1, the float 1.0 and the text "1" are one name; so is "1.0" in a column of nothing
    but whole numbers, or beside a "1". All other texts are apart, also "1" and "01".

    Args:
        values: column.
        key: what the names name, for errors.

    Returns:
        (n,) names; notes on what was not read as it stands.

    Raises:
        SchemaError: a cell is blank, is of a kind that is no id, or is a number that is not whole
            or too large for a float to hold.
    """
    cells.refuse(cells.is_blank(values), values, f"names no {key} (the cell is blank)")
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype):
        every = np.full(len(values), key != "event")
        cells.refuse(every, values, f"names no {key} (it is true or false)", _WANTED)
    if pd.api.types.is_integer_dtype(values.dtype):
        return np.asarray(values.astype(str), dtype=object), ()
    if pd.api.types.is_float_dtype(values.dtype):
        return _of_floats(values, key), ()
    cells.refuse_surrogates(values)
    kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind == "string":
        return _of_texts(values, np.asarray(values, dtype=object), key)
    wrong = [
        not isinstance(cell, _KINDS)
        or (isinstance(cell, (bool, np.bool_)) and key != "event")
        or (isinstance(cell, _DATES) and key not in _DATED)
        for cell in values
    ]
    cells.refuse(np.array(wrong), values, f"names no {key}", _WANTED)
    numeric = np.array(
        [isinstance(c, (numbers.Number, Decimal)) and not isinstance(c, bool) for c in values]
    )
    whole = [not is_number or _is_whole(c) for c, is_number in zip(values, numeric, strict=True)]
    cells.refuse(~np.array(whole), values, f"names no {key} (it is not a whole number)", _WANTED)
    large = [isinstance(c, (float, np.floating)) and abs(c) >= _exact(type(c)) for c in values]
    cells.refuse(np.array(large), values, f"is too large a float to name a {key}", _LOST)
    names = np.empty(len(values), dtype=object)
    names[:] = [
        str(int(c)) if is_number else str(c) for c, is_number in zip(values, numeric, strict=True)
    ]
    names, notes = _of_texts(values, names, key)
    if numeric.any() and not numeric.all():
        notes = (
            f"Column {values.name!r} holds {int(numeric.sum())} numbers among {len(names)} cells: "
            "a number and the text of the same digits are one name.",
            *notes,
        )
    return names, notes


def _is_whole(number: Any) -> bool:
    """Whether a number is whole, also where it is too large for a float.

    A decimal of more than 400 digits (1E+5000) counts as none: it would take ages to write out.
    """
    if isinstance(number, Decimal) and (not number.is_finite() or number.adjusted() > 400):
        return False
    try:
        return int(number) == number
    except (ValueError, OverflowError):  # NaN, infinity
        return False


def _of_floats(values: pd.Series, key: str) -> npt.NDArray[np.object_]:
    number = np.asarray(values.astype("float64"), dtype=np.float64)
    whole = np.isfinite(number) & (number == np.trunc(number))
    cells.refuse(~whole, values, f"names no {key} (it is not a whole number)", _WANTED)
    dtype = getattr(values.dtype, "numpy_dtype", values.dtype)  # that of a nullable type
    large = np.abs(number) >= _exact(dtype.type)
    cells.refuse(large, values, f"is too large a float to name a {key}", _LOST)
    return np.asarray(number.astype(np.int64).astype(str), dtype=object)


def _exact(kind: type) -> float:
    """The whole number from which on a float of this type skips whole numbers."""
    return 2.0 ** (np.finfo(kind).nmant + 1)


def _of_texts(
    values: pd.Series, texts: npt.NDArray[np.object_], key: str
) -> tuple[npt.NDArray[np.object_], tuple[str, ...]]:
    """Without outer blanks; 1.0 as 1 where all are whole numbers, or where a 1 stands beside it."""
    code, found = pd.factorize(texts)
    names = [str(name).strip() for name in found]
    notes: tuple[str, ...] = ()
    if all(map(_NUMBER.fullmatch, names)) and any(map(_AS_FLOAT.fullmatch, names)):
        powers = np.array(["e" in name.lower() for name in names])[code]
        cells.refuse(powers, values, f"is a rounded number, and names no {key}", _LOST)
        number = [Decimal(name) for name in names]
        if all(n == n.to_integral_value() for n in number):
            large = [_AS_FLOAT.fullmatch(n) and abs(d) >= 2**53
                     for n, d in zip(names, number, strict=True)]  # fmt: skip
            large = np.array(large, dtype=bool)[code]
            cells.refuse(large, values, f"is too large a float to name a {key}", _LOST)
            spelled, names = names, [name.split(".")[0] for name in names]
            changed = sum(a != b for a, b in zip(spelled, names, strict=True))
            notes = (
                f"Column {values.name!r}: {changed} ids written with a decimal point are read as "
                "whole numbers (1.0 is 1).",
            )
    known, wholes = set(names), map(_POINT_ZERO.fullmatch, names)
    names = [w[1] if w and w[1] in known else n for n, w in zip(names, wholes, strict=True)]
    if (merged := len(names) - len(set(names))) > 0:
        notes = (
            *notes,
            f"Column {values.name!r}: {merged} ids differ from another in outer blanks or a "
            "decimal point alone; they are read as one.",
        )
    unique = np.empty(len(names), dtype=object)
    unique[:] = names
    return unique[code], notes
