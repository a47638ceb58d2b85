"""The judge: slow, line by line, without the readers that it judges.

It sees the files alone and says what may come of them. A file with a *fault* must be refused.
Where there is a *doubt*, a reader may refuse or read, but if it reads, it must give these
events. Where there is neither, it must read, and give these events. What is left out or may be
merged has to be counted in a note of the log.

What is debatable is decided by what a user would want:

- A value that cannot be right is a fault: a time before 1970 or after the year 5138 (one before
  1980 or after 2100 is a doubt), a whole column of dates such as 20170913 where seconds are
  wanted, a public log whose every event lies before 1990, an amount written as 12,99 or 0x10, a
  blank id, a flag other than 0 and 1.
- Every row has as many cells as the header. Last.fm-1K alone may leave others out, counted; a
  line of blanks is one of them, with a single cell.
- Public logs are not quoted. A quote in a column that is not read changes nothing else in the
  file; no quote may join rows. In one's own tables a quoted cell may hold a line break in an
  item's text, and in a column that is not read unless a whole row may hide in it.
- An id is what stands between its outer blanks, and 7.0 is 7: two spellings of one id are one.
  Anything else that is no plain whole number where the format has numbers is a fault, or (+7,
  007, 7e0) a doubt.
- Repeated rows of public logs are kept or merged, but a note says how many there are. Lines of
  sale that repeat one in a basket may be a second piece: they are summed, or left out and noted.
- A file may be gzipped or lie in a zip archive, with or without the side files of macOS. A
  damaged archive is a fault, and so is a file without a row, also one that may be missing: a
  download that broke off behind the header would leave every item without its text.
- The last line may lack its line feed, lines may end in CR LF, and blank lines at the end mean
  nothing. Blank lines in the middle and lone carriage returns are a doubt.
- UTF-8 with a byte order mark is UTF-8. Latin-1 files of MovieLens that were saved again as
  UTF-8 are refused or read as UTF-8.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from data.mutations.writers import GENRES

Event = tuple[str, str, float, int, float | None]
"""User, item, seconds, response, money paid (None where the format has none)."""

Reading = Callable[[str], tuple[Any, bool]]
"""What a cell says, and whether that is beyond doubt; raises ``Bad`` where it says nothing."""


@dataclass(frozen=True)
class Place:
    """Where something is wrong: lines from 1 (blank ones counted or not), data row from 0."""

    file: str
    why: str
    lines: frozenset[int] = frozenset()
    row: int | None = None
    column: str | None = None


@dataclass
class Verdict:
    """What may come of the files.

    Attributes:
        faults: if any, the files must be refused.
        doubts: if any, they may be.
        events: what they hold.
        left_out: how many rows are left out; a note must hold each of these numbers.
        repeated: how many rows repeat an earlier one; a note must hold the number, whether they
            are kept or merged.
            items: prices that are right, and words that the text must hold.
        merged: the events without the repeated rows, where these are summed; ``repeated`` must
            then be noted.
        anything: whether the events cannot be told.
        own: whether these are somebody's own tables, whose columns an error names.
    """

    faults: list[Place] = field(default_factory=list)
    doubts: list[Place] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    repeated: int = 0
    items: dict[str, tuple[list[float], list[str]]] = field(default_factory=dict)
    merged: list[Event] | None = None
    anything: bool = False
    own: bool = False


@dataclass(frozen=True)
class Record:
    """A row: its cells by column, and where it stands."""

    file: str
    lines: frozenset[int]
    row: int
    cells: list[str]
    broken: frozenset[int] = frozenset()  # cells with a line break
    hiding: frozenset[int] = frozenset()  # of these, cells in which a whole row may hide


@dataclass(frozen=True)
class Shape:
    """How a file is written. ``quoting``: none, never (by the publisher) or rfc (RFC 4180)."""

    separator: str
    columns: tuple[str, ...] | None = None
    quoting: str = "never"
    latin: bool = False
    typed: bool = False  # RecBole's name:type


_UNDECODED = re.compile("[\udc80-\udcff]")
"""Bytes that are no UTF-8, as ``surrogateescape`` shows them."""


class Bad(Exception):  # noqa: N818
    """A cell that cannot be right."""


def canonical(name: str) -> str:
    """One spelling of an id."""
    name = name.strip()
    match = re.fullmatch(r"([0-9]+)\.0*", name)
    return match[1] if match else name


class Judge:
    """Reads the files of one format; ``verdict`` fills up on the way."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.verdict = Verdict()
        self.lines_of_blanks = 0  # in files without a header, where they are rows of one cell
        self._seen: Counter[tuple[str, ...]] = Counter()

    # --- files --------------------------------------------------------------------------------

    def refuse(self, file: str, why: str, record: Record | None = None,
               column: str | None = None, *, doubt: bool = False) -> None:  # fmt: skip
        """Note a fault, or a doubt."""
        place = Place(
            file.rsplit("/", 1)[-1].removesuffix(".gz"),
            why,
            record.lines if record else frozenset(),
            record.row if record else None,
            column,
        )
        (self.verdict.doubts if doubt else self.verdict.faults).append(place)

    def file(self, name: str, *, optional: bool = False) -> bytes | None:
        """The bytes of the file of this name, unpacked."""
        for path, data in self.files.items():
            base = path.rsplit("/", 1)[-1]
            if base in (name, name + ".gz"):
                return self._plain(name, base, data)
        for path, data in self.files.items():
            if path.endswith(".zip"):
                try:
                    with zipfile.ZipFile(io.BytesIO(data)) as archive:
                        for member in archive.namelist():
                            base = member.rsplit("/", 1)[-1]
                            if base in (name, name + ".gz") and not member.startswith("__MACOSX/"):
                                self._in_pieces(path, archive, member)
                                return self._plain(name, base, archive.read(member))
                        # a name that is damaged in the archive's list may be that of the file
                        if archive.testzip() is not None:
                            self.refuse(path, "zip: a damaged member", doubt=True)
                except Exception as error:
                    self.refuse(path, f"zip: {error!r}")
                    return None
        if not optional:
            self.refuse(name, "is missing")
        return None

    def _in_pieces(self, path: str, archive: zipfile.ZipFile, member: str) -> None:
        """A wrong length in the archive's list shows where a member is read piece by piece."""
        for size in (64, 1 << 10, 1 << 12, 1 << 16):  # zipfile notices at some sizes alone
            try:
                with archive.open(member) as file:
                    file.read(4)
                    while file.read(size):
                        pass
            except Exception as error:
                self.refuse(path, f"zip: {error!r}", doubt=True)
                return

    def _plain(self, name: str, base: str, data: bytes) -> bytes | None:
        if not base.endswith(".gz"):
            return data
        try:
            with gzip.open(io.BytesIO(data)) as file:
                return file.read()
        except (OSError, EOFError, zlib.error) as error:
            self.refuse(name, f"gzip: {error}")
            return None

    def text(self, name: str, data: bytes, latin: bool) -> str | None:
        """Decoded; bytes that are none of the encoding become lone surrogates."""
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self.refuse(name, "UTF-16")
            return None
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
            if not name.startswith(("events", "items")):
                self.refuse(name, "byte order mark", doubt=True)
        if latin:
            try:
                text = data.decode()
            except UnicodeDecodeError:
                return data.decode("latin-1")
            if not text.isascii():
                self.refuse(name, "saved again as UTF-8", doubt=True)
            return text
        return data.decode("utf-8", "surrogateescape")

    # --- rows ---------------------------------------------------------------------------------

    def records(self, name: str, shape: Shape, wanted: Sequence[str], maybe: Sequence[str] = (), *,
                optional: bool = False, uneven: Callable[[Record], bool] | None = None,
                ) -> list[tuple[Record, dict[str, str]]]:  # fmt: skip
        """The rows, with the cells of the wanted columns."""
        data = self.file(name, optional=optional)
        if data is None:
            return []
        if data[:2] == b"\x1f\x8b":
            self.refuse(name, "packed, without .gz in its name")
            return []
        text = self.text(name, data, shape.latin)
        if text is None:
            return []
        raw = self._split(name, text, shape)
        if shape.columns is None:
            if not raw:
                self.refuse(name, "is empty")
                return []
            places = self._header(name, raw[0].cells, wanted, maybe, shape.typed)
            width, rows = len(raw[0].cells), raw[1:]
            if places is None:
                return []
        else:
            places = {c: k for k, c in enumerate(shape.columns) if c in (*wanted, *maybe)}
            width, rows = len(shape.columns), raw
        if not rows:
            self.refuse(name, "has no rows")
        found = []
        for number, record in enumerate(rows):
            record = Record(record.file, record.lines, number, record.cells, record.broken,
                            record.hiding)  # fmt: skip
            if len(record.cells) != width:
                if uneven is None or not uneven(record):
                    self.refuse(name, f"{len(record.cells)} cells, not {width}", record)
                continue
            cells = {c: record.cells[k] for c, k in places.items()}
            for column, k in places.items():
                if k in record.broken and column not in ("text", "title", "caption", "comment"):
                    self.refuse(name, "line break in a cell", record, column)
            if record.hiding and not name.startswith("items"):
                self.refuse(name, "a row may hide in a cell", record)
            if (record.broken or "\0" in "".join(record.cells)
                    or _UNDECODED.search("".join(record.cells))):  # fmt: skip
                self.refuse(name, "odd cell", record, doubt=True)
            for column, cell in cells.items():
                if _UNDECODED.search(cell):
                    self.refuse(name, "not UTF-8", record, column)
            found.append((record, cells))
        return found

    def _header(self, name: str, heads: Sequence[str], wanted: Sequence[str],
                maybe: Sequence[str], typed: bool) -> dict[str, int] | None:  # fmt: skip
        places: dict[str, int] = {}
        plain = list(heads)
        if typed:
            for k, head in enumerate(heads):
                title, _, kind = head.rpartition(":")
                if kind not in ("token", "token_seq", "float", "float_seq"):
                    kinds = ("token", "token_seq", "float", "float_seq")
                    self.refuse(name, f"head {head!r}", doubt=kind.strip().lower() in kinds)
                plain[k] = title
        if len(set(heads)) < len(heads):
            self.refuse(name, "a column twice", doubt=True)
        for column in (*wanted, *maybe):
            exact = [k for k, h in enumerate(plain) if h == column]
            near = [k for k, h in enumerate(plain) if h.strip().strip('"').lower() == column]
            if len(exact) > 1:
                self.refuse(name, f"column {column!r} twice")
            elif exact:
                places[column] = exact[0]
            elif near:
                self.refuse(name, f"column {column!r} in other letters", doubt=True)
                places[column] = near[0]
                self.verdict.anything |= column in maybe
            elif column in wanted:
                self.refuse(name, f"no column {column!r}")
        return None if any(c not in places for c in wanted) else places

    def _split(self, name: str, text: str, shape: Shape) -> list[Record]:
        """Records with numbered lines, blank ones left out."""
        if re.search(r"\r(?!\n)", text):
            self.refuse(name, "lone carriage return", doubt=True)
        text = text.replace("\r\n", "\n")
        if shape.quoting == "rfc" and '"' in text:
            return self._rfc(name, text, shape.separator)
        records = []
        # a carriage return alone ends a line too; each convention counts lines its own way
        lines = text.replace("\r", "\n").split("\n")
        last = max((k for k, line in enumerate(lines) if line), default=-1)
        full = 0
        for number, line in enumerate(lines, 1):
            if not line or (not line.strip() and len(line.strip(" ")) == 0):
                if number - 1 < last or line:
                    self.refuse(name, "blank line", doubt=True)
                if line and shape.columns is not None and len(shape.columns) > 1:
                    self.refuse(name, "line of blanks", doubt=True)
                    self.lines_of_blanks += 1
                continue
            full += 1
            cells = line.split(shape.separator)
            if shape.quoting == "never" and '"' in line:
                record = Record(name, frozenset({number, full}), full - 2, cells)
                self.refuse(name, "a quote", record, doubt=True)
                try:
                    (cells,) = csv.reader([line], delimiter=shape.separator, strict=True)
                except (csv.Error, ValueError):
                    cells = line.split(shape.separator)
            records.append(Record(name, frozenset({number, full}), full, cells))
        return records

    def _rfc(self, name: str, text: str, separator: str) -> list[Record]:
        """RFC 4180, character by character."""
        records: list[Record] = []
        cells, cell, quoted, closed, line, first = [], "", False, False, 1, 1
        broken: set[int] = set()
        hiding: set[int] = set()
        width = 0

        def end_record() -> None:
            nonlocal cells, cell, closed, first, broken, hiding, width
            cells.append(cell)
            if len(cells) == 1 and not cell.strip(" ") and not closed:
                if cell or first <= text.rstrip("\n").count("\n"):
                    self.refuse(name, "blank line", doubt=True)
            else:
                width = width or len(cells)
                numbers = frozenset({*range(first, line + 1), len(records) + 1})
                records.append(Record(name, numbers, 0, cells, frozenset(broken),
                                      frozenset(hiding)))  # fmt: skip
            cells, cell, closed, broken, hiding = [], "", False, set(), set()
            first = line + 1

        k = 0
        while k < len(text):
            c = text[k]
            if quoted:
                if c == '"' and text[k + 1 : k + 2] == '"':
                    cell, k = cell + '"', k + 1
                elif c == '"':
                    quoted, closed = False, True
                    if "\n" in cell or "\r" in cell:
                        broken.add(len(cells))
                        parts = cell.replace("\r", "\n").split("\n")
                        if max(p.count(separator) for p in parts) >= max(width - 1, 1) or (
                                len(parts) > 2):  # fmt: skip
                            hiding.add(len(cells))
                else:
                    line += c == "\n"
                    cell += c
            elif c == separator:
                cells.append(cell)
                cell, closed = "", False
            elif c == "\n" or c == "\r":
                end_record()
                line += 1
            elif c == '"' and cell == "" and not closed:
                quoted = True
            else:
                if closed or c == '"':
                    # a reader may append what stands behind, but not after joining lines
                    swallowed = closed and len(cells) in broken
                    here = Record(name, frozenset({*range(first, line + 1), len(records) + 1}),
                                  len(records) - 1, [])  # fmt: skip
                    self.refuse(name, "text behind a quote" if closed else "a quote inside",
                                here, doubt=not swallowed)  # fmt: skip
                cell += c
            k += 1
        if quoted:
            here = Record(name, frozenset(range(first, line + 2)), len(records) - 1, [])
            self.refuse(name, "a quote is never closed", here)
        if cell or cells:
            end_record()
        return records

    # --- cells --------------------------------------------------------------------------------

    def cell(self, record: Record, cells: Mapping[str, str], column: str, read: Reading, *,
             mild: bool = False) -> object:  # fmt: skip
        """What ``read`` makes of a cell; its second value tells a doubt. None after a fault."""
        text = cells[column]
        try:
            value, sure = read(text)
        except Bad as error:
            self.refuse(record.file, f"{column}: {error}", record, column, doubt=mild)
            return None
        if not sure:
            self.refuse(record.file, f"{column}: {text[:40]!r}", record, column, doubt=True)
        return value

    def add(self, record: Record, user: object, item: object, time: object, response: int,
            value: float | None = None) -> None:  # fmt: skip
        """An event, unless one of its cells is at fault."""
        if user is None or item is None or time is None:
            self.verdict.anything = True  # only if the fault is mild
            return
        event = (canonical(str(user)), canonical(str(item)), float(str(time)), response, value)
        self.verdict.events.append(event)
        key = (*record.cells,)
        self.verdict.repeated += self._seen[key] > 0
        self._seen[key] += 1

    def stamps(self, file: str, times: Sequence[str], *, public: bool = True) -> None:
        """A whole column of times in a wrong unit."""
        if len(times) > 1 and all(re.fullmatch(r"(19|20)\d{2}[01]\d[0-3]\d", t) for t in times):
            self.refuse(file, "dates for seconds")
        found = self.verdict.events
        if public and found and max(e[2] for e in found) < 631_152_000:
            self.refuse(file, "every event lies before 1990")


_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
_AWAY = r"[+-]([01]\d|2[0-3])"  # hours from UTC
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def number(text: str) -> tuple[Decimal, bool]:
    """A finite decimal number."""
    clean = text.strip(" \t")
    if not _NUMBER.fullmatch(clean):
        raise Bad(f"{text[:40]!r} is no number")
    try:
        value = Decimal(clean)
    except InvalidOperation as error:
        raise Bad("is no number") from error
    if not value.copy_abs() < Decimal("1e300"):
        raise Bad("is not finite")
    return value, bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text))


def whole(text: str) -> tuple[int, bool]:
    """A whole number of a publisher; 007, +7, 7.0 and 7e0 are doubtful."""
    if _WHOLE.fullmatch(text) and int(text) < 2**63:
        return int(text), True
    value, _ = number(text)
    if value != value.to_integral_value() or abs(value) > Decimal(10) ** 40:
        raise Bad(f"{text[:40]!r} is no whole number")
    return int(value), False


def small(text: str) -> tuple[int, bool]:
    """A whole number of MovieLens-100K, whose ids have at most four digits."""
    value, sure = whole(text)
    return value, sure and value < 10**9


def stars(text: str) -> tuple[Decimal, bool]:
    """A rating of any scale."""
    value, sure = number(text)
    return value, sure and abs(value) < 10**9


def name_of(text: str) -> tuple[str, bool]:
    """An id of letters."""
    if not text.strip():
        raise Bad("is blank")
    plain = text == text.strip() and text.isprintable()
    odd = text.strip().lower() in ("nan", "none", "null", "inf", "-inf")
    return text, plain and not odd and not re.fullmatch(r"[0-9]+\.0*|.*[0-9][eE]\+?[0-9]+", text)


def seconds(ticks: int, *, whole_numbers: bool = True) -> Callable[[str], tuple[float, bool]]:
    """A time in ``ticks`` to the second."""

    def read(text: str) -> tuple[float, bool]:
        value, sure = whole(text) if whole_numbers else number(text)
        time = float(Decimal(value) / ticks)
        if time < 0 or time > 1e11:
            raise Bad(f"{time:g} is no time")
        return time, sure and 631_152_000 <= time < 4_102_444_800

    return read


def iso(text: str) -> tuple[float, bool]:
    """ISO 8601 of one's own; UTC where it names no zone."""
    return _iso(text, "?")


def iso_zoned(text: str) -> tuple[float, bool]:
    """ISO 8601 of a publisher, who names the zone."""
    return _iso(text, "")


def _iso(text: str, zone: str) -> tuple[float, bool]:
    clean = text.strip()
    compact = re.fullmatch(r"\d{8}", clean, re.ASCII)  # of ISO 8601, too, but seldom meant
    if not compact and not re.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?"
                        rf"( ?Z|{_AWAY}:?[0-5]\d| UTC)?)?", clean, re.ASCII):  # fmt: skip
        raise Bad(f"{text[:40]!r} is no time")
    plain = rf"\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{{1,6}})?(Z|{_AWAY}:[0-5]\d)" + zone
    sure = re.fullmatch(plain, text, re.ASCII)
    try:
        when = datetime.fromisoformat(re.sub(r" ?(UTC|Z)$", "+00:00", clean).replace(",", "."))
    except ValueError as error:
        raise Bad(str(error)) from error
    when = when.replace(tzinfo=when.tzinfo or UTC)
    time = when.timestamp()
    if time < 0:
        raise Bad("lies before 1970")
    return time, bool(sure) and 631_152_000 <= time < 4_102_444_800


def within(low: str, high: str, *, half: bool = False) -> Callable[[str], tuple[Decimal, bool]]:
    """A number in [low, high]; with ``half``, other steps than halves are doubtful."""

    def read(text: str) -> tuple[Decimal, bool]:
        value, sure = number(text)
        if not Decimal(low) <= value <= Decimal(high):
            raise Bad(f"{text[:40]!r} is not in [{low}, {high}]")
        return value, sure and (not half or value * 2 == (value * 2).to_integral_value())

    return read


def one_of(words: Mapping[str, int], *, strict: bool = True) -> Callable[[str], tuple[int, bool]]:
    """What a word means; in other letters it is doubtful with ``strict``, else the same."""

    def read(text: str) -> tuple[int, bool]:
        key = text.strip().lower()
        if key not in words:
            raise Bad(f"{text[:40]!r} is no known event")
        return words[key], not strict or text == key

    return read


def flag(text: str) -> tuple[int, bool]:
    """0 or 1."""
    value, sure = number(text)
    if value not in (0, 1):
        raise Bad(f"{text[:40]!r} is no flag")
    return int(value), sure and text in ("0", "1")


def words_of(title: str) -> list[str]:
    """What a text must hold of a title."""
    plain = re.fullmatch(r"[\w &.()精神]+(, [\w ()]+)?", title)
    return [title.strip()] if plain and title.strip() and "  " not in title else []


# --- formats ----------------------------------------------------------------------------------

_EVENT_TYPES = {
    **dict.fromkeys(["ignore", "impression", "view_impression", "shown", "exposure", "skip", "0"],
                    0),
    **dict.fromkeys(["click", "view", "detail", "pageview", "cart", "add_to_cart", "addtocart",
                     "1"], 1),
    **dict.fromkeys(["purchase", "buy", "transaction", "order", "conversion", "2"], 2),
}  # fmt: skip


def money(text: str) -> tuple[float, bool]:
    """Not negative; blank is 0."""
    if not text.strip():
        return 0.0, not text
    if text.strip().lower() in ("nan", "none", "null"):
        return 0.0, False
    value, sure = number(text)
    if value < 0:
        raise Bad(f"{text[:40]!r} is negative")
    return float(value), sure and value < 10**9 and not (value == 0 and "-" in text)


def table(files: Mapping[str, bytes]) -> Verdict:
    """Somebody's own table, with all columns named."""
    j = Judge(files)
    j.verdict.own = True
    shape = Shape(",", quoting="rfc")
    rows = j.records("events.csv", shape, ("user", "item", "time", "event", "value"))
    dated = 2 * sum(_dated(c["time"]) for _, c in rows) > len(rows)
    keys: Counter[tuple[object, ...]] = Counter()
    for record, cells in rows:
        user = j.cell(record, cells, "user", name_of)
        item = j.cell(record, cells, "item", name_of)
        time = j.cell(record, cells, "time", iso if dated else _any_second)
        response = j.cell(record, cells, "event", one_of(_EVENT_TYPES, strict=False))
        value = j.cell(record, cells, "value", money)
        j.add(record, user, item, time, int(str(response or 0)), float(str(value or 0)))
        key = (user, item, time, response)
        if keys[key] and None not in key:
            j.refuse("events.csv", "a row twice", record)
        keys[key] += 1
    j.verdict.repeated = 0
    if not dated:
        j.stamps("events.csv", [c["time"].strip() for _, c in rows], public=False)
    known: dict[str, Record] = {}
    for record, cells in j.records("items.csv", shape, ("item", "text", "category", "price")):
        item = j.cell(record, cells, "item", name_of)
        price = j.cell(record, cells, "price", money)
        if item is None:
            continue
        item = canonical(str(item))
        if item in known:
            j.refuse("items.csv", f"item {item} twice", record)
        known[item] = record
        if price is not None:
            j.verdict.items[item] = ([float(str(price))], words_of(cells["text"]))
    for record, cells in rows:
        if canonical(cells["item"]) not in known:
            j.refuse("events.csv", "item is not in the item table", record, "item")
    if rows and not any(e[3] for e in j.verdict.events):
        j.refuse("events.csv", "no click")
    return j.verdict


def _any_second(text: str) -> tuple[float, bool]:
    value, sure = number(text)
    if value < 0 or value > 10**11:
        raise Bad(f"{text[:40]!r} is no time")
    return float(value), sure and 315_532_800 <= value < 4_102_444_800


def _dated(text: str) -> bool:
    return bool(re.search(r"\d{4}-\d\d|/", text))


def _rated(j: Judge, name: str, shape: Shape, columns: Sequence[str],
           rating: Callable[[str], tuple[Decimal, bool]]) -> list[tuple[Record, str]]:  # fmt: skip
    """Ratings: user, item, rating, time. The items, with where they stand."""
    user, item, score, time = columns
    key = small if "100k" in name or name == "u.data" else whole
    rows = j.records(name, shape, columns)
    found = []
    for record, cells in rows:
        who = j.cell(record, cells, user, key)
        what = j.cell(record, cells, item, key)
        given = j.cell(record, cells, score, rating)
        when = j.cell(record, cells, time, seconds(1))
        j.add(record, who, what, when, 2 if given is not None and Decimal(str(given)) >= 4 else 1)
        if what is not None:
            found.append((record, str(what)))
    j.stamps(name, [c[time] for _, c in rows])
    return found


def _films(j: Judge, name: str, shape: Shape, wanted: Sequence[str],
           rated: list[tuple[Record, str]], flags: Sequence[str] = ()) -> None:  # fmt: skip
    known: dict[str, list[str]] = {}
    first: dict[str, list[str]] = {}
    item, title = wanted[:2]
    taken = {i for _, i in rated}
    for record, cells in j.records(name, shape, wanted):
        number_ = j.cell(record, cells, item, small if "100k" in name or flags else whole)
        told = words_of(re.sub(r"\s*\(1995\)$", "", cells[title]))
        if not cells[title].strip():
            j.refuse(name, "a film without a title", record, title, doubt=True)
        for column in flags:
            j.cell(record, cells, column, flag)
        if number_ is None:
            continue
        key = str(number_)
        if key in known:
            j.refuse(name, f"film {key} twice", record, doubt=True)
            if key in taken and first[key] != told:
                j.verdict.left_out.append(1)
            told = []
        known[key] = told
        first.setdefault(key, told)
    for record, key in rated:
        if key not in known:
            j.refuse(record.file, f"film {key} is not in {name}")
    j.verdict.items = {key: ([0.0], told) for key, told in known.items() if key in taken}


def ml_100k(files: Mapping[str, bytes]) -> Verdict:
    """u.data and u.item."""
    j = Judge(files)
    columns = ("user", "item", "rating", "time")
    rated = _rated(j, "u.data", Shape("\t", columns, "none"), columns, within("1", "5", half=True))
    names = ("item", "title", "date", "video date", "url", *GENRES)
    _films(j, "u.item", Shape("|", names, "none", latin=True), ("item", "title", *GENRES), rated,
           GENRES)  # fmt: skip
    return j.verdict


def ml_100k_atomic(files: Mapping[str, bytes]) -> Verdict:
    """RecBole's copy of it."""
    j = Judge(files)
    shape = Shape("\t", None, "none", typed=True)
    rated = _rated(j, "ml-100k.inter", shape, ("user_id", "item_id", "rating", "timestamp"),
                   within("1", "5", half=True))  # fmt: skip
    _films(j, "ml-100k.item", shape, ("item_id", "movie_title", "release_year", "class"), rated)
    return j.verdict


def ml_1m(files: Mapping[str, bytes]) -> Verdict:
    """ratings.dat and movies.dat."""
    j = Judge(files)
    columns = ("userId", "movieId", "rating", "timestamp")
    rated = _rated(j, "ratings.dat", Shape("::", columns, "none"), columns,
                   within("0.5", "5", half=True))  # fmt: skip
    names = ("movieId", "title", "genres")
    _films(j, "movies.dat", Shape("::", names, "none", latin=True), names, rated)
    return j.verdict


def ml_25m(files: Mapping[str, bytes]) -> Verdict:
    """ratings.csv and movies.csv."""
    j = Judge(files)
    rated = _rated(j, "ratings.csv", Shape(","), ("userId", "movieId", "rating", "timestamp"),
                   within("0.5", "5", half=True))  # fmt: skip
    _films(j, "movies.csv", Shape(",", quoting="rfc"), ("movieId", "title", "genres"), rated)
    return j.verdict


def recbole(files: Mapping[str, bytes]) -> Verdict:
    """shop.inter and shop.item."""
    j = Judge(files)
    shape = Shape("\t", None, "none", typed=True)
    rows = j.records("shop.inter", shape, ("user_id", "item_id"), ("rating", "timestamp"))
    taken = set()
    for record, cells in rows:
        user = j.cell(record, cells, "user_id", name_of)
        item = j.cell(record, cells, "item_id", name_of)
        score, time = Decimal(0), 0.0
        if "rating" in cells:
            score = j.cell(record, cells, "rating", stars)
        if "timestamp" in cells:
            time = j.cell(record, cells, "timestamp", seconds(1, whole_numbers=False))
        j.add(record, user, item, time, 2 if Decimal(str(score or 0)) >= 4 else 1)
        taken.add(canonical(str(item)))
    j.stamps("shop.inter", [c.get("timestamp", "") for _, c in rows], public=False)
    _details(j, "shop.item", shape, ("item_id",), ("title", "class", "price"), taken,
             name_of, "title", "price")  # fmt: skip
    return j.verdict


def _details(j: Judge, name: str, shape: Shape, wanted: Sequence[str], maybe: Sequence[str],
             taken: set[str], key: Reading, text: str,
             price: str | None = None) -> None:  # fmt: skip
    """What a file tells of items; it may lack some."""
    known: set[str] = set()
    for record, cells in j.records(name, shape, wanted, maybe, optional=True):
        item = j.cell(record, cells, wanted[0], key)
        if item is None:
            continue
        item = canonical(str(item))
        mine = item in taken
        paid = 0.0
        if price is not None and price in cells:
            paid = j.cell(record, cells, price, money, mild=not mine)
        told = words_of(cells.get(text, ""))
        if item in known:
            j.refuse(name, f"item {item} twice", record, doubt=True)
            before = j.verdict.items.get(item)
            if mine and before != ([paid], told):
                j.verdict.left_out.append(1)
            j.verdict.items.pop(item, None)
        elif mine and paid is not None:
            j.verdict.items[item] = ([float(str(paid))], told)
        known.add(item)


def retailrocket(files: Mapping[str, bytes]) -> Verdict:
    """events.csv; the latest categoryid of an item."""
    j = Judge(files)
    words = {"view": 1, "addtocart": 1, "transaction": 2}
    rows = j.records("events.csv", Shape(","), ("timestamp", "visitorid", "event", "itemid"))
    taken = set()
    for record, cells in rows:
        user = j.cell(record, cells, "visitorid", whole)
        item = j.cell(record, cells, "itemid", whole)
        time = j.cell(record, cells, "timestamp", seconds(1000))
        response = j.cell(record, cells, "event", one_of(words))
        j.add(record, user, item, time, int(str(response or 0)))
        taken.add(str(item))
    j.stamps("events.csv", [c["timestamp"] for _, c in rows])
    latest: dict[str, tuple[int, int | None]] = {}
    name = "item_properties_part1.csv"
    columns = ("timestamp", "itemid", "property", "value")
    for record, cells in j.records(name, Shape(","), columns, optional=True):
        told = cells["property"].strip() == "categoryid"
        item = j.cell(record, cells, "itemid", whole, mild=not told)
        mine = told and str(item) in taken
        time = j.cell(record, cells, "timestamp", seconds(1000), mild=not mine)
        if not told:
            continue
        value = j.cell(record, cells, "value", whole, mild=not mine)
        if mine and time is not None:
            stamp = int(float(str(time)) * 1000)
            before = latest.get(str(item), (-1, None))
            if stamp == before[0] and value != before[1]:
                latest[str(item)] = (stamp, None)
            elif stamp > before[0]:
                latest[str(item)] = (stamp, None if value is None else int(str(value)))
    parents: dict[int, int | None] = {}
    free: set[int] = set()
    for record, cells in j.records("category_tree.csv", Shape(","), ("categoryid", "parentid"),
                                   optional=True):  # fmt: skip
        child = j.cell(record, cells, "categoryid", whole)
        parent = None
        if cells["parentid"]:
            parent = j.cell(record, cells, "parentid", whole)
        if child is None:
            continue
        child = int(str(child))
        if child in parents and parents[child] != parent:
            j.refuse("category_tree.csv", f"category {child} twice", record, doubt=True)
            free.add(child)
        parents[child] = None if parent is None else int(str(parent))
    for item, (_, category) in latest.items():
        if category is None:
            continue
        path = [category]
        while (up := parents.get(path[-1])) is not None and up not in path:
            path.append(up)
        if not free & set(path):
            j.verdict.items[item] = ([0.0], [" > ".join(str(c) for c in reversed(path))])
    return j.verdict


def taobao(files: Mapping[str, bytes]) -> Verdict:
    """UserBehavior.csv; rows outside the nine days are left out and counted."""
    j = Judge(files)
    columns = ("user", "item", "category", "behaviour", "time")
    outside = 0
    words = {"pv": 1, "cart": 1, "fav": 1, "buy": 2}
    labels: dict[str, set[str]] = {}

    def second(text: str) -> tuple[int, bool]:
        value, sure = (int(text), True) if re.fullmatch(r"-?[1-9]\d{0,17}", text) else whole(text)
        return value, sure and len(text) < 12

    for record, cells in j.records("UserBehavior.csv", Shape(",", columns), columns):
        time = j.cell(record, cells, "time", second)
        out = time is not None and not 1_511_539_200 <= int(str(time)) < 1_512_316_800
        user = j.cell(record, cells, "user", whole, mild=out)
        item = j.cell(record, cells, "item", whole, mild=out)
        label = j.cell(record, cells, "category", whole, mild=out)
        response = j.cell(record, cells, "behaviour", one_of(words), mild=out)
        if out:
            outside += 1
            continue
        j.add(record, user, item, time, int(str(response or 0)))
        labels.setdefault(str(item), set()).add(str(label))
    if outside:
        j.verdict.left_out.append(outside)
        if not j.verdict.events:
            j.refuse("UserBehavior.csv", "no row lies in the nine days")
    for item, told in labels.items():
        j.verdict.items[item] = ([0.0], [f"Category {t}" for t in told] if len(told) == 1 else [])
    return j.verdict


def kuairand(files: Mapping[str, bytes]) -> Verdict:
    """The standard log."""
    j = Judge(files)
    name = "log_standard_4_08_to_4_21_pure.csv"
    rows = j.records(name, Shape(","), ("user_id", "video_id", "time_ms", "is_click", "long_view"))
    taken = set()
    for record, cells in rows:
        user = j.cell(record, cells, "user_id", whole)
        item = j.cell(record, cells, "video_id", whole)
        time = j.cell(record, cells, "time_ms", seconds(1000))
        click = j.cell(record, cells, "is_click", flag)
        long = j.cell(record, cells, "long_view", flag)
        j.add(record, user, item, time, (1 + (long or 0)) if click else 0)  # pyright: ignore
        taken.add(str(item))
    j.stamps(name, [c["time_ms"] for _, c in rows])
    _tags(j, "video_features_basic_pure.csv", "tag", taken)
    if j.verdict.events and not any(e[3] for e in j.verdict.events):
        j.refuse(name, "no click")
    return j.verdict


def _tags(j: Judge, name: str, column: str, taken: set[str]) -> None:
    known: set[str] = set()
    for record, cells in j.records(name, Shape(",", quoting="rfc"), ("video_id", column),
                                   optional=True):  # fmt: skip
        item = j.cell(record, cells, "video_id", whole)
        if item is None:
            continue
        item = str(item)
        if item in known:
            j.refuse(name, f"video {item} twice", record, doubt=True)
            j.verdict.items.pop(item, None)
        elif item in taken:
            plain = re.fullmatch(r"\[?[0-9]+(, ?[0-9]+)*\]?", cells[column])
            tags = ", ".join(re.findall(r"[0-9]+", cells[column]))
            if not plain:
                j.refuse(name, "odd tags", record, column, doubt=True)
            j.verdict.items[item] = ([0.0], [f"Tags {tags}"] if plain else [])
        known.add(item)


def kuairec(files: Mapping[str, bytes]) -> Verdict:
    """The big matrix; rows without a time are counted, low ratios left out as documented."""
    j = Judge(files)
    name, untimed = "big_matrix.csv", 0
    rows = j.records(name, Shape(","), ("user_id", "video_id", "timestamp", "watch_ratio"))
    taken = set()
    for record, cells in rows:
        blank = cells["timestamp"].strip().lower() in ("", "nan", "none", "null")
        if blank and cells["timestamp"]:
            j.refuse(name, "a blank time", record, "timestamp", doubt=True)
        user = j.cell(record, cells, "user_id", whole)
        item = j.cell(record, cells, "video_id", whole)
        ratio = j.cell(record, cells, "watch_ratio", within("0", "1e9"))
        untimed += blank
        if blank:
            continue
        time = j.cell(record, cells, "timestamp", seconds(1, whole_numbers=False))
        if ratio is None or Decimal(str(ratio)) < Decimal("0.5"):
            continue
        j.add(record, user, item, time, 2 if Decimal(str(ratio)) >= 2 else 1)
        taken.add(str(item))
    if untimed:
        j.verdict.left_out.append(untimed)
    if not j.verdict.events:
        j.refuse(name, "no event")
    j.stamps(name, [c["timestamp"] for _, c in rows])
    _tags(j, "item_categories.csv", "feat", taken)
    faults = len(j.verdict.faults)
    columns = ("video_id", "manual_cover_text", "caption", "first_level_category_name",
               "second_level_category_name")  # fmt: skip
    captions = j.records("kuairec_caption_category.csv", Shape(",", quoting="rfc"), columns,
                         optional=True)  # fmt: skip
    # the publisher's own file has broken rows: whoever reads on passes over them; a file that is
    # cut off or whose header lacks a column is none of the publisher's
    found = j.verdict.faults[faults:]
    j.verdict.doubts += [p for p in found if p.lines]
    j.verdict.faults[faults:] = [p for p in found if not p.lines]
    titled: set[str] = set()
    for _, cells in captions:
        item = cells["video_id"].strip()
        words = words_of(cells.get("caption", ""))
        j.verdict.items[item] = ([0.0], [])
        if item in taken and item not in titled and words and not j.verdict.doubts:
            told = [w for w in words if w.upper() not in ("UNKNOWN", "NAN")]
            j.verdict.items[item] = ([0.0], told)
        titled.add(item)
    if j.verdict.doubts:
        j.verdict.items.clear()
    return j.verdict


def amazon_reviews(files: Mapping[str, bytes]) -> Verdict:
    """Reviews and products as JSON lines."""
    j = Judge(files)
    name = "All_Beauty.jsonl"
    taken = set()
    for record, said in _objects(j, name, {"user_id", "parent_asin", "rating", "timestamp",
                                           "verified_purchase"}):  # fmt: skip
        user, item = (_named(j, record, said, k) for k in ("user_id", "parent_asin"))
        cells = {k: _plain(said.get(k)) for k in ("timestamp", "rating")}
        time = j.cell(record, cells, "timestamp", seconds(1000))
        for k in cells:
            if isinstance(said.get(k), str | bool):
                j.refuse(name, f"{k} is no number", record, k, doubt=True)
        j.cell(record, cells, "rating", within("0", "5"), mild="rating" not in said)
        bought = said.get("verified_purchase")
        if not isinstance(bought, bool):
            j.refuse(name, "verified_purchase is not told", record, doubt=bought is None)
            if bought is None:
                j.verdict.left_out.append(1)
        j.add(record, user, item, time, 2 if bought is True else 1)
        taken.add(canonical(str(item)))
    if len(j.verdict.left_out) > 1:
        j.verdict.left_out[:] = [len(j.verdict.left_out)]
    if not j.verdict.events:
        j.refuse(name, "no event")
    j.stamps(name, [])
    known = set()
    meta = "meta_All_Beauty.jsonl"
    keys = {"parent_asin", "title", "price", "categories", "main_category"}
    for record, said in _objects(j, meta, keys, optional=True):
        item = _named(j, record, said, "parent_asin")
        if item is None or canonical(item) not in taken:
            continue
        item = canonical(item)
        title, categories = said.get("title"), said.get("categories")
        if not (categories is None or isinstance(categories, list)):
            j.refuse(meta, "categories is no list", record, doubt=True)
        if item in known:
            j.refuse(meta, f"{item} twice", record, doubt=True)
            if j.verdict.items.pop(item, None) != (_prices(said.get("price")),
                                                   words_of(str(title))):  # fmt: skip
                j.verdict.left_out.append(1)
        else:
            words = words_of(title) if isinstance(title, str) else []
            j.verdict.items[item] = (_prices(said.get("price")), words)
            if isinstance(categories, str):  # one word, not its letters
                j.verdict.items[item][1].extend(words_of(categories))
            price = said.get("price")
            if not (price is None or isinstance(price, int | float)) or isinstance(price, bool):
                j.refuse(meta, "price is no number", record, doubt=True)
            elif price is not None and not 0 <= price < 1e9:
                j.refuse(meta, "price is out of range", record, doubt=True)
        known.add(item)
    return j.verdict


def _prices(price: object) -> list[float]:
    """Prices that a user would accept for what the file says; unknown is 0."""
    text = str(price).replace("$", "").strip()
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", text):
        return [0.0, float(text.replace(",", ""))]
    if re.fullmatch(r"[0-9]+,[0-9]{1,2}", text):
        return [0.0, float(text.replace(",", "."))]
    try:
        value = float(number(text)[0])
    except Bad:
        return [0.0]
    if isinstance(price, str):
        return [0.0, value] if 0 <= value < 1e9 else [0.0]
    return [value] if 0 <= value < 1e9 else [0.0]


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _named(j: Judge, record: Record, said: Mapping[str, object], key: str) -> str | None:
    value = said.get(key)
    if value is not None and not isinstance(value, str):
        j.refuse(record.file, f"{key} is no text", record, key, doubt=True)
    result = j.cell(record, {key: _plain(value)}, key, name_of)
    return None if result is None else str(result)


def _objects(j: Judge, name: str, keys: set[str], *, optional: bool = False
             ) -> list[tuple[Record, dict[str, object]]]:  # fmt: skip
    data = j.file(name, optional=optional)
    if data is None:
        return []
    if data[:2] == b"\x1f\x8b":
        j.refuse(name, "packed, without .gz in its name")
        return []
    text = j.text(name, data, latin=False)
    if text is None:
        return []
    found, blank = [], []
    for line, row in enumerate(text.split("\n"), 1):
        record = Record(name, frozenset({line, line - len(blank)}), len(found), [row])
        if not row.strip():
            blank.append(record)
            continue
        if blank:
            j.refuse(name, "blank line", blank[0], doubt=True)
        twice: set[str] = set()

        def once(pairs: list[tuple[str, object]], twice: set[str] = twice) -> dict[str, object]:
            for key, count in Counter(k for k, _ in pairs).items():
                if count > 1:
                    twice.add(key)
            return dict(pairs)

        odd: list[str] = []

        def constant(word: str, odd: list[str] = odd) -> str:
            odd.append(word)  # NaN and Infinity are no JSON
            return word

        try:
            parts = _several(row, once, constant)
        except (ValueError, RecursionError):
            j.refuse(name, "no JSON", record)
            continue
        if odd or len(parts) > 1:
            j.refuse(name, "no plain JSON line", record, doubt=True)
        for number_, said in enumerate(parts):
            lines = frozenset({*record.lines, line + number_})  # as if each had its own
            part = Record(name, lines, record.row, [json.dumps(said, ensure_ascii=False)])
            _object(j, part, said, keys, twice, found)
    if not found:
        j.refuse(name, "is empty")
    return found


def _several(row: str, once: Callable[[list[tuple[str, object]]], dict[str, object]],
             constant: Callable[[str], str]) -> list[object]:  # fmt: skip
    """The values of a line; some readers take several."""
    decoder = json.JSONDecoder(object_pairs_hook=once, parse_constant=constant)
    parts, at = [], 0
    while at < len(row):
        if row[at] in " \t\r":
            at += 1
            continue
        value, at = decoder.raw_decode(row, at)
        parts.append(value)
    return parts


def _object(j: Judge, record: Record, said: object, keys: set[str], twice: set[str],
            found: list[tuple[Record, dict[str, object]]]) -> None:  # fmt: skip
    name, row = record.file, record.cells[0]
    if not isinstance(said, dict):
        j.refuse(name, "no object", record)
        return
    if twice & keys:
        j.refuse(name, f"{twice} twice", record)
    elif twice:
        j.refuse(name, f"{twice} twice", record, doubt=True)
    for key in list(said):
        plain = key.strip().lower()
        if key not in keys and plain in keys:
            j.refuse(name, f"key {key!r} in other letters", record, doubt=True)
            if name.startswith("meta_"):  # if it is read, then not as if the key were not there
                said.setdefault(plain, said[key])
    if _UNDECODED.search(row):  # also in a key, or in a value that is not read
        j.refuse(name, "odd characters", record, doubt=True)
    if any(_UNDECODED.search(str(said.get(k, ""))) for k in keys):
        j.refuse(name, "not UTF-8", record)
    found.append((record, said))


def amazon_ratings(files: Mapping[str, bytes]) -> Verdict:
    """Books.csv."""
    j = Judge(files)
    rows = j.records("Books.csv", Shape(","), ("user_id", "parent_asin", "rating", "timestamp"))
    for record, cells in rows:
        user = j.cell(record, cells, "user_id", name_of)
        item = j.cell(record, cells, "parent_asin", name_of)
        given = j.cell(record, cells, "rating", within("0", "5"))
        time = j.cell(record, cells, "timestamp", seconds(1000))
        liked = given is not None and Decimal(str(given)) >= 4
        j.add(record, user, item, time, 2 if liked else 1)
    j.stamps("Books.csv", [c["timestamp"] for _, c in rows])
    return j.verdict


def mind(files: Mapping[str, bytes]) -> Verdict:
    """Impressions and articles."""
    j = Judge(files)
    columns = ("impression", "user", "time", "history", "impressions")
    shown: list[tuple[Record, str]] = []
    wanted = ("user", "time", "impressions")  # the others are not read
    for record, cells in j.records("behaviors.tsv", Shape("\t", columns, "none"), wanted):
        user = j.cell(record, cells, "user", name_of)
        time = j.cell(record, cells, "time", _us_time)
        marks = cells["impressions"].split()
        if not marks:
            j.refuse("behaviors.tsv", "no article", record, "impressions")
        if cells["impressions"] != " ".join(marks):
            j.refuse("behaviors.tsv", "odd blanks", record, "impressions", doubt=True)
        repeated = j.verdict.repeated
        for mark in marks:
            match = re.fullmatch(r"(.+)-([01])", mark)
            if not match:
                j.refuse("behaviors.tsv", f"no label in {mark[:40]!r}", record, "impressions")
                continue
            if not mark.isascii() or not mark.isprintable():
                j.refuse("behaviors.tsv", "odd article", record, "impressions", doubt=True)
            j.add(record, user, match[1], time, int(match[2]))
            shown.append((record, match[1]))
        # a repeated row repeats each of its articles
        whole_row = j.verdict.repeated - repeated >= len(marks)
        j.verdict.repeated = repeated + (len(marks) if whole_row else 0)
    names = ("id", "category", "subcategory", "title", "abstract", "url", "e1", "e2")
    known: set[str] = set()
    for record, cells in j.records("news.tsv", Shape("\t", names, "none"), names[:5]):
        item = j.cell(record, cells, "id", name_of)
        if item is None:
            continue
        item = str(item).strip()
        title = re.sub(r'^The "(.+)" \d+$', r"\1", cells["title"])
        if item in known:
            j.refuse("news.tsv", f"{item} twice", record, doubt=True)
            before = j.verdict.items.pop(item, None)
            if before != ([0.0], words_of(title)) and item in {i for _, i in shown}:
                j.verdict.left_out.append(1)
        elif item in {i for _, i in shown}:
            j.verdict.items[item] = ([0.0], words_of(title))
        known.add(item)
    for _, item in shown:
        if item not in known:
            j.refuse("news.tsv", f"{item} is not there")
    if j.verdict.events and not any(e[3] for e in j.verdict.events):
        j.refuse("behaviors.tsv", "no click")
    return j.verdict


def _us_time(text: str) -> tuple[float, bool]:
    if not re.fullmatch(r"\s*\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d [AP]M\s*", text, re.ASCII):
        raise Bad(f"{text[:40]!r} is no time")
    try:
        when = datetime.strptime(text.strip(), "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC)
    except ValueError as error:
        raise Bad(str(error)) from error
    if when.timestamp() < 0:
        raise Bad("lies before 1970")
    return when.timestamp(), text == text.strip() and 2000 <= when.year < 2100


def lastfm_1k(files: Mapping[str, bytes]) -> Verdict:
    """Listens; uneven and nameless rows are left out and counted."""
    j = Judge(files)
    name = "userid-timestamp-artid-artname-traid-traname.tsv"
    columns = ("user", "time", "artid", "artist", "traid", "track")
    uneven = nameless = 0

    def count(record: Record) -> bool:
        nonlocal uneven
        uneven += 1
        j.refuse(name, "uneven row", record, doubt=True)
        return True

    rows = j.records(name, Shape("\t", columns, "none"), columns, uneven=count)
    uneven += j.lines_of_blanks
    for record, cells in rows:
        blank = not cells["artist"].strip()
        if blank and cells["artist"]:
            j.refuse(name, "a name of blanks", record, "artist", doubt=True)
        user = j.cell(record, cells, "user", name_of)
        time = j.cell(record, cells, "time", iso_zoned)
        nameless += blank
        if not blank:
            artist = j.cell(record, cells, "artist", name_of)
            j.add(record, user, artist, time, 1)
    j.verdict.left_out += [n for n in (uneven, nameless) if n]
    if not j.verdict.events:
        j.refuse(name, "no event")
    return j.verdict


def hetrec(files: Mapping[str, bytes]) -> Verdict:
    """Artists of users, all at time 0."""
    j = Judge(files)
    taken = set()
    shape = Shape("\t", None, "none")
    for record, cells in j.records("user_artists.dat", shape, ("userID", "artistID")):  # fmt: skip
        user = j.cell(record, cells, "userID", whole)
        item = j.cell(record, cells, "artistID", whole)
        j.add(record, user, item, 0.0, 1)
        taken.add(str(item))
    _details(j, "artists.dat", shape, ("id", "name"), (), taken, whole, "name")
    return j.verdict


def open_bandit(files: Mapping[str, bytes]) -> Verdict:
    """Impressions and their items."""
    j = Judge(files)
    features = [f"user_feature_{k}" for k in range(4)]
    items = []
    columns = ("item_id", *(f"item_feature_{k}" for k in range(4)))
    for record, cells in j.records("item_context.csv", Shape(","), columns):
        items.append(j.cell(record, cells, "item_id", whole))
        j.cell(record, cells, "item_feature_0", number)
        for k in (1, 2, 3):
            j.cell(record, cells, f"item_feature_{k}", name_of)
    found = {int(str(i)) for i in items if i is not None}
    if sorted(int(str(i)) for i in items if i is not None) != list(range(len(items))):
        j.refuse("item_context.csv", "items are not 0 to n - 1, once each")
    wanted = ("timestamp", "item_id", "position", "click", "propensity_score", *features)
    for record, cells in j.records("all.csv", Shape(","), wanted):
        users = [j.cell(record, cells, f, name_of) for f in features]
        time = j.cell(record, cells, "timestamp", iso_zoned)
        item = j.cell(record, cells, "item_id", whole)
        if item is not None and int(str(item)) not in found:
            j.refuse("all.csv", "an unknown item", record, "item_id")
        position = j.cell(record, cells, "position", whole)
        if position is not None and int(str(position)) not in (1, 2, 3):
            j.refuse("all.csv", "no position", record, "position")
        click = j.cell(record, cells, "click", flag)
        chance = j.cell(record, cells, "propensity_score", within("0", "1"))
        if chance is not None and Decimal(str(chance)) <= 0:
            j.refuse("all.csv", "no chance", record, "propensity_score")
        user = None if None in users else "-".join(str(u).strip() for u in users)
        j.add(record, user, item, time, int(str(click or 0)))
    if j.verdict.events and not any(e[3] for e in j.verdict.events):
        j.refuse("all.csv", "no click")
    return j.verdict


JUDGES: dict[str, Callable[[Mapping[str, bytes]], Verdict]] = {
    "table-csv": table,
    "movielens-100k": ml_100k,
    "movielens-100k-atomic": ml_100k_atomic,
    "movielens-1m": ml_1m,
    "movielens-25m": ml_25m,
    "recbole": recbole,
    "retailrocket": retailrocket,
    "taobao": taobao,
    "kuairand": kuairand,
    "kuairec": kuairec,
    "amazon-reviews": amazon_reviews,
    "amazon-ratings": amazon_ratings,
    "mind": mind,
    "lastfm-1k": lastfm_1k,
    "lastfm-hetrec": hetrec,
    "open-bandit": open_bandit,
}
