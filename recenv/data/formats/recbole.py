"""RecBole's atomic files, of any data set.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html. Tab-separated, UTF-8; a
header of ``name:type`` with the types token, token_seq, float and float_seq.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recenv.data.files import Source, find, text_of
from recenv.data.log_builder import NO_IMPRESSIONS, VISITS, Items, LogBuilder
from recenv.data.publication import Publication, objects, rated
from recenv.data.text_chunks import BLOCK_BYTES, Chunk, Layout, read_delimited
from recenv.data.times import TimeUnit, seconds_of, wrong_times
from recenv.errors import ConfigError, SchemaError
from recenv.schema import CLICK, IGNORE, PURCHASE, Catalog, InteractionLog

PUBLISHED = Publication(
    name="recbole",
    page="https://github.com/RUCAIBox/RecSysDatasets",
    files="<data set>.inter, and <data set>.item where there is one",
    cite="Cite the data set's own source, and RecBole (Zhao et al. 2021, "
    "doi:10.1145/3459637.3482016).",
)

_USUAL = {
    "user": ("user_id", "user", "userid", "uid", "session_id"),
    "item": ("item_id", "item", "itemid", "iid"),
    "time": ("timestamp", "time", "unixreviewtime"),
    "rating": ("rating", "stars", "score"),
    "label": ("label", "click"),
    "text": ("movie_title", "title", "name", "item_name", "artist_name"),
    "category": ("class", "genre", "genres", "categories", "category", "item_category",
                 "sales_type", "tags"),
    "price": ("price",),
}  # fmt: skip
_OPTION = "time_unit is an argument of recenv.data.formats.read_atomic."
_TYPES = {
    "token": pa.string(),
    "token_seq": pa.string(),
    "float": pa.float64(),
    "float_seq": pa.string(),
}


def read_atomic(
    folder: Path,
    *,
    dataset: str | None = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    rating: str | None = None,
    label: str | None = None,
    time_unit: TimeUnit = "s",
    liked: float = 4.0,
    impressions: bool = False,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read ``<dataset>.inter`` and, where there is one, ``<dataset>.item``.

    With a rating, each row is a click, and a purchase from ``liked`` on. With a label, 1 is a
    click and 0 an ignored item. With neither, each row is a click.

    Args:
        folder: where the files lie.
        dataset: the files' name; None: the only one there.
        user, item, time, rating, label: columns of the .inter file, without the type; None:
            found by the usual names (``user_id``, ``item_id``, ``timestamp``, ``rating``,
            ``label``).
        time_unit: of the times, which the format does not tell: "s", "ms", "us" or "ns" since
            1970, or "date" for days written YYYYMMDD.
        liked: the lowest rating that stands for a purchase.
        impressions: whether rows with label 0 are all that was shown and not clicked. Without
            that promise they are left out.
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        DataNotFoundError: there is no .inter file.
        SchemaError: a file is damaged or lacks a column, or its times are in another unit.
    """
    if time_unit not in get_args(TimeUnit):
        raise ConfigError(
            f"time_unit must be one of {', '.join(get_args(TimeUnit))}, but is {time_unit!r}."
        )
    inter = PUBLISHED.one(folder, f"{glob.escape(dataset) if dataset else '*'}.inter")
    name = inter.name.removesuffix(".inter")
    kinds = _header(inter)
    chosen = {
        "user": _column(kinds, "user", user, inter),
        "item": _column(kinds, "item", item, inter),
        "time": _column(kinds, "time", time, inter),
        "rating": _column(kinds, "rating", rating, inter),
        "label": _column(kinds, "label", label, inter),
    }
    for key in ("user", "item"):
        if chosen[key] is None:
            raise SchemaError(
                f"{inter} has no column that is usually the {key}; its columns are "
                f"{', '.join(kinds)}. Name it: read_atomic(folder, {key}=...)."
            )
    layout = Layout(separator="\t")
    wanted = {key: f"{c}:{kinds[c]}" for key, c in chosen.items() if c is not None}
    types = {head: _TYPES[head.rsplit(":", 1)[1]] for head in wanted.values()}
    for key in ("time", "rating", "label"):  # some files call a number a token
        if key in wanted:
            types[wanted[key]] = pa.float64()
    for key in ("user", "item"):
        types[wanted[key]] = pa.string()
    builder = LogBuilder(sample_users, [inter])
    extremes = [np.empty(0)]
    for chunk in read_delimited([inter], layout, types, block_bytes=block_bytes, progress=progress):
        response = _responses(chunk, wanted, liked)
        seconds = np.zeros(len(chunk))
        if "time" in wanted:
            number = _numbers_of_times(chunk, wanted["time"])
            seconds = seconds_of(number, time_unit)
            extremes.append(_telling(number))
        builder.add(
            chunk.ids(wanted["user"]),
            chunk.ids(wanted["item"]),
            seconds,
            response,
            keep=None if impressions else response >= CLICK,
        )
    notes: list[str] = []
    if "time" in wanted:
        told = np.concatenate(extremes)
        if wrong_times(told, time_unit) is not None:
            _refuse_times(inter, layout, wanted["time"], time_unit, block_bytes)
    else:
        notes.append("The file has no times: all are 0, and the order of a user's events is "
                     "random.")  # fmt: skip
    items = builder.items()
    for details in _beside(inter, f"{name}.item"):
        notes += _fill(items, details, block_bytes)
    return builder.finish(
        items,
        name=name,
        notes=(
            _mapping(wanted, liked, impressions),
            *(() if impressions else (NO_IMPRESSIONS,)),
            *notes,
            VISITS,
            PUBLISHED.cite,
        ),
        has_impressions=impressions,
    )


def _numbers_of_times(chunk: Chunk, name: str) -> npt.NDArray[np.float64]:
    return chunk.numbers(name, 0, float(np.finfo(np.float64).max), "a time since 1970")


def _telling(number: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of times as they stand, those that tell the unit: the extremes, and one that is no date."""
    if len(number) == 0:
        return number
    no_date = number[np.isnan(seconds_of(number, "date"))]
    return np.concatenate([[number.min(), number.max()], no_date[:1]])


def _refuse_times(
    source: Source, layout: Layout, name: str, unit: TimeUnit, block_bytes: int
) -> None:
    """SchemaError that names the line of the first time that cannot be in this unit."""
    types = {name: pa.float64()}
    chunks = list(read_delimited([source], layout, types, block_bytes=block_bytes))
    numbers = [_numbers_of_times(chunk, name) for chunk in chunks]
    found = wrong_times(np.concatenate(numbers), unit)
    if found is None:
        return
    ends = np.cumsum([len(number) for number in numbers])
    for chunk, bad in zip(chunks, np.split(found.bad, ends[:-1]), strict=True):
        chunk.refuse(bad, name, found.wrong, f"{found.remedy} ({_OPTION})")


def _beside(inter: Source, name: str) -> list[Source]:
    """The file of this name in the same folder, or in the same folder of the same archive."""
    pattern = glob.escape(name)
    if inter.member is None:
        return PUBLISHED.at_most_one(inter.path.parent, pattern)
    place = Path(str(inter)).parent
    return [s for s in find(inter.path, pattern) if Path(str(s)).parent == place]


def _responses(chunk: Chunk, wanted: dict[str, str], liked: float) -> np.ndarray:
    response = np.full(len(chunk), CLICK, dtype=np.int8)
    if "rating" in wanted:
        rating = chunk.numbers(wanted["rating"], -1e9, 1e9, "a rating")
        response = rated(rating, liked, CLICK, PURCHASE)
    if "label" in wanted:
        label = chunk.numbers(wanted["label"], 0, 1, "a label, 0 or 1")
        chunk.refuse((label > 0) & (label < 1), wanted["label"], "is not a label, 0 or 1")
        response = np.where(label > 0, response, IGNORE).astype(np.int8)
    return response


def _mapping(wanted: dict[str, str], liked: float, impressions: bool) -> str:
    told = []
    if "rating" in wanted:
        told.append(f"a rating of {liked:g} or more is read as a purchase, any other as a click")
    if "label" in wanted:
        told.append("label 0 is " + ("an ignored item" if impressions else "left out"))
        if "rating" not in wanted:
            told.append("label 1 is a click")
    return "Atomic file: " + ("; ".join(told) or "every row is read as a click") + "."


def _header(source: Source) -> dict[str, str]:
    """Column to type, in the file's order."""
    with text_of(source) as file:
        heads = file.readline().rstrip("\r\n").split("\t")
    kinds = {}
    for head in heads:
        name, colon, kind = head.rpartition(":")
        if not colon or kind not in _TYPES:
            raise SchemaError(
                f"{source}, line 1: {head!r} is not name:type with a type of "
                f"{', '.join(_TYPES)}. Give an atomic file."
            )
        if name in kinds:
            raise SchemaError(
                f"{source}, line 1 names the column {name!r} twice. Keep one of them."
            )
        kinds[name] = kind
    return kinds


def _column(kinds: dict[str, str], key: str, named: str | None, source: Source) -> str | None:
    if named is not None:
        if named not in kinds:
            raise SchemaError(
                f"{source} has no column {named!r} (wanted for {key!r}); its columns are "
                f"{', '.join(kinds)}."
            )
        return named
    for usual in _USUAL[key]:
        if usual in kinds:
            return usual
        near = [name for name in kinds if _plain(name) == usual]
        if len(near) > 1:
            raise SchemaError(
                f"{source}, line 1: {' and '.join(map(repr, near))} are both the column {usual!r}. "
                "Keep one of them."
            )
        if near:
            return near[0]
    return None


def _plain(name: str) -> str:
    """A column's name in lower case and without outer blanks, as the usual names are."""
    return name.strip().lower()


def _fill(items: Items, source: Source, block_bytes: int) -> list[str]:
    """Texts, categories and prices from the .item file; notes on what it lacks or tells twice."""
    kinds = _header(source)
    key = _column(kinds, "item", None, source)
    if key is None:
        raise SchemaError(
            f"{source} has no item_id; its columns are {', '.join(kinds)}. Give an .item file."
        )
    title = _column(kinds, "text", None, source)
    category = _column(kinds, "category", None, source)
    price = _column(kinds, "price", None, source)
    rest = [c for c in kinds if _plain(c) in ("release_year", "year") or c == category]
    heads = {c: f"{c}:{kinds[c]}" for c in (key, title, category, price, *rest) if c is not None}
    types = {heads[c]: pa.float64() if c == price else pa.string() for c in heads}
    for chunk in read_delimited([source], Layout(separator="\t"), types, block_bytes=block_bytes):
        place = items.find(chunk.ids(heads[key]))
        columns = {c: chunk.columns[head].to_pylist() for c, head in heads.items()}
        texts = _texts(columns, title, rest, len(chunk))
        money = None
        if price is not None:
            money = chunk.numbers(heads[price], 0, 1e9, "a price", blank=0.0)
        for row in np.flatnonzero(place >= 0):
            label = None
            if category is not None:
                parts = columns[category][row].replace(",", " ").split()
                first = columns[category][row] if kinds[category] == "token" else parts[:1]
                label = "".join(first).strip()
            paid = None if money is None else float(money[row])
            items.describe(int(place[row]), texts[row], label, paid)
    notes = [*items.retold(source)]
    if missing := items.missing():
        notes.append(f"{missing} items are not in {source.name}: an id stands in for the text.")
    return notes


def _texts(
    columns: dict[str, list[str]], title: str | None, rest: Sequence[str], total: int
) -> np.ndarray:
    parts = [columns[c] for c in ([title] if title else []) + list(rest)]
    return objects([". ".join(p for p in row if p) for row in zip(*parts, strict=True)] or
                   [""] * total)  # fmt: skip
