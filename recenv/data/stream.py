"""Large text files chunk by chunk: delimited text and JSON lines; plain, gzipped or in a zip.

Every reader of a public log takes this one path. Bytes come from a ``Source``, become UTF-8
with a separator of one byte, go through Arrow's C++ parsers, and leave as ``Chunk``s of typed
columns. No more than a few blocks are in memory at once.
"""

from __future__ import annotations

import csv
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
from tqdm import tqdm

from recenv.data.source import BROKEN, UNIT, Source, Stream, text_of
from recenv.errors import SchemaError

BLOCK_BYTES = 1 << 24
"""Bytes parsed at a time; a row may not be longer."""

Ids = npt.NDArray[np.int64] | pa.StringArray
"""(n,) names of users or items: whole numbers, or text."""

_REMEDY = "The file is damaged or of another format: get it afresh, or mend the row."


@dataclass(frozen=True)
class Layout:
    """How a delimited text file is written.

    Attributes:
        separator: of columns; one character, or several such as "::".
        columns: names of all columns of a file without a header; None reads the first line.
        quoted: whether a cell may stand in double quotes (RFC 4180); it holds no line breaks.
        encoding: "utf-8" or any other that Python knows and that has one byte per character.
        skip_uneven: whether rows with another number of columns are left out and counted,
            not refused.
    """

    separator: str = ","
    columns: tuple[str, ...] | None = None
    quoted: bool = True
    encoding: str = "utf-8"
    skip_uneven: bool = False


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows of a file.

    Attributes:
        source: where they stand.
        first: line of the first row in the file, counted from 1, blank lines not counted.
        columns: the wanted columns, each of the wanted type.
        skipped: uneven rows left out before and in this chunk.
    """

    source: Source
    first: int
    columns: Mapping[str, pa.Array]
    skipped: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def refuse(self, bad: npt.NDArray[np.bool_], name: str, wrong: str) -> None:
        """Raise SchemaError at the first row where ``bad`` (n,) holds."""
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"{self.source}, line {self.first + row}, column {name!r}: "
                f"{self.columns[name][row].as_py()!r} {wrong}. {_REMEDY}"
            )

    def _filled(self, name: str, wanted: str) -> pa.Array:
        column = self.columns[name]
        if column.null_count:
            self.refuse(np.asarray(column.is_null()), name, f"(a blank cell) is not {wanted}")
        return column

    def ids(self, name: str) -> Ids:
        """(n,) names of a column of whole numbers or of text.

        Raises:
            SchemaError: a cell is blank.
        """
        column = self._filled(name, "an id")
        if pa.types.is_integer(column.type):
            return column.to_numpy(zero_copy_only=False)
        blank = pc.equal(column, "")  # pyright: ignore[reportAttributeAccessIssue]
        self.refuse(np.asarray(blank), name, "is not an id")
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

    def seconds(self, name: str, *, ticks: float = 1.0) -> npt.NDArray[np.float64]:
        """(n,) seconds since 1970 of a column that counts ``ticks`` to the second.

        Raises:
            SchemaError: a cell is blank, not finite or before 1970.
        """
        most = float(np.finfo(np.float64).max)
        return self.numbers(name, 0, most, "a time since 1970") / ticks

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
    progress: bool = False,
) -> Iterator[Chunk]:
    """The wanted columns of delimited text files, chunk by chunk.

    Args:
        sources: files of one layout, read one after the other.
        layout: how they are written.
        types: wanted column to Arrow type; blank cells of other types than text become null.
        block_bytes: bytes parsed at a time.
        progress: whether to show a bar (in bytes) on stderr.

    Raises:
        SchemaError: a file is damaged, lacks a column, or a cell is not of the type; the
            message names file, line and column.
    """
    convert = pa_csv.ConvertOptions(
        column_types=dict(types),
        include_columns=list(types),
        null_values=[""],
        strings_can_be_null=False,
    )
    read = pa_csv.ReadOptions(
        use_threads=False,  # only then do Arrow's errors tell the row
        block_size=block_bytes,
        column_names=list(layout.columns) if layout.columns is not None else None,
    )
    with _bar(sources, progress) as bar:
        for source in sources:
            skipped: list[int] = []
            parse = pa_csv.ParseOptions(
                delimiter=layout.separator if len(layout.separator) == 1 else UNIT.decode(),
                quote_char='"' if layout.quoted else False,
                double_quote=layout.quoted,
                invalid_row_handler=_skipper(skipped) if layout.skip_uneven else None,
            )
            line = 1 if layout.columns is not None else 2
            try:
                with Stream(source, layout.separator, layout.encoding, bar) as stream:
                    reader = pa_csv.open_csv(
                        stream, read_options=read, parse_options=parse, convert_options=convert
                    )
                    for batch in reader:
                        columns = {name: batch.column(name) for name in types}
                        if batch.num_rows:
                            yield Chunk(source, line, columns, len(skipped))
                        line += batch.num_rows
            except KeyError as error:
                raise SchemaError(
                    f"{source} lacks a column: {_text(error)}. Wanted: {', '.join(types)}; its "
                    f"first line is {_first_line(source)!r}. {_REMEDY}"
                ) from error
            except pa.ArrowInvalid as error:
                names = layout.columns or next(csv.reader([_first_line(source)], delimiter=(
                    layout.separator[0])), [])  # fmt: skip
                raise SchemaError(f"{source}, {_told(error, names)}. {_REMEDY}") from error
            except BROKEN as error:
                raise SchemaError(f"{source} cannot be read ({error}). {_REMEDY}") from error


def read_json_lines(
    sources: Sequence[Source],
    types: Mapping[str, pa.DataType],
    *,
    block_bytes: int = BLOCK_BYTES,
    progress: bool = False,
) -> Iterator[Chunk]:
    """The wanted fields of files with one JSON object a line (``.jsonl``), chunk by chunk.

    A missing field is null. Arguments and errors are those of ``read_delimited``.
    """
    parse = pa_json.ParseOptions(
        explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
    )
    with _bar(sources, progress) as bar:
        for source in sources:
            line = 1
            for block in _line_blocks(source, block_bytes, bar):
                read = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
                try:
                    table = pa_json.read_json(
                        pa.BufferReader(block), read_options=read, parse_options=parse
                    )
                except pa.ArrowInvalid as error:
                    last = line + block.count(b"\n") - 1
                    raise SchemaError(
                        f"{source}, lines {line} to {last}: {_text(error)}. {_REMEDY}"
                    ) from error
                table = table.combine_chunks()
                if table.num_rows:
                    yield Chunk(source, line, {n: table.column(n).combine_chunks() for n in types})
                line += block.count(b"\n")


def read_lines(
    sources: Sequence[Source], *, block_bytes: int = BLOCK_BYTES, progress: bool = False
) -> Iterator[tuple[Source, int, bytes]]:
    """(source, line from 1, bytes) of every line that is not blank."""
    with _bar(sources, progress) as bar:
        for source in sources:
            line = 1
            for block in _line_blocks(source, block_bytes, bar):
                for text in block.splitlines():
                    if text.strip():
                        yield source, line, text
                    line += 1


def _line_blocks(source: Source, block_bytes: int, bar: Any) -> Iterator[bytes]:
    """Blocks of whole lines, each ending in a line feed."""
    rest = b""
    try:
        with Stream(source, ",", "utf-8", bar) as stream:
            while data := stream.read(block_bytes):
                cut = data.rfind(b"\n") + 1
                if cut:
                    yield rest + data[:cut]
                    rest = data[cut:]
                else:
                    rest += data
    except BROKEN as error:
        raise SchemaError(f"{source} cannot be read ({error}). {_REMEDY}") from error
    if rest.strip():
        yield rest + b"\n"


def _bar(sources: Sequence[Source], progress: bool) -> Any:
    return tqdm(
        total=sum(source.size for source in sources) if progress else None,
        unit="B",
        unit_scale=True,
        desc=sources[0].name if sources else "",
        disable=not progress,
    )


def _skipper(skipped: list[int]) -> Any:
    def skip(row: Any) -> str:
        skipped.append(row.actual_columns)
        return "skip"

    return skip


def _first_line(source: Source) -> str:
    try:
        with text_of(source) as file:
            return file.readline(10_000).rstrip("\r\n")
    except BROKEN:
        return ""


def _told(error: Exception, names: Sequence[str]) -> str:
    """Arrow's words about a row, in ours."""
    text = _text(error)
    row = re.search(r"Row #(\d+): ?", text)
    column = re.search(r"In CSV column #(\d+): ?", text)
    for match in (row, column):
        text = text.replace(match[0], "") if match else text
    place = f"line {row[1]}" if row else "at its start"
    if column and int(column[1]) < len(names):
        place += f", column {names[int(column[1])]!r}"
    return f"{place}: {text.replace('CSV conversion error to', 'no').rstrip('.')}"


def _text(error: Exception) -> str:
    return str(error.args[0] if error.args else error).rstrip(".")
