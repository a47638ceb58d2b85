"""Times of events: numbers in a stated unit, calendar dates, datetimes and ISO 8601 text.

A log's times are seconds since 1970-01-01 UTC. A number alone does not say its unit, so it is
checked: read in the right unit, the times of a log lie between 1980 and 2100. Or all of them lie
before 1980: then they are a counter that starts anywhere, which a log may have and a note tells.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.data import cells
from recenv.errors import SchemaError

TimeUnit = Literal["s", "ms", "us", "ns", "date"]
"""Unit of a time that is a number: since 1970-01-01 UTC, or "date" for days as YYYYMMDD."""

TICKS: dict[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Units counted since 1970: how many are in a second."""

EARLIEST, LATEST = 315_532_800.0, 4_102_444_800.0
"""Seconds since 1970 of 1980-01-01 and 2100-01-01 UTC: between them lie the times of a log."""

_OTHERS = "Mend these cells, or read them into datetimes (pandas.to_datetime) first."


@dataclass(frozen=True)
class WrongTimes:
    """Numbers that are no times in their unit.

    Attributes:
        bad: (n,) which; at least one is.
        wrong: what is wrong with the first of them, to follow its value: "is no time in ...".
        remedy: what to do, as sentences.
    """

    bad: npt.NDArray[np.bool_]
    wrong: str
    remedy: str


def seconds_of(number: npt.NDArray[np.float64], unit: str) -> npt.NDArray[np.float64]:
    """(n,) seconds since 1970 of numbers in this unit; NaN where a date is none."""
    if unit != "date":
        return number / TICKS[unit]
    whole = (number >= 101) & (number < 1e8)
    number = np.where(whole, number, 101)
    whole &= number % 1 == 0
    day = np.where(whole, number, 101).astype(np.int64)
    year, month, day = day // 10_000, day // 100 % 100, day % 100
    whole &= (month >= 1) & (month <= 12) & (day >= 1)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    days = first.astype(np.int64) + day - 1
    whole &= days < (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return np.where(whole, days * 86_400.0, np.nan)


def wrong_times(
    number: npt.NDArray[np.float64], unit: TimeUnit = "s", option: str = "time_unit"
) -> WrongTimes | None:
    """The numbers that cannot be times of one log in this unit; None where all can.

    All lie between 1980 and 2100, or all lie between 1970 and 1980 (a counter; but numbers that
    fit another unit are no counter).

    Args:
        number: (n,) as they stand in the log.
        unit: what they are taken for.
        option: name of the argument by which a user says the unit, for the remedy; "" if there is
            none.
    """
    if len(number) == 0:
        return None
    seconds = seconds_of(number, unit)
    fits = _fits(seconds)
    if fits.all():
        return None
    none = ~np.isfinite(seconds) | (seconds < 0)
    other = next((u for u in _units() if u != unit and _fits(seconds_of(number, u)).all()), None)
    if other is None and not none.any() and (seconds < EARLIEST).all():
        return None
    bad = ~fits
    if other is None and not fits.any():  # but for these, a counter
        bad = none if none.any() else seconds >= EARLIEST
    first = number[int(np.flatnonzero(bad)[0])]
    wrong = f"is no time {_words(unit)} between 1980 and 2100"
    if other is not None:
        said = f"Pass {option}={other!r}." if option else "Mend the column."
        return WrongTimes(bad, wrong, f"All cells of the column are times {_words(other)}. {said}")
    alone = next((u for u in _units() if u != unit and _fits(seconds_of(first[None], u))[0]), None)
    if alone is not None:
        wrong += f"; it would be one {_words(alone)}, but not every cell of the column would"
    elif seconds_of(first[None], unit)[0] < 0:
        wrong = "lies before 1970 (it is negative)"
    elif fits.any() and seconds_of(first[None], unit)[0] < EARLIEST:
        wrong += ", where others are"
    return WrongTimes(bad, wrong, _OTHERS)


def counter_note(seconds: npt.NDArray[np.float64]) -> str | None:
    """A note on times that lie before 1980 in part or in whole; None where none does."""
    if len(seconds) == 0 or seconds.min() >= EARLIEST:
        return None
    low, high = float(seconds.min()), float(seconds.max())
    if low == high:
        return f"All times are {low:.15g}: the order of a user's events is random."
    if high >= EARLIEST:
        early = int((seconds < EARLIEST).sum())
        return f"{early} of {len(seconds)} times lie before 1980; the first is {low:.15g} s."
    return (
        f"The times run from {low:.15g} to {high:.15g} s, before 1980: they are taken for seconds "
        "on a clock that starts anywhere, so hours of the day and visits rest on that."
    )


def times(values: pd.Series, unit: TimeUnit) -> npt.NDArray[np.float64]:
    """(n,) seconds since 1970 of a column of numbers, datetimes, or text (ISO 8601 or numbers).

    Datetimes of any resolution, with or without a time zone (then UTC), are taken to the
    microsecond. Text is numbers if half of its cells or more are.

    Raises:
        SchemaError: the unit is unknown; a cell is blank, no time, or a time that cannot be in
            this unit; the message names the column, the row, the value and the unit that fits.
    """
    if unit not in _units():
        raise SchemaError(
            f"time_unit must be one of {', '.join(map(repr, _units()))}, but is {unit!r}."
        )
    cells.refuse(cells.is_blank(values), values, "is no time (the cell is blank)")
    cells.refuse(_of_other_kind(values), values, "is no time", _OTHERS)
    dated = pd.api.types.is_datetime64_any_dtype(values)
    number = np.full(len(values), np.nan) if dated else cells.floats(values)
    if 2 * int((~np.isnan(number)).sum()) < len(values):
        return _dated(values)
    cells.refuse(~np.isfinite(number), values, "is not a number")
    found = wrong_times(number, unit)
    if found is not None:
        cells.refuse(found.bad, values, found.wrong, found.remedy)
    return seconds_of(number, unit)


def _dated(values: pd.Series) -> npt.NDArray[np.float64]:
    """Datetimes, or ISO 8601 text; "UTC" may stand for "Z"."""
    read = values
    if not pd.api.types.is_datetime64_any_dtype(values):
        read = values.astype(object).map(_stamp)
        none = np.array([cell is None for cell in read], dtype=bool)
        cells.refuse(none, values, "is no ISO 8601 time")
    stamps = pd.to_datetime(read, format="ISO8601", utc=True, errors="coerce")
    stamps = pd.DatetimeIndex(cast("pd.Series", stamps))
    cells.refuse(np.asarray(stamps.isna()), values, "is no ISO 8601 time")
    ticks = 1e6 if stamps.unit == "ns" else TICKS[stamps.unit]
    whole = stamps.as_unit("us") if stamps.unit == "ns" else stamps
    seconds = np.asarray(whole.asi8, dtype=np.float64) / ticks
    cells.refuse(seconds < 0, values, "lies before 1970 (it is negative)")
    cells.refuse(seconds > LATEST, values, "lies after 2100")
    late = seconds >= EARLIEST
    if late.any():
        cells.refuse(~late, values, "lies before 1980, where others do not")
    return seconds


def _stamp(cell: object) -> object:
    """What pandas reads as a datetime: one, or ISO 8601 text; None for anything else.

    Not all that pandas would read is meant: "now" and "today" stand for the time of reading, and
    a number among dates has no unit.
    """
    if isinstance(cell, (datetime.date, np.datetime64)):
        return cell
    text = cell.strip() if isinstance(cell, str) else ""
    if not text[:1].isdigit():
        return None
    return text.removesuffix("UTC").rstrip() + "Z" if text.endswith("UTC") else text


def _of_other_kind(values: pd.Series) -> npt.NDArray[np.bool_]:
    """Cells that are neither a number, a text, a date nor a datetime."""
    kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind in ("string", "floating", "integer", "datetime", "datetime64", "date", "decimal",
                "mixed-integer-float"):  # fmt: skip
        return np.zeros(len(values), dtype=bool)
    if values.dtype != object:
        fine = pd.api.types.is_numeric_dtype(values) and not (
            pd.api.types.is_bool_dtype(values) or pd.api.types.is_complex_dtype(values)
        )
        return np.full(len(values), not (fine or kind == "categorical"))
    wrong = (
        bool,
        np.bool_,
        pd.Period,
        pd.Timedelta,
        np.timedelta64,
        bytes,
        complex,
        np.complexfloating,
    )
    return np.array([isinstance(cell, wrong) for cell in values], dtype=bool)


def _fits(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return (seconds >= EARLIEST) & (seconds <= LATEST)


def _units() -> tuple[TimeUnit, ...]:
    return get_args(TimeUnit)


def _words(unit: str) -> str:
    return "as YYYYMMDD" if unit == "date" else f"in {unit} since 1970"
