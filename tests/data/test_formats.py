"""Public logs of films and shops, RecBole's files, names and downloads; values by hand."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.handmade import events, items, told, write

from recenv.data import dataset_names, formats, load
from recenv.data.formats import movielens_100k
from recenv.data.registry import DATA_SETS
from recenv.errors import ConfigError, DataNotFoundError, SchemaError

# --- MovieLens --------------------------------------------------------------------------------

ML_1M = {
    "ml-1m/ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
    "ml-1m/movies.dat": "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
    "1193::Star Wars: Épisode IV (1977)::Drama\n2::Jumanji (1995)::Children's\n".encode("latin-1"),
    "ml-1m/users.dat": "1::F::1::10::48067\n",
}
ML_25M = {
    "ml-25m/ratings.csv": "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n"
    "1,306,3.5,1147868817\n12,306,4.0,1147868818\n",
    "ml-25m/movies.csv": "movieId,title,genres\n296,Pulp Fiction (1994),Crime|Drama\n"
    '306,"Three Colors: Red (Trois couleurs: Rouge) (1994)",Drama\n'
    '307,"American President, The (1995)",(no genres listed)\n',
}


def test_movielens_1m(tmp_path: Path) -> None:
    read = load("movielens-1m", write(tmp_path, ML_1M), progress=False)
    assert events(read) == [
        ("1", "1193", 978300760.0, 2),
        ("1", "661", 978302109.0, 1),
        ("2", "1193", 978298413.0, 2),
    ]
    # every genre stands once: the first by name
    assert items(read) == {
        "661": (
            "James and the Giant Peach (1996). Animation, Children's, Musical.", "Animation", 0.0,
        ),
        "1193": ("Star Wars: Épisode IV (1977). Drama.", "Drama", 0.0),
    }  # fmt: skip
    assert not read[0].has_impressions
    assert read[0].name == "movielens-1m"


@pytest.mark.parametrize("size", ["20m", "25m", "32m"])
def test_movielens_csv(tmp_path: Path, size: str) -> None:
    files = {name.replace("25m", size): text for name, text in ML_25M.items()}
    read = load(f"movielens-{size}", write(tmp_path, files), progress=False)
    assert events(read) == [
        ("1", "296", 1147880044.0, 2),
        ("1", "306", 1147868817.0, 1),
        ("12", "306", 1147868818.0, 2),
    ]
    assert items(read) == {
        "296": ("Pulp Fiction (1994). Crime, Drama.", "Crime", 0.0),
        "306": ("Three Colors: Red (Trois couleurs: Rouge) (1994). Drama.", "Drama", 0.0),
    }
    strict = formats.read_movielens(tmp_path, size, liked=5)
    assert [e[3] for e in events(strict)] == [2, 1, 1]
    # straight from the archive
    with zipfile.ZipFile(tmp_path / f"ml-{size}.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    packed = formats.read_movielens(tmp_path / f"ml-{size}.zip", size)
    assert (packed[0].hash, packed[1].hash) == (read[0].hash, read[1].hash)


def test_movielens_file_that_does_not_belong(tmp_path: Path) -> None:
    files = ML_25M | {"ml-25m/movies.csv": "movieId,title,genres\n296,Pulp Fiction (1994),Crime\n"}
    with pytest.raises(SchemaError, match=r"film 306 is not in .*movies\.csv \(1 such"):
        formats.read_movielens(write(tmp_path, files), "25m")


# --- RecBole ----------------------------------------------------------------------------------

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "u1\ta\t4.0\t100.0\nu1\tb\t2.0\t200.5\nu2\ta\t5.0\t50\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float\n"
    "a\tToy \"Story\t1995\tAnimation Children's\t9.5\nc\tNever\t1990\tDrama\t1\nb\tB\t1996\t\t\n"
)


def test_recbole(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", {"shop.inter": INTER, "shop.item": ITEM})
    read = load("recbole", folder, progress=False)
    assert events(read) == [("u1", "a", 100.0, 2), ("u1", "b", 200.5, 1), ("u2", "a", 50.0, 2)]
    assert items(read) == {
        "a": ("Toy \"Story. 1995. Animation Children's", "Animation", 9.5),
        "b": ("B. 1996", "unknown", 0.0),
    }
    assert read[0].name == "shop"
    assert not read[0].has_impressions


def test_recbole_labels_and_named_columns(tmp_path: Path) -> None:
    text = "who:token\tad:token\tclick:float\nx\t1\t0\nx\t2\t1\ny\t2\t1\n"
    folder = write(tmp_path, {"ads.inter": text, "other.inter": INTER})
    named: dict[str, Any] = {"dataset": "ads", "user": "who", "item": "ad"}
    read = formats.read_atomic(folder, impressions=True, **named)
    assert events(read) == [("x", "1", 0.0, 0), ("x", "2", 0.0, 1), ("y", "2", 0.0, 1)]
    assert read[0].has_impressions
    assert told(read, "no times")
    clicks = formats.read_atomic(folder, **named)
    assert events(clicks) == [("x", "2", 0.0, 1), ("y", "2", 0.0, 1)]
    assert not clicks[0].has_impressions
    with pytest.raises(SchemaError, match=r"several files \*\.inter"):
        formats.read_atomic(folder)
    with pytest.raises(SchemaError, match="no column that is usually the user"):
        formats.read_atomic(folder, dataset="ads")
    with pytest.raises(SchemaError, match=r"no column 'whom' \(wanted for 'user'\)"):
        formats.read_atomic(folder, dataset="ads", user="whom")
    write(tmp_path, {"ads.inter": "user_id\titem_id\n1\t2\n"})
    with pytest.raises(SchemaError, match="'user_id' is not name:type"):
        formats.read_atomic(folder, dataset="ads")


# --- shops ------------------------------------------------------------------------------------

RETAILROCKET = {
    "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
    "1433221332117,257597,view,355908,\n1433221999827,257597,addtocart,355908,\n"
    "1433222276276,111016,transaction,318965,4000\n1433222276000,111016,view,77,\n",
    "item_properties_part1.csv": "timestamp,itemid,property,value\n"
    "1435460400000,355908,categoryid,1338\n1441508400000,206783,888,1116713 960601 n277.200\n"
    "1439089200000,318965,categoryid,5\n",
    "item_properties_part2.csv": "timestamp,itemid,property,value\n"
    "1435460500000,355908,categoryid,1016\n1435460300000,355908,categoryid,9\n"
    "1435460500000,999,categoryid,9\n1435460500000,318965,available,1\n",
    "category_tree.csv": "categoryid,parentid\n1016,213\n213,\n1338,1016\n5,\n",
}


def test_retailrocket(tmp_path: Path) -> None:
    read = load("retailrocket", write(tmp_path, RETAILROCKET), progress=False)
    assert events(read) == [
        ("111016", "318965", 1433222276.276, 2),
        ("111016", "77", 1433222276.0, 1),
        ("257597", "355908", 1433221332.117, 1),
        ("257597", "355908", 1433221999.827, 1),
    ]
    assert items(read) == {
        "355908": ("Item 355908. Category 213 > 1016.", "213", 0.0),
        "318965": ("Item 318965. Category 5.", "5", 0.0),
        "77": ("Item 77.", "unknown", 0.0),
    }
    alone = write(tmp_path / "alone", {"events.csv": RETAILROCKET["events.csv"]})
    log, catalog = formats.read_retailrocket(alone)
    assert catalog.category_names == ("all",)
    (note,) = (n for n in log.notes if n.startswith("Without "))
    assert "item_properties_part1.csv and item_properties_part2.csv" in note
    wrong = str(RETAILROCKET["events.csv"]).replace("transaction,", "wishlist,")
    with pytest.raises(SchemaError, match=r"line 4, column 'event': 'wishlist' is not one of"):
        formats.read_retailrocket(write(alone, {"events.csv": wrong}))
    spaced = {n: str(t).replace("categoryid,", " categoryid\u00a0,", 1) if "part" in n else t
              for n, t in RETAILROCKET.items()}  # fmt: skip
    assert items(formats.read_retailrocket(write(tmp_path / "spaced", spaced))) == items(read)
    wrong = str(RETAILROCKET["item_properties_part2.csv"]).replace("1016", "shoes")
    with pytest.raises(SchemaError, match=r"part2\.csv, line 2, column 'value': 'shoes'"):
        formats.read_retailrocket(write(tmp_path, {"item_properties_part2.csv": wrong}))


def test_taobao(tmp_path: Path) -> None:
    text = (
        "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n"
        "1,2576651,149192,fav,1512316799\n100,2268318,7,cart,1511539200\n"
        "100,1,7,pv,1512316800\n100,1,7,pv,-2134949234\n100,1,7,pv,2122867355\n"
    )
    write(tmp_path, {"UserBehavior.csv": text})
    read = load("taobao", tmp_path, progress=False)
    assert events(read) == [
        ("1", "2268318", 1511544070.0, 1),
        ("1", "2333346", 1511561733.0, 2),
        ("1", "2576651", 1512316799.0, 1),
        ("100", "2268318", 1511539200.0, 1),
    ]
    assert told(read, "3 rows with a time outside")
    # an item's category is that of its first row, in chunks of any size
    assert items(read)["2268318"] == ("Item 2268318. Category 2520377.", "2520377", 0.0)
    tiny = formats.read_taobao(tmp_path, block_bytes=40)
    assert (tiny[0].hash, tiny[1].hash) == (read[0].hash, read[1].hash)


# --- by name ----------------------------------------------------------------------------------

NAMES = sorted(n for n, one in DATA_SETS.items() if "sample_users" in one.options)


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_name_the_publisher(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    assert name in dataset_names()
    with pytest.raises(DataNotFoundError, match=r"Wanted: .*https?://"):
        load(name, tmp_path)
    with pytest.raises(DataNotFoundError, match=rf"{tmp_path}/home/data/{name}.*Wanted: "):
        load(name, download=False)


def test_every_data_set_has_a_page() -> None:
    docs = Path(__file__).parents[2] / "docs" / "data"
    index = (docs / "README.md").read_text()
    for name in dataset_names():
        assert f"`{name}`" in index
    for page in docs.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index


def test_cache_and_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECENV_HOME", str(tmp_path))
    write(tmp_path / "data" / "retailrocket", RETAILROCKET)
    assert len(load("retailrocket", progress=False)[0]) == 4
    with pytest.raises(ConfigError, match="sample_users"):
        load("retailrocket", sample_users=2.0)
    with pytest.raises(ConfigError, match="does not download retailrocket"):
        load("retailrocket", base_url="https://example.org")
    with pytest.raises(ConfigError, match="movielens-100k is small"):
        load("movielens-100k", sample_users=0.5)


class _Server(ThreadingHTTPServer):
    files: dict[str, bytes]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    """ml-25m.zip and its checksum, as GroupLens lays them out; an empty cache."""
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    made = tmp_path / "made.zip"
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in ML_25M.items():
            archive.writestr(name, text)
        archive.writestr("ml-25m/tags.csv", "not wanted")
    body = made.read_bytes()
    made.unlink()
    digest = hashlib.md5(body).hexdigest()
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.files = {"/ml-25m.zip": body, "/ml-25m.zip.md5": f"{digest}  ml-25m.zip\n".encode()}
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def _cached(tmp_path: Path) -> list[str]:
    home = tmp_path / "home"
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())


@pytest.mark.parametrize("form", ["{0}  ml-25m.zip\n", "MD5 (ml-25m.zip) = {0}\n"])
def test_download(server: _Server, tmp_path: Path, form: str) -> None:
    digest = hashlib.md5(server.files["/ml-25m.zip"]).hexdigest()
    server.files["/ml-25m.zip.md5"] = form.format(digest).encode()
    read = load("movielens-25m", base_url=_url(server), progress=False)
    assert _cached(tmp_path) == [f"data/movielens-25m/{n}.csv" for n in ("movies", "ratings")]
    server.files.clear()  # from now on the cache has it
    again = load("movielens-25m", base_url=_url(server), progress=False)
    assert again[0].hash == read[0].hash
    assert len(read[0]) == 3


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/ml-25m.zip.md5", None, r"checksum, cannot be downloaded \(404.*pass folder="),
        ("/ml-25m.zip.md5", b"<html>", r"holds no MD5 checksum, but '<html>'"),
        ("/ml-25m.zip.md5", b"0" * 32, r"but 0{32} was expected"),
        ("/ml-25m.zip", None, r"ml-25m\.zip answered 404"),
        ("/ml-25m.zip", b"no zip", r"was expected"),
    ],
)
def test_failed_download_leaves_nothing(
    server: _Server, tmp_path: Path, path: str, body: bytes | None, message: str
) -> None:
    if body is None:
        del server.files[path]
    else:
        server.files[path] = body
    with pytest.raises(DataNotFoundError, match=message):
        load("movielens-25m", base_url=_url(server), progress=False)
    assert _cached(tmp_path) == []


def test_download_of_another_archive(server: _Server, tmp_path: Path) -> None:
    server.files["/ml-25m.zip"] = b"no zip"
    digest = hashlib.md5(b"no zip").hexdigest()
    server.files["/ml-25m.zip.md5"] = digest.encode()
    with pytest.raises(DataNotFoundError, match="is not the archive of movielens-25m"):
        load("movielens-25m", base_url=_url(server), progress=False)
    assert _cached(tmp_path) == []
    with pytest.raises(DataNotFoundError, match="http or https"):
        load("movielens-25m", base_url="file:///etc")


NOWHERE = "http://127.0.0.1:9"  # nobody listens there


def test_the_archive_in_its_own_folder(server: _Server, tmp_path: Path) -> None:
    """It is read without a question to the network, and whatever lies beside it stays."""
    own = {"ml-25m.zip": server.files["/ml-25m.zip"], "my-notes.txt": b"mine", "sub/x.csv": b"1"}
    cache = write(tmp_path / "home" / "data" / "movielens-25m", own)
    log, _ = load("movielens-25m", base_url=NOWHERE, progress=False)
    assert len(log) == 3
    assert _cached(tmp_path) == [f"data/movielens-25m/{n}" for n in sorted(own)]
    (cache / "ml-25m.zip").unlink()
    write(cache, {f"deep/{name}": text for name, text in ML_25M.items()})
    again, _ = load("movielens-25m", base_url=NOWHERE, progress=False)
    assert again.hash == log.hash


def test_a_download_keeps_what_is_there(server: _Server, tmp_path: Path) -> None:
    own = {"movielens-25m/my-notes.txt": b"mine", "movielens-25m/ml-25m/links.csv": b"1",
           "ml-25m.zip": b"my own, elsewhere", ".part-mine/x": b"1"}  # fmt: skip
    write(tmp_path / "home" / "data", own)
    log, _ = load("movielens-25m", base_url=_url(server), progress=False)
    got = [f"data/movielens-25m/ml-25m-1/{n}.csv" for n in ("movies", "ratings")]
    assert _cached(tmp_path) == sorted([*(f"data/{name}" for name in own), *got])
    for name, text in own.items():
        assert (tmp_path / "home" / "data" / name).read_bytes() == text
    again, _ = load("movielens-25m", base_url=NOWHERE, progress=False)
    assert again.hash == log.hash


def test_half_of_the_files(server: _Server, tmp_path: Path) -> None:
    """Ratings of the user's own do not go together with films of a download."""
    cache = write(
        tmp_path / "home" / "data" / "movielens-25m",
        {"ratings.csv": ML_25M["ml-25m/ratings.csv"]},
    )
    with pytest.raises(DataNotFoundError, match=r"no file movies\.csv\[\.gz\] is in it"):
        load("movielens-25m", base_url=_url(server), progress=False)
    assert [p.name for p in cache.iterdir()] == ["ratings.csv"]


def test_names_in_a_downloaded_archive_reach_no_path(server: _Server, tmp_path: Path) -> None:
    made = tmp_path / "evil.zip"
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in ML_25M.items():
            archive.writestr(name, text)
            archive.writestr(f"ml-25m/../../{name}", "outside")
            archive.writestr(f"/tmp/{name}", "outside")
    body = made.read_bytes()
    made.unlink()
    server.files["/ml-25m.zip"] = body
    server.files["/ml-25m.zip.md5"] = hashlib.md5(body).hexdigest().encode()
    load("movielens-25m", base_url=_url(server), progress=False)
    assert _cached(tmp_path) == [f"data/movielens-25m/{n}.csv" for n in ("movies", "ratings")]


def test_recbole_on_the_installed_wheel() -> None:
    """RecBole's own copy of MovieLens-100K, against the reader made for it."""
    folder = movielens_100k._recbole_folder()
    assert folder is not None
    log, catalog = formats.read_atomic(folder)
    other, other_catalog = load("movielens-100k", folder)
    pd.testing.assert_frame_equal(log.events, other.events)
    assert list(log.user_ids) == list(other.user_ids)
    assert list(catalog.item_ids) == list(other_catalog.item_ids)
    assert catalog.text[0] == "Toy Story. 1995. Animation Children's Comedy"
