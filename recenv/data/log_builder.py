"""From chunks of events to a log and a catalogue: codes, compact columns, order, visits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.data import cells
from recenv.data.event_order import sessionize, time_order
from recenv.data.files import Source
from recenv.data.text_chunks import Ids
from recenv.data.times import counter_note
from recenv.errors import ConfigError, SchemaError
from recenv.schema import (
    EVENT_COLUMNS,
    OPTIONAL_EVENT_COLUMNS,
    Catalog,
    InteractionLog,
    repeated,
)

_WIDEST = 50_000_000
"""Whole numbers below it are looked up in a table (4 bytes each), others in a dictionary."""

_SLICE = 1 << 20  # rows recoded at a time, and room in a new column

NO_IMPRESSIONS = (
    "The log has no impressions: what was shown and passed over is unknown, so the overall "
    "click rate is a stated parameter and not an estimate."
)
VISITS = (
    "A visit ends after 30 minutes without an event; events of equal time stand in random order."
)


def repeats_note(left_out: int, total: int, equal_in: str) -> str:
    """A note on rows that were left out because they repeat another.

    Args:
        left_out: how many.
        total: rows before.
        equal_in: the columns that were compared, in words.
    """
    return f"{left_out} of {total} rows repeat another in {equal_in}; they are left out."


_FLOAT = re.compile(r"([0-9]+)\.0+")


class Names:
    """Codes of names, given in the order of first sight.

    A name of text is what stands between its outer blanks, and 7.0 is 7.

    Args:
        titles: whether the names are titles of works: then 7.0 is not 7.
    """

    def __init__(self, *, titles: bool = False) -> None:
        self._titles = titles
        self.respelled: set[str] = set()  # names in text that were not written as they are coded
        self._table = np.full(1024, -1, dtype=np.int32)  # code of each small whole number
        self._known: dict[int | str, int] = {}  # code of each other name
        self._in_table = 0

    def __len__(self) -> int:
        return self._in_table + len(self._known)

    def add(self, ids: Ids) -> npt.NDArray[np.int32]:
        """(n,) codes; names not seen before get new ones."""
        return self._codes(ids, new=True)

    def find(self, ids: Ids) -> npt.NDArray[np.int32]:
        """(n,) codes, -1 for names never seen."""
        return self._codes(ids, new=False)

    def names(self, first: int = 0) -> npt.NDArray[np.object_]:
        """(len - first,) the names by code, from code ``first`` on, as text."""
        names = np.empty(len(self) - first, dtype=object)
        small = np.flatnonzero(self._table >= first)
        names[self._table[small] - first] = small.astype(str).astype(object)
        for name, code in reversed(self._known.items()):
            if code < first:
                break
            names[code - first] = str(name)
        return names

    def ranked(
        self, used: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
        """The names in use, sorted (as numbers, if all are whole numbers), and their places.

        Args:
            used: (len,) which codes occur.

        Returns:
            (k,) names; (len,) int64 place of each code among them, -1 where it does not occur.
        """
        place = np.full(len(self), -1, dtype=np.int64)
        if self._known:
            names, place[used] = cells.codes(self.names()[used])
            return names, place
        small = np.flatnonzero(self._table >= 0)  # sorted already
        small = small[used[self._table[small]]]
        place[self._table[small]] = np.arange(len(small))
        return small.astype(str).astype(object), place

    def _codes(self, ids: Ids, *, new: bool) -> npt.NDArray[np.int32]:
        if len(ids) == 0:
            return np.empty(0, np.int32)
        if isinstance(ids, np.ndarray):
            if ids.min() >= 0 and ids.max() < _WIDEST:
                return self._small(ids, new=new)
            known, index = np.unique(ids, return_inverse=True)
            words: list[int | str] = [int(k) for k in known]
        else:
            encoded = ids.dictionary_encode()
            index = encoded.indices.to_numpy(zero_copy_only=False)
            words = [self._spelled(word) for word in encoded.dictionary.to_pylist()]
        codes = np.empty(len(words), dtype=np.int32)
        for i, word in enumerate(words):
            if isinstance(word, int) and 0 <= word < _WIDEST:
                codes[i] = self._small(np.array([word], np.int64), new=new)[0]
                continue
            code = self._known.get(word, -1)
            if code < 0 and new:
                self._known[word] = code = len(self)
            codes[i] = code
        return codes[index]

    def _spelled(self, word: str) -> str:
        name = word.strip()
        if name.endswith("0") and not self._titles and (match := _FLOAT.fullmatch(name)):
            name = match[1]
        if name != word:
            self.respelled.add(word)
        return name

    def _small(self, ids: npt.NDArray[np.int64], *, new: bool) -> npt.NDArray[np.int32]:
        top = int(ids.max())
        if top >= len(self._table):
            wider = np.full(max(top + 1, 2 * len(self._table)), -1, dtype=np.int32)
            wider[: len(self._table)] = self._table
            self._table = wider
        codes = self._table[ids]
        if new and (codes < 0).any():
            self._table[ids[codes < 0]] = -2  # a mark: cheaper than sorting them
            fresh = np.flatnonzero(self._table == -2)
            self._table[fresh] = np.arange(len(self), len(self) + len(fresh), dtype=np.int32)
            self._in_table += len(fresh)
            codes = self._table[ids]
        return codes


@dataclass
class Items:
    """What is known of the items that occur in a log; readers fill it in.

    Attributes:
        ids: (N,) names, sorted (as numbers, if all are whole numbers).
        text: (N,) for the language model; the name, until filled in.
        label: (N,) name of the category; "unknown", until filled in.
        price: (N,) float32; 0, until filled in.
        rank: (provisional codes,) int64 place of each provisional code in ``ids``, -1 if unused.
    """

    ids: npt.NDArray[np.object_]
    text: npt.NDArray[np.object_]
    label: npt.NDArray[np.object_]
    price: npt.NDArray[np.float32]
    rank: npt.NDArray[np.int64]
    _names: Names
    _retold: set[int] = field(default_factory=set)  # places

    def __post_init__(self) -> None:
        self._told = np.zeros(len(self.ids), np.int64)  # hash of each item's first row, 0 for none

    def describe(
        self, at: int, text: str, label: str | None = None, price: float | None = None
    ) -> None:
        """Fill in one item from a row of an item file; the last row of an item counts.

        Args:
            at: place of the item.
            text: blank where the file has none: the name stays.
            label, price: None where the file has none.
        """
        self.text[at] = text or self.ids[at]
        if label is not None:
            self.label[at] = label or "unknown"
        if price is not None:
            self.price[at] = price
        told = hash((text, label, price)) or 1
        if self._told[at] == 0:
            self._told[at] = told
        elif self._told[at] != told:
            self._retold.add(at)

    def missing(self) -> int:
        """How many items have not been described."""
        return int((self._told == 0).sum())

    def retold(self, source: Source) -> tuple[str, ...]:
        """A note on items that were described again, with other words; none if none was.

        Args:
            source: the item file.
        """
        if not self._retold:
            return ()
        return (
            f"{len(self._retold)} items stand in {source.name} more than once, with other words: "
            "the last row counts.",
        )

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """(n,) place of each name in ``ids``, -1 where the log does not have it."""
        provisional = self._names.find(ids)
        return np.where(provisional >= 0, self.rank[provisional], -1)

    def catalog(self) -> Catalog:
        """The catalogue; one category "all" if no item's is known."""
        names, category = cells.codes(self.label)
        if list(names) == ["unknown"]:
            names = np.array(["all"], dtype=object)
        return Catalog(
            item_ids=self.ids,
            text=self.text,
            category=category.astype(np.int32),
            category_names=tuple(str(n) for n in names),
            price=self.price,
        ).validate()


class LogBuilder:
    """Collects events in compact columns.

    Codes in the finished log follow the sorted names, and events of equal time the rule of
    ``sort_by_time``: the log depends neither on the size of chunks nor on the order of rows.

    Args:
        sample_users: share of the users to keep, in (0, 1], with their whole histories. Who is
            kept depends on the user's name alone (a hash of it), so two files of one data set
            keep the same users.
        sources: the files that the events come from, for errors.
        titles: whether items go by titles of works, of which "7.0" is not "7".

    Raises:
        ConfigError: ``sample_users`` is out of range.
    """

    def __init__(
        self,
        sample_users: float = 1.0,
        sources: Sequence[Source] = (),
        *,
        titles: bool = False,
    ) -> None:
        if not 0 < sample_users <= 1:
            raise ConfigError(
                f"sample_users is a share of the users, in (0, 1], but is {sample_users!r}."
            )
        self._share = sample_users
        self._sources = ", ".join(map(str, sources))
        self._users, self._items = Names(), Names(titles=titles)
        self._kept = np.empty(0, dtype=bool)  # by provisional user code
        self._columns: dict[str, _Column] = {}
        self._finished: Items | None = None

    def __len__(self) -> int:
        return len(self._columns["time"]) if self._columns else 0

    def add(
        self,
        user: Ids,
        item: Ids,
        time: npt.NDArray[np.float64],
        response: npt.NDArray[np.int8],
        *,
        position: npt.NDArray[np.int16] | None = None,
        propensity: npt.NDArray[np.float64] | None = None,
        value: npt.NDArray[np.float64] | None = None,
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Add (n,) events.

        Args:
            user, item: names.
            time: seconds since 1970.
            response: IGNORE, CLICK or PURCHASE.
            position, propensity, value: as in the schema; always or never given.
            keep: which events count; None all.

        Returns:
            (k,) int64 row numbers of the events that were kept, (k,) int32 provisional codes of
            their items (see ``Items.rank``).
        """
        rows = np.arange(len(time)) if keep is None else np.flatnonzero(keep)
        code = self._users.add(_take(user, rows, len(time)))
        if self._share < 1:
            inside = self._sampled()[code]
            rows, code = rows[inside], code[inside]
        items = self._items.add(_take(item, rows, len(time)))
        given = {
            "user": code,
            "item": items,
            "time": time[rows],
            "response": response[rows],
            "position": None if position is None else position[rows],
            "propensity": None if propensity is None else propensity[rows],
            "value": None if value is None else value[rows],
        }
        if len(rows):
            for name, values in given.items():
                if values is not None:
                    dtype = EVENT_COLUMNS.get(name) or OPTIONAL_EVENT_COLUMNS[name]
                    self._columns.setdefault(name, _Column(dtype)).append(values)
        return rows, items

    def items(self) -> Items:
        """The items that occur, to be filled in; no event can be added any more.

        Raises:
            SchemaError: there are no events.
        """
        if not len(self):
            raise SchemaError(
                f"{self._sources or 'The log'} holds no event"
                + (f" of the users read with sample_users={self._share}: take more users."
                   if self._share < 1 else ": no row counts. Get it afresh.")
            )  # fmt: skip
        names, rank = self._settle("item", self._items)
        n = len(names)
        unknown = np.full(n, "unknown", dtype=object)
        self._finished = Items(
            names, names.copy(), unknown, np.zeros(n, np.float32), rank, self._items
        )
        return self._finished

    def finish(
        self,
        items: Items,
        *,
        name: str,
        notes: tuple[str, ...],
        has_impressions: bool = False,
    ) -> tuple[InteractionLog, Catalog]:
        """The log and the catalogue; the builder is empty afterwards.

        Rows that repeat another in every column are left out, and a note counts them; another
        note tells times before 1980.

        Args:
            items: from ``items()``, filled in.
            name, notes, has_impressions: of the log.

        Raises:
            SchemaError: a value breaks the schema.
        """
        users, _ = self._settle("user", self._users)
        columns = {name: column.values() for name, column in self._columns.items()}
        self._columns.clear()
        notes = (*notes, *_ordered(columns, presort=True))
        if (early := counter_note(columns["time"])) is not None:
            notes = (*notes, early)
        columns["session"] = sessionize(columns["user"], columns["time"])
        for what, names in (("users", self._users), ("items", self._items)):
            if names.respelled:
                notes = (
                    *notes,
                    f"{len(names.respelled)} names of {what} are written with outer blanks or as "
                    f"floats, such as {min(names.respelled)!r}; they are read without (7.0 is 7).",
                )
        if self._share < 1:
            notes = (*notes, f"Only a share of {self._share} of the users was read.")
        log = InteractionLog(
            events=pd.DataFrame(columns, copy=False),
            user_ids=users,
            name=name,
            has_impressions=has_impressions,
            notes=notes,
        )
        catalog = items.catalog()
        log.check_events(catalog)  # no event stands twice: that has been seen to
        return log, catalog

    def _sampled(self) -> npt.NDArray[np.bool_]:
        if len(self._kept) < len(self._users):
            names = self._users.names(len(self._kept))
            fresh = np.array([share_of(name) < self._share for name in names], dtype=bool)
            self._kept = np.concatenate([self._kept, fresh])
        return self._kept

    def _settle(self, column: str, known: Names) -> tuple[np.ndarray, npt.NDArray[np.int64]]:
        """Names that occur, sorted; the rank of each provisional code, put into the column."""
        codes = self._columns[column].values()
        used = np.zeros(len(known), dtype=bool)
        used[codes] = True
        names, rank = known.ranked(used)
        for first in range(0, len(codes), _SLICE):
            part = codes[first : first + _SLICE]
            part[:] = rank[part]
        return names, rank


class _Column:
    """A column that grows at its end.

    One large array rather than a list of chunks: large arrays are mapped, so what is not yet
    used takes no memory, and what is freed goes back to the system at once.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self._array, self._size = np.empty(_SLICE, dtype), 0

    def __len__(self) -> int:
        return self._size

    def append(self, values: np.ndarray) -> None:
        """Put (n,) values at the end."""
        wanted = self._size + len(values)
        if wanted > len(self._array):
            wider = np.empty(max(wanted, 2 * len(self._array)), self._array.dtype)
            wider[: self._size] = self._array[: self._size]
            self._array = wider
        self._array[self._size : wanted] = values
        self._size = wanted

    def values(self) -> np.ndarray:
        """(len,) a view of all values."""
        return self._array[: self._size]


def once_each(events: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Events in the order of ``sort_by_time``, none twice; a note if any was left out."""
    columns = {str(name): events[name].to_numpy() for name in events}
    notes = _ordered(columns, presort=False)
    return pd.DataFrame(columns), notes


def _ordered(columns: dict[str, np.ndarray], *, presort: bool) -> tuple[str, ...]:
    """Bring columns into order without the rows that repeat another; a note if there are any."""
    order = time_order(columns, presort=presort)
    _take_rows(columns, order)
    again = repeated(columns)
    if not again.any():
        return ()
    # the order among equal times is drawn for all rows: draw it as if the repeats were not there
    _take_rows(columns, np.flatnonzero(~again)[np.argsort(order[~again])])  # as in the file
    _take_rows(columns, time_order(columns, presort=presort))
    return (repeats_note(int(again.sum()), len(again), ", ".join(columns)),)


def _take_rows(columns: dict[str, np.ndarray], rows: npt.NDArray[np.int64]) -> None:
    for column in columns:  # one at a time: only one is in memory twice
        columns[column] = columns[column][rows]


def share_of(name: str) -> float:
    """A number in [0, 1), uniform over names, that depends on the name alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) / 2**32


def _take(ids: Ids, rows: npt.NDArray[np.int64], total: int) -> Ids:
    if len(rows) == total:
        return ids
    return ids[rows] if isinstance(ids, np.ndarray) else ids.take(rows)
