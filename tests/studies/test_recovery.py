"""The recovery study: its arithmetic on invented errors, and a tiny run that goes on."""

import numpy as np
import pytest

from recenv.errors import ConfigError, UnknownNameError
from recenv.plots import Shrinkage, shrinkage_plot
from recenv.studies.cells import run_cells
from recenv.studies.recovery import study as recovery
from recenv.studies.recovery.laws import LAWS, Found, Measured, make_world, rms
from recenv.studies.recovery.study import RecoveryConfig, main, plan, summarise


def invented(law, size, seed, error, reported=None, scalar=True):
    return {
        "cell": {"law": law, "size": size, "seed": seed},
        "code": "x",
        "events": 100 * size,
        "found": {"a": Found(error, reported, scalar)._asdict()},
    }


def test_slope_bias_and_calibration_by_hand():
    """Errors +-e / sqrt(size) around nothing: slope -1/2, no bias, as large as reported."""
    results = [
        invented("tenure", size, seed, sign * 0.8 / size**0.5, 0.8 / size**0.5)
        for size in (1, 4, 16)
        for seed, sign in enumerate((1, -1))
    ]
    (row,) = summarise(results)["tenure"]
    np.testing.assert_allclose(row.error, [0.8, 0.4, 0.2])
    np.testing.assert_allclose(row.events, [100, 400, 1600])
    assert row.slope == pytest.approx(-0.5)
    assert row.spread == pytest.approx(0, abs=1e-9)
    assert row.bias == pytest.approx((0, 0.2))
    assert row.calibration == pytest.approx(1)


def test_a_bias_that_stays_flattens_the_slope():
    results = [invented("tenure", size, 0, 0.1, scalar=False) for size in (1, 4, 16)]
    (row,) = summarise(results)["tenure"]
    assert row.slope == pytest.approx(0, abs=1e-9)
    assert row.spread is None
    assert row.bias is None
    assert row.calibration is None


def test_errors_of_random_sizes_give_the_spread_that_they_have(monkeypatch):
    """Normal errors of 40 worlds: a slope's standard deviation is about its resampled one."""
    monkeypatch.setattr(recovery, "_RESAMPLES", 200)
    rng = np.random.default_rng(0)

    def slope():
        results = [
            invented("tenure", size, seed, float(rng.normal() / size**0.5))
            for size in (1, 4, 16)
            for seed in range(40)
        ]
        return summarise(results)["tenure"][0]

    rows = [slope() for _ in range(25)]
    assert np.mean([r.slope for r in rows]) == pytest.approx(-0.5, abs=0.05)
    assert np.std([r.slope for r in rows]) == pytest.approx(rows[0].spread, rel=0.5)


def test_rms_is_of_arrays():
    assert rms(np.array([3.0, 4.0])).error == pytest.approx(np.sqrt(12.5))
    assert not rms(np.array([1.0])).scalar


def test_cells_are_kept_and_checked(tmp_path, monkeypatch):
    calls = []

    def law(size, seed):
        calls.append((size, seed))
        return Measured(10 * size, {"a": Found(1.0)})

    monkeypatch.setitem(LAWS, "tenure", law)
    configs = [RecoveryConfig(law="tenure", size=s, seed=1) for s in (1, 4)]
    first = run_cells([c.cell for c in configs], tmp_path)
    assert run_cells([c.cell for c in configs], tmp_path) == first
    assert calls == [(1, 1001), (4, 1004)]
    monkeypatch.setattr(recovery, "sources_hash", lambda *paths: "another")
    run_cells([c.cell for c in configs], tmp_path)
    assert len(calls) == 4
    with pytest.raises(UnknownNameError, match="tenure"):
        RecoveryConfig(law="tenur")
    with pytest.raises(ConfigError, match="size must be at least 1"):
        RecoveryConfig(law="tenure", size=0)


def test_the_plan_ends_with_the_largest_logs():
    cells = plan(2, ["tenure", "window"])
    assert [c.size for c in cells] == sorted(c.size for c in cells)
    assert sum(c.law == "tenure" for c in cells) == 6
    assert sum(c.law == "window" for c in cells) == 3 * recovery.SEEDS["window"]


def test_a_world_is_what_it_is_said_to_be():
    world = make_world(0)
    assert (world.num_users, len(world.catalog)) == (60, 40)
    assert world.user_model.dynamics.drift_rate == 0
    assert make_world(0, moving=True).user_model.dynamics.drift_rate == pytest.approx(0.05)


def test_a_quick_run_writes_the_report(tmp_path, capsys):
    arguments = ["--quick", "--laws", "visit length", "--out", str(tmp_path), "--jobs", "1"]
    assert main(arguments) == 0
    text = (tmp_path / "recovery.md").read_text()
    assert "| visit length: hazard |" in text
    assert "## Visit length" in text
    assert text in capsys.readouterr().out
    assert (tmp_path / "recovery.png").stat().st_size > 10_000


def test_the_plot_refuses_nothing(tmp_path):
    with pytest.raises(ConfigError, match="at least one panel"):
        shrinkage_plot({}, tmp_path / "a.png")
    line = Shrinkage("a", [100, 400], [0.2, 0.1])
    assert shrinkage_plot({"law": [line]}, tmp_path / "a.png").is_file()
