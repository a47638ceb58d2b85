"""The reading benchmark at a small size: the files it writes, and the figures it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from recenv.studies.reading import study as reading


def test_files_are_in_movielens_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_SLICE", 700)  # several slices, one header
    size = reading.write_ratings(tmp_path, 2000)
    table = pd.read_csv(tmp_path / "ratings.csv")
    assert size == (tmp_path / "ratings.csv").stat().st_size
    assert list(table) == ["userId", "movieId", "rating", "timestamp"]
    assert len(table) == 2000
    assert table["userId"].is_monotonic_increasing
    assert set(table["rating"]) == {k / 2 for k in range(1, 11)}
    films = pd.read_csv(tmp_path / "movies.csv")
    assert len(films) == reading.FILMS
    assert set(table["movieId"]) <= set(films["movieId"])
    # a few films have most ratings: a cube of a uniform number puts 46 % on a tenth of them
    share = table["movieId"].value_counts().head(reading.FILMS // 10).sum() / 2000
    assert share > 0.46


def test_main(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "told"
    result = reading.main(["--rows", "3000", "--folder", str(tmp_path), "--out", str(out)])
    assert json.loads((out / "reading.json").read_text()) == result
    printed = capsys.readouterr().out
    names = [line.split(" | ")[0] for line in printed.splitlines()[4:6]]
    assert names == ["| recenv.load", "| pandas.read_csv"]
    assert printed.strip() in (out / "reading.md").read_text()
    for told in result["measured"].values():
        assert told["rows"] == 3000
        assert 0 < told["base_mb"] <= told["peak_mb"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["told"]  # nothing is left behind


def test_a_failed_process_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"'recenv.load' failed(.|\n)*ratings\.csv"):
        reading.measure("recenv.load", tmp_path)
