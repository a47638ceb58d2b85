"""The benchmark of training runs and tells what it says it does; figures are not judged here."""

import pytest

from training.studies import speed
from training.studies.speed import BATCHES, STOCK, measure, report


@pytest.mark.slow
def test_the_benchmark_measures_every_way(monkeypatch):
    monkeypatch.setattr(speed, "ITERATIONS", ((128, 64, 32),))
    result = measure("recenv/Toy-v0", seconds=0.01, repeats=1)
    assert len(result["rates"]) == len(STOCK) + len(BATCHES)
    assert all(rate["median"] > 0 for rate in result["rates"].values())
    assert all(took > 0 for took in result["shares"].values())
    text = report(result, "python -m training.studies.speed")
    parts = ("rates", "shares", "learning", "training")
    for name in (name for part in parts for name in result[part]):
        assert name in text
