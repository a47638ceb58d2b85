"""Times: every unit is told from every other, and what is no time is refused."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recenv.data import read_table
from recenv.data.times import TICKS, counter_note, seconds_of, times, wrong_times
from recenv.errors import SchemaError

START = 1_570_000_000
SECONDS = np.array([START + 60.0 * i for i in range(60)])
DAYS = [20200101, 20200229, 20201231]


def _column(values: Any, dtype: Any = None) -> pd.Series:
    return pd.Series(values, name="when", dtype=dtype)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("said", ["s", "ms", "us", "ns", "date"])
@pytest.mark.parametrize("as_text", [False, True])
def test_units_are_told_apart(unit: str, said: Any, as_text: bool) -> None:
    number = (SECONDS * TICKS[unit]).astype(np.int64)
    values = _column(number.astype(str) if as_text else number)
    if said == unit:
        assert times(values, said) == pytest.approx(SECONDS, abs=1e-6)
        return
    with pytest.raises(SchemaError, match=f"'when', data row 0 .*{START}.*time_unit='{unit}'"):
        times(values, said)


@pytest.mark.parametrize("as_text", [False, True])
def test_calendar_dates(as_text: bool) -> None:
    values = _column([str(d) for d in DAYS] if as_text else DAYS)
    assert times(values, "date").tolist() == [
        datetime.datetime(d // 10_000, d // 100 % 100, d % 100, tzinfo=datetime.UTC).timestamp()
        for d in DAYS
    ]
    with pytest.raises(SchemaError, match=r"row 0 .*20200101.*YYYYMMDD.*time_unit='date'"):
        times(values, "s")
    for no_day in (20200230, 20201301, 20200100, 2020, 20200101.5):
        with pytest.raises(SchemaError, match=r"row 1 .*as YYYYMMDD"):
            times(_column([20200101, no_day]), "date")
        assert np.isnan(seconds_of(np.array([no_day], float), "date")[0])


def test_every_date_is_the_calendars() -> None:
    days = pd.date_range("1980-01-01", "2099-12-31")
    number = np.asarray(days.strftime("%Y%m%d").astype(np.float64))
    assert (seconds_of(number, "date") == days.as_unit("s").asi8).all()


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        ([START, 0], 1),  # a missing time written as 0
        ([START, START * 1000], 1),
        ([START * 1000.0, START], 0),
        ([START, 5e9], 1),
        ([20200913120000] * 2, 0),  # YYYYMMDDhhmmss is no unit
        ([1, 5e9], 1),
    ],
)
def test_times_that_do_not_belong_together(cells: list[float], row: int) -> None:
    with pytest.raises(SchemaError, match=rf"'when', data row {row} .*between 1980 and 2100"):
        times(_column(cells), "s")


def test_counters_are_legal_and_noted() -> None:
    assert times(_column(range(400)), "s").tolist() == list(range(400))
    note = counter_note(np.arange(400.0))
    assert note is not None
    assert "from 0 to 399 s" in note
    assert counter_note(SECONDS) is None
    assert counter_note(np.array([])) is None
    assert "All times are 7" in str(counter_note(np.full(3, 7.0)))
    assert "1 of 2 times lie before 1980" in str(counter_note(np.array([0.0, START])))


@pytest.mark.parametrize("dtype", [f"datetime64[{unit}]" for unit in ("s", "ms", "us", "ns")])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_datetimes_of_all_resolutions(dtype: str, zone: str | None) -> None:
    stamps: Any = pd.Series(pd.to_datetime(SECONDS, unit="s"), name="when").astype(np.dtype(dtype))
    if zone is not None:
        stamps = stamps.dt.tz_localize("UTC").dt.tz_convert(zone)
    assert times(stamps, "s").tolist() == SECONDS.tolist()
    assert times(stamps.astype(object), "s").tolist() == SECONDS.tolist()
    arrow = stamps.astype(pd.ArrowDtype(pa.timestamp(dtype[11:-1], zone)))
    assert times(arrow, "s").tolist() == SECONDS.tolist()


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_datetimes_beyond_pythons_years(unit: str, zone: str | None) -> None:
    far = pa.array([1_500_000_000 * TICKS[unit], 2**60], pa.timestamp(unit, zone))
    table = pd.DataFrame({"user": ["a", "b"], "item": ["i", "j"]})
    number = pd.Series(far.cast(pa.timestamp(unit)).to_numpy(zero_copy_only=False))
    own = number if zone is None else number.dt.tz_localize("UTC").dt.tz_convert(zone)
    for stamps in (pd.Series(pd.arrays.ArrowExtensionArray(far)), own):
        table["time"] = stamps
        with pytest.raises(SchemaError, match=r"Column 'time', data row 1 .* lies after 2100"):
            read_table(table, short_users="keep")


def test_other_spellings() -> None:
    noon = datetime.datetime(2019, 10, 1, 12, tzinfo=datetime.UTC)
    for cell in (
        "2019-10-01 12:00:00 UTC",  # as REES46 writes it
        "2019-10-01T12:00:00Z",
        "2019-10-01 14:00+02:00",
        noon,
        np.datetime64("2019-10-01T12:00:00"),
    ):
        assert times(_column([cell], object), "s").tolist() == [noon.timestamp()]
    day = datetime.date(2019, 10, 1)
    assert times(_column([day], object), "s").tolist() == [noon.timestamp() - 43_200]
    exact = decimal.Decimal("1570000000.5")
    assert times(_column([exact], object), "s").tolist() == [1570000000.5]
    assert times(_column(["1570000000"], "category"), "s").tolist() == [1570000000]


@pytest.mark.parametrize(
    "cells",
    [
        ["now"],
        ["today"],
        ["2019-10-01", "now"],
        ["soon", "2019-10-01"],
        [True, False],
        [pd.Timedelta(1, "s")],
        [pd.Period("2020-01", "M")],
        [b"2019-10-01"],
        [START, True],
        ["2019-10-01", "1969-12-31"],
        ["2019-10-01", "1970-01-01"],
        ["2019-10-01", "9999-12-31"],
        ["0x5d93ab80"],
        ["1_570_000_000"],
        ["1570000000,5"],
        [float("inf")],
        [None],
        [pd.NaT],
        [[START]],
    ],
)
@pytest.mark.parametrize("dtype", [object, None])
def test_no_times(cells: list[Any], dtype: Any) -> None:
    with pytest.raises(SchemaError, match=r"Column 'when', data row \d+ \(0-based\)"):
        times(_column(cells, dtype), "s")


def test_chunks_are_told_by_their_mask() -> None:
    assert wrong_times(np.array([]), "s") is None
    found = wrong_times(np.array([START, START * 1e3, START * 1e3]), "ms", option="")
    assert found is not None
    assert found.bad.tolist() == [True, False, False]
    assert "in s since 1970, but not every cell" in found.wrong
    found = wrong_times(SECONDS, "ms", option="ticks")
    assert found is not None
    assert "Pass ticks='s'" in found.remedy
    with pytest.raises(SchemaError, match="time_unit must be one of 's', 'ms'"):
        times(_column([1]), "min")  # pyright: ignore[reportArgumentType]
