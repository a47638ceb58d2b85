"""The streaming path: chunks, codes, order, sampling, damaged files, and a peer in pandas."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recenv.data import event_order, text_chunks
from recenv.data.event_order import TIE_SEED, sessionize, sort_by_time
from recenv.data.files import Source, find
from recenv.data.formats import read_atomic, read_movielens
from recenv.data.log_builder import LogBuilder, Names, share_of
from recenv.data.text_chunks import Chunk, Layout, read_delimited, read_json_lines, read_lines
from recenv.errors import ConfigError, SchemaError

COMMAS, QUOTED = Layout(), Layout(quoted=True)
TYPES = {"a": pa.int64(), "b": pa.string()}


def _all(chunks: list[Chunk]) -> list[tuple[int, str]]:
    return [
        row
        for c in chunks
        for row in zip(c.columns["a"].to_pylist(), c.columns["b"].to_pylist(), strict=True)
    ]


def _read(path: Path, layout: Layout = COMMAS, block_bytes: int = 1 << 20) -> list[Chunk]:
    return list(read_delimited([Source(path)], layout, TYPES, block_bytes=block_bytes))


@pytest.mark.parametrize("block_bytes", [40, 64, 1 << 20])
def test_layouts_read_the_same(tmp_path: Path, block_bytes: int) -> None:
    """Each way of writing the same rows; with small blocks, separators are cut in two."""
    rows = [(i, f"é: t{i}" if i % 3 else f"x:y{i}:") for i in range(100)]
    plain = "a,z,b\n" + "".join(f'{a},0,"{b}"\n' for a, b in rows)
    long = "".join(f"{a}::0::{b}\n" for a, b in rows)
    (tmp_path / "x.csv").write_text(plain, encoding="utf-8-sig")
    (tmp_path / "x.tsv").write_text(plain.replace(",", "\t").replace('"', ""))
    (tmp_path / "x.dat").write_bytes(long.encode("latin-1"))
    (tmp_path / "y.csv.gz").write_bytes(gzip.compress(plain.encode()))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("deep/er/w.csv", plain)
    old = Layout("::", ("a", "z", "b"), encoding="latin-1")
    assert _all(_read(tmp_path / "x.csv", QUOTED, block_bytes)) == rows
    assert _all(_read(tmp_path / "x.tsv", Layout("\t"), block_bytes)) == rows
    assert _all(_read(tmp_path / "x.dat", old, block_bytes)) == rows
    assert _all(_read(tmp_path / "y.csv.gz", QUOTED, block_bytes)) == rows
    (member,) = find(tmp_path / "z.zip", "w.csv")
    assert member == find(tmp_path, "w.csv")[0]
    chunks = list(read_delimited([member], QUOTED, TYPES, block_bytes=block_bytes))
    assert _all(chunks) == rows
    # lines are counted through chunks and files
    assert [c.first for c in chunks] == [2 + s for s in np.cumsum([0, *map(len, chunks)])[:-1]]
    assert len(chunks) > 1 or block_bytes == 1 << 20


def test_find_prefers_the_nearest_level(tmp_path: Path) -> None:
    for name in ("a/part_2.csv", "a/part_1.csv.gz", "a/b/part_3.csv", "a/part_1.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    found = find(tmp_path, "part_*.csv")
    assert [str(s.path.relative_to(tmp_path)) for s in found] == ["a/part_1.csv", "a/part_2.csv"]
    assert find(tmp_path, "none.csv") == []
    assert find(tmp_path / "nowhere", "part_*.csv") == []
    (tmp_path / "c.zip").write_bytes(b"no zip")
    with pytest.raises(SchemaError, match=r"c\.zip cannot be read \(File is not a zip"):
        find(tmp_path, "other.csv")


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,x\n2,x\ny,x\n", r"bad\.csv, line 4, column 'a': .*invalid value 'y'"),
        ("a,b\n1,x\n2\n", r"bad\.csv, line 3: .*Expected 2 columns, got 1"),
        ("a,c\n1,x\n", r"bad\.csv lacks a column: Column 'b'.*first line is 'a,c'"),
        ("", r"bad\.csv has no rows"),
    ],
)
def test_damaged_rows(tmp_path: Path, block_bytes: int, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SchemaError, match=message):
        _read(tmp_path / "bad.csv", block_bytes=block_bytes)


def test_damaged_files(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(9999)))
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SchemaError, match=r"cut\.csv\.gz cannot be read"):
        _read(tmp_path / "cut.csv.gz")
    (tmp_path / "none.csv.gz").write_bytes(b"a,b\n")
    with pytest.raises(SchemaError, match=r"none\.csv\.gz cannot be read"):
        _read(tmp_path / "none.csv.gz")
    (tmp_path / "latin.csv").write_bytes("a,b\n1,é\n".encode("latin-1"))
    with pytest.raises(SchemaError, match=r"latin\.csv, line 2.*UTF8"):
        _read(tmp_path / "latin.csv")


def test_a_damaged_name_in_an_archive_is_told(tmp_path: Path) -> None:
    """Also of a file that nobody asks for by that name: the one meant may be optional."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("set/x.csv", "a,b\n1,x\n")
        archive.writestr("set/optional.csv", "c\n")
    assert find(tmp_path, "x.csv")
    data = (tmp_path / "set.zip").read_bytes()
    at = data.rindex(b"optional")
    (tmp_path / "set.zip").write_bytes(data[:at] + b"X" + data[at + 1 :])
    with pytest.raises(SchemaError, match=r"set\.zip cannot be read \(File name in directory"):
        find(tmp_path, "x.csv")


def test_lines_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.csv").write_text("a,b\n1," + "x" * 99 + "\n2,y")
    chunks = _read(tmp_path / "long.csv", block_bytes=32)
    assert [b for chunk in chunks for b in chunk.columns["b"].to_pylist()] == ["x" * 99, "y"]
    monkeypatch.setattr(text_chunks, "LONGEST", 64)
    with pytest.raises(SchemaError, match=r"long\.csv has no line end within 64 bytes"):
        _read(tmp_path / "long.csv", block_bytes=32)


def test_objects_are_not_cut_at_a_carriage_return(tmp_path: Path) -> None:
    text = "".join(f'{{"a": {i},\r "b": "}}{{ }} {{"}}\n' for i in range(40))
    (tmp_path / "x.jsonl").write_bytes(text.encode())
    for block_bytes in (8, 50, 1 << 20):
        chunks = list(
            read_json_lines([Source(tmp_path / "x.jsonl")], TYPES, block_bytes=block_bytes)
        )
        assert [a for a, _ in _all(chunks)] == list(range(40))


def test_a_line_with_many_seams_is_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    parsed = text_chunks._parsed
    monkeypatch.setattr(text_chunks, "_parsed", lambda *a: calls.append(1) or parsed(*a))
    (tmp_path / "x.jsonl").write_text('{"a": 1, "b": "' + "}{" * 500 + '"}\n')
    assert len(list(read_json_lines([Source(tmp_path / "x.jsonl")], TYPES))) == 1
    assert len(calls) == 2  # the block, and its line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", [True, False])
def test_lines_of_errors_behind_many_blocks(tmp_path: Path, end: str, header: bool) -> None:
    rows = [*(["a,b"] if header else []), *(f"{i},x" for i in range(30)), "31", "32,x"]
    (tmp_path / "x.csv").write_bytes(end.join(rows).encode())
    layout = Layout(columns=None if header else ("a", "b"))
    for block_bytes in (8, 64, 1 << 20):
        with pytest.raises(SchemaError, match=rf"x\.csv, line {30 + header + 1}: "):
            _read(tmp_path / "x.csv", layout, block_bytes=block_bytes)


def test_uneven_rows_are_counted_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,x\n2\n3,x,x\n4,x\n")
    (chunk,) = _read(tmp_path / "x.csv", Layout(skip_uneven=True))
    assert (_all([chunk]), chunk.skipped) == ([(1, "x"), (4, "x")], 2)
    # the lines of the rows that are left stay known, and uneven rows at the end are counted
    assert [chunk.line(row) for row in range(2)] == [2, 5]
    (tmp_path / "x.csv").write_text("a,b\n1,x\n2,x\n" + "3\n" * 50)
    chunks = _read(tmp_path / "x.csv", Layout(skip_uneven=True), block_bytes=16)
    assert (_all(chunks), chunks[-1].skipped) == ([(1, "x"), (2, "x")], 50)
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,x\n2,x,\xe9\n")
    with pytest.raises(SchemaError, match=r"x\.csv, line 3: 0xe9 is no UTF-8"):
        _read(tmp_path / "x.csv", Layout(skip_uneven=True))


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,"x\n2,y"\n', r"line 2: a double quote is opened and not closed .*'1,\"x'"),
        ('a,b\n1,"x,y"\n2,"\n', r"line 3: a double quote is opened and not closed"),
        ('a,b\n1,x\n2,"x""\n', r"line 3: a double quote is opened and not closed"),
        ('a,b\n1,"x,y"\n"0x1F","0x2"\n', r"line 3, column 'a': '0x1F' is not a whole number"),
        ("b,a,b\nx,1,x\n", r"first line names the column 'b' 2 times"),
    ],
)
def test_what_arrow_lets_pass(tmp_path: Path, text: str, message: str, block_bytes: int) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SchemaError, match=message):
        _read(tmp_path / "bad.csv", QUOTED, block_bytes)


def test_quotes_and_hexadecimal_text_that_are_fine(tmp_path: Path) -> None:
    rows = [(1, "0x10"), (2, 'say "x"'), (3, "x,y"), (4, '""')]
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(tmp_path / "x.csv", index=False)
    for block_bytes in (20, 1 << 20):
        assert _all(_read(tmp_path / "x.csv", QUOTED, block_bytes)) == rows
    (tmp_path / "y.csv").write_text('"a","b"\n1,x\n')
    with pytest.raises(SchemaError, match=r"Its publisher does not quote: write it without"):
        _read(tmp_path / "y.csv")
    (tmp_path / "x.tsv").write_text('a\tb\n1\t"x\n2\ty"\n')
    assert _all(_read(tmp_path / "x.tsv", Layout("\t"))) == [(1, '"x'), (2, 'y"')]


@pytest.mark.parametrize("block_bytes", [30, 1 << 20])
def test_json_lines(tmp_path: Path, block_bytes: int) -> None:
    lines = [f'{{"b": "t{i}", "other": [1], "a": {i}}}\n' for i in range(50)]
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress("".join(lines).rstrip().encode()))
    chunks = list(read_json_lines([Source(path)], TYPES, block_bytes=block_bytes))
    assert _all(chunks) == [(i, f"t{i}") for i in range(50)]
    numbered = list(read_lines([Source(path)], block_bytes=block_bytes))
    assert [(n, t.decode() + "\n") for _, n, t in numbered] == list(enumerate(lines, 1))
    for bad in ('{"a": 1, "b"\n', '{"a": "x", "b": "y"}\n'):
        (tmp_path / "bad.jsonl").write_text("".join(lines[:3]) + bad)
        with pytest.raises(SchemaError, match=r"bad\.jsonl, line 4: "):
            list(read_json_lines([Source(tmp_path / "bad.jsonl")], TYPES, block_bytes=block_bytes))


def test_cells_are_checked(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,x\n,x\n3,\n")
    (chunk,) = _read(tmp_path / "x.csv")
    with pytest.raises(SchemaError, match=r"line 3, column 'a': None \(a blank cell\) is not an"):
        chunk.ids("a")
    with pytest.raises(SchemaError, match=r"line 4, column 'b': '' is not an id"):
        chunk.ids("b")
    with pytest.raises(SchemaError, match=r"line 4, column 'b': '' is not one of 'x'"):
        chunk.words("b", {"x": 1})
    with pytest.raises(SchemaError, match=r"line 4, column 'a': 3 is not small"):
        chunk.numbers("a", 0, 2, "small", blank=0)
    assert chunk.numbers("a", 0, 3, "small", blank=0).tolist() == [1, 0, 3]


def test_names() -> None:
    names = Names()
    assert names.add(np.array([5, 2_000, 5])).tolist() in ([0, 1, 0], [1, 0, 1])
    assert names.add(np.array([-3, 5, 10**12])).tolist()[1] == names.find(np.array([5]))[0]
    assert names.find(np.array([7, 10**12, 2**40])).tolist()[0::2] == [-1, -1]
    assert sorted(names.names()) == ["-3", "1000000000000", "2000", "5"]
    assert list(names.names(2)) == list(names.names())[2:]
    words = Names()
    assert words.add(pa.array(["b", "a", "b"])).tolist() == [0, 1, 0]
    assert words.add(pa.array(["c", "a"])).tolist() == [2, 1]
    assert words.find(pa.array(["z", "c"])).tolist() == [-1, 2]
    assert list(words.names()) == ["b", "a", "c"]
    used = np.array([True, False, True])
    found, place = words.ranked(used)
    assert (list(found), place.tolist()) == (["b", "c"], [0, -1, 1])


def _ratings(folder: Path, rows: int = 5000, seed: int = 0) -> pd.DataFrame:
    """A log in MovieLens-25M's format, with many ties."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "userId": np.sort(rng.integers(1, 300, rows)),
            "movieId": rng.choice([3, 20, 100, 7_000, 200_000, 9], rows),
            "rating": rng.integers(1, 11, rows) / 2,
            "timestamp": rng.integers(10**9, 10**9 + 20_000, rows),
        }
    )
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "ratings.csv", index=False)
    films = [f'{m},"Film {m}, The (1999)",Drama\n' for m in (3, 9, 20, 100, 7_000, 200_000, 4)]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(films))
    return table


def test_the_log_is_what_pandas_reads(tmp_path: Path) -> None:
    table = _ratings(tmp_path)
    log, catalog = read_movielens(tmp_path, "25m", block_bytes=1000)
    users, user = np.unique(table["userId"], return_inverse=True)
    films, film = np.unique(table["movieId"], return_inverse=True)
    peer = pd.DataFrame(
        {
            "user": user.astype(np.int32),
            "item": film.astype(np.int32),
            "time": table["timestamp"].astype(float),
            "response": np.where(table["rating"] >= 4, 2, 1).astype(np.int8),
            "session": sessionize(user, table["timestamp"].to_numpy(float)),
        }
    )
    pd.testing.assert_frame_equal(log.events, sort_by_time(peer, presort=True))
    assert list(log.user_ids) == [str(u) for u in users]
    assert list(catalog.item_ids) == [str(f) for f in films]


@pytest.mark.parametrize("block_bytes", [64, 1000, 77_777])
def test_chunks_leave_no_trace(tmp_path: Path, block_bytes: int) -> None:
    _ratings(tmp_path)
    log, catalog = read_movielens(tmp_path, "25m")
    other, other_catalog = read_movielens(tmp_path, "25m", block_bytes=block_bytes)
    assert (log.hash, catalog.hash) == (other.hash, other_catalog.hash)


def test_sampled_users_keep_their_histories(tmp_path: Path) -> None:
    table = _ratings(tmp_path)
    whole, whole_catalog = read_movielens(tmp_path, "25m")
    log, catalog = read_movielens(tmp_path, "25m", sample_users=0.2, block_bytes=2000)
    kept = {u for u in whole.user_ids if share_of(u) < 0.2}
    assert set(log.user_ids) == kept
    assert 0.1 < len(kept) / whole.num_users < 0.3
    want = table[table["userId"].astype(str).isin(kept)]
    assert len(log) == len(want)
    got = pd.Series(log.column("user")).map(dict(enumerate(log.user_ids))).value_counts()
    assert got.to_dict() == want["userId"].astype(str).value_counts().to_dict()
    assert list(catalog.item_ids) == [
        i for i in whole_catalog.item_ids if int(i) in set(want["movieId"])
    ]
    assert any("0.2 of the users" in note for note in log.notes)
    # more users include the fewer
    more, _ = read_movielens(tmp_path, "25m", sample_users=0.5)
    assert kept < set(more.user_ids)
    with pytest.raises(SchemaError, match="take more users"):
        read_movielens(tmp_path, "25m", sample_users=1e-9)
    for bad in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="sample_users"):
            LogBuilder(bad)


@pytest.mark.parametrize("few", [0, 10**9])  # by radix, and as small logs are sorted
@pytest.mark.parametrize("ties", [1, 100, 10**9])
@pytest.mark.parametrize("kind", ["whole", "fraction", "negative", "wide"])
def test_the_lean_order_is_the_plain_one(
    ties: int, kind: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against lexsorts, as the order was first defined."""
    monkeypatch.setattr(event_order, "_FEW", few)
    rng = np.random.default_rng(1)
    n = 3000
    wide = 2**31 - 1 if kind == "wide" else 40
    time = rng.integers(0, ties, n) / (8 if kind == "fraction" else 1)
    events = pd.DataFrame(
        {
            "user": rng.integers(0, wide, n).astype(np.int32),
            "item": rng.integers(0, wide, n).astype(np.int32),
            "time": time - (ties if kind == "negative" else 0),
            "response": rng.integers(0, 3, n).astype(np.int8),
            "position": rng.integers(1, 30_000, n).astype(np.int16),
            "value": rng.random(n),
        }
    )
    keys = [events[c].to_numpy() for c in ("position", "response", "item", "user")]
    tie = np.empty(n)
    tie[np.lexsort(keys)] = np.random.default_rng(TIE_SEED).random(n)
    plain = events.iloc[np.lexsort([tie, events["time"].to_numpy()])].reset_index(drop=True)
    pd.testing.assert_frame_equal(sort_by_time(events), plain)
    # visits are the same for events in any order
    session = sessionize(plain["user"].to_numpy(), plain["time"].to_numpy())
    mixed = rng.permutation(n)
    again = sessionize(plain["user"].to_numpy()[mixed], plain["time"].to_numpy()[mixed])
    np.testing.assert_array_equal(session[mixed], again)


def test_ids_are_what_stands_between_blanks() -> None:
    names = Names()
    ids = pa.array(["a", " a\t", "\u00a0a", "7", "7.0", "07", "7.5", " 7.00 "])
    assert names.add(ids).tolist() == [0, 0, 0, 1, 1, 2, 3, 1]
    assert names.find(pa.array(["a ", "b"])).tolist() == [0, -1]
    assert names.respelled == {" a\t", "\u00a0a", "7.0", " 7.00 ", "a "}
    titles = Names(titles=True)
    assert titles.add(pa.array(["7", "7.0", " 7"])).tolist() == [0, 1, 0]


def test_respelled_ids_are_noted(tmp_path: Path) -> None:
    rows = "u1\ti1\t5\t1300000000\n u1 \ti2\t5\t1300000001\n"
    (tmp_path / "shop.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows
    )
    log, _ = read_atomic(tmp_path)
    assert log.user_ids.tolist() == ["u1"]
    assert any("1 names of users are written with outer blanks" in note for note in log.notes)
    (tmp_path / "shop.inter").write_text(
        (tmp_path / "shop.inter").read_text().replace(" u1 ", "\u00a0 ")
    )
    with pytest.raises(SchemaError, match="line 3, column 'user_id:token'.* is not an id"):
        read_atomic(tmp_path)
