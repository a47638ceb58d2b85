"""Logs with mistakes planted in them: read rightly, or refused by an error that one can act on.

A case is reproduced by ``python tests/data/mutations/run.py --case FORMAT:MUTATIONS:SEED``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from data.mutations import run, typed
from data.mutations.judge import JUDGES
from data.mutations.planted import MUTATIONS
from data.mutations.writers import WRITERS

from recenv.data import dataset_names


def test_every_format_is_there() -> None:
    read = {*WRITERS, *typed.FORMATS}
    named = {n.removesuffix("-atomic").replace("amazon-reviews", "amazon-2023") for n in read}
    layouts = {"movielens-20m", "movielens-32m"}  # that of movielens-25m
    assert set(dataset_names()) - named - layouts == set()
    assert WRITERS.keys() == JUDGES.keys()


@pytest.mark.parametrize("name", [*WRITERS, *typed.FORMATS])
def test_logs_without_mistakes(name: str, tmp_path: Path) -> None:
    for seed in range(3):
        outcome = run.run(run.Case(name, (), seed), tmp_path)
        assert outcome.kind == run.CORRECT, outcome


def test_some_cases(tmp_path: Path) -> None:
    chosen = run.cases(300, seed=7)
    assert len({case.format for case in chosen}) == len(WRITERS) + len(typed.FORMATS)
    found = [run.run(case, tmp_path) for case in chosen]
    bad = run.failures(found)
    assert not bad, run.classes(found) + "\n".join(f"{o.case}\n    {o.kind}: {o.why}" for o in bad)


MENDED = (
    "amazon-ratings:quoted:928102",
    "amazon-ratings:upper-event+float-id+spaced-event:374520",
    "amazon-reviews:blank-all:685694",
    "amazon-reviews:duplicated-header:198944",
    "amazon-reviews:other-byte:639083",
    "amazon-reviews:thousands+macos-side-files+zip-macos:985817",
    "complete-journey:cell-nanoseconds:806446",
    "complete-journey:cell-word:830015",
    "complete-journey:column-nan+cell-yyyymmdd+cell-date:508428",
    "complete-journey:column-hexadecimal:529878",
    "complete-journey:column-large-whole:531933",
    "complete-journey:column-timedelta:294397",
    "complete-journey-products:column-largest-float:718606",
    "complete-journey-products:column-lost:483438",
    "kuairand:no-rows:113744",
    "kuairand:zip-flipped:249672",
    "kuairec:infinite:725318",
    "kuairec:lost-byte:808603",
    "lastfm-1k:blank:585585",
    "lastfm-1k:spaces-line-inside+numbered-event-all+missing-cell:71741",
    "lastfm-hetrec:cut-anywhere:738602",
    "lastfm-hetrec:doubled-item-row:591646",
    "mind:line-separator:24010",
    "mind:lost-byte:416144",
    "mind:now:731319",
    "mind:other-byte:613032",
    "mind:spaced-event+gzip+zip:439145",
    "movielens-100k:doubled-item-row:282634",
    "movielens-100k:nul-inserted:393810",
    "movielens-100k-atomic:cr-only+hexadecimal-all:890546",
    "movielens-100k-atomic:missing-item-row:110494",
    "movielens-100k-atomic:very-long:744176",
    "movielens-1m:crlf+other-byte+shuffled-rows:903228",
    "open-bandit:infinite+numbered-event-all:188982",
    "open-bandit:quoted:132758",
    "open-bandit:zero-all:237461",
    "recbole:id-with-spaces:60403",
    "recbole:spaced-column+blank-lines-at-end:49861",
    "retailrocket:empty:782903",
    "table-csv:missing-file:996738",
    "table-csv:other-byte:318697",
    "table-csv:very-long:577758",
    "table-frame:cell-complex:199978",
    "table-frame:cell-today+column-largest-float:217894",
    "table-frame:column-date:52005",
    "table-frame:column-hexadecimal+cell-nanoseconds:458904",
    "table-parquet:file-flipped-bit:102557",
)


@pytest.mark.parametrize("case", MENDED)
def test_faults_that_were_mended(case: str, tmp_path: Path) -> None:
    outcome = run.run(run.Case.parse(case), tmp_path)
    assert outcome.kind in run.GOOD, outcome


def test_the_judge_can_fail(tmp_path: Path) -> None:
    """A reader that drops a row, merges users or raises a raw error is told."""
    case = run.Case("movielens-25m", (), 5)
    verdict = JUDGES[case.format](run.written(case, tmp_path))
    log, catalog = run.READERS[case.format](tmp_path)
    assert run.reading((log, catalog), verdict)[0] == run.CORRECT
    short = log.take(log.column("time") > log.column("time").min())
    assert run.reading((short, catalog), verdict)[0] == run.WRONG
    mixed = catalog.item_ids.copy()
    mixed[[0, 1]] = mixed[[1, 0]]
    swapped = dataclasses.replace(catalog, item_ids=mixed)
    assert run.reading((log, swapped), verdict)[0] == run.WRONG
    assert run.refusal(ValueError("raw"), verdict)[0] == run.UNCLEAR
    assert run.refusal(run.RecenvError("Mend ratings.csv."), verdict)[0] == run.REFUSED
    row = f"1,{catalog.item_ids[0]},x,1100000000"
    (tmp_path / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{row}\n")
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    broken = JUDGES[case.format](files)
    assert run.reading((log, catalog), broken)[0] == run.WRONG
    placed = "ratings.csv, line {}, column 'rating': 'x' is no number. Mend the row."
    assert run.refusal(run.RecenvError(placed.format(2)), broken)[0] == run.CLEAR
    assert run.refusal(run.RecenvError(placed.format(3)), broken)[0] == run.UNCLEAR
    assert run.refusal(run.RecenvError("The rows are wrong. Mend them."), broken)[0] == run.UNCLEAR


@pytest.mark.slow
def test_ten_thousand_cases(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = run.cases(10_000, seed=0)
    found = list(run.outcomes(chosen, 10_000, 0))
    with capsys.disabled():
        print("\n" + run.classes(found))
    bad = run.failures(found)
    assert not bad, "\n".join(f"{o.case}\n    {o.kind}: {o.why}" for o in bad)
    assert len(MUTATIONS) > 100
