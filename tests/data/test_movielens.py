"""Both formats of MovieLens-100K, the places where it is looked for, and the download."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from recenv.data import dataset_names, load
from recenv.data.download import fetch
from recenv.data.formats import movielens_100k
from recenv.errors import DataNotFoundError, SchemaError, UnknownNameError

RATINGS = [  # user, item, rating, time
    ("196", "2", "3", "881250949"),
    ("22", "1", "4", "881250000"),
    ("196", "1", "5", "881250949"),
    ("196", "267", "1", "881260000"),
    ("22", "1412", "2", "881250001"),
    ("22", "656", "4", "881250001"),
]
FILMS = [  # item, title, year, date, genres
    ("1", "Toy Story", "1995", "01-Jan-1995", ["Animation", "Children's", "Comedy"]),
    ("2", "Seventh Seal, The (Sjunde inseglet, Det)", "1957", "01-Jan-1957", ["Drama"]),
    ("267", None, None, "", ["unknown"]),
    ("656", "Cérémonie,  La", "1995", "01-Jan-1995", ["Drama"]),
    (
        "1412",
        "Land Before Time III: The Time of the Great Giving",
        None,
        "01-Jan-1995",
        ["Animation", "Children's"],
    ),
]
TEXTS = [
    "Toy Story (1995). Animation, Children's, Comedy.",
    "The Seventh Seal (Det Sjunde inseglet) (1957). Drama.",
    "Unknown film.",
    "La Cérémonie (1995). Drama.",
    "Land Before Time III: The Time of the Great Giving (1995). Animation, Children's.",
]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """GroupLens's own format, as in the archive."""
    folder = tmp_path / "original" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("".join("\t".join(r) + "\n" for r in RATINGS))
    lines = []
    for item, title, year, date, genres in FILMS:
        shown = "unknown" if title is None else f"{title} ({year or '1995) (V'})"
        flags = "|".join("01"[g in genres] for g in movielens_100k.GENRES)
        url = "http://us.imdb.com/M/title-exact?" + shown.replace(" ", "%20")
        lines.append(f"{item}|{shown}|{date}||{url}|{flags}\n")
    (folder / "u.item").write_bytes("".join(lines).encode("latin-1"))
    genre_lines = "".join(f"{g}|{i}\n" for i, g in enumerate(movielens_100k.GENRES))
    (folder / "u.genre").write_text(genre_lines + "\n")
    return folder


@pytest.fixture
def atomic(tmp_path: Path) -> Path:
    """RecBole's atomic files, with its two oddities (films 267 and 1412)."""
    folder = tmp_path / "atomic"
    folder.mkdir()
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    rows = "".join("\t".join(r) + "\n" for r in reversed(RATINGS))
    (folder / "ml-100k.inter").write_text(head + rows)
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"]
    for item, title, year, _, genres in FILMS:
        if title is None:
            title, year = "unkonwn", "unkonwn"
        elif year is None:
            title, year = f"{title} (1995)", "V"
        lines.append(f"{item}\t{title}\t{year}\t{' '.join(genres)}\n")
    (folder / "ml-100k.item").write_text("".join(lines), encoding="utf-8")
    return folder


def test_features_by_hand() -> None:
    titles = ["A (1994)", "B, The (1951) (V)", "C (1922)", "D (2001)", "unknown"]
    genres = [["Comedy", "War"], ["Drama"], [], ["unknown"], ["Comedy"]]
    got = movielens_100k.film_features(titles, genres)
    assert (got.shape, got.dtype) == ((5, 29), np.float32)
    flags, year = got[:, :18], got[:, 18:]
    names = [g for g in movielens_100k.GENRES if g != "unknown"]
    named = [[names[j] for j in np.flatnonzero(row)] for row in flags]
    assert named == [["Comedy", "War"], ["Drama"], [], [], ["Comedy"]]
    knots = list(movielens_100k.YEARS)
    want = np.zeros((4, 11))
    want[0, [knots.index(1993), knots.index(1995)]] = 0.5
    want[1, [knots.index(1940), knots.index(1955)]] = 4 / 15, 11 / 15
    want[2, 0] = want[3, -1] = 1  # beyond the ends
    np.testing.assert_allclose(year[:4], want, atol=1e-6)
    np.testing.assert_allclose(year[4], want.mean(axis=0), atol=1e-6)  # unknown


def test_both_formats_give_the_same(original: Path, atomic: Path) -> None:
    log, catalog = load("movielens-100k", original.parent)  # finds the subfolder ml-100k
    other, other_catalog = load("movielens-100k", atomic)
    assert (log.hash, catalog.hash) == (other.hash, other_catalog.hash)
    assert list(catalog.text) == TEXTS
    assert list(catalog.item_ids) == ["1", "2", "267", "656", "1412"]
    assert list(log.user_ids) == ["22", "196"]
    assert not log.has_impressions
    assert any("click rate" in note for note in log.notes)
    # rarest genre: Comedy and unknown stand once, Drama twice; Animation before Children's
    named = [catalog.category_names[c] for c in catalog.category]
    assert named == ["Comedy", "Drama", "unknown", "Drama", "Animation"]
    assert list(log.column("time")) == sorted(float(r[3]) for r in RATINGS)
    told = zip(log.column("user"), log.column("item"), log.column("response"), strict=True)
    got = {(log.user_ids[u], catalog.item_ids[i]): r for u, i, r in told}
    assert got == {(u, i): 2 if int(r) >= 4 else 1 for u, i, r, _ in RATINGS}


def test_the_installed_wheel() -> None:
    folder = movielens_100k._recbole_folder()
    assert folder is not None
    log, catalog = load("movielens-100k", folder)
    assert (len(log), log.num_users, len(catalog)) == (100_000, 943, 1682)
    assert (log.column("response") == 2).mean() == pytest.approx(0.55375)
    assert catalog.text[0] == TEXTS[0]
    assert catalog.text[266] == "Unknown film."
    assert not any("unkonwn" in t or "(V)" in t for t in catalog.text)
    # every visit belongs to one user and has no pause of more than half an hour
    order = np.lexsort([log.column("time"), log.column("session")])
    session, user, time = (log.column(c)[order] for c in ("session", "user", "time"))
    same = np.diff(session) == 0
    assert (np.diff(user)[same] == 0).all()
    assert np.diff(time)[same].max() <= 1800


@pytest.mark.parametrize("part", ["x", "a, ", ", The", " ", "(", "(1995)"])
def test_a_very_long_title_is_read_at_once(part: str) -> None:
    start = time.perf_counter()
    movielens_100k.film_text(part * 200_000, ["Drama"])
    assert time.perf_counter() - start < 5


def test_unknown_name() -> None:
    assert "movielens-100k" in dataset_names()
    with pytest.raises(UnknownNameError, match="Did you mean 'movielens-100k'"):
        load("movielens100k")


def test_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="does not hold movielens-100k"):
        load("movielens-100k", tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "u.data",
            "196\t2\t3\t881250949",
            "196\t2\tx\t881250949",
            r"u\.data, line 1, column 'rating': .*'x'",
        ),
        (
            "u.data",
            "22\t1\t4",
            "22\t1\t9",
            r"line 2, column 'rating': 9.0 is not a rating from 1 to 5",
        ),
        (
            "u.data",
            "22\t1\t4\t881250000",
            "22\t1\t4",
            r"u\.data, line 2: .*Expected 4 columns, got 3",
        ),
        ("u.data", "22\t1\t4", "22\t7\t4", r"u.data, line 2: film 7 is not in .*u.item"),
        ("u.item", "1|Toy", "one|Toy", r"u\.item, line 1, column 'item': .*'one'"),
    ],
)
def test_damaged_file(original: Path, file: str, old: str, new: str, message: str) -> None:
    path = original / file
    text = path.read_text("latin-1")
    assert old in text
    path.write_text(text.replace(old, new, 1), "latin-1")
    with pytest.raises(SchemaError, match=message):
        load("movielens-100k", original)


# --- the download -----------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    body: bytes = b""
    fail_after: int | None = None  # bytes of the next answer, then the connection breaks
    ranges: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if self.path != "/datasets/ml-100k.zip":
            self.send_error(404)
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if first >= len(server.body):
            self.send_error(416)
            return
        rest = server.body[first:]
        self.send_response(206 if asked else 200)
        if asked:
            last, total = len(server.body) - 1, len(server.body)
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        fail, server.fail_after = server.fail_after, None
        self.wfile.write(rest[:fail])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(original: Path, tmp_path: Path) -> Iterator[_Server]:
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../evil.txt", "outside")
        for path in sorted(original.iterdir()):
            file.write(path, f"ml-100k/{path.name}")
        file.writestr("ml-100k/u.user", "1|24|M|technician|85711\n")
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.body, running.ranges = archive.read_bytes(), []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, server: _Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no recbole, and the little archive's checksum."""
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(movielens_100k, "_recbole_folder", lambda: None)
    monkeypatch.setattr(movielens_100k, "ARCHIVE_MD5", hashlib.md5(server.body).hexdigest())
    return tmp_path / "home"


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/datasets"


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_download_fills_the_cache(server: _Server, home: Path, original: Path) -> None:
    log, catalog = load("movielens-100k", base_url=_url(server), progress=False)
    assert (log.hash, catalog.hash) == tuple(t.hash for t in load("movielens-100k", original))
    # only what is needed, no demographics, nothing outside, no archive
    assert _files(home.parent) == [
        *(f"home/data/movielens-100k/{n}" for n in ("u.data", "u.genre", "u.item")),
        "made.zip",
        *(f"original/ml-100k/{n}" for n in ("u.data", "u.genre", "u.item")),
    ]
    asked = len(server.ranges)
    load("movielens-100k", base_url=_url(server), progress=False)
    assert len(server.ranges) == asked


def test_the_archive_in_its_own_folder(server: _Server, home: Path, original: Path) -> None:
    cache = home / "data" / "movielens-100k"
    cache.mkdir(parents=True)
    (cache / "ml-100k.zip").write_bytes(server.body)
    (cache / "notes.txt").write_text("mine")
    log, _ = load("movielens-100k", base_url="http://127.0.0.1:9", progress=False)
    assert log.hash == load("movielens-100k", original)[0].hash
    (cache / "ml-100k.zip").unlink()
    load("movielens-100k", base_url=_url(server), progress=False)
    kept = ["ml-100k/u.data", "ml-100k/u.genre", "ml-100k/u.item", "notes.txt"]
    assert _files(cache) == kept
    load("movielens-100k", base_url="http://127.0.0.1:9", progress=False)


def test_broken_connection_is_resumed(server: _Server, home: Path) -> None:
    server.fail_after = 100
    load("movielens-100k", base_url=_url(server), progress=False)
    assert server.ranges == [None, "bytes=100-"]


def test_part_of_an_earlier_run_is_resumed(server: _Server, tmp_path: Path) -> None:
    target, md5 = tmp_path / "got.zip", hashlib.md5(server.body).hexdigest()
    (tmp_path / "got.zip.part").write_bytes(server.body[:70])
    fetch(f"{_url(server)}/ml-100k.zip", target, md5, progress=False)
    assert target.read_bytes() == server.body
    assert server.ranges == ["bytes=70-"]
    # all bytes there, but the name not yet given: the server answers 416, the checksum decides
    target.rename(tmp_path / "got.zip.part")
    fetch(f"{_url(server)}/ml-100k.zip", target, md5, progress=False)
    assert target.read_bytes() == server.body


def test_wrong_checksum_leaves_nothing(
    server: _Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movielens_100k, "ARCHIVE_MD5", "0" * 32)
    with pytest.raises(DataNotFoundError, match="checksum"):
        load("movielens-100k", base_url=_url(server), progress=False)
    assert _files(home) == []


def test_archive_of_something_else_leaves_nothing(
    server: _Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = b"no zip file"
    monkeypatch.setattr(movielens_100k, "ARCHIVE_MD5", hashlib.md5(server.body).hexdigest())
    with pytest.raises(DataNotFoundError, match="is not the archive of movielens-100k"):
        load("movielens-100k", base_url=_url(server), progress=False)
    assert _files(home) == []


def test_nothing_found(server: _Server, home: Path) -> None:
    with pytest.raises(DataNotFoundError, match="pip install --no-deps recbole"):
        load("movielens-100k", download=False)
    with pytest.raises(DataNotFoundError, match=r"404.*pip install --no-deps recbole"):
        load("movielens-100k", base_url=_url(server) + "/other")
    with pytest.raises(DataNotFoundError, match="http or https"):
        load("movielens-100k", base_url="file:///etc")


def test_no_server(home: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"cannot be downloaded.*recbole"):
        load("movielens-100k", base_url="http://127.0.0.1:9", progress=False)
