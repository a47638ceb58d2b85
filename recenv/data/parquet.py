"""Columns of a publisher's Parquet file: of the wanted type, or refused by file, column and row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recenv.data.cells import shown
from recenv.data.times import EARLIEST, LATEST
from recenv.errors import SchemaError

_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EXACT = 2.0**53  # from here on a float skips whole numbers
_WANTED = {
    pa.int64(): "a whole number",
    pa.float64(): "a number",
    pa.string(): "a text",
    pa.timestamp("us"): "a time between 1980 and 2100",
}


@dataclass(frozen=True)
class Column:
    """Some consecutive cells of one column, and where they stand.

    Attributes:
        path: file.
        name: of the column.
        cells: (n,) of one of the types int64, float64, string and timestamp[us].
        first: row of the first of them in the file, from 0.
    """

    path: Path
    name: str
    cells: pa.Array
    first: int = 0

    def refuse(self, bad: npt.NDArray[np.bool_], wrong: str) -> None:
        """Raise SchemaError at the first cell where ``bad`` (n,) holds."""
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"{self.path}, row {self.first + row} (0-based), column {self.name!r}: "
                f"{shown(self.cells[row])} {wrong}. Get the file afresh, or mend the row."
            )

    def numbers(self, low: float, high: float, wanted: str) -> np.ndarray:
        """(n,) int64 or float64 in [low, high]; ``wanted`` says the same in words."""
        values = self.cells.to_numpy(zero_copy_only=False)
        self.refuse(~((values >= low) & (values <= high)), f"is not {wanted}")
        return values


def read_columns(
    path: Path, types: Mapping[str, pa.DataType], *, blank: Sequence[str] = ()
) -> dict[str, Column]:
    """Whole columns of a file.

    Args:
        path: the file.
        types: wanted columns, each int64, float64, string or timestamp[us]. Whole numbers may be
            written as floats or text, numbers as text; nothing else is taken for another type.
        blank: columns in which a cell may be missing.

    Raises:
        SchemaError: the file is damaged, has no rows, lacks a column, or a cell is missing or of
            another type.
    """
    with readable(path):
        file = pq.ParquetFile(path)
        require(path, file.schema_arrow.names, types)
        table = file.read(list(types))
        table.validate(full=True)  # texts are valid UTF-8
    if len(table) == 0:
        raise SchemaError(f"{path} has no rows. Get the file afresh.")
    return {
        name: typed(Column(path, name, _whole(table.column(name))), kind, blank=name in blank)
        for name, kind in types.items()
    }


def require(path: Path, names: Sequence[str], wanted: Iterable[str]) -> None:
    """Check that each wanted column is there once.

    Raises:
        SchemaError: one is missing or stands there twice.
    """
    for name in wanted:
        if names.count(name) != 1:
            raise SchemaError(
                f"{path} must have the column {name!r} once; its columns are "
                f"{', '.join(map(repr, names))}. Get the file afresh."
            )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what a damaged Parquet file raises into a SchemaError that says what to do.

    Raises:
        SchemaError: the file cannot be read.
    """
    try:
        yield
    except SchemaError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SchemaError(f"{path} is damaged ({error}). Get the file afresh.") from error


def typed(column: Column, kind: pa.DataType, *, blank: bool = False) -> Column:
    """The column as this type.

    Raises:
        SchemaError: a cell is missing and ``blank`` is not set, or is not of this type.
    """
    cells, wanted = column.cells, _WANTED[kind]
    if not blank and cells.null_count:
        column.refuse(np.asarray(cells.is_null()), f"(a missing cell) is not {wanted}")
    none = np.asarray(cells.is_null())
    if pa.types.is_timestamp(kind):
        _refuse_times(column, none, wanted)
        if cells.type != kind:
            cells = cells.cast(pa.timestamp("us", cells.type.tz), safe=False).cast(kind)
    elif cells.type != kind:
        column.refuse(~(_fits(cells, kind) | none), f"is not {wanted}")
        if pa.types.is_decimal(cells.type) and pa.types.is_integer(kind):
            cells = cells.cast(pa.float64())
        cells = cells.cast(kind, safe=not pa.types.is_floating(kind))  # a float may round
    return Column(column.path, column.name, cells, column.first)


def _refuse_times(column: Column, none: npt.NDArray[np.bool_], wanted: str) -> None:
    kind = column.cells.type
    if not pa.types.is_timestamp(kind):
        column.refuse(~none, f"is not {wanted}")
        return
    seconds = column.cells.cast(pa.int64()).to_numpy(zero_copy_only=False) / _TICKS[kind.unit]
    column.refuse(~none & ~((seconds >= EARLIEST) & (seconds <= LATEST)), f"is not {wanted}")


def _fits(cells: pa.Array, kind: pa.DataType) -> npt.NDArray[np.bool_]:
    """(n,) whether a cell of another type means one of this type."""
    every = np.ones(len(cells), dtype=bool)
    whole = pa.types.is_integer(kind)
    if pa.types.is_null(cells.type):
        return every
    if pa.types.is_string(kind):
        return every & pa.types.is_large_string(cells.type)
    if pa.types.is_integer(cells.type):
        top = pa.scalar(2**63 - 1, cells.type) if pa.types.is_uint64(cells.type) else None
        return every if top is None else _mask(pc.less_equal(cells, top))  # pyright: ignore
    if pa.types.is_floating(cells.type) or pa.types.is_decimal(cells.type):
        number = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return (np.abs(number) < _EXACT) & (number == np.floor(number)) if whole else every
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        pattern = r"^-?[0-9]{1,18}$" if whole else r"^-?[0-9]{1,300}(\.[0-9]+)?$"
        return _mask(pc.match_substring_regex(cells, pattern))  # pyright: ignore
    return ~every


def _mask(values: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    return np.asarray(values.fill_null(False), dtype=bool)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array, decoded."""
    cells = column.combine_chunks()
    if isinstance(cells, pa.ChunkedArray):  # of texts beyond 2 GB, or of no chunk
        cells = pa.concat_arrays(cells.chunks) if cells.num_chunks else pa.array([], cells.type)
    return plain(cells)


def plain(cells: pa.Array) -> pa.Array:
    """Without a dictionary."""
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
