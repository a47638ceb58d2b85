"""Delimited text read whole, strictly: every row has the header's cells, every quote its pair.

For tables of moderate size, all columns as text; ``recenv.data.text_chunks`` reads large files
chunk by chunk.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from recenv.errors import SchemaError

_NO_LIMIT = 2**31 - 1  # the largest that every platform takes
_BLOCK = 1 << 26  # bytes; a row may not be longer


def read_text(
    path: Path,
    separator: str,
    what: str,
    *,
    quoted: bool = True,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """A table of text, its index named "line": where each row stands in the file, from 1.

    Args:
        path: file, gzipped if its name ends in ``.gz``.
        separator: of cells, one character.
        what: the table in words, for errors.
        quoted: whether a cell may stand in double quotes (RFC 4180), a quote in it doubled; it
            holds no line break. Otherwise a quote is a character like any other.
        columns: names of the columns of a file without a header; None: its first line.
        encoding: of the text.

    Raises:
        SchemaError: the file is empty or damaged, is not of the encoding, names a column twice,
            or has a row with more or fewer cells than the header, a quote without its pair or a
            line break in a cell; the message names the line.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise SchemaError(
            f"The {what} {path} cannot be read ({error}). A .gz file must be whole: get it afresh."
        ) from error
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SchemaError(
            f"The {what} {path}, line {line}, cannot be read ({error}). Text files must be UTF-8: "
            "save it so, or read it into a DataFrame and pass that."
            if encoding == "utf-8"
            else f"The {what} {path}, line {line}, is no {encoding} text ({error}). Get it afresh."
        ) from error
    del data
    file = _Checked(text, separator, f"The {what} {path}", quoted)
    names = file.header() if columns is None else list(columns)
    lines = file.check(len(names), header=columns is None) if file.suspicious() else None
    first = 1 if columns is not None else 2
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=pa_csv.ReadOptions(
                block_size=_BLOCK, column_names=[str(i) for i in range(len(names))]
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, quote_char='"' if quoted else False, double_quote=quoted
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types={str(i): pa.string() for i in range(len(names))},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        file.check(len(names), header=columns is None)
        raise SchemaError(f"The {what} {path} cannot be read ({error}). Mend the file.") from error
    frame = table.slice(0 if columns is not None else 1).to_pandas()
    frame.columns = pd.Index(names)
    frame.index = (
        pd.RangeIndex(first, first + len(frame), name="line")
        if lines is None
        else pd.Index(lines, name="line")
    )
    return frame


class CsvRows:
    """``csv.reader`` without its limit of 131 072 characters a cell.

    The limit is one for the whole process: it is lifted while a row is read, and then put back.
    Arguments are those of ``csv.reader``.
    """

    def __init__(self, lines: Iterable[str], **options: Any) -> None:
        self._reader = csv.reader(lines, **options)

    @property
    def line_num(self) -> int:
        """Lines read so far."""
        return self._reader.line_num

    def __iter__(self) -> CsvRows:
        return self

    def __next__(self) -> list[str]:
        limit = csv.field_size_limit(_NO_LIMIT)
        try:
            return next(self._reader)
        finally:
            csv.field_size_limit(limit)


class _Checked:
    """Text whose rows are checked one by one, which tells a line that Arrow does not."""

    def __init__(self, text: str, separator: str, where: str, quoted: bool) -> None:
        self._text, self._where, self._quoted = text, where, quoted
        self._separator = separator

    def header(self) -> list[str]:
        """Names of the columns."""
        names = next((row for _, row in self._rows()), None)
        if names is None:
            raise SchemaError(f"{self._where} cannot be read: it is empty. Give a header.")
        named = [name for name in names if name]
        for name in named:
            if named.count(name) > 1:
                raise SchemaError(
                    f"{self._where} names {named.count(name)} columns {name!r}. Rename all but one."
                )
        return names

    def suspicious(self) -> bool:
        """Whether quotes or blank lines may put rows on other lines than their numbers say."""
        text = self._text
        return (
            (self._quoted and '"' in text)
            or text.startswith(("\n", "\r"))
            or any(blank in text for blank in ("\n\n", "\n\r", "\r\r"))
        )

    def check(self, width: int, *, header: bool) -> np.ndarray:
        """(n,) line of each row below the header."""
        lines = []
        for line, row in self._rows():
            if len(row) != width:
                raise SchemaError(
                    f"{self._where}, line {line}: {len(row)} cell(s) where there are {width} "
                    f"columns: {self._separator.join(row)[:200]!r}. "
                    + ("A cell that holds the separator stands in double quotes. " * self._quoted)
                    + "Mend the line."
                )
            lines.append(line)
        return np.array(lines[1:] if header else lines, dtype=np.int64)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of each row that is not blank."""
        reader = CsvRows(
            io.StringIO(self._text, newline=""),
            delimiter=self._separator,
            quoting=csv.QUOTE_MINIMAL if self._quoted else csv.QUOTE_NONE,
            strict=True,
        )
        line = 1
        try:
            for row in reader:
                if reader.line_num > line:
                    raise SchemaError(
                        f"{self._where}, line {line}: a cell in quotes goes on over "
                        f"{reader.line_num - line + 1} lines: {max(row, key=len)[:80]!r}. A quote "
                        "without its pair does that. Double it or take it out; a line break in a "
                        "cell must go."
                    )
                if row:
                    yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise SchemaError(
                f"{self._where}, line {line}: {error}. A quote without its pair, or with text "
                "behind it: double it or take it out."
            ) from error
