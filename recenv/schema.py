"""Schema of the data: an interaction log and an item catalogue.

Users and items are integer codes (0-based) into ``InteractionLog.user_ids`` and
``Catalog.item_ids``. Times are seconds since 1970-01-01 UTC. Prices and values are in the
log's currency.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv.errors import SchemaError

IGNORE, CLICK, PURCHASE = 0, 1, 2
"""What a user did with a shown item; a purchase implies a click."""


class Exposure(StrEnum):
    """What a log tells of the items that a user passed over."""

    IMPRESSIONS = "impressions"
    """All that was shown."""
    CATALOGUE = "catalogue"
    """Every visit could choose from the whole catalogue and passed over what it did not take."""
    CONSUMPTION = "consumption"
    """Nothing: only what was clicked or bought is known."""


EVENT_COLUMNS = {
    "user": np.dtype(np.int32),
    "item": np.dtype(np.int32),
    "time": np.dtype(np.float64),  # seconds since the epoch
    "response": np.dtype(np.int8),  # IGNORE, CLICK or PURCHASE
}
OPTIONAL_EVENT_COLUMNS = {
    "position": np.dtype(np.int16),  # slot, counted from 1
    "propensity": np.dtype(np.float64),  # P(item in this slot | context) under the logging policy
    "session": np.dtype(np.int64),
    "value": np.dtype(np.float64),  # money paid
    "promotion": np.dtype(np.int8),  # sum of 1 on display and 2 in the mailer, when seen
}


def repeated(columns: Mapping[str, np.ndarray]) -> npt.NDArray[np.bool_]:
    """(n,) rows that equal an earlier row in every column.

    Only events of one time and one user can be equal, so no others are compared.

    Args:
        columns: (n,) arrays, sorted by ``time``; ``user`` is another of them.
    """
    time, user = columns["time"], columns["user"]
    rows = _next_to_equal(np.arange(len(time)), time)
    rows = rows[np.argsort(user[rows], kind="stable")]
    rows = np.sort(_next_to_equal(rows, user, time))
    again = np.zeros(len(time), dtype=bool)
    again[rows] = pd.DataFrame({n: v[rows] for n, v in columns.items()}).duplicated().to_numpy()
    return again


def _next_to_equal(rows: npt.NDArray[np.int64], *values: np.ndarray) -> npt.NDArray[np.int64]:
    """Those of the rows whose values equal those of the row before or after them."""
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for column in values:
        same &= column[rows[1:]] == column[rows[:-1]]
    near = np.zeros(len(rows), dtype=bool)
    near[1:] |= same
    near[:-1] |= same
    return rows[near]


@dataclass(frozen=True)
class Catalog:
    """The items, one per code.

    Attributes:
        item_ids: (N,) the log's own names of the items, as strings.
        text: (N,) what a language model reads of each item.
        category: (N,) int32 code of each item's main category.
        category_names: one name per category code.
        price: (N,) float32, 0 where the log knows no price.
        features: (N, F) float32 or None: anything else known of the items as numbers, such as
            image, audio or graph embeddings; the encoder joins them to the texts' vectors.
    """

    item_ids: npt.NDArray[np.object_]
    text: npt.NDArray[np.object_]
    category: npt.NDArray[np.int32]
    category_names: tuple[str, ...]
    price: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.item_ids)

    def validate(self) -> Catalog:
        """Return self.

        Raises:
            SchemaError: lengths differ, an id stands twice, a category code or price is wrong.
        """
        n = len(self.item_ids)
        if n == 0:
            raise SchemaError("The catalogue has no items. Give an item table with at least one.")
        for name in ("text", "category", "price"):
            if len(getattr(self, name)) != n:
                raise SchemaError(
                    f"Catalog.{name} must have one value per item ({n}), "
                    f"but has {len(getattr(self, name))}."
                )
        ids = pd.Index(self.item_ids)
        if ids.has_duplicates:
            row = int(np.flatnonzero(ids.duplicated())[0])
            raise SchemaError(
                f"Item table, row {row}: item {ids[row]!r} stands there twice. "
                "Keep one row per item."
            )
        bad = (self.category < 0) | (self.category >= len(self.category_names))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"Catalog.category, row {row}: code {self.category[row]} is not in "
                f"[0, {len(self.category_names)})."
            )
        bad = ~np.isfinite(self.price) | (self.price < 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"Catalog.price, row {row}: {self.price[row]} is not a price. "
                "Prices are finite and not negative; use 0 where unknown."
            )
        if self.features is not None:
            self._check_features(self.features)
        return self

    def _check_features(self, features: npt.NDArray[np.float32]) -> None:
        if features.ndim != 2 or len(features) != len(self) or features.dtype != np.float32:
            raise SchemaError(
                f"Catalog.features must be a float32 matrix with one row per item ({len(self)}), "
                f"but has dtype {features.dtype} and shape {features.shape}."
            )
        bad = ~np.isfinite(features).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"Catalog.features, row {row} holds a value that is not finite. Fill or drop it."
            )

    @cached_property
    def hash(self) -> str:
        """Content hash (16 hexadecimal digits)."""
        digest = hashlib.sha256()
        for name in ("item_ids", "text"):
            digest.update("\x1f".join(map(str, getattr(self, name))).encode())
        digest.update("\x1f".join(self.category_names).encode())
        digest.update(self.category.tobytes() + self.price.tobytes())
        if self.features is not None:
            digest.update(np.ascontiguousarray(self.features).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class InteractionLog:
    """Interaction log: impressions, clicks and purchases of users on items, with times.

    Attributes:
        events: one row per shown or consumed item, sorted by time; columns ``EVENT_COLUMNS``
            and any of ``OPTIONAL_EVENT_COLUMNS``, with those dtypes.
        user_ids: (U,) the log's own names of the users, as strings.
        name: short name for reports.
        has_impressions: whether rows with ``response == IGNORE`` record all that was shown.
            Without them the overall click rate is unknown and becomes a stated parameter.
        exposes_catalog: whether every visit (``session``) could choose from the whole catalogue,
            as in a shop: then what a visit did not take was passed over, and the overall rate is
            known without impressions.
        notes: what a reader of any result has to know about this log.
    """

    events: pd.DataFrame
    user_ids: npt.NDArray[np.object_]
    name: str = "log"
    has_impressions: bool = False
    notes: tuple[str, ...] = field(default=())
    exposes_catalog: bool = False

    def __len__(self) -> int:
        return len(self.events)

    @property
    def num_users(self) -> int:
        """Number of distinct users."""
        return len(self.user_ids)

    @property
    def exposure(self) -> Exposure:
        """What the log tells of the items that a user passed over."""
        if self.has_impressions:
            return Exposure.IMPRESSIONS
        return Exposure.CATALOGUE if self.exposes_catalog else Exposure.CONSUMPTION

    def column(self, name: str) -> np.ndarray:
        """One column of ``events`` as an array.

        Raises:
            SchemaError: the log has no such column.
        """
        if name not in self.events:
            raise SchemaError(
                f"The log {self.name!r} has no column {name!r}; it has "
                f"{', '.join(self.events.columns)}. Map that column when the log is read."
            )
        return self.events[name].to_numpy()

    def take(self, rows: np.ndarray) -> InteractionLog:
        """The same log with only the given rows (a boolean mask or row numbers)."""
        keep = np.flatnonzero(rows) if rows.dtype == bool else rows
        events = self.events.iloc[keep].reset_index(drop=True)
        return dataclasses.replace(self, events=events)

    def validate(self, catalog: Catalog) -> InteractionLog:
        """Return self.

        Raises:
            SchemaError: as ``check_events``, or an event stands twice (two rows are equal in every
                column); the message names the column, the row and the value.
        """
        self.check_events(catalog)
        again = repeated({str(name): self.column(str(name)) for name in self.events})
        if again.any():
            row = int(np.flatnonzero(again)[0])
            user, item = int(self.column("user")[row]), int(self.column("item")[row])
            raise SchemaError(
                f"Events, row {row}: an event stands twice, user {self.user_ids[user]!r} with item "
                f"{catalog.item_ids[item]!r} at {self.column('time')[row]} s, equal in all columns "
                f"({int(again.sum())} such rows). Keep one of each: "
                "log.take(~log.events.duplicated().to_numpy())."
            )
        return self

    def check_events(self, catalog: Catalog) -> None:
        """Check the columns, and that somebody clicked.

        Raises:
            SchemaError: the log is empty or has no click, a column is missing or of another
                dtype, or a value is out of range.
        """
        if len(self.events) == 0:
            raise SchemaError(
                f"The log {self.name!r} is empty. Give at least one event with a click."
            )
        self.check_columns(catalog)
        if not (self.column("response") >= CLICK).any():
            raise SchemaError(
                f"The log {self.name!r} has no click and no purchase, so no user can be fitted. "
                "Give a log in which at least one item was clicked."
            )

    def check_columns(self, catalog: Catalog) -> None:
        """Check each column's dtype and range, and the order of the events.

        Raises:
            SchemaError: see ``validate``, which also wants a click, and no event twice.
        """
        for name, dtype in EVENT_COLUMNS.items():
            if self.column(name).dtype != dtype:
                raise SchemaError(
                    f"Column {name!r} must have dtype {dtype}, but has "
                    f"{self.events[name].dtype}. recenv.read_table converts columns."
                )
        for name in self.events.columns:
            if name in EVENT_COLUMNS:
                continue
            if name not in OPTIONAL_EVENT_COLUMNS:
                raise SchemaError(
                    f"Column {name!r} is not part of a log. Known: "
                    f"{', '.join([*EVENT_COLUMNS, *OPTIONAL_EVENT_COLUMNS])}."
                )
            if self.events[name].dtype != OPTIONAL_EVENT_COLUMNS[name]:
                raise SchemaError(
                    f"Column {name!r} must have dtype {OPTIONAL_EVENT_COLUMNS[name]}, "
                    f"but has {self.events[name].dtype}."
                )
        self._check_range("user", 0, self.num_users - 1, "a code of user_ids")
        self._check_range("item", 0, len(catalog) - 1, "a code of the catalogue")
        self._check_range("time", 0, np.finfo(np.float64).max, "seconds since 1970, not negative")
        self._check_range("response", IGNORE, PURCHASE, "0 ignore, 1 click or 2 purchase")
        if "position" in self.events:
            self._check_range("position", 1, np.iinfo(np.int16).max, "a slot counted from 1")
        if "propensity" in self.events:
            self._check_range("propensity", np.nextafter(0, 1), 1, "a probability in (0, 1]")
        if "value" in self.events:
            self._check_range("value", 0, np.finfo(np.float64).max, "money paid, not negative")
        if "promotion" in self.events:
            self._check_range("promotion", 0, 3, "0 none, 1 display, 2 mailer or 3 both")
        if self.exposes_catalog and "session" not in self.events:
            raise SchemaError(
                "A log that exposes the catalogue to every visit needs a 'session' column that "
                "names the visits."
            )
        if not self.events["time"].is_monotonic_increasing:
            raise SchemaError("Events must be sorted by time. recenv.read_table sorts them.")

    def _check_range(self, name: str, low: float, high: float, wanted: str) -> None:
        values = self.column(name)
        bad = ~((values >= low) & (values <= high))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise SchemaError(
                f"Column {name!r}, row {row}: {values[row]} is not {wanted} "
                f"({int(bad.sum())} such rows). Mend or drop these rows."
            )

    @cached_property
    def hash(self) -> str:
        """Content hash (16 hexadecimal digits)."""
        digest = hashlib.sha256()
        digest.update(f"{self.name}\x1f{self.has_impressions}{self.exposes_catalog}\x1f".encode())
        digest.update("\x1f".join(map(str, self.user_ids)).encode())
        for name in sorted(self.events.columns):
            digest.update(name.encode() + np.ascontiguousarray(self.column(name)).tobytes())
        return digest.hexdigest()[:16]
