"""What every reader of a public log does with files that are not as their publisher wrote them.

Each log is small and invented: three users, four items, twelve events. A damaged file is either
read for what it says or refused with its name; no row is lost without a word.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.handmade import Read, told, write

from recenv.data import formats, load
from recenv.data.files import Source
from recenv.data.formats import movielens_100k
from recenv.data.text_chunks import COMMAS, _Check
from recenv.errors import SchemaError

ROWS = [(1 + k % 3, 1 + (k * k + k // 3) % 4, 1_511_600_000 + 4000 * k) for k in range(12)]
NEWS = "".join(f"N{i}\tnews\tworld\tTitle {i}\tAbstract\thttps://x\t\t\n" for i in range(1, 5))


def _lines(make: Callable[[int, int, int], str]) -> str:
    return "".join(make(u, i, t) + "\n" for u, i, t in ROWS)


def _film(item: int) -> str:
    flags = "|".join("1" if k == item else "0" for k in range(19))
    return f"{item}|Film {item} (1990)|01-Jan-1990||http://x|{flags}\n"


LOGS: dict[str, dict[str, str]] = {
    "movielens-100k": {
        "u.data": _lines(lambda u, i, t: f"{u}\t{i}\t4\t{t}"),
        "u.item": "".join(map(_film, range(1, 5))),
    },
    "movielens-1m": {
        "ratings.dat": _lines(lambda u, i, t: f"{u}::{i}::4::{t}"),
        "movies.dat": "".join(f"{i}::Film {i} (1990)::Drama\n" for i in range(1, 5)),
    },
    "movielens-25m": {
        "ratings.csv": "userId,movieId,rating,timestamp\n"
        + _lines(lambda u, i, t: f"{u},{i},4.0,{t}"),
        "movies.csv": "movieId,title,genres\n"
        + "".join(f'{i},"Film {i}, The (1990)",Drama\n' for i in range(1, 5)),
    },
    "recbole": {
        "shop.inter": "user_id:token\titem_id:token\ttimestamp:float\n"
        + _lines(lambda u, i, t: f"{u}\t{i}\t{t}"),
        "shop.item": "item_id:token\ttitle:token_seq\n"
        + "".join(f"{i}\tThing {i}\n" for i in range(1, 5)),
    },
    "retailrocket": {
        "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
        + _lines(lambda u, i, t: f"{t}000,{u},view,{i},"),
    },
    "taobao": {"UserBehavior.csv": _lines(lambda u, i, t: f"{u},{i},7,pv,{t}")},
    "kuairand": {
        "log_standard_x.csv": "user_id,video_id,time_ms,is_click,long_view,tab\n"
        + _lines(lambda u, i, t: f"{u},{i},{t}000,1,0,1"),
        "video_features_basic_x.csv": "video_id,tag\n"
        + "".join(f'{i},"{i},9"\n' for i in range(1, 5)),
    },
    "kuairec": {
        "big_matrix.csv": "user_id,video_id,timestamp,watch_ratio,time\n"
        + _lines(lambda u, i, t: f"{u},{i},{t}.5,0.9,x"),
    },
    "amazon-2023": {
        "Books.csv": "user_id,parent_asin,rating,timestamp\n"
        + _lines(lambda u, i, t: f"U{u},B{i},5.0,{t}000"),
    },
    "mind": {
        "behaviors.tsv": _lines(
            lambda u, i, t: f"{t}\tU{u}\t11/11/2019 9:{t // 4000 % 60:02d}:58 AM\t\tN{i}-1"
        ),
        "news.tsv": NEWS,
    },
    "lastfm-1k": {
        "userid-timestamp-artid-artname-traid-traname.tsv": _lines(
            lambda u, i, t: f"u{u}\t2009-04-08T01:{t // 4000 % 60:02d}:47Z\t\tArtist {i}\t\tTitle"
        ),
    },
    "lastfm-hetrec": {
        "user_artists.dat": "userID\tartistID\tweight\n"
        + "".join(f"{u}\t{i}\t3\n" for u in range(1, 4) for i in range(1, 5)),
    },
    "open-bandit": {
        "random/all/all.csv": ",timestamp,item_id,position,click,propensity_score,user_feature_0,"
        "user_feature_1,user_feature_2,user_feature_3\n"
        + _lines(
            lambda u, i, t: (
                f"{t},2019-11-24 00:{t // 4000 % 60:02d}:01+00:00,{i - 1},1,1,0.5,a{u},b,c,d"
            )
        ),
        "random/all/item_context.csv": ",item_id,item_feature_0,item_feature_1,item_feature_2,"
        "item_feature_3\n" + "".join(f"{i},{i},0.5,f{i},g,h\n" for i in range(4)),
    },
}
NAMES = sorted(LOGS)
HEADLESS = {"movielens-100k", "movielens-1m", "taobao", "mind", "lastfm-1k"}
UNTIMED = {"lastfm-hetrec"}
DATED = {"mind", "lastfm-1k", "open-bandit"}  # their times are no numbers


def _separator(name: str) -> str:
    if name == "movielens-1m":
        return "::"
    tabs = ("movielens-100k", "recbole", "mind", "lastfm-1k", "lastfm-hetrec")
    return "\t" if name in tabs else ","


def _events(name: str) -> tuple[str, str]:
    """The file of events and its text."""
    return next(iter(LOGS[name].items()))


def _load(name: str, folder: Path) -> Read:
    return load(name, folder, progress=False)


def _with(name: str, folder: Path, text: str | bytes) -> Path:
    """The log with another file of events."""
    return write(folder, {**LOGS[name], _events(name)[0]: text})


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_logs_are_whole(name: str, tmp_path: Path) -> None:
    log, catalog = _load(name, write(tmp_path, LOGS[name]))
    assert (len(log), log.num_users, len(catalog)) == (12, 3, 4)
    assert not any("repeat" in note for note in log.notes)


def test_a_stray_quote_swallows_no_row(name: str, tmp_path: Path) -> None:
    """Wherever it stands: at the beginning or end of any cell of some row, alone or twice."""
    _, text = _events(name)
    lines, separator = text.splitlines(), _separator(name)
    read = 0
    for row in (1, 5):
        cells = lines[row].split(separator)
        for at in range(len(cells)):
            for made in (f'"{cells[at]}', f'{cells[at]}"', f'"x{cells[at]}'):
                line = separator.join([*cells[:at], made, *cells[at + 1 :]])
                other = [*lines[:row], line, *lines[row + 1 :]]
                if made.startswith('"x'):  # closed some rows below
                    other[row + 3] += '"'
                folder = _with(name, tmp_path, "\n".join(other) + "\n")
                read += _number_of_events(name, folder) == 12
    # neither a number nor an id has room for a quote; cells that are not read have
    assert read or name in (
        "amazon-2023", "movielens-100k", "movielens-1m", "movielens-25m", "taobao"
    )  # fmt: skip


def _number_of_events(name: str, folder: Path) -> int:
    """12 where all events were read, 0 where a file was refused by its name."""
    try:
        events = len(_load(name, folder)[0])
    except SchemaError as error:
        events = 0 if any(file in str(error) for file in LOGS[name]) else -1
    assert events in (0, 12)
    return events


def test_uneven_rows(name: str, tmp_path: Path) -> None:
    _, text = _events(name)
    lines, separator = text.splitlines(), _separator(name)
    first = 0 if name in HEADLESS else 1
    for rows in ([first], [4], [len(lines) - 1], range(first, len(lines))):
        for longer in (True, False):
            other = list(lines)
            for row in rows:
                cut = other[row].rsplit(separator, 1)[0]
                other[row] = other[row] + separator + "9" if longer else cut
            folder = _with(name, tmp_path, "\n".join(other) + "\n")
            if name == "lastfm-1k" and len(rows) == 1:  # its publisher's file has such rows
                read = _load(name, folder)
                assert len(read[0]) == 11
                assert told(read, "1 rows with another number of columns")
                continue
            wanted = "holds no event" if name == "lastfm-1k" else rf"line {rows[0] + 1}\b"
            with pytest.raises(SchemaError, match=wanted):
                _load(name, folder)


@pytest.mark.parametrize("name", sorted(set(NAMES) - HEADLESS), indirect=True)
def test_a_column_named_twice(name: str, tmp_path: Path) -> None:
    _, text = _events(name)
    separator = _separator(name)
    head, *lines = text.splitlines()
    item = next(c for c in head.split(separator) if "item" in c or c in (
        "movieId", "video_id", "parent_asin", "artistID"))  # fmt: skip
    other = [head + separator + item, *(line + separator + "3" for line in lines)]
    with pytest.raises(SchemaError, match=rf"column '{item.split(':')[0]}' (2 times|twice)"):
        _load(name, _with(name, tmp_path, "\n".join(other) + "\n"))


@pytest.mark.parametrize("name", sorted(set(NAMES) - UNTIMED - DATED), indirect=True)
@pytest.mark.parametrize("factor", ["000", "000000", "date"])
def test_times_in_another_unit(name: str, factor: str, tmp_path: Path) -> None:
    _, text = _events(name)
    for _, _, t in ROWS:
        stands = f"{t}000" if f"{t}000" in text else str(t)
        date = f"201711{1 + (t // 4000) % 28:02d}"
        text = text.replace(stands, date if factor == "date" else stands + factor)
    with pytest.raises(SchemaError, match=r"time.* is no time in (s|ms|seconds)\b"):
        _load(name, _with(name, tmp_path, text))


@pytest.mark.parametrize("name", ["retailrocket", "kuairand", "amazon-2023"], indirect=True)
def test_seconds_for_milliseconds(name: str, tmp_path: Path) -> None:
    _, text = _events(name)
    for _, _, t in ROWS:
        text = text.replace(f"{t}000", str(t))
    with pytest.raises(SchemaError, match=r"is no time in ms.*times in s since 1970"):
        _load(name, _with(name, tmp_path, text))


def test_times_of_atomic_files(tmp_path: Path) -> None:
    """The format does not tell the unit: the error names the option, which reads them."""
    want = _load("recbole", write(tmp_path / "s", LOGS["recbole"]))[0].column("time")
    for unit, ticks in (("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        lines = "".join(f"{u}\t{i}\t{t * ticks}\n" for u, i, t in ROWS)
        head = LOGS["recbole"]["shop.inter"].splitlines()[0] + "\n"
        folder = _with("recbole", tmp_path / unit, head + lines)
        with pytest.raises(SchemaError, match=rf"line 2.* in {unit} .*time_unit='{unit}'"):
            formats.read_atomic(folder, block_bytes=80)
        log, _ = formats.read_atomic(folder, time_unit=unit)  # pyright: ignore[reportArgumentType]
        assert log.column("time").tolist() == want.tolist()
    folder = _with("recbole", tmp_path / "d", head + "a\tx\t20200913\na\ty\t20200914\n")
    with pytest.raises(SchemaError, match=r"time_unit='date'"):
        formats.read_atomic(folder)
    log, _ = formats.read_atomic(folder, time_unit="date")
    assert log.column("time").tolist() == [1599955200.0, 1600041600.0]


def test_rows_that_stand_twice(name: str, tmp_path: Path) -> None:
    want = _load(name, write(tmp_path / "once", LOGS[name]))
    _, text = _events(name)
    lines = text.splitlines()
    first = 0 if name in HEADLESS else 1
    twice = [*lines, *lines[first + 3 :], lines[-1]]
    read = _load(name, _with(name, tmp_path / "twice", "\n".join(twice) + "\n"))
    assert (read[0].hash, read[1].hash) == (want[0].hash, want[1].hash)
    assert told(read, "10 of 22 rows repeat")


# --- encodings --------------------------------------------------------------------------------


def test_text_saved_again(name: str, tmp_path: Path) -> None:
    want = _load(name, write(tmp_path / "plain", LOGS[name]))
    marked = {file: b"\xef\xbb\xbf" + text.encode() for file, text in LOGS[name].items()}
    windows = {file: text.replace("\n", "\r\n") for file, text in LOGS[name].items()}
    for files in (marked, windows):
        read = _load(name, write(tmp_path / "again", files))
        assert (read[0].hash, read[1].hash) == (want[0].hash, want[1].hash)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        wide = {file: text.encode(encoding) for file, text in LOGS[name].items()}
        with pytest.raises(SchemaError, match=r"Save it as UTF-8"):
            _load(name, write(tmp_path / "again", wide))


@pytest.mark.parametrize(
    ("name", "file"), [("movielens-1m", "movies.dat"), ("movielens-100k", "u.item")]
)
def test_item_files_of_two_encodings(name: str, file: str, tmp_path: Path) -> None:
    """As published, latin-1; saved again as UTF-8, with and without a byte order mark."""
    text = LOGS[name][file].replace("Film 1", "Les Misérables")
    texts = []
    for number, encoding in enumerate(("latin-1", "utf-8", "utf-8-sig")):
        folder = write(tmp_path / str(number), {**LOGS[name], file: text.encode(encoding)})
        read = _load(name, folder)
        texts.append(read[1].text[0])
        assert told(read, "saved again as UTF-8") == (number > 0)
    assert texts == [texts[0]] * 3
    assert texts[0].startswith("Les Misérables (1990)")


@pytest.mark.parametrize(
    ("name", "file", "old"),
    [
        ("movielens-25m", "movies.csv", "Film 1"),
        ("recbole", "shop.item", "Thing 1"),
        ("mind", "news.tsv", "Title 1"),
        ("lastfm-1k", "userid-timestamp-artid-artname-traid-traname.tsv", "Artist 1"),
    ],
)
def test_latin_1_where_utf_8_is_published(name: str, file: str, old: str, tmp_path: Path) -> None:
    text = LOGS[name][file].replace(old, "Café").encode("latin-1")
    with pytest.raises(SchemaError, match=rf"{file}, line \d.*UTF-?8"):
        _load(name, write(tmp_path, {**LOGS[name], file: text}))


def test_two_objects_on_one_line(tmp_path: Path) -> None:
    review = {"user_id": "U1", "parent_asin": "B1", "rating": 5.0, "timestamp": 1588687728923,
              "verified_purchase": True, "text": "so } { and }{"}  # fmt: skip
    good = json.dumps(review).encode() + b"\n"
    _load("amazon-2023", write(tmp_path, {"Books.jsonl": good * 3}))
    write(tmp_path, {"Books.jsonl": good * 2 + good.rstrip() + b" " + good * 2})
    with pytest.raises(SchemaError, match=r"Books\.jsonl, line 3: .*a second one follows"):
        _load("amazon-2023", tmp_path)


def test_json_that_is_no_utf_8(tmp_path: Path) -> None:
    review = {"user_id": "U1", "parent_asin": "B1", "rating": 5.0, "timestamp": 1588687728923,
              "verified_purchase": True}  # fmt: skip
    good = json.dumps(review).encode() + b"\n"
    write(tmp_path, {"Books.jsonl": good * 5 + good.replace(b"U1", b"U\xe9") + good})
    with pytest.raises(SchemaError, match=r"Books\.jsonl, line 6: .*UTF8"):
        _load("amazon-2023", tmp_path)


# --- cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"recbole", "mind", "lastfm-1k", "amazon-2023"}), indirect=True
)
@pytest.mark.parametrize("made", ["0x10", "0X1f", "1e30", "1.5", "1_0", "12,99", "", "nan", "+1"])
def test_ids_that_are_no_whole_numbers(name: str, made: str, tmp_path: Path) -> None:
    _, text = _events(name)
    lines, separator = text.splitlines(), _separator(name)
    cells = lines[6].split(separator)
    at = {"retailrocket": 3, "open-bandit": 2}.get(name, 1)
    cells[at] = made
    lines[6] = separator.join(cells)
    with pytest.raises(SchemaError, match=r"line 7\b"):
        _load(name, _with(name, tmp_path, "\n".join(lines) + "\n"))


def _feed(check: _Check, data: bytes, size: int) -> None:
    for at in range(0, len(data) + size, size):
        check(data[at : at + size])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_checks_know_every_end_of_a_line(end: str, tmp_path: Path) -> None:
    head, *rows = LOGS["movielens-25m"]["ratings.csv"].splitlines()
    user, _, rating, time = rows[7].split(",")
    rows[7] = f"{user},0x1,{rating},{time}"
    data = (end.join([head, *rows]) + end).encode()
    write(tmp_path, LOGS["movielens-25m"])
    (tmp_path / "ratings.csv").write_bytes(data)
    wrong = r"ratings\.csv, line 9, column 'movieId': '0x1' is not a"
    with pytest.raises(SchemaError, match=wrong):
        _load("movielens-25m", tmp_path)
    for size in (1, 7, 64):  # a line's end of two bytes may be cut in two
        check = _Check(Source(tmp_path / "ratings.csv"), COMMAS, {"movieId": pa.int64()})
        with pytest.raises(SchemaError, match=wrong):
            _feed(check, data, size)


@pytest.mark.parametrize("flag", ["2", "1.0", "x", "", "01"])
def test_genre_flags(flag: str, tmp_path: Path) -> None:
    text = LOGS["movielens-100k"]["u.item"].replace("|0\n", f"|{flag}\n", 2).replace(
        f"|{flag}\n", "|0\n", 1)  # fmt: skip
    folder = write(tmp_path, {**LOGS["movielens-100k"], "u.item": text})
    with pytest.raises(SchemaError, match=rf"line 2, column 'genre Western': '{flag}' is not one"):
        _load("movielens-100k", folder)


def test_a_label_is_0_or_1(tmp_path: Path) -> None:
    text = "user_id:token\titem_id:token\tlabel:float\na\tx\t1\na\ty\t0.5\n"
    with pytest.raises(SchemaError, match=r"line 3, column 'label:float': 0\.5 is not a label"):
        _load("recbole", write(tmp_path, {"x.inter": text}))


def test_a_film_that_stands_twice(tmp_path: Path) -> None:
    files = dict(LOGS["movielens-25m"])
    files["movies.csv"] += "2,Another (1999),Drama\n"
    with pytest.raises(SchemaError, match=r"movies\.csv, line 6, column 'movieId': 2 stands on"):
        _load("movielens-25m", write(tmp_path, files))


def test_items_told_twice_or_not_at_all(tmp_path: Path) -> None:
    files = dict(LOGS["recbole"])
    files["shop.item"] = files["shop.item"].replace("4\tThing 4\n", "") + "2\tOther\n"
    read = _load("recbole", write(tmp_path, files))
    assert read[1].text.tolist() == ["Thing 1", "Other", "Thing 3", "4"]
    assert told(read, "1 items stand in shop.item more than once")
    assert told(read, "1 items are not in shop.item")


def test_amazon_prices(tmp_path: Path) -> None:
    prices = ["12,99", "$1,299.50", "from 9.99", "1_0", "0x10", 7, None]
    meta = "".join(json.dumps({"parent_asin": f"B{k}", "price": p}) + "\n"
                   for k, p in enumerate(prices))  # fmt: skip
    rows = "".join(f"U{k % 2},B{k},5.0,{1588687728923 + k}\n" for k in range(len(prices)))
    head = LOGS["amazon-2023"]["Books.csv"].splitlines()[0] + "\n"
    read = _load(
        "amazon-2023", write(tmp_path, {"Books.csv": head + rows, "meta_Books.jsonl": meta})
    )
    assert read[1].price.tolist() == [0, 1299.5, 0, 0, 0, 7, 0]
    assert told(read, "4 prices are no plain number")
    write(tmp_path, {"meta_Books.jsonl": '{"parent_asin": "B1", "categories": "Beauty"}\n'})
    with pytest.raises(SchemaError, match=r"line 1: 'categories' must be a list"):
        _load("amazon-2023", tmp_path)


def test_keys_of_amazon_products(tmp_path: Path) -> None:
    write(tmp_path, LOGS["amazon-2023"])
    good = '{"parent_asin": "B1", "title": "T", "details": {"a": 1}, "details": {}}\n'
    for line, wrong in (
        ('{"title": "T", "parent_asin": "B1", "parent_asin": "B2"}', "'parent_asin' stands there"),
        ('{"parent_asin": "B1", "price": 1, "price": 2}', "'price' stands there more than once"),
        ('{"parent_asin": "B1", "Price": 2}', "'Price' is not spelled 'price'"),
        ('{"parent_asin": "B1", " title": "T"}', "' title' is not spelled 'title'"),
    ):
        write(tmp_path, {"meta_Books.jsonl": good + line + "\n"})
        with pytest.raises(SchemaError, match=r"meta_Books\.jsonl, line 2: the key " + wrong):
            _load("amazon-2023", tmp_path)
    write(tmp_path, {"meta_Books.jsonl": good})
    assert _load("amazon-2023", tmp_path)[1].text[0] == "T"


def test_columns_of_atomic_files_with_blanks_or_capitals(tmp_path: Path) -> None:
    files = dict(LOGS["recbole"])
    files["shop.item"] = "item_id:token\tTitle:token_seq\t Year:token\t price:float\n" + "".join(
        f"{i}\tThing {i}\t1990\t{i}.5\n" for i in range(1, 5)
    )
    catalog = _load("recbole", write(tmp_path, files))[1]
    assert catalog.price.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert catalog.text[0] == "Thing 1. 1990"
    write(tmp_path, {"shop.item": files["shop.item"].replace(" Year:token", "PRICE:float")})
    with pytest.raises(SchemaError, match=r"line 1: 'PRICE' and ' price' are both the column 'p"):
        _load("recbole", tmp_path)
    write(tmp_path, {"shop.item": files["shop.item"].replace(" Year:token", "price:float")})
    assert _load("recbole", tmp_path)[1].price.tolist() == [1990] * 4  # the usual spelling


@pytest.mark.parametrize("blank", ["\u2028", "\u00a0", "\u200b", "\t", "\x07"])
def test_articles_with_odd_blanks(blank: str, tmp_path: Path) -> None:
    text = _events("mind")[1]
    lines = text.splitlines(keepends=True)
    lines[4] = lines[4].replace("-1\n", f"-1{blank}N2-1\n")
    write(tmp_path, {**LOGS["mind"], "behaviors.tsv": "".join(lines)})
    with pytest.raises(SchemaError, match=r"behaviors\.tsv, line 5"):
        _load("mind", tmp_path)


def test_an_article_that_no_file_tells(tmp_path: Path) -> None:
    write(tmp_path, {**LOGS["mind"], "news.tsv": NEWS.replace("N4\t", "N5\t")})
    with pytest.raises(SchemaError, match=r"'N4' was shown in .*behaviors\.tsv but is not in"):
        _load("mind", tmp_path)


ITEM_FILES = {
    ("recbole", "shop.item"): "item_id:token\ttitle:token_seq\n",
    ("retailrocket", "item_properties_part1.csv"): "timestamp,itemid,property,value\n",
    ("kuairand", "video_features_basic_x.csv"): "video_id,tag\n",
    ("kuairec", "item_categories.csv"): "video_id,feat\n",
    ("kuairec", "kuairec_caption_category.csv"): "video_id,manual_cover_text,caption,"
    "first_level_category_name,second_level_category_name\n",
    ("amazon-2023", "meta_Books.jsonl"): "\n",
    ("lastfm-hetrec", "artists.dat"): "id\tname\turl\tpictureURL\n",
}


@pytest.mark.parametrize(("name", "file"), ITEM_FILES)
def test_item_files_without_rows(name: str, file: str, tmp_path: Path) -> None:
    head = ITEM_FILES[name, file]
    for text in (head, head.rstrip("\n"), head + "\n\n\n", head.replace("\n", "\r\n")):
        write(tmp_path, {**LOGS[name], file: text})
        with pytest.raises(SchemaError, match=rf"{file} has no rows: .* Get it afresh"):
            _load(name, tmp_path)


@pytest.mark.parametrize("value", ["\u00b2", "9" * 19, "9" * 400])
def test_categories_that_are_no_numbers(value: str, tmp_path: Path) -> None:
    told = f"timestamp,itemid,property,value\n1435460400000,1,categoryid,{value}\n"
    write(tmp_path, {**LOGS["retailrocket"], "item_properties_part1.csv": told})
    with pytest.raises(SchemaError, match=r"line 2, column 'value': .* is not a whole number"):
        _load("retailrocket", tmp_path)


def test_a_category_without_a_number(tmp_path: Path) -> None:
    told = {
        "item_properties_part1.csv": "timestamp,itemid,property,value\n1435460400000,1,888,n1\n",
        "category_tree.csv": "categoryid,parentid\n5,\n,5\n",
    }
    write(tmp_path, {**LOGS["retailrocket"], **told})
    with pytest.raises(SchemaError, match=r"tree\.csv, line 3, column 'categoryid': None"):
        _load("retailrocket", tmp_path)


def test_reviews_that_do_not_tell_verified_purchases(tmp_path: Path) -> None:
    rows = [{"user_id": f"U{k % 2}", "parent_asin": f"B{k}", "rating": 5.0,
             "timestamp": 1588687728923 + k} for k in range(4)]  # fmt: skip
    rows[0] |= {"verified_purchase": True}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    read = _load("amazon-2023", write(tmp_path, {"Books.jsonl": text}))
    assert told(read, "3 reviews do not tell whether the purchase was verified")


def test_captions_lose_no_more_than_the_broken_row(tmp_path: Path) -> None:
    head = (
        "video_id,manual_cover_text,caption,first_level_category_name,second_level_category_name\n"
    )
    rows = [f"{i},UNKNOWN,caption {i},Food,UNKNOWN\n" for i in range(1, 5)]
    rows[0] = '1,UNKNOWN,"two\nlines",Food,UNKNOWN\n'
    rows[1] = '2,UNKNOWN,"stray,Food,UNKNOWN\n'
    files = {**LOGS["kuairec"], "kuairec_caption_category.csv": head + "".join(rows)}
    read = _load("kuairec", write(tmp_path, files))
    texts = ["two lines. Food", "2", "caption 3. Food", "caption 4. Food"]
    assert read[1].text.tolist() == texts
    assert told(read, "1 rows of the caption file are broken")
    short = head.replace(",caption", "")
    write(tmp_path, {"kuairec_caption_category.csv": short})
    with pytest.raises(SchemaError, match=r"must name the column 'caption' once"):
        _load("kuairec", tmp_path)


# --- files and archives -----------------------------------------------------------------------


def _zipped(files: dict[str, str], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for file, text in files.items():
            archive.writestr(f"some/folder/{file}", text)
    return buffer.getvalue()


def _headers(data: bytes, change: Callable[[bytearray, int, int], None]) -> bytes:
    """The archive with every header of a member changed; ``change(data, method, flags)``."""
    made = bytearray(data)
    for mark, method, flags in ((b"PK\x03\x04", 8, 6), (b"PK\x01\x02", 10, 8)):
        at = made.find(mark)
        while at >= 0:
            change(made, at + method, at + flags)
            at = made.find(mark, at + 4)
    return bytes(made)


def _deflate64(data: bytearray, method: int, flags: int) -> None:
    data[method : method + 2] = struct.pack("<H", 9)


def _encrypted(data: bytearray, method: int, flags: int) -> None:
    data[flags] |= 1


def test_damaged_archives(name: str, tmp_path: Path) -> None:
    want = _load(name, write(tmp_path / "plain", LOGS[name]))
    data = _zipped(LOGS[name])
    read = _load(name, write(tmp_path / "zip", {"x.zip": data}))
    assert (read[0].hash, read[1].hash) == (want[0].hash, want[1].hash)
    stored = bytearray(_zipped(LOGS[name], zipfile.ZIP_STORED))
    stored[stored.find(_events(name)[1][-20:].encode())] ^= 1  # its checksum tells
    for number, (bad, message) in enumerate([
        (_headers(data, _deflate64), "Deflate64.*unpack the archive by hand"),
        (_headers(data, _encrypted), "encrypted.*unpack the archive by hand"),
        (data[: len(data) // 2], "get it afresh"),
        (data[:-30], "get it afresh"),
        (bytes(stored), "get it afresh"),
        (b"", "get it afresh"),
    ]):  # fmt: skip
        folder = write(tmp_path / f"bad{number}", {"x.zip": bad})
        with pytest.raises(SchemaError, match=rf"x\.zip.* cannot be read.*{message}"):
            _load(name, folder)


def test_damaged_gzip(name: str, tmp_path: Path) -> None:
    file, text = _events(name)
    rest = {other: t for other, t in LOGS[name].items() if other != file}
    data = gzip.compress(text.encode())
    flipped = bytearray(data)
    flipped[-6] ^= 1  # checksum
    assert len(_load(name, write(tmp_path / "good", {**rest, file + ".gz": data}))[0]) == 12
    for number, bad in enumerate(
        (data[: len(data) // 2], data[:-4], bytes(flipped), text.encode())
    ):
        folder = write(tmp_path / f"bad{number}", {**rest, file + ".gz": bad})
        with pytest.raises(SchemaError, match=r"\.gz cannot be read .*get it afresh"):
            _load(name, folder)
    with pytest.raises(SchemaError, match=r"is gzipped, but its name does not end in \.gz"):
        _load(name, _with(name, tmp_path / "named", data))
    with pytest.raises(SchemaError, match=r"is a zip archive, but its name"):
        _load(name, _with(name, tmp_path / "named", _zipped({"x": "y"})))


def test_side_files_are_no_data(name: str, tmp_path: Path) -> None:
    """As macOS leaves them beside the files of a foreign drive, and in archives."""
    want = _load(name, write(tmp_path / "plain", LOGS[name]))
    noise = b"\0\5\x16\7" + bytes(200)
    beside = {".DS_Store": noise} | {
        str(Path(file).with_name("._" + Path(file).name)): noise for file in LOGS[name]
    }
    inside = {f"__MACOSX/{file}": "" for file in beside}
    folder = write(tmp_path / "more", {**LOGS[name], **beside, **inside})
    archive = {"x.zip": _zipped({**LOGS[name], **dict.fromkeys((*beside, *inside), "\0\5")}),
               "._x.zip": noise}  # fmt: skip
    for place in (folder, write(tmp_path / "zip", archive)):
        read = _load(name, place)
        assert (read[0].hash, read[1].hash) == (want[0].hash, want[1].hash)


def test_two_files_for_one_table(name: str, tmp_path: Path) -> None:
    """In two subfolders or two archives: which one is meant is not guessed."""
    if name == "mind":  # train and dev are one log
        return
    folder = write(tmp_path / "dirs", {f"{d}/{f}": t for d in "ab" for f, t in LOGS[name].items()})
    zips = write(tmp_path / "zips", dict.fromkeys(("a.zip", "b.zip"), _zipped(LOGS[name])))
    for place in (folder, zips):
        with pytest.raises(SchemaError, match=r"[Ss]everal (files|folders|categories)"):
            _load(name, place)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("retailrocket", "category_tree.csv", "categoryid,parentid\n1,\n"),
        ("kuairand", "video_features_basic_y.csv", "video_id,tag\n1,3\n"),
        ("kuairec", "item_categories.csv", "video_id,feat\n1,[3]\n"),
        ("lastfm-hetrec", "artists.dat", "id\tname\n1\tA\n"),
        ("amazon-2023", "meta_Books.jsonl", '{"parent_asin": "B1"}\n'),
        ("recbole", "shop.item", "item_id:token\n1\n"),
    ],
)
def test_two_item_files(name: str, file: str, text: str, tmp_path: Path) -> None:
    files = {f: t for f, t in LOGS[name].items() if f == _events(name)[0]}
    parts = {"retailrocket": {"item_properties_part1.csv": "timestamp,itemid,property,value\n"}}
    folder = write(tmp_path, {**files, **parts.get(name, {}), f"a/{file}": text, f"b/{file}": text})
    with pytest.raises(SchemaError, match="several files"):
        _load(name, folder)


def test_items_in_the_archive_of_the_log(tmp_path: Path) -> None:
    read = _load("recbole", write(tmp_path, {"x.zip": _zipped(LOGS["recbole"])}))
    assert read[1].text.tolist() == [f"Thing {i}" for i in range(1, 5)]


def test_the_cache_of_every_log(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder: the files, an unpacked subfolder or the archive in recenv's own place."""
    monkeypatch.setattr(movielens_100k, "_recbole_folder", lambda: None)
    want = _load(name, write(tmp_path / "plain", LOGS[name]))
    layouts = (LOGS[name],
               {f"unpacked/{f}": t for f, t in LOGS[name].items()},
               {"archive.zip": _zipped(LOGS[name])})  # fmt: skip
    for number, files in enumerate(layouts):
        monkeypatch.setenv("RECENV_HOME", str(tmp_path / str(number)))
        write(tmp_path / str(number) / "data" / name, files)
        read = load(name, download=False, progress=False)
        assert (read[0].hash, read[1].hash) == (want[0].hash, want[1].hash)
