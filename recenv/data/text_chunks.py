"""Large text files chunk by chunk: delimited text and JSON lines; plain, gzipped or in a zip.

Every reader of a public log takes this one path. Bytes come from a ``Source``, become UTF-8
with a separator of one byte, go through Arrow's C++ parsers, and leave as ``Chunk``s of typed
columns. No more than a few blocks are in memory at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from recenv.data.cells import shown
from recenv.data.files import UNIT, Source, Stream, text_of
from recenv.data.text import CsvRows
from recenv.data.times import EARLIEST, LATEST, TimeUnit, seconds_of, wrong_times
from recenv.errors import SchemaError
from recenv.progress import Progress

BLOCK_BYTES = 1 << 24
"""Bytes parsed at a time; more where a line is longer."""

LONGEST = 1 << 28
"""Bytes that a line may have."""

Ids = npt.NDArray[np.int64] | pa.StringArray
"""(n,) names of users or items: whole numbers, or text."""

_REMEDY = "The file is damaged or of another format: get it afresh, or mend the row."
_SEAM = re.compile(rb"\}[ \t\r]*\{")
"""Where one JSON object may end and another begin."""
_HEX = re.compile(r"\s*0[xX][0-9a-fA-F]+\s*")


def trimmed(texts: pa.Array) -> pa.StringArray:
    """(n,) texts without outer blanks (of Unicode: also tabs and no-break spaces)."""
    return pc.utf8_trim_whitespace(texts)  # pyright: ignore[reportAttributeAccessIssue]


def is_blank(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """(n,) whether a text holds nothing but blanks."""
    return np.asarray(pc.equal(trimmed(texts), ""))  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class Layout:
    """How a delimited text file is written.

    Attributes:
        separator: of columns; one character, or several such as "::".
        columns: names of all columns of a file without a header; None reads the first line.
        quoted: whether a cell may stand in double quotes (RFC 4180); it holds no line breaks.
            Only where the publisher quotes: elsewhere a stray quote would swallow what follows.
        encoding: "utf-8" or any other that Python knows and that has one byte per character.
        skip_uneven: whether rows with another number of columns are left out and counted,
            not refused.
    """

    separator: str = ","
    columns: tuple[str, ...] | None = None
    quoted: bool = False
    encoding: str = "utf-8"
    skip_uneven: bool = False


COMMAS = Layout()
"""A header and commas, without quoting."""


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows of a file.

    Attributes:
        source: where they stand.
        first: line of the first row in the file, counted from 1, blank lines not counted.
        columns: the wanted columns, each of the wanted type.
        uneven: lines left out in the file so far, ascending; ``first`` does not count them.
    """

    source: Source
    first: int
    columns: Mapping[str, pa.Array]
    uneven: Sequence[int] = ()

    @property
    def skipped(self) -> int:
        """Number of uneven rows left out in the file so far."""
        return len(self.uneven)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def line(self, row: int) -> int:
        """The line of a row of this chunk, counted like ``first`` but with uneven lines."""
        line = self.first + row
        for left_out in self.uneven:
            line += left_out <= line
        return line

    def refuse(
        self, bad: npt.NDArray[np.bool_], name: str, wrong: str, remedy: str = _REMEDY
    ) -> None:
        """Raise SchemaError at the first row where ``bad`` (n,) holds."""
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"{self.source}, line {self.line(row)}, column {name!r}: "
                f"{shown(self.columns[name][row])} {wrong}. {remedy}"
            )

    def _filled(self, name: str, wanted: str) -> pa.Array:
        column = self.columns[name]
        if column.null_count:
            self.refuse(np.asarray(column.is_null()), name, f"(a blank cell) is not {wanted}")
        return column

    def ids(self, name: str) -> Ids:
        """(n,) names of a column of whole numbers or of text, as they stand.

        Raises:
            SchemaError: a cell is blank, or holds nothing but blanks.
        """
        column = self._filled(name, "an id")
        if pa.types.is_integer(column.type):
            return column.to_numpy(zero_copy_only=False)
        self.refuse(is_blank(column), name, "is not an id")
        return column

    def numbers(
        self, name: str, low: float, high: float, wanted: str, *, blank: float | None = None
    ) -> npt.NDArray[np.float64]:
        """(n,) numbers in [low, high].

        Args:
            name: column.
            low, high: what is allowed.
            wanted: the same in words, for the error.
            blank: what a blank cell stands for; None refuses it.

        Raises:
            SchemaError: a cell is out of range, or blank.
        """
        column = self.columns[name] if blank is not None else self._filled(name, wanted)
        number = column.fill_null(blank) if blank is not None else column
        values = np.asarray(number.to_numpy(zero_copy_only=False), dtype=np.float64)
        self.refuse(~((values >= low) & (values <= high)), name, f"is not {wanted}")
        return values

    def seconds(
        self, name: str, unit: TimeUnit = "s", *, blank: bool = False
    ) -> npt.NDArray[np.float64]:
        """(n,) seconds since 1970 of a column in the unit that its publisher states.

        Args:
            name: column.
            unit: of the numbers in it.
            blank: whether a cell may be blank; its time is NaN then.

        Raises:
            SchemaError: a cell is blank, or no time between 1980 and 2100: it is damaged, or in
                another unit.
        """
        column = self.columns[name] if blank else self._filled(name, "a time")
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us")).cast(pa.int64())
            unit = "us"
        number = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        seconds = seconds_of(number, unit)
        bad = ~((seconds >= EARLIEST) & (seconds <= LATEST))
        bad &= ~np.asarray(column.is_null())
        if bad.any():
            found = wrong_times(number[bad], unit, "")
            wrong = found.wrong if found else f"is no time in {unit} from 1980 on"
            self.refuse(bad, name, wrong, found.remedy if found else _REMEDY)
        return seconds

    def words(self, name: str, meaning: Mapping[str, int]) -> npt.NDArray[np.int8]:
        """(n,) what each cell of a text column means.

        Raises:
            SchemaError: a cell holds another word.
        """
        code, known = self.distinct(name)
        told = np.array([meaning.get(word, -1) for word in known] or [0], dtype=np.int8)[code]
        self.refuse(told < 0, name, f"is not one of {', '.join(map(repr, meaning))}")
        return told

    def distinct(self, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
        """(n,) code of each cell of a text column, and the texts."""
        encoded = self._filled(name, "text").dictionary_encode()
        code = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return code, encoded.dictionary.to_pylist()


def read_delimited(
    sources: Sequence[Source],
    layout: Layout,
    types: Mapping[str, pa.DataType],
    *,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = False,
) -> Iterator[Chunk]:
    """The wanted columns of delimited text files, chunk by chunk.

    Args:
        sources: files of one layout, read one after the other.
        layout: how they are written.
        types: wanted column to Arrow type; blank cells of other types than text become null.
        block_bytes: bytes parsed at a time.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        SchemaError: a file is damaged, has no rows, lacks a column, or a cell is not of the
            type; the message names file, line and column.
    """
    convert = pa_csv.ConvertOptions(
        column_types=dict(types),
        include_columns=list(types),
        null_values=[""],
        strings_can_be_null=False,
    )
    with _bar(sources, progress) as bar:
        for source in sources:
            uneven: list[int] = []
            check = _Check(source, layout, types)
            first = line = 1 if layout.columns is not None else 2
            told = above = 0
            try:
                with Stream(source, layout.separator, layout.encoding, bar, check) as stream:
                    headed = layout.columns is None
                    for block in _line_blocks(stream, block_bytes):
                        rows = _without_header(block) if headed else block
                        headed = headed and not block.strip(b"\r\n")
                        if not rows.strip(b"\r\n"):
                            continue
                        above = line - 1 + len(uneven)
                        table = pa_csv.read_csv(
                            pa.BufferReader(rows),
                            read_options=_at_once(rows, check.names),
                            parse_options=_parse_options(layout, uneven, above),
                            convert_options=convert,
                        )
                        if table.num_rows:
                            columns = {n: table.column(n).combine_chunks() for n in types}
                            yield Chunk(source, line, columns, uneven)
                            told = len(uneven)
                        line += table.num_rows
            except KeyError as error:
                line_1 = _first_line(source)
                remedy = _REMEDY
                if '"' in line_1 and not layout.quoted:
                    remedy = "Its publisher does not quote: write it without quotes."
                raise SchemaError(
                    f"{source} lacks a column: {_text(error)}. Wanted: {', '.join(types)}; its "
                    f"first line is {line_1!r}. {remedy}"
                ) from error
            except pa.ArrowInvalid as error:
                words = _told(error, check.names, above)
                raise SchemaError(f"{source}, {words}. {_REMEDY}") from error
            if line == first and not uneven:
                raise without_rows(source)
            if len(uneven) > told:  # behind the last good row
                columns = {name: pa.array([], kind) for name, kind in types.items()}
                yield Chunk(source, line, columns, uneven)


def _at_once(rows: bytes, names: Sequence[str]) -> pa_csv.ReadOptions:
    """Options that parse whole lines as one block."""
    return pa_csv.ReadOptions(
        use_threads=False,  # only then do Arrow's errors tell the row
        block_size=len(rows) + 1,
        column_names=list(names),
    )


def _parse_options(layout: Layout, uneven: list[int], above: int) -> pa_csv.ParseOptions:
    def skip(row: Any) -> str:
        uneven.append(above + row.number)
        return "skip"

    return pa_csv.ParseOptions(
        delimiter=layout.separator if len(layout.separator) == 1 else UNIT.decode(),
        quote_char='"' if layout.quoted else False,
        double_quote=layout.quoted,
        invalid_row_handler=skip if layout.skip_uneven else None,
    )


def _without_header(block: bytes) -> bytes:
    """Whole lines, less the first that is not empty."""
    lines = block.lstrip(b"\r\n")
    ends = [at for at in (lines.find(b"\n"), lines.find(b"\r")) if at >= 0]
    return lines[min(ends) + 1 :] if ends else b""


class _Check:
    """Looks at the lines of a delimited file for what Arrow's parser lets pass.

    Args:
        source: for errors.
        layout: how the file is written.
        types: the wanted columns.
    """

    def __init__(self, source: Source, layout: Layout, types: Mapping[str, pa.DataType]) -> None:
        self.names: Sequence[str] = layout.columns or ()
        self._headless = layout.columns is not None
        self._source, self._quoted = source, layout.quoted
        self._every_row = layout.skip_uneven
        self._separator = layout.separator if len(layout.separator) == 1 else UNIT.decode()
        self._types = types
        self._whole = [name for name, kind in types.items() if pa.types.is_integer(kind)]
        bare = layout.separator == "," and not layout.quoted
        self._bare = [n for n, kind in types.items() if bare and pa.types.is_string(kind)]
        self._rest, self._line = b"", 1

    def __call__(self, data: bytes) -> None:
        """Look at the next piece of the file; b"" is its end.

        Raises:
            SchemaError: the header names a wanted column twice, a quote is not closed on its
                line, there is one in a text of a file that is not quoted, or a cell of a column
                of whole numbers is hexadecimal.
        """
        block = self._rest + data
        cut = len(block)
        if data:  # a carriage return at the end may be half of a line's end
            cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
        self._rest, block = block[cut:], block[:cut]
        if not block:
            return
        if b"\r" in block:  # also one alone ends a line for Arrow
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not self.names:
            self._header(block)
        if self._every_row:
            self._utf_8(block)
        if self._quoted and b'"' in block:
            self._quotes(block)
        if self._bare and b'"' in block:
            self._no_quotes(block)
        if self._whole and (b"0x" in block or b"0X" in block):
            self._hexadecimal(block)
        self._line += block.count(b"\n")

    def _cells(self, line: bytes) -> list[str]:
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        if self._quoted:
            return next(CsvRows([text], delimiter=self._separator), [])
        return text.split(self._separator)

    def _header(self, block: bytes) -> None:
        first = next((line for line in block.splitlines() if line.strip()), b"")
        self.names = self._cells(first)
        for name in self._types:
            if self.names.count(name) > 1:
                raise SchemaError(
                    f"{self._source}: its first line names the column {name!r} "
                    f"{self.names.count(name)} times. Keep one of them."
                )

    def _utf_8(self, block: bytes) -> None:
        """Also in rows that are left out: Arrow shows them to us as text."""
        try:
            block.decode()
        except UnicodeDecodeError as error:
            line = self._line + block.count(b"\n", 0, error.start)
            raise SchemaError(
                f"{self._source}, line {line}: {block[error.start]:#x} is no UTF-8. {_REMEDY}"
            ) from error

    def _quotes(self, block: bytes) -> None:
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == ord('"'))
        row = np.searchsorted(np.flatnonzero(data == ord("\n")), quotes)
        known, count = np.unique(row, return_counts=True)
        odd = known[count % 2 == 1]
        if len(odd):
            text = block.split(b"\n", int(odd[0]) + 1)[odd[0]][:80].decode("utf-8", "replace")
            raise SchemaError(
                f"{self._source}, line {self._line + odd[0]}: a double quote is opened and not "
                f"closed on this line ({text.rstrip()!r}). A cell holds no line break, and a "
                "quote within a quoted cell is written twice: mend the row, or get the file "
                "afresh."
            )

    def _hexadecimal(self, block: bytes) -> None:
        for line, name, cell in self._cells_with((b"0x", b"0X"), block, self._whole):
            if _HEX.fullmatch(cell):
                raise SchemaError(
                    f"{self._source}, line {line}, column {name!r}: {cell!r} is not a whole "
                    f"number in decimal digits. {_REMEDY}"
                )

    def _no_quotes(self, block: bytes) -> None:
        for line, name, cell in self._cells_with((b'"',), block, self._bare):
            if '"' in cell and (line > 1 or self._headless):
                raise SchemaError(
                    f"{self._source}, line {line}, column {name!r}: {cell!r} holds a double "
                    "quote, and the publisher's own file has none. Write the cell without quotes."
                )

    def _cells_with(
        self, marks: Sequence[bytes], block: bytes, names: Sequence[str]
    ) -> Iterator[tuple[int, str, str]]:
        """(line, column, cell) in these columns of each line that has one of the marks."""
        places = [(i, name) for i, name in enumerate(self.names) if name in names]
        for row, line in enumerate(block.split(b"\n")):
            if any(mark in line for mark in marks):
                cells = self._cells(line)
                for at, name in places:
                    if at < len(cells):
                        yield self._line + row, name, cells[at]


def read_json_lines(
    sources: Sequence[Source],
    types: Mapping[str, pa.DataType],
    *,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = False,
) -> Iterator[Chunk]:
    """The wanted fields of files with one JSON object a line (``.jsonl``), chunk by chunk.

    A missing field is null. Arguments and errors are those of ``read_delimited``.
    """
    parse = pa_json.ParseOptions(
        explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
    )
    with _bar(sources, progress) as bar:
        for source in sources:
            line, rows = 1, 0
            for block in _blocks_of(source, block_bytes, bar):
                try:
                    table = _parsed(block, parse)
                except pa.ArrowInvalid as error:
                    bad, why = _bad_line(block.splitlines(keepends=True), parse, error)
                    raise SchemaError(
                        f"{source}, line {line + bad}: {_text(why)}. {_REMEDY}"
                    ) from error
                for joined in _joined_lines(block, parse):
                    raise SchemaError(
                        f"{source}, line {line + joined}: one JSON object a line was wanted, but "
                        f"a second one follows on the same line. {_REMEDY}"
                    )
                table = table.combine_chunks()
                if table.num_rows:
                    yield Chunk(source, line, {n: table.column(n).combine_chunks() for n in types})
                line, rows = line + block.count(b"\n"), rows + table.num_rows
            if not rows:
                raise without_rows(source)


def _joined_lines(block: bytes, parse: pa_json.ParseOptions) -> Iterator[int]:
    """Indices of lines that hold more than one object, which Arrow reads without a word."""
    judged = 0  # a line is parsed once, however many seams it has
    for seam in _SEAM.finditer(block):
        if seam.start() < judged:
            continue
        first = block.rfind(b"\n", 0, seam.start()) + 1
        judged = _end(block, seam.end())
        if _parsed(block[first:judged], parse).num_rows > 1:  # otherwise it stands in a text
            yield block.count(b"\n", 0, first)


def _end(block: bytes, start: int) -> int:
    """Where the line that ``start`` stands in ends."""
    end = block.find(b"\n", start)
    return len(block) if end < 0 else end


def _parsed(block: bytes, parse: pa_json.ParseOptions) -> pa.Table:
    """The rows of a block of whole lines, whose texts are valid UTF-8."""
    read = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    table = pa_json.read_json(pa.BufferReader(block), read_options=read, parse_options=parse)
    table.validate(full=True)
    return table


def _bad_line(
    lines: list[bytes], parse: pa_json.ParseOptions, error: Exception
) -> tuple[int, Exception]:
    """Index of the first line that Arrow refuses, and its words; ``error`` is about all lines."""
    first = 0
    while len(lines) > 1:
        half = len(lines) // 2
        block = b"".join(lines[:half])
        try:
            if block.strip():
                _parsed(block, parse)
            first, lines = first + half, lines[half:]
        except pa.ArrowInvalid as broken:
            lines, error = lines[:half], broken
    return first, error


def read_lines(
    sources: Sequence[Source], *, block_bytes: int = BLOCK_BYTES, progress: bool | None = False
) -> Iterator[tuple[Source, int, bytes]]:
    """(source, line from 1, bytes) of every line that is not blank.

    Raises:
        SchemaError: a file is damaged, or has no such line.
    """
    with _bar(sources, progress) as bar:
        for source in sources:
            line, rows = 1, 0
            for block in _blocks_of(source, block_bytes, bar):
                for text in block.splitlines():
                    if text.strip():
                        yield source, line, text
                        rows += 1
                    line += 1
            if not rows:
                raise without_rows(source)


def without_rows(source: Source) -> SchemaError:
    """The error for a file of nothing, or of a header alone: a download that broke off."""
    return SchemaError(f"{source} has no rows: it is empty or cut off. Get it afresh.")


def _line_blocks(stream: Stream, block_bytes: int, *, returns: bool = True) -> Iterator[bytes]:
    """Blocks of whole lines; with ``returns``, a carriage return alone ends a line, too.

    Arrow is given these, and not the stream: it would read ahead in threads of its own, which
    can still hold the stream when an error has ended all else, and then the process aborts.
    """
    rest: list[bytes] = []
    while data := stream.read(block_bytes):
        cut = data.rfind(b"\n") + 1
        if returns:
            cut = max(cut, data.rfind(b"\r", 0, -1) + 1)
        if cut:
            yield b"".join([*rest, data[:cut]])
            rest = []
        rest.append(data[cut:])
        if len(rest) * block_bytes > LONGEST:
            raise SchemaError(
                f"{stream} has no line end within {LONGEST} bytes, so it is no text of one row a "
                "line. Get it afresh."
            )
    last = b"".join(rest)
    if last.strip():
        yield last


def _blocks_of(source: Source, block_bytes: int, bar: Any) -> Iterator[bytes]:
    with Stream(source, bar=bar) as stream:
        yield from _line_blocks(stream, block_bytes, returns=False)


def _bar(sources: Sequence[Source], progress: bool | None) -> Progress:
    total = None if progress is False else sum(source.size for source in sources)
    name = sources[0].name if sources else ""
    return Progress(name, total, unit="bytes", shown=progress)


def _first_line(source: Source) -> str:
    with text_of(source) as file:
        return file.readline(10_000).rstrip("\r\n")


def _told(error: Exception, names: Sequence[str], above: int) -> str:
    """Arrow's words about a row of a block, in ours; so many rows stand above it."""
    text = _text(error)
    row = re.search(r"Row #(\d+): ?", text)
    column = re.search(r"In CSV column #(\d+): ?", text)
    for match in (row, column):
        text = text.replace(match[0], "") if match else text
    place = f"line {above + int(row[1])}" if row else "at its start"
    if column and int(column[1]) < len(names):
        place += f", column {names[int(column[1])]!r}"
    return f"{place}: {text.replace('CSV conversion error to', 'no').rstrip('.')}"


def _text(error: Exception) -> str:
    return str(error.args[0] if error.args else error).rstrip(".")
