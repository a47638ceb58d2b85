"""Anyone's own log: CSV, Parquet or a DataFrame in, InteractionLog and Catalog out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recenv.data import cells
from recenv.data.event_order import sort_by_time
from recenv.data.funnel import merge_funnel, unmerged_note
from recenv.data.identifiers import identifiers
from recenv.data.log_builder import NO_IMPRESSIONS, repeats_note
from recenv.data.text import read_text
from recenv.data.times import TimeUnit, counter_note, times
from recenv.errors import DataNotFoundError, SchemaError, UnknownNameError
from recenv.schema import CLICK, IGNORE, PURCHASE, Catalog, InteractionLog

Source = str | Path | pd.DataFrame
Answer = Literal["ignore", "click", "purchase"]

_CODES: dict[str, int] = {"ignore": IGNORE, "click": CLICK, "purchase": PURCHASE}
_REQUIRED = ("user", "item", "time")
_OPTIONAL = ("event", "position", "propensity", "session", "value", "request")
_ITEM_COLUMNS = ("item", "text", "category", "price")

EVENT_TYPES: Mapping[str, Answer] = MappingProxyType(
    {
        "ignore": "ignore", "impression": "ignore", "view_impression": "ignore",
        "shown": "ignore", "exposure": "ignore", "skip": "ignore", "0": "ignore",
        "click": "click", "view": "click", "detail": "click", "pageview": "click",
        "cart": "click", "add_to_cart": "click", "addtocart": "click", "1": "click",
        "purchase": "purchase", "buy": "purchase", "transaction": "purchase",
        "order": "purchase", "conversion": "purchase", "2": "purchase",
    }
)  # fmt: skip
"""What the usual names of events mean. Compared in lower case and without outer blanks."""


def read_table(
    events: Source,
    items: Source | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    event_types: Mapping[str, Answer] = EVENT_TYPES,
    item_columns: Mapping[str, str | Sequence[str]] | None = None,
    name: str | None = None,
    time_unit: TimeUnit = "s",
    duplicates: Literal["error", "drop", "strongest"] = "error",
    merge_within: float = 0.0,
    min_user_events: int = 2,
    short_users: Literal["error", "drop", "keep"] = "error",
) -> tuple[InteractionLog, Catalog]:
    """Read a log and its items.

    Rows come out sorted by time, those of equal time in a fixed random order; user codes follow
    the sorted user ids, item codes the item table (without one, the sorted item ids).

    Args:
        events: a DataFrame or a path: ``.csv`` (commas), ``.tsv`` (tabs), each also ``.gz``, in
            UTF-8 with a header; or ``.parquet``.
        items: the item table, likewise. Without it an item's text is its id and all items
            share the category "all".
        columns: recenv's name to the table's: ``user``, ``item``, ``time``, and where known
            ``event`` (without it every row is a click), ``position`` (slot, from 1),
            ``propensity`` (in (0, 1]), ``session`` (any label; blank is not allowed),
            ``value`` (money paid; blank is 0) and ``request`` (see ``duplicates``). None: the
            table uses recenv's names.
        event_types: what each value of ``event`` means: "ignore", "click" or "purchase". Takes
            the place of the default.
        item_columns: recenv's name to the item table's: ``item``, and where known ``text`` (one
            column or several, joined with ". "), ``category`` and ``price`` (blank is 0). None:
            the table uses recenv's names.
        name: for reports; by default the file's name.
        time_unit: of a numeric ``time``: "s", "ms", "us" or "ns" since 1970-01-01 UTC, or "date"
            for days as YYYYMMDD. Times lie between 1980 and 2100; or all of them lie before, as
            those of a counter do. Text is read as ISO 8601 (UTC where it names no zone).
        duplicates: rows that agree in user, item, time, event, position and session are an
            error, or are dropped but for the first ("drop"). "strongest" is for logs with one
            row for the impression and others for its click and purchase: rows of one decision
            are merged into one, with the strongest event, its value, and the time and position
            of the first. Position and propensity may then be blank but for impressions. Which
            rows belong together is told by ``merge_within``, or by a ``request`` column: the rows
            of one user, item and request.
        merge_within: seconds. With "strongest", a row belongs to the one before it of the same
            user and item (and session and position, where known), if it comes no later than this
            and is no impression at another time.
        min_user_events: a user with fewer rows is short: with one event there is no history to
            learn from beside the event to predict.
        short_users: short users are an error, are left out, or are kept (a split puts all their
            events into the training part).

    Raises:
        SchemaError: a column or value is wrong, or the file is damaged; the message names the
            column, the data row (0-based, the header not counted), the line of a text file, and
            what to do.
        UnknownNameError: a key of ``columns`` or ``item_columns`` that recenv does not know.
        DataNotFoundError: there is no such file.
    """
    table, known_as = _open(events, "event table")
    chosen = _choose(table, columns, _REQUIRED, _OPTIONAL, "event table")
    if len(table) == 0:
        raise SchemaError("The event table is empty. Give at least one event with a click.")
    users, notes = identifiers(cells.pick(table, chosen["user"]), "user")
    item_names, more = identifiers(cells.pick(table, chosen["item"]), "item")
    notes += more
    catalog = _catalog(items, item_columns, item_names)
    item = pd.Index(catalog.item_ids).get_indexer(pd.Index(item_names))
    if (item < 0).any():
        row = int(np.flatnonzero(item < 0)[0])
        raise SchemaError(
            f"Column {chosen['item']!r}, {cells.place(table.index, row)}: item "
            f"{item_names[row]!r} is not in the item table ({int((item < 0).sum())} such rows). "
            "Add it there, or drop these rows."
        )
    user_ids, user = cells.codes(users)
    made = pd.DataFrame(
        {
            "user": user.astype(np.int32),
            "item": item.astype(np.int32),
            "time": times(cells.pick(table, chosen["time"]), time_unit),
            "response": _responses(table, chosen.get("event"), event_types),
        }
    )
    idle = made["response"].to_numpy() > IGNORE if duplicates == "strongest" else None
    if "position" in chosen:
        made["position"] = cells.numbers(cells.pick(table, chosen["position"]), "position", idle)
    if "propensity" in chosen:
        values = cells.pick(table, chosen["propensity"])
        made["propensity"] = cells.numbers(values, "propensity", idle)
    if "value" in chosen:
        made["value"] = cells.numbers(cells.pick(table, chosen["value"]), "value")
    if "session" in chosen:
        label, more = identifiers(cells.pick(table, chosen["session"]), "session")
        notes += more
        pairs = pd.MultiIndex.from_arrays([user, label])
        made["session"] = pd.factorize(pairs)[0].astype(np.int64)
    made, more = _merged(made, table, chosen, duplicates, merge_within, user_ids, catalog)
    notes += more
    if short_users != "keep":
        made, user_ids, more = _without_short_users(
            made, user_ids, min_user_events, short_users, table.index
        )
        notes += more
    has_impressions = bool((made["response"] == IGNORE).any())
    if (early := counter_note(made["time"].to_numpy())) is not None:
        notes = (early, *notes)
    if not has_impressions:
        notes = (NO_IMPRESSIONS, *notes)
    if "event" not in chosen:
        notes = ("The log has no event column: every row is read as a click.", *notes)
    log = InteractionLog(
        events=sort_by_time(made, presort=True),
        user_ids=user_ids,
        name=name or known_as,
        has_impressions=has_impressions,
        notes=notes,
    )
    return log.validate(catalog), catalog


def _open(source: Source, what: str) -> tuple[pd.DataFrame, str]:
    """The table, and a name for it. Text files come with all columns as text."""
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True), "log"
    if not isinstance(source, (str, Path)):
        raise SchemaError(
            f"The {what} must be a DataFrame or the path of a file, but is a "
            f"{type(source).__module__}.{type(source).__name__}. {_into_frame(source)}"
        )
    path = Path(source)
    if not path.is_file():
        raise DataNotFoundError(f"There is no {what} at {path}. Give the path of a file.")
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    stem = path.name.split(".")[0] or "log"
    if kind in (".csv", ".tsv"):
        return read_text(path, "," if kind == ".csv" else "\t", what), stem
    if kind in (".parquet", ".pq"):
        try:
            read = pq.read_table(path, page_checksum_verification=True)
            read.validate(full=True)  # texts are valid UTF-8
            # without pandas's own notes an index that was saved is a column like any other
            return read.replace_schema_metadata(None).to_pandas(), stem
        except (pa.ArrowException, OSError, ValueError) as error:
            raise SchemaError(
                f"The {what} {path} cannot be read ({error}). It is damaged or no Parquet file: "
                "get it afresh."
            ) from error
    raise SchemaError(
        f"The {what} {path} is of no known kind. Wanted: .csv, .tsv (also .gz) or .parquet; "
        "read anything else into a DataFrame and pass that."
    )


def _into_frame(source: object) -> str:
    """How this becomes a DataFrame, in words."""
    if isinstance(source, pd.Series):
        return "A log has several columns: pass the DataFrame that holds them."
    if hasattr(source, "to_pandas"):  # pyarrow, polars and others
        return "Pass table.to_pandas()."
    if isinstance(source, (list, dict, np.ndarray)):
        return "Pass pandas.DataFrame(...) of it."
    return "Read it into a DataFrame and pass that."


def _choose(
    table: pd.DataFrame,
    columns: Mapping[str, str] | None,
    required: Iterable[str],
    optional: Iterable[str],
    what: str,
) -> dict[str, str]:
    """recenv's name to the table's, checked."""
    required, known = tuple(required), (*required, *optional)
    if columns is None:
        columns = {key: key for key in known if key in required or key in table.columns}
    for key in columns:
        if key not in known:
            raise UnknownNameError(f"column of an {what}", key, known)
    for key in required:
        if key not in columns:
            raise SchemaError(
                f"The {what} needs a column for {key!r}. Its columns are {_names(table)}; say "
                f"which one it is, as in columns={{{key!r}: ...}}."
            )
    for key, column in columns.items():
        _require(table, column, key, what)
    return dict(columns)


def _require(table: pd.DataFrame, column: str, key: str, what: str) -> None:
    if not isinstance(column, str) and not pd.api.types.is_hashable(column):
        raise SchemaError(f"The column for {key!r} must be one name, but is {column!r}.")
    standing = int(np.sum([name == column for name in table.columns]))
    if standing > 1:
        raise SchemaError(
            f"The {what} has {standing} columns {column!r} (wanted for {key!r}). Rename all but "
            "one."
        )
    if standing:
        return
    close = difflib.get_close_matches(str(column), [str(c) for c in table.columns], n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SchemaError(
        f"The {what} has no column {column!r} (wanted for {key!r}).{hint} Its columns are "
        f"{_names(table)}. Map {key!r} to one of them."
    )


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(repr, table.columns)) or "none"


def _responses(
    table: pd.DataFrame, column: str | None, event_types: Mapping[str, Answer]
) -> npt.NDArray[np.int8]:
    if column is None:
        return np.full(len(table), CLICK, dtype=np.int8)
    for key, answer in event_types.items():
        if answer not in _CODES:
            raise SchemaError(
                f"event_types[{key!r}] must be 'ignore', 'click' or 'purchase', but is {answer!r}."
            )
    codes: dict[str, int] = {}
    for key, answer in event_types.items():
        if codes.setdefault(_event(key), _CODES[answer]) != _CODES[answer]:
            raise SchemaError(
                f"event_types[{key!r}] is {answer!r}, but another key of the same letters says "
                "otherwise: names are compared in lower case and without outer blanks. Keep one."
            )
    values = cells.pick(table, column)
    names, _ = identifiers(values, "event")
    code, known = pd.factorize(names)
    found = np.array([codes.get(_event(name), -1) for name in known], dtype=np.int8)[code]
    cells.refuse(
        found < 0,
        values,
        "is an unknown event",
        f"Known: {', '.join(map(repr, codes))}. Say what it means in event_types, as in "
        "event_types={..., 'wishlist': 'click'}, or drop these rows.",
    )
    return found


def _event(name: object) -> str:
    return str(name).strip().lower()


def _without_short_users(
    made: pd.DataFrame,
    user_ids: npt.NDArray[np.object_],
    least: int,
    remedy: Literal["error", "drop"],
    index: pd.Index,
) -> tuple[pd.DataFrame, npt.NDArray[np.object_], tuple[str, ...]]:
    """Events and ids without the users that have fewer than ``least`` rows; a note on these."""
    counts = np.bincount(made["user"], minlength=len(user_ids))
    short = counts < least
    if not short.any():
        return made, user_ids, ()
    if remedy == "error":
        row = made.index[short[made["user"]]][0]
        user = made["user"].loc[row]
        raise SchemaError(
            f"User {user_ids[user]!r} ({cells.place(index, row)}) has {counts[user]} event(s), but "
            f"min_user_events is {least} ({int(short.sum())} such users). Give "
            'short_users="drop" to leave them out, or "keep" to take them as they are.'
        )
    kept = np.flatnonzero(~short)
    if len(kept) == 0:
        raise SchemaError(
            f"The log is empty: no user has min_user_events={least} rows (the most is "
            f"{counts.max()}). Lower min_user_events."
        )
    made = made.loc[np.isin(made["user"], kept)].copy()
    made["user"] = np.searchsorted(kept, made["user"]).astype(np.int32)
    note = (
        f"{int(short.sum())} users with fewer than {least} events ({int(counts[short].sum())} "
        "events) are left out."
    )
    return made, user_ids[kept], (note,)


def _merged(
    made: pd.DataFrame,
    table: pd.DataFrame,
    chosen: Mapping[str, str],
    how: str,
    within: float,
    user_ids: npt.NDArray[np.object_],
    catalog: Catalog,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Events without repeats, positions whole; notes on what was left out or merged."""
    if how not in ("error", "drop", "strongest"):
        raise SchemaError(f"duplicates must be 'error', 'drop' or 'strongest', but is {how!r}.")
    if not (isinstance(within, Real) and 0 <= float(within) < np.inf):
        raise SchemaError(f"merge_within must be seconds, 0 or more, but is {within!r}.")
    if how != "strongest" and (within > 0 or "request" in chosen):
        what = "merge_within" if within > 0 else "A request column"
        raise SchemaError(f"{what} needs duplicates='strongest', but that is {how!r}.")
    if how == "strongest":
        made, notes = _strongest(made, table, chosen, within)
    else:
        made, notes = _apart(made, how == "drop", table.index, user_ids, catalog)
    if "position" in made:
        made = made.assign(position=made["position"].astype(np.int16))
    return made, notes


def _strongest(
    made: pd.DataFrame, table: pd.DataFrame, chosen: Mapping[str, str], within: float
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    request, notes = None, ()
    if "request" in chosen:
        if within > 0:
            raise SchemaError("Give merge_within or a request column, not both.")
        labels, notes = identifiers(cells.pick(table, chosen["request"]), "request")
        request = pd.factorize(labels)[0].astype(np.int64)
    made, more = merge_funnel(made, within, request)
    for key in ("position", "propensity"):
        if key in made:
            bad = np.zeros(len(table), dtype=bool)
            bad[made.index[made[key].isna()]] = True
            cells.refuse(
                bad,
                cells.pick(table, chosen[key]),
                f"is no {key}, and no impression of this user and item "
                + (f"up to {within:g} s before gives one" if request is None else
                   "in the same request gives one"),
                f"Raise merge_within, drop these rows, or leave {key!r} out of columns.",
            )  # fmt: skip
    return made, (*notes, *more)


def _apart(
    made: pd.DataFrame,
    drop: bool,
    index: pd.Index,
    user_ids: npt.NDArray[np.object_],
    catalog: Catalog,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Each row an event of its own."""
    keys = [k for k in ("user", "item", "time", "response", "position", "session") if k in made]
    again = made.duplicated(keys).to_numpy()
    if again.any() and not drop:
        row = int(np.flatnonzero(again)[0])
        user = user_ids[made["user"].iloc[row]]
        item = catalog.item_ids[made["item"].iloc[row]]
        raise SchemaError(
            f"{cells.place(index, row).capitalize()} repeats an earlier one: user {user!r}, item "
            f"{item!r} with the same time, event and position ({int(again.sum())} such rows). Pass "
            "duplicates='drop' to keep the first of each."
        )
    notes: list[str | None] = []
    if again.any():
        notes.append(repeats_note(int(again.sum()), len(made), ", ".join(keys)))
        differ = int(again.sum() - made.duplicated().sum())
        if differ:
            notes.append(f"{differ} of the rows left out have another value or propensity.")
    made = made.loc[~again]
    notes.append(unmerged_note(made))
    return made, tuple(note for note in notes if note is not None)


def _catalog(
    items: Source | None,
    item_columns: Mapping[str, str | Sequence[str]] | None,
    seen: npt.NDArray[np.object_],
) -> Catalog:
    """From the item table, or from the ids in the log alone."""
    if items is None:
        if item_columns is not None:
            raise SchemaError("item_columns is given, but no item table. Pass items= as well.")
        ids, _ = cells.codes(seen)
        n = len(ids)
        return Catalog(ids, ids.copy(), np.zeros(n, np.int32), ("all",), np.zeros(n, np.float32))
    table, _ = _open(items, "item table")
    if item_columns is not None:
        wide = item_columns.get("text", ())
        texts = [wide] if isinstance(wide, str) else list(wide)
        rest = {k: v for k, v in item_columns.items() if k != "text" and isinstance(v, str)}
        for key, value in item_columns.items():
            if key not in ("text", *rest):
                raise SchemaError(f"item_columns[{key!r}] must be one column, but is {value!r}.")
        for column in texts:
            _require(table, column, "text", "item table")
        chosen = _choose(table, rest, ("item",), _ITEM_COLUMNS[1:], "item table")
    else:
        chosen = _choose(table, None, ("item",), _ITEM_COLUMNS[1:], "item table")
        texts = [chosen.pop("text")] if "text" in chosen else []
    if len(table) == 0:
        raise SchemaError("The item table is empty. Give at least one item.")
    ids, _ = identifiers(cells.pick(table, chosen["item"]), "item")
    text = ids.copy()
    if texts:
        parts = [cells.texts(cells.pick(table, c), "") for c in texts]
        joined = [". ".join(p.rstrip(".") for p in row if p) for row in zip(*parts, strict=True)]
        text = np.array([t or i for t, i in zip(joined, ids, strict=True)], dtype=object)
    category, names = np.zeros(len(ids), np.int64), ("all",)
    if "category" in chosen:
        labels = cells.texts(cells.pick(table, chosen["category"]), "unknown")
        unique, category = cells.codes(labels)
        names = tuple(unique)
    price = np.zeros(len(ids))
    if "price" in chosen:
        price = cells.numbers(cells.pick(table, chosen["price"]), "price")
    return Catalog(ids, text, category.astype(np.int32), names, price.astype(np.float32)).validate()
