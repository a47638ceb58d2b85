"""Delimited text: RFC 4180 is read, and what breaks it is told with its line."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recenv.data.text import read_text
from recenv.errors import SchemaError


def _read(folder: Path, text: str, separator: str = ",", **options: object) -> list[list[str]]:
    path = folder / "t.csv"
    path.write_bytes(text.encode())
    table = read_text(path, separator, "event table", **options)  # pyright: ignore[reportArgumentType]
    return [list(row) for row in table.itertuples(index=False)]


def test_what_rfc_4180_allows(tmp_path: Path) -> None:
    text = 'a,b\r\n"1,5",x\r\n"say ""hi""",27" TV\r\n,""\r\n\r\n'
    assert _read(tmp_path, text) == [["1,5", "x"], ['say "hi"', '27" TV'], ["", ""]]
    assert _read(tmp_path, "a\tb\n1,5\tx", "\t") == [["1,5", "x"]]
    assert _read(tmp_path, "\ufeffa,b\n1,2\n") == [["1", "2"]]
    assert _read(tmp_path, "a,b\n") == []


def test_without_quoting(tmp_path: Path) -> None:
    text = 'a,b\n"1,x\n2,"\n'
    assert _read(tmp_path, text, quoted=False) == [['"1', "x"], ["2", '"']]
    assert _read(tmp_path, '1,"\n', quoted=False, columns=["a", "b"]) == [["1", '"']]


def test_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,b\né,1\n".encode("latin-1"))
    assert read_text(tmp_path / "t.csv", ",", "x", encoding="latin-1")["a"].iloc[0] == "é"
    with pytest.raises(SchemaError, match=r"line 2, cannot be read.*UTF-8"):
        read_text(tmp_path / "t.csv", ",", "x")


def test_lines_are_the_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\na,b\n1,2\n\n"3",4\n')
    table = read_text(tmp_path / "t.csv", ",", "x")
    assert table.index.tolist() == [3, 5]
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert read_text(tmp_path / "t.csv", ",", "x").index.tolist() == [2, 3]
    assert read_text(tmp_path / "t.csv", ",", "x", columns=["a", "b"]).index.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2,3\n1,2\n", r"line 2: 3 cell\(s\) where there are 2 columns: '1,2,3'"),
        ("a,b\n1,2,3\n1,2,3\n", "line 2: 3 cell"),
        ("a,b\n1,2,\n", "line 2: 3 cell"),
        ("a,b\n1\n1,2\n", "line 2: 1 cell"),
        ("a,b\n1,2\n\n1\n", "line 4: 1 cell"),
        ('a,b\n"1,0",2\n1,2,3\n', "line 3: 3 cell"),
        ('a,b\n1,"27 inch\n1,2\n1,tv"\n', r"line 2: a cell in quotes goes on over 3 lines"),
        ('a,b\n1,2\n1,"\n', "line 3: .*quote"),
        ('a,b\n1,"', "line 2: .*quote"),
        ('a,b\n"1"x,2\n', "line 2: .*quote"),
        ("a,b,a\n1,2,3\n", "names 2 columns 'a'"),
        ("", "empty"),
        ("\n\n", "empty"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_refused(tmp_path: Path, text: str, message: str, packed: bool) -> None:
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with pytest.raises(SchemaError, match=message) as error:
        read_text(path, ",", "event table")
    assert str(path) in str(error.value)


CELLS = st.text(st.sampled_from('ab1",; é'), max_size=6)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), quote_all=st.booleans())
def test_what_pythons_csv_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], quote_all: bool
) -> None:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL).writerows(
        [("x", "y", "z"), *rows]
    )
    folder = tmp_path_factory.mktemp("rfc")
    assert _read(folder, written.getvalue()) == [list(row) for row in rows]


def test_a_long_cell_is_no_fault(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * (limit + 1)
    path = tmp_path / "items.csv"
    path.write_text(f'item,text\ni1,"{long}"\n')
    assert read_text(path, ",", "item table")["text"].tolist() == [long]
    assert csv.field_size_limit() == limit
