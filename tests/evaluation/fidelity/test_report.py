"""The report as data, as Markdown, as files, and from the command line."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recenv.cli import main
from recenv.config import GameConfig, SplitConfig
from recenv.data.split import make_split
from recenv.errors import ConfigError
from recenv.evaluation.fidelity import (
    Check,
    FidelityConfig,
    FidelityReport,
    Figure,
    Value,
    fidelity,
    markdown,
    write_fidelity,
)
from recenv.synthetic import emit_log, planted_world
from recenv.synthetic.world import PlantedConfig

GAME = GameConfig(num_candidates=20)


@pytest.fixture(scope="module")
def report() -> FidelityReport:
    world = planted_world(PlantedConfig(num_users=60, num_items=60))
    log = emit_log(world, GAME, visits_per_user=8, seed=3)
    split = make_split(log, SplitConfig(test_fraction=0.5))
    return fidelity(world, log, split, FidelityConfig(resamples=20), command="recenv fidelity x")


def test_round_trip_through_json(report: FidelityReport) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = FidelityReport.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == json.dumps(report.to_dict())
    assert again.verdict == report.verdict
    assert again.check("position") == report.check("position")
    assert again.figure("click", "AUC") == report.figure("click", "AUC")


def test_markdown_has_every_figure_check_and_hash(report: FidelityReport) -> None:
    text = markdown(report)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if "|" in line]
    for figure in report.figures:
        assert figure.name in rows
    for check in report.checks:
        assert check.name in rows
    for wanted in (report.world_hash, report.log_hash, report.command, report.verdict, "seed"):
        assert wanted in text
    value = report.figure("click", "AUC").simulator
    assert f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]" in text


def test_a_folder_has_all_of_it(report: FidelityReport, tmp_path: Path) -> None:
    path = write_fidelity(tmp_path / "new", report)
    assert path.read_text() == markdown(
        report, [f"![{n}]({n}.png)" for n in ("calibration", "visits", "items")]
    )
    for name in ("calibration", "visits", "items"):
        assert (path.parent / f"{name}.png").read_bytes()[1:4] == b"PNG"
    assert json.loads((path.parent / "fidelity.json").read_text()) == report.to_dict()


def test_a_verdict_counts_what_was_judged() -> None:
    def check(name: str, status: str) -> Check:
        return Check(name, status, 1.0, 0.1, 0.1, (), f"{name} is so")  # type: ignore[arg-type]

    made = FidelityReport(
        world="w",
        world_hash="0",
        log="l",
        log_hash="1",
        command="",
        settings={},
        counts={},
        figures=(Figure("topic", "name", Value(1.0)),),
        checks=(check("a", "pass"), check("b", "fail"), check("c", "prior"), check("d", "unknown")),
    )
    assert made.broken == ["b: b is so"]
    assert made.verdict == (
        "1 of 2 checks fail; 1 rest on stated laws and are not judged; the log cannot tell 1."
    )
    assert "What fails:\n\n- b: b is so" in markdown(made)
    assert np.isnan(FidelityReport.from_dict(made.to_dict()).figures[0].trivial.value)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = planted_world(PlantedConfig(num_users=40, num_items=60)).save(tmp_path / "world")
    assert main(["fidelity", str(folder), "--seed", "1", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "checks pass" in printed
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"recenv fidelity {folder} --seed 1" in text
    assert main(["fidelity", "recenv/Tov-v0"]) == 2
    assert "Did you mean 'recenv/Toy-v0'?" in capsys.readouterr().err


def without_purchases(report: FidelityReport) -> FidelityReport:
    """As of a log that has a handful of clicks."""
    nothing = {side: [0.0] * 30 for side in ("log", "simulator", "trivial")}
    shares = {"log": [0.5, 0.5], "simulator": [0.25, 0.25], "trivial": [0.25, 0.25]}
    series = report.series | {"purchases": nothing, "item shares": shares}
    return dataclasses.replace(report, series=series)


def test_panels_without_data_are_left_out_and_named(report: FidelityReport, tmp_path: Path) -> None:
    write_fidelity(tmp_path, report)
    path = write_fidelity(tmp_path, without_purchases(report))
    text = path.read_text()
    assert "Not drawn, as there is no data: purchases; item shares, simulator; item" in text
    assert "items.png" not in text
    assert not (tmp_path / "items.png").exists()
    assert (tmp_path / "visits.png").exists()
    assert "Not drawn" not in write_fidelity(tmp_path, report).read_text()


@pytest.mark.parametrize("name", ["report.md", "items.png"])
def test_nobody_elses_file_is_replaced(
    report: FidelityReport, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "other.txt").write_text("mine, too")
    with pytest.raises(ConfigError, match=f"holds a file {name} that no report"):
        write_fidelity(tmp_path, without_purchases(report))
    assert main(["fidelity", "recenv/Toy-v0", "--out", str(tmp_path)]) == 2
    assert "it would be lost" in capsys.readouterr().err
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        name: "mine",
        "other.txt": "mine, too",
    }


def test_what_else_lies_in_the_folder_stays(report: FidelityReport, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    write_fidelity(tmp_path, report)
    write_fidelity(tmp_path, report)
    assert (tmp_path / "notes.md").read_text() == "mine"
    with pytest.raises(ConfigError, match=r"notes\.md is a file"):
        write_fidelity(tmp_path / "notes.md", report)


def test_without_matplotlib_nothing_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("recenv.cli.resolve", lambda _: pytest.fail("a world was built"))
    assert main(["fidelity", "recenv/Toy-v0", "--out", str(tmp_path)]) == 2
    assert "recenv[plots]" in capsys.readouterr().err
