"""Promotions of items by store and week, packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recenv.data.parquet import Column, plain, readable, require, typed
from recenv.errors import SchemaError

DISPLAY, MAILER = 1, 2
"""Bits of a promotion: on display in the store, featured in the weekly mailer."""

WEEKS = 64
"""More than any week number (1 to 53), so that store and week pack into one key."""

_PLACES = ("display_location", "mailer_location")
_COLUMNS = ("product_id", "store_id", "week", *_PLACES)
_BLOCK = 1 << 20  # rows


@dataclass(frozen=True)
class Promotions:
    """What was on display or in the mailer, by store, week and item.

    Attributes:
        store_ids: (S,) the shops' own numbers, ascending.
        num_items: size of the catalogue that item codes belong to.
        keys: (n,) int64, ascending: ``(store row * 64 + week) * num_items + item``.
        marks: (n,) int8, 1 on display, 2 in the mailer, 3 both.
    """

    store_ids: npt.NDArray[np.int64]
    num_items: int
    keys: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, store: int, week: int) -> pd.DataFrame:
        """What a household could have seen in a store and week: columns item and promotion.

        Empty for a store or week without records.
        """
        row = int(np.searchsorted(self.store_ids, store))
        if row == len(self.store_ids) or self.store_ids[row] != store or not 0 <= week < WEEKS:
            return pd.DataFrame({"item": np.empty(0, np.int32), "promotion": np.empty(0, np.int8)})
        first = (row * WEEKS + week) * self.num_items
        low, high = np.searchsorted(self.keys, [first, first + self.num_items])
        item = (self.keys[low:high] - first).astype(np.int32)
        return pd.DataFrame({"item": item, "promotion": self.marks[low:high]})

    def lookup(
        self,
        store: npt.NDArray[np.integer],
        week: npt.NDArray[np.integer],
        item: npt.NDArray[np.integer],
    ) -> npt.NDArray[np.int8]:
        """(n,) marks of paired stores, weeks and item codes, 0 where there is no record."""
        if len(self.keys) == 0:
            return np.zeros(len(item), np.int8)
        row = np.minimum(np.searchsorted(self.store_ids, store), len(self.store_ids) - 1)
        key = (row * WEEKS + week) * self.num_items + item
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        found = (self.keys[at] == key) & (self.store_ids[row] == store)
        return np.where(found, self.marks[at], 0).astype(np.int8)

    def table(self) -> pd.DataFrame:
        """All records: store (int32), week (int8), item (int32), promotion (int8)."""
        visit, item = np.divmod(self.keys, self.num_items)
        store, week = np.divmod(visit, WEEKS)
        return pd.DataFrame(
            {
                "store": self.store_ids[store].astype(np.int32),
                "week": week.astype(np.int8),
                "item": item.astype(np.int32),
                "promotion": self.marks,
            }
        )


def read_promotions(
    path: Path,
    products: npt.NDArray[np.int64],
    of_product: npt.NDArray[np.int64],
    num_items: int,
) -> Promotions:
    """Read Complete Journey's promotion file block by block.

    Its 21 million rows fill 880 MB as text and int64; packed they take 9 bytes for each item, store
    and week with a mark.

    Args:
        path: Parquet file with one row per product, store and week.
        products: (P,) the publisher's product numbers, ascending.
        of_product: (P,) item code of each product, -1 where its records are left out. An item
            is marked where any of its products is.
        num_items: size of the catalogue.

    Raises:
        SchemaError: the file is damaged or has no rows.
    """
    with readable(path):
        require(path, pq.read_schema(path).names, _COLUMNS)
        file = pq.ParquetFile(path, read_dictionary=list(_PLACES))
        if file.metadata.num_rows == 0:
            raise SchemaError(f"{path} has no rows. Get the file afresh.")
        stores: set[int] = set()
        for block in _blocks(file, path, ("store_id",)):
            stores.update(np.unique(block["store_id"].cells.to_numpy()).tolist())
        store_ids = np.array(sorted(stores), dtype=np.int64)
        # two bits of marks in a key, so that one sort of whole numbers brings equal keys together
        largest = len(store_ids) * WEEKS * num_items << 2
        packed = np.empty(file.metadata.num_rows, np.uint32 if largest < 1 << 32 else np.int64)
        filled = 0
        for block in _blocks(file, path, _COLUMNS):
            week = block["week"].numbers(0, WEEKS - 1, f"a week from 0 to {WEEKS - 1}")
            item = _mapped(block["product_id"].cells, products, of_product)
            store = _mapped(block["store_id"].cells, store_ids, np.arange(len(store_ids)))
            marks = _not_zero(block["display_location"].cells, DISPLAY)
            marks |= _not_zero(block["mailer_location"].cells, MAILER)
            key = ((store * WEEKS + week) * num_items + item << 2) + marks
            key = key[(item >= 0) & (marks > 0)]
            packed[filled : filled + len(key)] = key
            filled += len(key)
    packed = packed[:filled]
    packed.sort()
    key = packed >> 2
    if filled == 0:
        return Promotions(store_ids, num_items, key.astype(np.int64), np.empty(0, np.int8))
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    marks = np.bitwise_or.reduceat((packed & 3).astype(np.int8), first)
    return Promotions(store_ids, num_items, key[first].astype(np.int64), marks)


def _blocks(file: pq.ParquetFile, path: Path, names: Sequence[str]) -> Iterator[dict[str, Column]]:
    """Columns block by block: places as dictionaries of texts, all else whole numbers."""
    row = 0
    for batch in file.iter_batches(_BLOCK, columns=list(names)):
        block = {}
        for name in names:
            cells = batch.column(name)
            if name not in _PLACES:
                block[name] = typed(Column(path, name, plain(cells), row), pa.int64())
            elif pa.types.is_dictionary(kind := cells.type) and pa.types.is_string(kind.value_type):
                block[name] = Column(path, name, cells, row)
            else:
                texts = typed(Column(path, name, plain(cells), row), pa.string(), blank=True)
                block[name] = Column(path, name, texts.cells.dictionary_encode(), row)
        yield block
        row += len(batch)


def _mapped(
    values: pa.Array, known: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(n,) the code of each value among the ascending ``known``, -1 where it is not there."""
    encoded = values.dictionary_encode()  # looks each distinct value up once
    distinct = encoded.dictionary.to_numpy()
    at = np.minimum(np.searchsorted(known, distinct), len(known) - 1)
    return np.where(known[at] == distinct, codes[at], -1)[encoded.indices.to_numpy()]


def _not_zero(codes: pa.DictionaryArray, mark: int) -> npt.NDArray[np.int64]:
    """(n,) ``mark`` where a place is named; the code "0" and a blank say that there is none."""
    named = [mark * (code not in (None, "0")) for code in codes.dictionary.to_pylist()]
    index = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.array([*named, 0], np.int64)[index]
