"""Amazon Reviews 2023, one category: the reviews, or the rating files.

Source: Hou et al. (2024), "Bridging Language and Items for Retrieval and Recommendation",
arXiv:2403.03952.
"""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from recenv.data.files import Source, find
from recenv.data.log_builder import NO_IMPRESSIONS, VISITS, Items, LogBuilder
from recenv.data.publication import Publication, rated
from recenv.data.text_chunks import (
    BLOCK_BYTES,
    COMMAS,
    read_delimited,
    read_json_lines,
    read_lines,
)
from recenv.errors import ConfigError, DataNotFoundError, SchemaError
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog

AMAZON = Publication(
    name="amazon-2023",
    page="https://amazon-reviews-2023.github.io",
    files="<Category>.jsonl (reviews) or <Category>.csv (ratings) and, for texts, "
    "meta_<Category>.jsonl",
    cite="Cite Hou et al. (2024), arXiv:2403.03952.",
)


_TOLD = ("parent_asin", "title", "price", "categories", "main_category")  # of a product
_MONEY = re.compile(r"\$?((?:\d{1,9}|\d{1,3}(?:,\d{3}){1,2})(?:\.\d+)?)", re.ASCII)


def read_amazon(
    folder: Path,
    *,
    category: str | None = None,
    purchase: Literal["verified", "liked"] | None = None,
    liked: float = 4.0,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read one category; every review is a click, and items are products (``parent_asin``).

    Args:
        folder: where the files lie.
        category: as in the files' names, such as "All_Beauty"; None: the only one there.
        purchase: what stands for a purchase: a review that Amazon marks as a verified purchase,
            or a rating from ``liked`` on. None: "verified" for reviews, "liked" for rating
            files, which do not tell it.
        liked: the lowest rating that stands for a purchase with "liked".
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        ConfigError: ``purchase`` is another word, or "verified" with a rating file.
        DataNotFoundError: no reviews and no ratings are there.
        SchemaError: a file is damaged; the message names file, line and column.
    """
    if purchase not in (None, "verified", "liked"):
        raise ConfigError(f"purchase must be 'verified', 'liked' or None, but is {purchase!r}.")
    source = _events(folder, category)
    name = source.name.rsplit(".", 1)[0]
    reviews = source.name.endswith(".jsonl")
    if purchase == "verified" and not reviews:
        raise ConfigError(
            f"{source} holds ratings only and does not tell verified purchases. Pass "
            f"purchase='liked', or put the reviews {name}.jsonl there."
        )
    verified = purchase == "verified" or (purchase is None and reviews)
    types = {
        "user_id": pa.string(),
        "parent_asin": pa.string(),
        "rating": pa.float64(),
        "timestamp": pa.int64(),
    }
    if reviews:
        types["verified_purchase"] = pa.bool_()
        chunks = read_json_lines([source], types, block_bytes=block_bytes, progress=progress)
    else:
        chunks = read_delimited([source], COMMAS, types, block_bytes=block_bytes, progress=progress)
    builder = LogBuilder(sample_users, [source])
    unmarked = 0
    for chunk in chunks:
        response = rated(chunk.numbers("rating", 0, 5, "a rating to 5"), liked, CLICK, PURCHASE)
        if verified:
            bought = chunk.columns["verified_purchase"]
            unmarked += bought.null_count
            bought = bought.fill_null(False)
            bought = bought.to_numpy(zero_copy_only=False).astype(bool)
            response = np.where(bought, PURCHASE, CLICK).astype(np.int8)
        builder.add(
            chunk.ids("user_id"),
            chunk.ids("parent_asin"),
            chunk.seconds("timestamp", "ms"),
            response,
        )
    items = builder.items()
    notes = []
    if unmarked:
        notes.append(
            f"{unmarked} reviews do not tell whether the purchase was verified: they are clicks."
        )
    meta = AMAZON.at_most_one(folder, f"meta_{glob.escape(name)}.jsonl")
    if meta:
        notes += _describe(items, meta, block_bytes, progress)
    told = "a verified purchase" if verified else f"a rating of {liked:g} or more"
    return builder.finish(
        items,
        name=f"{AMAZON.name}-{name}",
        notes=(
            f"Every review is read as a click, and {told} as a purchase. A review's time is not "
            "the purchase's.",
            NO_IMPRESSIONS,
            "Prices, where known, are those of 2023, not those paid.",
            *notes,
            VISITS,
            AMAZON.cite,
        ),
    )


def _events(folder: Path, category: str | None) -> Source:
    """Reviews if they are there, else ratings."""
    found: list[Source] = []
    for end in ("jsonl", "csv"):
        found = [s for s in find(folder, f"{glob.escape(category) if category else '*'}.{end}")
                 if not s.name.startswith("meta_")]  # fmt: skip
        if found:
            break
    if not found:
        raise DataNotFoundError(
            f"{AMAZON.name} is not in {folder}. Wanted: {AMAZON.files}"
            + (f", for the category {category!r}" if category else "")
            + f" (also .gz). Get them from {AMAZON.page} and pass folder=."
        )
    if len(found) > 1:
        raise SchemaError(
            f"{folder} holds several categories: {', '.join(s.name for s in found)}. Name the "
            "folder of one, or read_amazon(folder, category=...)."
        )
    return found[0]


def _describe(
    items: Items, meta: list[Source], block_bytes: int, progress: bool | None
) -> list[str]:
    """Title, categories and price; notes on prices such as "from 9.99", and on repeated items."""
    unread = 0
    place = {name: at for at, name in enumerate(items.ids)}
    for source, line, text in read_lines(meta, block_bytes=block_bytes, progress=progress):
        try:
            product = json.loads(text, object_pairs_hook=_Object)
            asin = product["parent_asin"].strip()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SchemaError(
                f"{source}, line {line}: no JSON object with a 'parent_asin' ({error!r}). Get the "
                "file afresh, or mend the line."
            ) from error
        _refuse_keys(product, source, line)
        if not asin:
            raise SchemaError(
                f"{source}, line {line}: 'parent_asin' is blank. Get the file afresh, or mend the "
                "line."
            )
        at = place.get(asin)
        if at is None:
            continue
        named = product.get("categories") or []
        if not isinstance(named, list):
            raise SchemaError(
                f"{source}, line {line}: 'categories' must be a list, but is {named!r}. Get the "
                "file afresh, or mend the line."
            )
        categories = [str(c) for c in named]
        title = str(product.get("title") or "").strip()
        parts = [title, ", ".join(categories)]
        # the first of the path is the whole category; the second tells products apart
        label = categories[1] if len(categories) > 1 else product.get("main_category")
        price = _price(product.get("price"))
        unread += price is None
        text = ". ".join(p for p in parts if p)
        items.describe(at, text, str(label or ""), price or 0.0)
    notes = [f"{unread} prices are no plain number and count as unknown."] if unread else []
    return [*notes, *items.retold(meta[0])]


class _Object(dict[str, object]):
    """A JSON object that remembers the keys that stand in it more than once."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.twice: list[str] = []
        if len(self) < len(pairs):
            keys = [key for key, _ in pairs]
            self.twice = [key for key in self if keys.count(key) > 1]


def _refuse_keys(product: _Object, source: Source, line: int) -> None:
    """SchemaError where a key that is read stands twice, or in other letters or with blanks."""
    twice = [key for key in product.twice if key in _TOLD]
    if twice:
        raise SchemaError(
            f"{source}, line {line}: the key {twice[0]!r} stands there more than once. Get the "
            "file afresh, or keep one of them."
        )
    for key in product:
        if key not in _TOLD and (plain := key.strip().lower()) in _TOLD:
            raise SchemaError(
                f"{source}, line {line}: the key {key!r} is not spelled {plain!r}. Get the file "
                "afresh, or rename the key."
            )


def _price(value: object) -> float | None:
    """A price, 0 where there is none, None where it is no plain number.

    A comma stands between thousands or not at all: "12,99" is not read as 1299.
    """
    if value is None or value == "":
        return 0.0
    if isinstance(value, str):
        match = _MONEY.fullmatch(value.strip())
        return float(match[1].replace(",", "")) if match else None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    return None
