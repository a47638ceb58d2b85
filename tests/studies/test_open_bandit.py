"""The click-rate check on planted logs of the Open Bandit kind, and on the installed sample."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from recenv.data.formats.open_bandit import POLICIES
from recenv.errors import ConfigError
from recenv.schema import InteractionLog
from recenv.studies.open_bandit import click_rates
from recenv.studies.open_bandit import study as bench

N = 12


def _log(policy: np.ndarray, click: np.ndarray, n: int, rng: np.random.Generator) -> InteractionLog:
    """Impressions under ``policy`` (N, 3) with click probabilities ``click`` (N, 3)."""
    slot = rng.integers(3, size=n)
    item = (rng.random(n) > policy.cumsum(0)[:, slot]).sum(0).clip(0, N - 1)
    events = pd.DataFrame(
        {
            "user": np.zeros(n, np.int32),
            "item": item.astype(np.int32),
            "time": np.arange(n, dtype=np.float64),
            "response": (rng.random(n) < click[item, slot]).astype(np.int8),
            "position": (slot + 1).astype(np.int16),
            "propensity": policy[item, slot],
        }
    )
    return InteractionLog(events, np.array(["one"], dtype=object), has_impressions=True)


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Click probabilities (N, 3), a uniform policy, and one that prefers what is clicked."""
    rng = np.random.default_rng(0)
    effects = rng.normal(0, click_rates.ITEM_SPREAD, N)[:, None] + np.array([0.4, 0.0, -0.4])
    click = expit(logit(0.05) + effects)
    greedy = np.exp(2 * effects)
    return click, np.full((N, 3), 1 / N), greedy / greedy.sum(0)


def test_the_fit_is_the_posterior_mode() -> None:
    """Newton's answer against a general optimiser of the same penalised likelihood."""
    rng = np.random.default_rng(1)
    shown = rng.integers(5, 60, (N, 3)).astype(float)
    clicks = np.minimum(rng.poisson(2.0, (N, 3)), shown).astype(float)

    def loss(beta: np.ndarray) -> float:
        eta = beta[0] + beta[1 : 1 + N, None] + beta[-3:]
        penalty = (beta[1 : 1 + N] ** 2).sum() / click_rates.ITEM_SPREAD**2
        penalty += (beta[-3:] ** 2).sum() / click_rates.SLOT_SPREAD**2
        return float((shown * np.logaddexp(0, eta) - clicks * eta).sum() + penalty / 2)

    found = minimize(loss, np.zeros(1 + N + 3), method="BFGS", options={"gtol": 1e-6})
    model = click_rates.fit_click_model(shown, clicks)
    assert model.coefficients == pytest.approx(found.x, abs=1e-4)
    # at the mode an unpenalised level makes fitted and logged clicks agree
    assert (shown * model.probabilities()).sum() == pytest.approx(clicks.sum())


def test_predictions_of_planted_logs() -> None:
    """Effects drawn from the model's own prior: then z is standard normal, the error honest."""
    rng = np.random.default_rng(2)
    z, gaps = [], []
    for _ in range(200):
        items = rng.normal(0, click_rates.ITEM_SPREAD, N)[:, None]
        click = expit(logit(0.05) + items + rng.normal(0, click_rates.SLOT_SPREAD, 3))
        uniform, other = np.full((N, 3), 1 / N), rng.dirichlet(np.full(N, 0.3), 3).T
        train, target = (_log(p, click, 3000, rng) for p in (uniform, other))
        made = click_rates.predict_ctr(train, target, N)
        shown, _ = click_rates.cells(target, N)
        truth = (shown * click).sum() / shown.sum()
        z.append((made.value - truth) / made.standard_error)
        gaps.append((click.mean() - truth) / made.standard_error)
    assert abs(np.mean(z)) < 0.3
    assert 0.8 < np.std(z) < 1.25
    # the training policy's true rate is a worse guess than the model's
    assert np.std(gaps) > 1.3 * np.std(z)


def test_off_policy_on_planted_logs(planted: tuple[np.ndarray, ...]) -> None:
    click, uniform, greedy = planted
    made = click_rates.off_policy(_log(uniform, click, 60_000, np.random.default_rng(3)), greedy)
    value = float((greedy * click).sum() / 3)
    for name in ("IPS", "SNIPS", "DR"):
        assert abs(made[name].value - value) < 3.5 * made[name].standard_error, name
    assert made["DM"].value == pytest.approx(value, rel=0.1)
    # the model takes off variance that IPS has
    assert made["DR"].standard_error < made["IPS"].standard_error


def test_logs_that_tell_nothing() -> None:
    with pytest.raises(ConfigError, match="with and without a click, but 0 of 36"):
        click_rates.fit_click_model(np.ones((N, 3)), np.zeros((N, 3)))


@pytest.mark.skipif(importlib.util.find_spec("obp") is None, reason="obp is not there")
def test_the_installed_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert bench.main(["--out", str(out), "--resamples", "2", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "| random | bts | click model of item and position | 0.39" in printed
    assert "| random | bts | fitted users | 0." in printed
    assert "38 of random" in printed
    report = json.loads((out / "open-bandit.json").read_text())
    assert printed.strip() in (out / "open-bandit.md").read_text()
    assert [c["target"] for c in report["checks"]] == list(reversed(POLICIES))
    for one in report["checks"]:
        assert abs(one["users"]["z"]) <= 2
        assert abs(one["model"]["z"]) <= 2
        assert one["actual"]["value"] == one["clicks"] / 10_000
        low, high = sorted([one["model"]["value"], one["actual"]["value"]])
        assert high < 2 * low
    # Thompson sampling shows most items hardly ever: few of its rows tell of the uniform policy
    ips = [c["estimates"]["IPS"] for c in report["checks"]]
    assert ips[0]["effective_sample_size"] > 5 * ips[1]["effective_sample_size"]
