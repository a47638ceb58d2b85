"""Mutated logs whose cells have types: data frames, Parquet, Complete Journey.

The judge looks at the cells as Python's own objects, as pandas or Arrow hand them out.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from data.mutations import judge
from data.mutations.judge import Bad, Judge, Record, Verdict, canonical
from data.mutations.writers import TITLES, Drawn, draw

FORMATS = ("table-frame", "table-parquet", "complete-journey", "complete-journey-products")

Columns = dict[str, list[Any]]


@dataclass
class Typed:
    """Tables as columns of objects, and what is to be done with them when they are built.

    Attributes:
        tables: by name; the first is the log.
        types: wanted pandas dtype of (table, column).
        whole: makes another object of the built table, by table.
        bytes: changes the written file, by table.
    """

    tables: dict[str, Columns]
    rng: Random
    types: dict[tuple[str, str], Any] = field(default_factory=dict)
    whole: dict[str, Callable[[pd.DataFrame], Any]] = field(default_factory=dict)
    bytes: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)

    def table(self) -> str:
        """The log, or one time in four any table."""
        names = list(self.tables)
        return names[0] if self.rng.random() < 0.75 else self.rng.choice(names)


MUTATIONS: dict[str, Callable[[Typed], None]] = {}


def mutations(format_: str) -> tuple[str, ...]:
    """Those that fit the format."""
    if format_ == "table-frame":
        return tuple(n for n in MUTATIONS if not n.startswith("file-"))
    return tuple(n for n in MUTATIONS if not n.startswith("object-"))


def _value(name: str, make: Callable[[Any], Any]) -> None:
    """One cell of any column, and all of them."""

    def one(t: Typed) -> None:
        table = t.tables[t.table()]
        if table:
            column = t.rng.choice(list(table))
            if table[column]:
                row = t.rng.randrange(len(table[column]))
                table[column][row] = make(table[column][row])

    def every(t: Typed) -> None:
        table = t.tables[t.table()]
        if table:
            column = t.rng.choice(list(table))
            table[column] = [make(v) for v in table[column]]

    MUTATIONS[f"cell-{name}"], MUTATIONS[f"column-{name}"] = one, every


def _number(value: Any) -> int:
    digits = "".join(c for c in str(value) if c.isdecimal())[:10]
    return int(digits or 3)


for _name, _make in {
    "none": lambda v: None,
    "nan": lambda v: float("nan"),
    "not-a-time": lambda v: pd.NaT,
    "infinite": lambda v: float("inf"),
    "negative": lambda v: -_number(v) - 1,
    "zero": lambda v: 0,
    "float": lambda v: float(_number(v)),
    "fraction": lambda v: _number(v) + 0.5,
    "large-float": lambda v: 2.0**53 + 2 * _number(v),
    "huge-float": lambda v: 1e30,
    "largest-float": lambda v: 1e300,
    "large-whole": lambda v: 2**53 + _number(v),
    "beyond-64-bits": lambda v: 2**70 + _number(v),
    "true": lambda v: True,
    "text": str,
    "text-of-float": lambda v: f"{_number(v)}.0",
    "blank": lambda v: " ",
    "spaced": lambda v: f" {v} ",
    "word": lambda v: "abc",
    "hexadecimal": lambda v: hex(_number(v)),
    "comma": lambda v: "12,99",
    "thousands": lambda v: "1,299.50",
    "now": lambda v: "now",
    "today": lambda v: "today",
    "milliseconds": lambda v: _number(v) * 1000,
    "nanoseconds": lambda v: _number(v) * 10**9,
    "yyyymmdd": lambda v: 20170901 + _number(v) % 28,
    "iso": lambda v: f"2017-09-13T10:00:{_number(v) % 60:02}Z",
    "datetime": lambda v: dt.datetime(2017, 9, 13) + dt.timedelta(seconds=_number(v) % 9999),
    "datetime-zone": lambda v: (
        dt.datetime(2017, 9, 13, tzinfo=dt.timezone(dt.timedelta(hours=2)))
        + dt.timedelta(seconds=_number(v) % 9999)
    ),
    "date": lambda v: dt.date(2017, 9, 13),
    "ancient": lambda v: dt.datetime(1905, 1, 1),
    "period": lambda v: pd.Period("2017-09-13", "D"),
    "timedelta": lambda v: dt.timedelta(seconds=_number(v)),
    "decimal": lambda v: Decimal(_number(v)) / 4,
    "bytes": lambda v: str(v).encode("utf-8", "surrogatepass"),
    "list": lambda v: [v],
    "surrogate": lambda v: "a\ud800",
    "upper": lambda v: v.upper() if isinstance(v, str) else v,
    "complex": lambda v: 1 + 2j,
}.items():
    _value(_name, _make)

for _dtype in ("category", "string", "Int64", "Float64", "float32", "int32", "uint64", "float16",
               "object", "int64[pyarrow]", "string[pyarrow]", "double[pyarrow]",
               "datetime64[s]", "datetime64[ns]", "bool", "period", "timedelta64[s]"):  # fmt: skip

    def _typed(t: Typed, dtype: str = _dtype) -> None:
        name = t.table()
        if t.tables[name]:
            t.types[name, t.rng.choice(list(t.tables[name]))] = dtype

    MUTATIONS[f"dtype-{_dtype}"] = _typed


def _rows(name: str, change: Callable[[Typed, Columns], None]) -> None:
    MUTATIONS[name] = lambda t: change(t, t.tables[t.table()])


def _doubled_row(t: Typed, table: Columns) -> None:
    rows = len(next(iter(table.values()), []))
    row = t.rng.randrange(rows) if rows else 0
    for cells in table.values():
        cells.extend(cells[row : row + 1])


def _shuffled(t: Typed, table: Columns) -> None:
    order = list(range(len(next(iter(table.values()), []))))
    t.rng.shuffle(order)
    for name, cells in table.items():
        table[name] = [cells[k] for k in order]


def _lost_column(t: Typed, table: Columns) -> None:
    if table:
        table.pop(t.rng.choice(list(table)))


def _renamed(t: Typed, table: Columns) -> None:
    if table:
        name = t.rng.choice(list(table))
        table[name.upper()] = table.pop(name)


def _no_rows(t: Typed, table: Columns) -> None:
    for cells in table.values():
        cells.clear()


def _missing_item(t: Typed, table: Columns) -> None:
    table = t.tables[list(t.tables)[1]]
    for cells in table.values():
        del cells[:1]


_rows("rows-doubled", _doubled_row)
_rows("rows-shuffled", _shuffled)
_rows("rows-none", _no_rows)
_rows("column-lost", _lost_column)
_rows("column-upper", _renamed)
_rows("item-lost", _missing_item)


def _whole(name: str, make: Callable[[pd.DataFrame], Any]) -> None:
    def plant(t: Typed) -> None:
        t.whole[t.table()] = make

    MUTATIONS[f"object-{name}"] = plant


_whole("records", lambda frame: frame.to_dict("records"))
_whole("columns", lambda frame: frame.to_dict("list"))
_whole("series", lambda frame: frame.iloc[:, 0])
_whole("array", lambda frame: frame.to_numpy())
_whole("none", lambda frame: None)
_whole("number", lambda frame: 3)
_whole("arrow", lambda frame: pa.table({"user": ["a"], "item": ["b"]}))
_whole("folder", lambda frame: Path("/tmp"))
_whole("bytes-path", lambda frame: b"/tmp/x.csv")
_whole("doubled-column", lambda frame: pd.concat([frame, frame.iloc[:, :1]], axis=1))
_whole("two-levels", lambda frame: frame.set_axis(
    pd.MultiIndex.from_product([["a"], frame.columns]), axis=1))  # fmt: skip
_whole("numbered-columns", lambda frame: frame.set_axis(range(frame.shape[1]), axis=1))
_whole("odd-index", lambda frame: frame.set_axis([7] * len(frame), axis=0))
_whole("named-index", lambda frame: frame.set_index(frame.columns[0], drop=False))
_whole("other-order", lambda frame: frame.iloc[:, ::-1])


def _file(name: str, change: Callable[[bytes, Random], bytes]) -> None:
    def plant(t: Typed) -> None:
        t.bytes[t.table()] = lambda data: change(data, t.rng)

    MUTATIONS[f"file-{name}"] = plant


def _flip(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


_file("cut", lambda data, rng: data[: rng.randrange(len(data))])
_file("flipped-bit", _flip)
_file("empty", lambda data, rng: b"")
_file("text", lambda data, rng: b"user,item,time\n1,2,3\n")
_file("zeros", lambda data, rng: data[:100] + bytes(len(data) - 200) + data[-100:])


# --- writing ----------------------------------------------------------------------------------


def _own(rng: Random) -> dict[str, Columns]:
    d = draw(rng, 1_500_000_000)
    words = ("impression", "click", "view", "add_to_cart", "purchase")
    whole = rng.random() < 0.5
    events: Columns = {
        "user": [u if whole else f"u{u}" for u, _, _, _ in d.events],
        "item": [i if whole else f"i{i}" for _, i, _, _ in d.events],
        "time": [float(t) if whole else t for _, _, t, _ in d.events],
        "event": [words[k] for *_, k in d.events],
        "value": [9.5 if k == 4 else 0.0 for *_, k in d.events],
    }
    items: Columns = {
        "item": [i if whole else f"i{i}" for i in d.items],
        "text": [f"{rng.choice(TITLES)} {i}" for i in d.items],
        "category": [rng.choice("abc") for _ in d.items],
        "price": [i / 4 for i in d.items],
    }
    return {"events": events, "items": items}


def _journey(rng: Random) -> dict[str, Columns]:
    d: Drawn = draw(rng, 1_490_000_000)
    baskets: dict[tuple[int, int], int] = {}
    lines: Columns = {c: [] for c in _LINES}
    for u, i, t, k in d.events:
        basket = baskets.setdefault((u, t % 3), 1000 + len(baskets))
        when = dt.datetime(2017, 3, 1) + dt.timedelta(days=basket - 1000)
        cells = (u, 300, basket, i, k, 1.25 * k, 9, when)
        for column, cell in zip(_LINES, cells, strict=True):
            lines[column].append(cell)
    kinds = ("CHIPS", "RIBS", "CHEESE")
    products: Columns = {
        "product_id": list(d.items),
        "department": ["GROCERY"] * len(d.items),
        "product_category": ["SNACKS"] * len(d.items),
        "product_type": [kinds[i % 3] for i in d.items],
        "package_size": ["7 OZ"] * len(d.items),
    }
    promotions: Columns = {
        "product_id": list(d.items),
        "store_id": [300] * len(d.items),
        "display_location": ["0", *["A"] * (len(d.items) - 1)],
        "mailer_location": ["0"] * len(d.items),
        "week": [9] * len(d.items),
    }
    return {"transactions": lines, "products": products, "promotions": promotions}


_LINES = ("household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "week",
          "transaction_timestamp")  # fmt: skip


def _frame(columns: Columns, name: str, types: Mapping[tuple[str, str], Any]) -> pd.DataFrame:
    made = {}
    for column, cells in columns.items():
        try:
            series = pd.Series(cells)
        except (ValueError, TypeError, OverflowError):
            series = pd.Series(cells, dtype=object)
        dtype = types.get((name, column))
        try:
            if dtype == "period":
                series = pd.to_datetime(series, unit="s").dt.to_period("s")
            elif dtype is not None:
                series = series.astype(dtype)
        except Exception:
            series = series.astype(object)  # what cannot be of this type stays as it is
        made[column] = series
    return pd.DataFrame(made)


def _arrow(columns: Columns, name: str, types: Mapping[tuple[str, str], Any]) -> pa.Table:
    """What cannot be written as it is becomes text."""
    frame = _frame(columns, name, types)
    made = {}
    for column in frame:
        series = frame[column]
        try:
            array = pa.array(series, from_pandas=True)
            if pa.types.is_null(array.type) or pa.types.is_nested(array.type):
                raise pa.ArrowInvalid("no plain type")
            with pa.BufferOutputStream() as sink:  # also a dictionary of a type that has no place
                pq.write_table(pa.table({str(column): array}), sink)
            if isinstance(array.type, pa.BaseExtensionType):
                raise pa.ArrowInvalid("a type of pandas alone")
            made[str(column)] = array
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            made[str(column)] = pa.array(
                [None if v is None else str(v).encode("utf-8", "replace").decode() for v in series],
                pa.string(),
            )
    return pa.table(made)


def made(
    format_: str, names: tuple[str, ...], seed: int, folder: Path
) -> tuple[tuple[Any, Any], Verdict]:
    """What a reader of tables is given for events and items, and the verdict.

    Files are written into the folder.
    """
    own = format_.startswith("table")
    rng = Random(seed)
    t = Typed(_own(rng) if own else _journey(rng), Random(f"{format_}:{'+'.join(names)}:{seed}"))
    for name in names:
        MUTATIONS[name](t)
    if format_ == "table-frame":
        frames = {n: _frame(c, n, t.types) for n, c in t.tables.items()}
        objects: dict[str, Any] = {n: t.whole.get(n, lambda f: f)(f) for n, f in frames.items()}
        verdict = _judge_own({n: _cells_of(o) for n, o in objects.items()})
        return (objects["events"], objects["items"]), verdict
    found: dict[str, Columns | None] = {}
    for name, columns in t.tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(_arrow(columns, name, t.types), path)
        if name in t.bytes:
            path.write_bytes(t.bytes[name](path.read_bytes()))
        try:
            table = pq.read_table(path)
            found[name] = {c: table[c].to_pylist() for c in table.column_names}
        except Exception:
            found[name] = None
    if own:
        return (folder / "events.parquet", folder / "items.parquet"), _judge_own(found)
    return (None, None), _judge_journey(found, products=format_.endswith("products"))


def _cells_of(thing: Any) -> Columns | None:
    """Columns of a data frame as objects; None where it is none, or has a column twice."""
    if not isinstance(thing, pd.DataFrame) or thing.columns.nlevels > 1:
        return None
    if thing.columns.has_duplicates:
        return None
    return {
        str(c): [v.item() if isinstance(v, np.generic) and not isinstance(v, np.datetime64)
                 else v for v in thing[c]]
        for c in thing
    }  # fmt: skip


# --- judging ----------------------------------------------------------------------------------


def _absent(value: Any) -> bool:
    if value is None or value is pd.NaT or value is pd.NA:
        return True
    return isinstance(value, float) and math.isnan(value)


def name_of(value: Any) -> tuple[str, bool]:
    """An id of any type."""
    if _absent(value):
        raise Bad("is blank")
    if isinstance(value, str):
        if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise Bad("is no text")
        return judge.name_of(value)
    if isinstance(value, bool):
        return str(value), False
    if isinstance(value, int):
        return str(value), value >= 0 and value < 2**63
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) >= 2**53:
            raise Bad(f"{value} names nobody for certain")
        return (str(int(value)) if value == int(value) else str(value)), value == int(value)
    if isinstance(value, Decimal):
        return (str(int(value)) if value == int(value) else str(value)), False
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace"), False
    raise Bad(f"a {type(value).__name__} is no name")


def second_of(value: Any) -> tuple[float, bool]:
    """A time of any type."""
    if _absent(value) or isinstance(value, bool | bytes | list | complex):
        raise Bad("is no time")
    if isinstance(value, int | float | Decimal):
        if not 0 <= value <= 10**11:
            raise Bad("is no time")
        plain = not isinstance(value, Decimal)
        return float(value), plain and 315_532_800 <= value < 4_102_444_800
    if isinstance(value, str):
        if "-" in value[1:]:
            return judge.iso(value)
        return judge._any_second(value)
    if isinstance(value, dt.datetime):
        when = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        seconds = when.timestamp()
    elif isinstance(value, dt.date):
        seconds = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp()
    else:
        raise Bad(f"a {type(value).__name__} is no time")
    if seconds < 0:
        raise Bad("lies before 1970")
    likely = 315_532_800 <= seconds < 4_102_444_800
    return seconds, isinstance(value, dt.datetime) and likely


def money(value: Any) -> tuple[float, bool]:
    """An amount of any type; blank is 0."""
    if _absent(value):
        return 0.0, value is not pd.NaT
    if isinstance(value, str):
        if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise Bad("is no text")
        return judge.money(value)
    if not isinstance(value, int | float | Decimal):
        raise Bad(f"a {type(value).__name__} is no amount")
    if not 0 <= value < 3e38:
        raise Bad("is no amount")
    return float(value), not isinstance(value, bool | Decimal) and value < 10**9


_answer = judge.one_of(judge._EVENT_TYPES, strict=False)


def answer_of(value: Any) -> tuple[int, bool]:
    """What an event is."""
    if _absent(value):
        raise Bad("is blank")
    if isinstance(value, float) and value == int(min(max(value, -9), 9)):
        return _answer(str(int(value)))[0], False
    if isinstance(value, bool):
        return int(value), False
    return _answer(str(value))


def _cell(j: Judge, file: str, row: int, column: str, value: Any,
          read: Callable[[Any], tuple[Any, bool]]) -> Any:  # fmt: skip
    record = Record(file, frozenset({row}), row, [])
    try:
        got, sure = read(value)
    except Bad as error:
        j.refuse(file, f"{column}: {error}", record, column)
        return None
    if not sure:
        j.refuse(file, f"{column}: {value!r:.60}", record, column, doubt=True)
    return got


def _judge_own(found: Mapping[str, Columns | None]) -> Verdict:
    j = Judge({})
    j.verdict.own = True
    wanted = {"events": ("user", "item", "time", "event", "value"),
              "items": ("item", "text", "category", "price")}  # fmt: skip
    for name, columns in wanted.items():
        table = found[name]
        if table is None:
            j.refuse(name, "is no table")
        elif lacking := [c for c in columns if c not in table]:
            j.refuse(name, f"no column {lacking}")
        elif not table[columns[0]]:
            j.refuse(name, "has no rows")
    events, items = found["events"], found["items"]
    if j.verdict.faults or events is None or items is None:
        return j.verdict
    known: dict[str, None] = {}
    for row, value in enumerate(items["item"]):
        name = _cell(j, "items", row, "item", value, name_of)
        price = _cell(j, "items", row, "price", items["price"][row], money)
        text = items["text"][row]
        if not isinstance(text, str) or not text.isprintable() or text != text.strip():
            j.refuse("items", "odd text", doubt=True)
        if not isinstance(items["category"][row], str) or not items["category"][row].isprintable():
            j.refuse("items", "odd category", doubt=True)
        if name is None:
            continue
        name = canonical(name)
        if name in known:
            j.refuse("items", f"{name} twice", Record("items", frozenset({row}), row, []))
        known[name] = None
        if price is not None:
            words = judge.words_of(text) if isinstance(text, str) else []
            j.verdict.items[name] = ([price], words)
    times = events["time"]
    numbers = [isinstance(v, int | float | Decimal) or (isinstance(v, str) and "-" not in v[1:])
               for v in times]  # fmt: skip
    if any(numbers) and not all(numbers):
        j.refuse("events", "numbers and dates in one column")
    if len(times) > 1 and all(
            not isinstance(v, str | bool) and not _absent(v) and isinstance(v, int | float)
            and 19_000_101 <= v <= 21_001_231 and v == int(v) for v in times):  # fmt: skip
        j.refuse("events", "dates for seconds")
    keys: Counter[tuple[Any, ...]] = Counter()
    for row in range(len(times)):
        cells = {c: events[c][row] for c in wanted["events"]}
        user, item = (_cell(j, "events", row, c, cells[c], name_of) for c in ("user", "item"))
        time = _cell(j, "events", row, "time", cells["time"], second_of)
        response = _cell(j, "events", row, "event", cells["event"], answer_of)
        value = _cell(j, "events", row, "value", cells["value"], money)
        record = Record("events", frozenset({row}), row, [str(row)])
        if item is not None and canonical(item) not in known:
            j.refuse("events", "item is not in the item table", record, "item")
        if keys[user, item, time, response] and None not in (user, item, time, response):
            j.refuse("events", "a row twice", record)
        keys[user, item, time, response] += 1
        j.add(record, user, item, time, response or 0, value)
    if not any(e[3] for e in j.verdict.events):
        j.refuse("events", "no click")
    return j.verdict


def _whole_of(value: Any) -> tuple[int, bool]:
    if _absent(value):
        raise Bad("is missing")
    if isinstance(value, bool):
        return int(value), False
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Bad("is beyond 64 bits")
        return value, value >= 0
    if isinstance(value, float) and value == value // 1 and abs(value) < 2**53:
        return int(value), False
    if isinstance(value, str):
        return judge.whole(value.strip())[0], False
    if isinstance(value, Decimal) and value == int(value):
        return int(value), False
    if isinstance(value, bytes):
        return judge.whole(value.decode("utf-8", "backslashreplace"))[0], False
    raise Bad(f"{value!r:.60} is no whole number")


def _count_of(value: Any) -> tuple[int, bool]:
    count, sure = _whole_of(value)
    if count < 0:
        raise Bad("is negative")
    return count, sure


def _paid(value: Any) -> tuple[float, bool]:
    if _absent(value):
        raise Bad("is missing")
    return money(value)


def _stamp(value: Any) -> tuple[float, bool]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Bad("is no time")
    seconds, sure = second_of(value)
    return seconds, sure and isinstance(value, dt.datetime) and value.tzinfo is None


def _judge_journey(found: Mapping[str, Columns | None], *, products: bool) -> Verdict:
    """Sums by basket and item; lines of nothing, of coupons and without a type are left out."""
    j = Judge({})
    wanted = {
        "transactions": _LINES,
        "products": ("product_id", "department", "product_category", "product_type",
                     "package_size"),
        "promotions": ("product_id", "store_id", "display_location", "mailer_location", "week"),
    }  # fmt: skip
    for name, columns in wanted.items():
        table = found[name]
        file = f"{name}.parquet"
        if table is None:
            j.refuse(file, "cannot be read")
        elif lacking := [c for c in columns if c not in table]:
            j.refuse(file, f"no column {lacking}")
        elif not table[columns[0]]:
            j.refuse(file, "has no rows")
    # of a file that lacks something no cell is looked at, of the others every cell
    lines, listed, promoted = (
        found[n] if found[n] is not None and not set(wanted[n]) - set(found[n] or ()) else None
        for n in wanted
    )
    empty: Columns = {c: [] for columns in wanted.values() for c in columns}
    broken = bool(j.verdict.faults)
    lines, listed, promoted = lines or empty, listed or empty, promoted or empty
    kinds: dict[int, tuple[Any, Any]] = {}
    for row, number in enumerate(listed["product_id"]):
        product = _cell(j, "products.parquet", row, "product_id", number, _whole_of)
        if product in kinds:
            j.refuse("products.parquet", f"product {product} twice")
        for column in wanted["products"][1:]:
            value = listed[column][row]
            if value is not None and (not isinstance(value, str) or value != value.strip()
                                      or not value):  # fmt: skip
                j.refuse("products.parquet", f"odd {column}", doubt=True)
        if product is not None:
            told = (listed[column][row] for column in ("department", "product_type"))
            department, kind = (v.strip() if isinstance(v, str) else v for v in told)
            kinds[product] = (department, kind)
    for row in range(len(promoted["product_id"])):
        for column in ("product_id", "store_id", "week"):
            value = _cell(j, "promotions.parquet", row, column, promoted[column][row], _whole_of)
            if column == "week" and value is not None and not 0 <= value < 64:
                j.refuse("promotions.parquet", "no week")
        for column in ("display_location", "mailer_location"):
            if not isinstance(promoted[column][row], str | None):
                j.refuse("promotions.parquet", f"odd {column}", doubt=True)
    baskets: dict[int, tuple[Any, ...]] = {}
    sums: dict[tuple[int, str], float] = {}
    once: dict[tuple[int, str], dict[tuple[str, ...], float]] = {}  # each line one time
    seen: set[tuple[str, ...]] = set()
    file = "transactions.parquet"
    for row in range(len(lines["basket_id"])):
        c = {name: lines[name][row] for name in _LINES}
        cells = [_cell(j, file, row, n, c[n], _whole_of) for n in _LINES[:4]]
        count = _cell(j, file, row, "quantity", c["quantity"], _count_of)
        paid = _cell(j, file, row, "sales_value", c["sales_value"], _paid)
        week = _cell(j, file, row, "week", c["week"], _whole_of)
        time = _cell(j, file, row, "transaction_timestamp", c["transaction_timestamp"], _stamp)
        if week is not None and not 0 <= week < 64:
            j.refuse(file, "no week")
        if None in (*cells, count, paid, week, time):
            continue
        line = tuple(str(v) for v in c.values())
        j.verdict.repeated += line in seen
        seen.add(line)
        user, store, basket, product = cells
        if baskets.setdefault(basket, (user, store, week, time)) != (user, store, week, time):
            j.refuse(file, "a basket of two", doubt=False)
        department, kind = kinds.get(product, (None, None))
        item = str(product) if products else kind
        if (paid < 0.005 and count == 0) or department == "COUPON" or item is None:
            continue
        sums[basket, str(item)] = sums.get((basket, str(item)), 0.0) + paid
        once.setdefault((basket, str(item)), {})[line] = paid
    if broken:
        return j.verdict
    if not sums:
        j.refuse(file, "no purchase")
    merged: list[judge.Event] = []
    for (basket, item), paid in sums.items():
        user, _, _, time = baskets[basket]
        key = (str(user), canonical(item), time, 2)
        j.verdict.events.append((*key, round(paid, 2)))
        merged.append((*key, round(sum(once[basket, item].values()), 2)))
    j.verdict.merged = merged
    return j.verdict
