"""The speed study on tiny sizes: every table is there, and its figures are of what they say."""

import json
import math

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from recenv.errors import ConfigError
from recenv.sim.simulator import Simulator
from recenv.studies.speed import cuda as speed_cuda
from recenv.studies.speed import measurements as speed
from recenv.studies.speed import rates, study
from recenv.studies.speed.peers import PeerResult
from recenv.studies.speed.rates import GAME, Clock, Rate, short, touched_bytes


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(speed, "BATCHES", (1, 1024))
    monkeypatch.setattr(speed, "CATALOGUES", ((60, 8),))
    monkeypatch.setattr(speed, "GROWTH", {"batch": (8, 16), "items": (60, 120)})
    monkeypatch.setattr(speed, "_BASE", {**speed._BASE, "items": 60, "dimensions": 8, "batch": 8})
    monkeypatch.setattr(
        speed, "fresh", lambda script, *arguments: [1.0, 2.0, 3.0][: 3 if arguments else 2]
    )
    tables = speed.item_tables
    monkeypatch.setattr(speed, "item_tables", lambda clock: tables(clock, items=60, dim=8))
    made = rates.world_of
    monkeypatch.setattr(speed, "world_of", lambda items, dim, users=50: made(items, dim, users=50))


def test_every_table_is_written(tiny, tmp_path, monkeypatch, capsys):
    def peers(folder, **_):
        return [
            PeerResult("RecSim", "1", "ten of fifty", (1000.0, 1100.0), 0.1, 40.0, None),
            PeerResult("broken", "1", "none", (), math.nan, math.nan, "it broke"),
        ]

    monkeypatch.setattr(speed.peers, "measure_peers", peers)
    told = study.main(["--seconds", "0.001", "--repeats", "2", "--quiet", "--out", str(tmp_path)])
    page = (tmp_path / "speed.md").read_text()
    for heading in ("The step", "Environments", "Start and memory", "As the work grows", "Peers"):
        assert f"## {heading}" in page
    assert "two threads" in page
    assert "nan" not in page.lower().replace("nanoseconds", "")
    assert json.loads((tmp_path / "speed.json").read_text())["processors"] == told["processors"]
    for picture in ("growth.png", "peers.png"):
        assert (tmp_path / "speed" / picture).stat().st_size > 5000
    assert "it broke" in page
    assert all(all(v > 0 for v in row["values"]) for row in told["rates"])
    assert "user-steps" in capsys.readouterr().out


def test_a_rate_counts_rows_and_calls():
    calls = []
    rate = Clock(0.01, 3).rate("x", 10, lambda: calls.append(0))
    assert len(rate.values) == 3
    assert rate.median > 10 * 1000  # a call that does nothing takes under a millisecond
    assert Rate("x", 1, (1.0, 3.0, 2.0)).median == 2.0
    assert Rate("x", 1, (1e6, 3e6, 2e6)).spread == "2M (1M - 3M)"
    assert [short(v) for v in (12.3, 4560.0, 7.89e6)] == ["12.3", "4.56k", "7.89M"]


def test_touched_bytes_leave_out_what_a_step_does_not_need(toy):
    simulator = Simulator(toy, GAME.replace(num_candidates=20))
    whole, fields = simulator.bytes_per_visit, simulator.fields
    assert whole / 2 < touched_bytes(fields) < touched_bytes(fields, own_screens=True) < whole
    less = touched_bytes(fields) - touched_bytes(fields, clicking=0.25)
    assert less == 0.75 * fields["visit_interest"].bytes
    assert 0.2 < rates.clicking_share(simulator) < 0.9


def test_the_bound_is_made_of_all_rates():
    world = rates.world_of(60, 8, users=20)
    told = rates.bound(world, GAME.replace(num_candidates=20), 512, 1)
    simulator = Simulator(world, GAME.replace(num_candidates=20))
    touched = touched_bytes(simulator.fields, clicking=rates.clicking_share(simulator))
    seconds = 10 * 8 * 4 / told["gather_gb_s"] / 1e9 + touched / told["copy_gb_s"] / 1e9
    seconds += 2 * 20 / told["lookups_g_s"] / 1e9
    assert told["steps_per_second"] == pytest.approx(1 / seconds)
    seconds += (20 + 10 + 2) / told["draws_g_s"] / 1e9 + 21 / told["sigmoids_g_s"] / 1e9
    seconds += 10 * 8 / told["products_g_s"] / 1e9
    assert told["steps_with_arithmetic"] == pytest.approx(1 / seconds)


def test_parallel_visits_never_end_while_they_are_timed(toy):
    rate = rates.parallel_rate(Clock(0.05, 1), toy, 2, num_candidates=20)
    assert rate.rows == 2
    assert np.isfinite(rate.median)


def test_one_visit_is_compared_with_a_trivial_environment(toy):
    parallel_api_test(rates.Trivial(), num_cycles=50)
    pairs = rates.against_trivial(toy, rounds=5, steps=50, num_candidates=20)
    assert len(pairs) == 5
    assert 0.01 < np.median([ours / trivial for ours, trivial in pairs]) < 1


def test_cuda_without_a_gpu_says_so():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="needs a GPU"):
        speed_cuda.measure_cuda(Clock(0.01, 1), progress=False)


def test_wrong_options(capsys):
    with pytest.raises(SystemExit):
        study.main(["--seconds", "0"])
    assert "must be positive" in capsys.readouterr().err
