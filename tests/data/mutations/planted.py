"""Mistakes to plant into a valid log: in cells, in bytes, in the folder.

Each is a named function of a class; it changes the ``State`` in place and may leave it as it
was where it does not fit (a column that the format has not).
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from data.mutations.writers import Table


@dataclass
class State:
    """A log on its way to the disk: tables first, then files."""

    tables: list[Table]
    rng: Random
    files: dict[str, bytes] = field(default_factory=dict)

    def table(self) -> Table:
        """The log, or one time in four any table."""
        return self.tables[0] if self.rng.random() < 0.75 else self.rng.choice(self.tables)

    def file(self) -> str:
        """Likewise, by name."""
        wanted = self.table().name
        return wanted if wanted in self.files else self.rng.choice(sorted(self.files))


@dataclass(frozen=True)
class Mutation:
    """A mistake. ``stage`` is 0 for cells, 1 for bytes, 2 for the folder."""

    name: str
    kind: str
    stage: int
    plant: Callable[[State], None]


MUTATIONS: dict[str, Mutation] = {}


def _mutation(
    name: str, kind: str, stage: int
) -> Callable[[Callable[[State], None]], Callable[[State], None]]:
    def keep(plant: Callable[[State], None]) -> Callable[[State], None]:
        MUTATIONS[name] = Mutation(name, kind, stage, plant)
        return plant

    return keep


# --- cells ------------------------------------------------------------------------------------

_NEVER = ("label", "list", "property")  # words that any text may stand in


def _place(state: State, roles: tuple[str, ...] | None = None) -> tuple[Table, int] | None:
    """A table and a column of one of the roles."""
    table = state.table()
    fits = [c for c, role in enumerate(table.roles) if roles is None or role in roles]
    if not fits or not table.rows:
        return None
    return table, state.rng.choice(fits)


def _row(state: State, table: Table) -> list[str]:
    """One of its rows; another one, which stands nowhere, if it has none."""
    return state.rng.choice(table.rows) if table.rows else []


def _set(state: State, change: Callable[[str], str], roles: tuple[str, ...] | None, every: bool,
         raw: bool = False) -> None:  # fmt: skip
    found = _place(state, roles)
    if found is None:
        return
    table, column = found
    rows = range(len(table.rows)) if every else [state.rng.randrange(len(table.rows))]
    for row in rows:
        if column < len(table.rows[row]):
            table.rows[row][column] = change(table.rows[row][column])
            if raw:
                table.raw.add((row, column))


def _thousands(cell: str) -> str:
    return f"{int(cell):,}" if cell.isascii() and cell.isdecimal() else "1,299"


_NUMBER = ("user", "item", "time", "rating", "price", "ratio", "prob", "position", "flag")
_ID = ("user", "item")

_VALUES: dict[str, tuple[str, Callable[[str], str], tuple[str, ...] | None, bool]] = {
    # name: class, change, roles, whether a whole column may have it
    "float-id": ("ids", lambda c: f"{c}.0", _ID, True),
    "id-with-spaces": ("ids", lambda c: f" {c} ", _ID, True),
    "big-id": ("ids", lambda c: str(2**53 + len(c)), _ID, False),
    "id-beyond-64-bits": ("ids", lambda c: str(2**64 + len(c)), _ID, False),
    "scientific": ("numbers", lambda c: f"{c}e0" if c[-1:].isdecimal() else "1e3", _NUMBER, True),
    "scientific-id": ("ids", lambda c: "1.23457E+17", _ID, False),
    "hexadecimal": ("numbers", lambda c: hex(int(c)) if c.isascii() and c.isdecimal() else "0x10",
                    _NUMBER, True),
    "thousands": ("numbers", _thousands, _NUMBER, True),
    "decimal-comma": ("numbers", lambda c: c.replace(".", ",") if "." in c else f"{c},5",
                      _NUMBER, True),
    "underscores": ("numbers", lambda c: f"{c[:1]}_{c[1:]}", _NUMBER, False),
    "plus-sign": ("numbers", lambda c: f"+{c}", _NUMBER, False),
    "leading-zero": ("ids", lambda c: f"00{c}", _ID, False),
    "superscript": ("numbers", lambda c: "\u00b2", None, False),
    "arabic-digits": ("numbers", lambda c: "\u0661\u0662", _NUMBER, False),
    "currency": ("numbers", lambda c: f"${c}", ("price",), True),
    "nan": ("blanks", lambda c: "NaN", None, True),
    "none": ("blanks", lambda c: "None", None, True),
    "null": ("blanks", lambda c: "null", None, True),
    "empty": ("blanks", lambda c: "", None, True),
    "blank": ("blanks", lambda c: "  ", None, True),
    "infinite": ("numbers", lambda c: "inf", None, True),
    "minus-infinite": ("numbers", lambda c: "-inf", _NUMBER, False),
    "negative": ("numbers", lambda c: f"-{c or 1}", _NUMBER, True),
    "minus-zero": ("numbers", lambda c: "-0", _NUMBER, False),
    "zero": ("numbers", lambda c: "0", _NUMBER, True),
    "huge": ("numbers", lambda c: "9" * 30, _NUMBER, True),
    "too-large-float": ("numbers", lambda c: "1e400", _NUMBER, False),
    "fraction": ("numbers", lambda c: "0.3333", _NUMBER, True),
    "word": ("numbers", lambda c: "abc", None, False),
    "unknown-event": ("events", lambda c: "wishlist", ("event",), False),
    "upper-event": ("events", lambda c: c.upper(), ("event",), True),
    "spaced-event": ("events", lambda c: f" {c.title()} ", ("event",), True),
    "numbered-event": ("events", lambda c: "1", ("event",), True),
    "mixed-flag": ("events", lambda c: "2", ("flag",), False),
    "true-flag": ("events", lambda c: "True", ("flag", "bool"), False),
    "milliseconds": ("times", lambda c: f"{c}000", ("time",), True),
    "microseconds": ("times", lambda c: f"{c}000000", ("time",), True),
    "nanoseconds": ("times", lambda c: f"{c}000000000", ("time",), True),
    "seconds-for-ms": ("times", lambda c: c[:10], ("time",), True),
    "yyyymmdd": ("times", lambda c: f"20170{1 + len(c) % 9}{10 + int(c[-1:] or 0) % 10}"
                 if c[-1:].isdecimal() else "20170913", ("time",), True),
    "iso-time": ("times", lambda c: "2017-09-13T10:00:0" + (c[-1:] if c[-1:].isdecimal() else "0"),
                 ("time",), True),
    "iso-time-utc": ("times", lambda c: "2017-09-13 10:00:00 UTC", ("time",), True),
    "us-date": ("times", lambda c: "09/13/2017", ("time",), True),
    "now": ("times", lambda c: "now", ("time",), False),
    "year-0001": ("times", lambda c: "0001-01-01T00:00:00", ("time",), False),
    "very-long": ("cells", lambda c: c + "x" * 200_000, None, False),
    "tab-inside": ("cells", lambda c: f"{c}\t", None, False),
    "comma-inside": ("cells", lambda c: f"{c},x", None, False),
    "control": ("cells", lambda c: f"{c}\x07", None, False),
    "no-break-space": ("cells", lambda c: f"{c}\u00a0", None, False),
    "zero-width": ("cells", lambda c: f"{c}\u200b", None, False),
    "emoji": ("cells", lambda c: f"{c}\U0001f600", None, False),
    "comment-sign": ("cells", lambda c: f"#{c}", None, False),
    "line-separator": ("cells", lambda c: f"{c}\u2028{c}", None, False),
}  # fmt: skip

for _name, (_kind, _change, _roles, _whole) in _VALUES.items():

    def _one(state: State, change: Callable[[str], str] = _change,
             roles: tuple[str, ...] | None = _roles) -> None:  # fmt: skip
        _set(state, change, roles, every=False)

    _mutation(_name, _kind, 0)(_one)
    if _whole:

        def _all(state: State, change: Callable[[str], str] = _change,
                 roles: tuple[str, ...] | None = _roles) -> None:  # fmt: skip
            _set(state, change, roles, every=True)

        _mutation(f"{_name}-all", _kind, 0)(_all)

for _name, _text in {
    "lone-quote": '"',
    "quote-first": '"x',
    "quote-last": 'x"',
    "quoted": '"x"',
    "quote-inside": 'x"y',
    "newline": "x\ny",
    "quoted-newline": '"x\ny"',
    "carriage-return": "x\ry",
}.items():

    def _raw(state: State, text: str = _text) -> None:
        _set(state, lambda c: text.replace("x", c), None, every=False, raw=True)

    _mutation(_name, "quotes", 0)(_raw)


@_mutation("two-lone-quotes", "quotes", 0)
def _two_quotes(state: State) -> None:
    table = state.table()
    column = len(table.columns) - 1 if state.rng.random() < 0.5 else state.rng.randrange(
        len(table.columns))  # fmt: skip
    for row in state.rng.sample(range(len(table.rows)), min(2, len(table.rows))):
        at = min(column, len(table.rows[row]) - 1)  # another mutation may have cut the row
        table.rows[row][at] = '"'
        table.raw.add((row, at))


@_mutation("swallowing-quotes", "quotes", 0)
def _swallowing(state: State) -> None:
    """A quote opens in one row and closes some rows later, before a separator."""
    table = state.table()
    if len(table.rows) < 3:
        return
    row, column = state.rng.randrange(len(table.rows) - 2), state.rng.randrange(len(table.columns))
    for at, cell in ((row, '"a'), (row + 2, 'b"')):
        table.rows[at][column] = cell
        table.raw.add((at, column))


@_mutation("extra-cell", "shape", 0)
def _extra(state: State) -> None:
    _row(state, state.table()).append("0")


@_mutation("extra-cell-first-row", "shape", 0)
def _extra_first(state: State) -> None:
    for row in state.table().rows[:1]:
        row.append("0")


@_mutation("extra-cell-everywhere", "shape", 0)
def _extra_all(state: State) -> None:
    for row in state.table().rows:
        row.append("0")


@_mutation("decimal-comma-unquoted", "shape", 0)
def _unquoted_comma(state: State) -> None:
    """12.50 written as 12,50 without quotes, in every row."""
    table = state.table()
    for row, cells in enumerate(table.rows):
        for column, cell in enumerate(cells):
            if cell.replace(".", "").isdecimal() and "." in cell:
                cells[column] = cell.replace(".", ",")
                table.raw.add((row, column))


@_mutation("missing-cell", "shape", 0)
def _missing(state: State) -> None:
    row = _row(state, state.table())
    if row:
        row.pop(state.rng.randrange(len(row)))


@_mutation("missing-last-cell", "shape", 0)
def _missing_last(state: State) -> None:
    del _row(state, state.table())[-1:]


@_mutation("duplicated-header", "header", 0)
def _doubled_header(state: State) -> None:
    table = state.table()
    if len(table.columns) > 1:
        a, b = state.rng.sample(range(len(table.columns)), 2)
        table.columns[a] = table.columns[b]


@_mutation("duplicated-column", "header", 0)
def _doubled_column(state: State) -> None:
    """A column of the same name once more, with other cells."""
    table = state.table()
    at = state.rng.randrange(len(table.columns))
    table.columns.append(table.columns[at])
    table.roles.append("unread")
    for row in table.rows:
        row.append("1")


@_mutation("renamed-column", "header", 0)
def _renamed(state: State) -> None:
    table = state.table()
    at = state.rng.randrange(len(table.columns))
    table.columns[at] = table.columns[at][:-1] + "X"


@_mutation("upper-column", "header", 0)
def _upper(state: State) -> None:
    table = state.table()
    at = state.rng.randrange(len(table.columns))
    table.columns[at] = table.columns[at].upper()


@_mutation("spaced-column", "header", 0)
def _spaced(state: State) -> None:
    table = state.table()
    at = state.rng.randrange(len(table.columns))
    table.columns[at] = f" {table.columns[at]}"


@_mutation("no-header", "header", 0)
def _headless(state: State) -> None:
    state.table().header = False


@_mutation("header-twice", "header", 0)
def _header_twice(state: State) -> None:
    table = state.table()
    table.rows.insert(state.rng.randrange(len(table.rows) + 1), list(table.columns))


@_mutation("columns-moved", "header", 0)
def _moved(state: State) -> None:
    """Columns in another order, header and cells alike: not a mistake where there is a header."""
    table = state.table()
    order = state.rng.sample(range(len(table.columns)), len(table.columns))
    if all(len(row) == len(order) for row in table.rows):
        table.columns = [table.columns[k] for k in order]
        table.roles = [table.roles[k] for k in order]
        table.rows = [[row[k] for k in order] for row in table.rows]


@_mutation("duplicated-row", "rows", 0)
def _doubled_row(state: State) -> None:
    table = state.table()
    if row := _row(state, table):
        table.rows.insert(state.rng.randrange(len(table.rows) + 1), list(row))


@_mutation("duplicated-rows", "rows", 0)
def _doubled_rows(state: State) -> None:
    table = state.table()
    table.rows += [list(row) for row in table.rows]


@_mutation("shuffled-rows", "rows", 0)
def _shuffled(state: State) -> None:
    state.rng.shuffle(state.table().rows)


@_mutation("no-rows", "rows", 0)
def _no_rows(state: State) -> None:
    state.table().rows.clear()


@_mutation("missing-item-row", "items", 0)
def _missing_item(state: State) -> None:
    if len(state.tables) > 1:
        table = state.rng.choice(state.tables[1:])
        if table.rows:
            table.rows.pop(state.rng.randrange(len(table.rows)))


@_mutation("doubled-item-row", "items", 0)
def _doubled_item(state: State) -> None:
    """An item once more, with another text and price."""
    if len(state.tables) > 1:
        table = state.rng.choice(state.tables[1:])
        if not table.rows:
            return
        row = list(state.rng.choice(table.rows))
        for column, role in enumerate(table.roles):
            if role == "text":
                row[column] = "Another text (1995)"
            if role == "price":
                row[column] = "77"
        table.rows.append(row)


# --- bytes ------------------------------------------------------------------------------------


def _edit(
    name: str, kind: str
) -> Callable[[Callable[[bytes, Random], bytes]], Callable[[bytes, Random], bytes]]:
    def keep(change: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
        def plant(state: State) -> None:
            file = state.file()
            state.files[file] = change(state.files[file], state.rng)

        MUTATIONS[name] = Mutation(name, kind, 1, plant)
        return change

    return keep


@_edit("cut-anywhere", "bytes")
def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


@_edit("cut-in-last-line", "bytes")
def _cut_last(data: bytes, rng: Random) -> bytes:
    return data[: -rng.randint(1, min(len(data), 12))] if data else data


@_edit("flipped-bit", "bytes")
def _flip(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if data else data


@_edit("other-byte", "bytes")
def _other(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :] if data else data


@_edit("lost-byte", "bytes")
def _lost(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + data[at + 1 :]


@_edit("nul-inserted", "bytes")
def _nul(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + b"\0" + data[at:]


@_edit("nul-tail", "bytes")
def _nul_tail(data: bytes, rng: Random) -> bytes:
    """A block that was never written: what a crashed machine leaves."""
    return data + b"\0" * 512


@_edit("bom", "encoding")
def _bom(data: bytes, rng: Random) -> bytes:
    return b"\xef\xbb\xbf" + data


@_edit("utf-16", "encoding")
def _utf16(data: bytes, rng: Random) -> bytes:
    return data.decode("utf-8", "replace").encode("utf-16")


@_edit("saved-as-latin-1", "encoding")
def _latin(data: bytes, rng: Random) -> bytes:
    return data.decode("utf-8", "replace").encode("latin-1", "replace")


@_edit("saved-as-utf-8", "encoding")
def _utf8(data: bytes, rng: Random) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()
    return data


@_edit("crlf", "lines")
def _crlf(data: bytes, rng: Random) -> bytes:
    return data.replace(b"\n", b"\r\n")


@_edit("cr-only", "lines")
def _cr(data: bytes, rng: Random) -> bytes:
    return data.replace(b"\n", b"\r")


@_edit("no-last-newline", "lines")
def _no_newline(data: bytes, rng: Random) -> bytes:
    return data.rstrip(b"\n")


@_edit("blank-lines-at-end", "lines")
def _trailing(data: bytes, rng: Random) -> bytes:
    return data + b"\n" * rng.randint(1, 4)


@_edit("blank-line-inside", "lines")
def _inside(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    lines.insert(rng.randrange(len(lines)), b"")
    return b"\n".join(lines)


@_edit("spaces-line-inside", "lines")
def _spaces(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    lines.insert(rng.randrange(len(lines)), b"   ")
    return b"\n".join(lines)


@_edit("lost-newline", "lines")
def _joined(data: bytes, rng: Random) -> bytes:
    breaks = [k for k, byte in enumerate(data) if byte == 10]
    if not breaks:
        return data
    at = rng.choice(breaks)
    return data[:at] + data[at + 1 :]


@_edit("other-delimiter", "shape")
def _delimiter(data: bytes, rng: Random) -> bytes:
    for old, new in ((b"::", b","), (b"\t", b";"), (b",", b";"), (b"|", b",")):
        if old in data:
            return data.replace(old, new)
    return data


@_edit("web-page", "bytes")
def _page(data: bytes, rng: Random) -> bytes:
    return b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"


# --- the folder -------------------------------------------------------------------------------


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@_mutation("gzip", "packing", 2)
def _gzip(state: State) -> None:
    file = state.file()
    if not file.endswith(".gz"):
        state.files[file + ".gz"] = _packed(state.files.pop(file))


@_mutation("gzip-cut", "packing", 2)
def _gzip_cut(state: State) -> None:
    file = state.file()
    data = _packed(state.files.pop(file))
    state.files[file + ".gz"] = data[: state.rng.randrange(len(data))]


@_mutation("gzip-flipped", "packing", 2)
def _gzip_flip(state: State) -> None:
    file = state.file()
    state.files[file + ".gz"] = _flip(_packed(state.files.pop(file)), state.rng)


@_mutation("gzip-in-name-only", "packing", 2)
def _gzip_name(state: State) -> None:
    file = state.file()
    state.files[file + ".gz"] = state.files.pop(file)


@_mutation("gzip-without-name", "packing", 2)
def _gzip_bytes(state: State) -> None:
    file = state.file()
    state.files[file] = _packed(state.files[file])


def _zipped(files: dict[str, bytes], macos: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"set/{name}"), data, zipfile.ZIP_DEFLATED)
            base = name.rsplit("/", 1)[-1]
            if macos and not base.startswith("._") and f"._{base}" not in files:
                side = b"\0\x05\x16\x07" + b"\0" * 40 + b"Mac OS X"
                archive.writestr(zipfile.ZipInfo(f"__MACOSX/set/._{base}"), side)
                archive.writestr(zipfile.ZipInfo(f"set/._{base}"), side)
    return buffer.getvalue()


@_mutation("zip", "packing", 2)
def _zip(state: State) -> None:
    state.files = {"set.zip": _zipped(state.files, macos=False)}


@_mutation("zip-macos", "packing", 2)
def _zip_macos(state: State) -> None:
    state.files = {"set.zip": _zipped(state.files, macos=True)}


@_mutation("zip-cut", "packing", 2)
def _zip_cut(state: State) -> None:
    data = _zipped(state.files, macos=False)
    state.files = {"set.zip": data[: state.rng.randrange(len(data))]}


@_mutation("zip-flipped", "packing", 2)
def _zip_flip(state: State) -> None:
    state.files = {"set.zip": _flip(_zipped(state.files, macos=False), state.rng)}


@_mutation("macos-side-files", "packing", 2)
def _side_files(state: State) -> None:
    for name in list(state.files):
        folder, slash, base = name.rpartition("/")
        state.files[f"{folder}{slash}._{base}"] = b"\0\x05\x16\x07" + b"\0" * 40 + b"Mac OS X"


@_mutation("missing-file", "packing", 2)
def _missing_file(state: State) -> None:
    state.files.pop(state.file())


@_mutation("empty-file", "packing", 2)
def _empty_file(state: State) -> None:
    state.files[state.file()] = b""


def apply(state: State, names: list[str]) -> dict[str, bytes]:
    """The files with these mistakes, cells first."""
    chosen = sorted((MUTATIONS[name] for name in names), key=lambda m: m.stage)
    for mutation in chosen:
        if mutation.stage == 0:
            mutation.plant(state)
    state.files = {table.name: table.render() for table in state.tables}
    for mutation in chosen:
        if mutation.stage > 0 and state.files:
            mutation.plant(state)
    return state.files
