"""Web shops: RetailRocket and Taobao UserBehavior."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recenv.data.files import Source
from recenv.data.log_builder import NO_IMPRESSIONS, VISITS, Items, LogBuilder
from recenv.data.publication import Publication, objects
from recenv.data.text_chunks import BLOCK_BYTES, COMMAS, Chunk, Layout, read_delimited
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog

RETAILROCKET = Publication(
    name="retailrocket",
    page="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
    files="events.csv, item_properties_part1.csv, item_properties_part2.csv, category_tree.csv "
    "(the last three may be missing: then there are no categories)",
    cite="Name Retail Rocket and the publisher's page as the source.",
)
TAOBAO = Publication(
    name="taobao",
    page="https://tianchi.aliyun.com/dataset/649",
    files="UserBehavior.csv",
    cite="Name Alibaba's Tianchi and the publisher's page as the source.",
)

TAOBAO_FROM, TAOBAO_UNTIL = 1511539200, 1512316800
"""2017-11-25 and 2017-12-04, 0:00 in China (UTC+8): the nine days that the publisher states."""

_EVENTS = {"view": CLICK, "addtocart": CLICK, "transaction": PURCHASE}
_WHOLE = re.compile(r"[0-9]{1,18}")  # fits 64 bits
_BEHAVIOURS = {"pv": CLICK, "cart": CLICK, "fav": CLICK, "buy": PURCHASE}


def read_retailrocket(
    folder: Path,
    *,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read RetailRocket: views and carts are clicks, transactions purchases.

    An item's category is the root of its ``categoryid`` in the category tree, its text the path
    from there; of several categoryids in time the latest counts. All other properties are
    hashed by the publisher and not read.

    Args:
        folder: where the files (or a zip archive of them) lie.
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        DataNotFoundError: events.csv is missing.
        SchemaError: a file is damaged; the message names file, line and column.
    """
    events = RETAILROCKET.one(folder, "events.csv")
    types = {
        "timestamp": pa.int64(),
        "visitorid": pa.int64(),
        "event": pa.string(),
        "itemid": pa.int64(),
    }
    builder = LogBuilder(sample_users, [events])
    for chunk in read_delimited(
        [events], COMMAS, types, block_bytes=block_bytes, progress=progress
    ):
        builder.add(
            chunk.ids("visitorid"),
            chunk.ids("itemid"),
            chunk.seconds("timestamp", "ms"),
            chunk.words("event", _EVENTS),
        )
    items = builder.items()
    names = [f"item_properties_part{part}.csv" for part in (1, 2)]
    found = {name: RETAILROCKET.at_most_one(folder, name) for name in names}
    properties = [source for sources in found.values() for source in sources]
    absent = [name for name, sources in found.items() if not sources]
    tree = RETAILROCKET.at_most_one(folder, "category_tree.csv")
    parents = _parents(tree[0], block_bytes) if tree else {}
    if properties:
        category = _categories(items, properties, block_bytes, progress)
        paths = {c: _path(c, parents) for c in set(category.tolist()) if c >= 0}
        items.label = objects([paths[c][0] if c >= 0 else "unknown" for c in category.tolist()])
        items.text = objects(
            [
                f"Item {i}. Category {' > '.join(paths[c])}." if c >= 0 else f"Item {i}."
                for i, c in zip(items.ids, category.tolist(), strict=True)
            ]
        )
    return builder.finish(
        items,
        name=RETAILROCKET.name,
        notes=(
            "A view or an addition to the cart is read as a click, a transaction as a purchase.",
            NO_IMPRESSIONS,
            *_without(absent),
            "Prices and texts are hashed by the publisher: an item's text is its category path.",
            VISITS,
            RETAILROCKET.cite,
        ),
    )


def _without(absent: list[str]) -> list[str]:
    if not absent:
        return []
    return [f"Without {' and '.join(absent)}, items told of there alone have no category."]


def _categories(
    items: Items, properties: list[Source], block_bytes: int, progress: bool | None
) -> np.ndarray:
    """(N,) int64 latest category of each item, -1 where none is told."""
    types = {
        "timestamp": pa.int64(),
        "itemid": pa.int64(),
        "property": pa.string(),
        "value": pa.string(),
    }
    category = np.full(len(items.ids), -1, dtype=np.int64)
    told = np.full(len(items.ids), -1, dtype=np.int64)  # ms
    for chunk in read_delimited(
        properties, COMMAS, types, block_bytes=block_bytes, progress=progress
    ):
        kind, kinds = chunk.distinct("property")
        wanted = [code for code, name in enumerate(kinds) if name.strip() == "categoryid"]
        if not wanted:
            continue
        place = items.find(chunk.ids("itemid"))
        rows = np.flatnonzero(np.isin(kind, wanted) & (place >= 0))
        time = chunk.ids("timestamp")
        bad = np.zeros(len(chunk), dtype=bool)
        values = chunk.columns["value"].take(rows).to_pylist()
        bad[rows] = [not _WHOLE.fullmatch(v) for v in values]
        chunk.refuse(bad, "value", "is not a whole number")
        for row, value in zip(rows, values, strict=True):
            if time[row] >= told[place[row]]:
                category[place[row]], told[place[row]] = int(value), time[row]
    return category


def _parents(tree: Source, block_bytes: int) -> dict[int, int]:
    types = {"categoryid": pa.int64(), "parentid": pa.int64()}
    parents: dict[int, int] = {}
    for chunk in read_delimited([tree], COMMAS, types, block_bytes=block_bytes):
        pairs = zip(
            np.asarray(chunk.ids("categoryid")).tolist(),  # none is blank
            chunk.columns["parentid"].to_pylist(),
            strict=True,
        )
        parents |= {child: parent for child, parent in pairs if parent is not None}
    return parents


def _path(category: int, parents: dict[int, int]) -> list[str]:
    """From the root to the category."""
    path = [category]
    while path[-1] in parents and parents[path[-1]] not in path:
        path.append(parents[path[-1]])
    return [str(c) for c in reversed(path)]


def read_taobao(
    folder: Path,
    *,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read Taobao UserBehavior: pv, cart and fav are clicks, buy is a purchase.

    Rows with a time outside the nine days that the publisher states are left out; a note counts
    them. If they are most of the rows, the times are in another unit: an error. An item's
    category is that of its first row.

    Args:
        folder: where UserBehavior.csv (or its zip archive) lies.
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        DataNotFoundError: the file is missing.
        SchemaError: the file is damaged; the message names file, line and column.
    """
    source = TAOBAO.one(folder, "UserBehavior.csv")
    names = ("user", "item", "category", "behaviour", "time")
    kinds = (pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.int64())
    types: dict[str, pa.DataType] = dict(zip(names, kinds, strict=True))
    builder = LogBuilder(sample_users, [source])
    category = np.empty(0, dtype=np.int64)  # by provisional item code
    dropped = total = 0
    outside: tuple[Chunk, npt.NDArray[np.bool_]] | None = None  # of the first such row
    for chunk in read_delimited(
        [source], Layout(columns=names), types, block_bytes=block_bytes, progress=progress
    ):
        time = np.asarray(chunk.ids("time"), dtype=np.float64)
        inside = (time >= TAOBAO_FROM) & (time < TAOBAO_UNTIL)
        dropped, total = dropped + int((~inside).sum()), total + len(chunk)
        if outside is None and not inside.all():
            outside = chunk, ~inside
        told = np.asarray(chunk.ids("category"))
        rows, code = builder.add(
            chunk.ids("user"),
            chunk.ids("item"),
            time,
            chunk.words("behaviour", _BEHAVIOURS),
            keep=inside,
        )
        if len(code) and code.max() >= len(category):
            more = np.full(int(code.max()) + 1 - len(category), -1, dtype=np.int64)
            category = np.concatenate([category, more])
        new = category[code] < 0
        # reversed: of several rows of one item the first is written last
        category[code[new][::-1]] = told[rows[new]][::-1]
    if outside is not None and 2 * dropped > total:
        outside[0].refuse(
            outside[1],
            "time",
            "is no time in seconds from 2017-11-25 to 2017-12-03 "
            f"({dropped} of {total} rows have none)",
            "Write it in seconds since 1970, or get the file afresh.",
        )
    items = builder.items()
    used = np.flatnonzero(items.rank >= 0)
    label = np.empty(len(items.ids), dtype=np.int64)
    label[items.rank[used]] = category[used]
    items.label = label.astype(str).astype(object)
    items.text = objects(
        [f"Item {i}. Category {c}." for i, c in zip(items.ids, items.label, strict=True)]
    )
    return builder.finish(
        items,
        name=TAOBAO.name,
        notes=(
            "A page view (pv), cart or favourite is read as a click, buy as a purchase.",
            f"{dropped} rows with a time outside 2017-11-25 to 2017-12-03 (China) were left out.",
            NO_IMPRESSIONS,
            "Items have no texts and no prices: an item's text is its category's number.",
            VISITS,
            TAOBAO.cite,
        ),
    )
