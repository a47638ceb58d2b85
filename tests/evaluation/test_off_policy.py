"""Off-policy estimators against closed forms and a planted bandit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from recenv.errors import SchemaError
from recenv.evaluation import (
    direct_method,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    inverse_propensity,
    self_normalised,
)

# weights 2, 0.5, 0
REWARD, PROPENSITY, TARGET = [1.0, 2.0, 5.0], [0.25, 0.5, 0.25], [0.5, 0.25, 0.0]


def test_by_hand() -> None:
    assert list(importance_weights(PROPENSITY, TARGET)) == [2.0, 0.5, 0.0]
    ips = inverse_propensity(REWARD, PROPENSITY, TARGET)
    # terms 2, 1, 0: mean 1, standard deviation 1
    assert ips.value == pytest.approx(1.0)
    assert ips.standard_error == pytest.approx(1 / np.sqrt(3))
    assert ips.high - ips.low == pytest.approx(2 * 1.959964 / np.sqrt(3))
    assert ips.effective_sample_size == pytest.approx(2.5**2 / 4.25)
    assert (ips.max_weight, ips.events) == (2.0, 3)
    snips = self_normalised(REWARD, PROPENSITY, TARGET)
    assert snips.value == pytest.approx(3 / 2.5)
    # residuals -0.2 and 0.8 with weights 2 and 0.5
    assert snips.standard_error == pytest.approx(np.sqrt(0.4**2 + 0.4**2) / 2.5)
    dr = doubly_robust(REWARD, PROPENSITY, TARGET, [0.5, 1.0, 9.0], [1.0, 1.0, 4.0])
    assert dr.value == pytest.approx((2.0 + 1.5 + 4.0) / 3)
    dm = direct_method([1.0, 2.0, 6.0])
    assert dm.value == pytest.approx(3.0)
    assert dm.standard_error == pytest.approx(np.sqrt(7) / np.sqrt(3))


def test_kish() -> None:
    assert effective_sample_size(np.full(7, 0.3)) == pytest.approx(7.0)
    assert effective_sample_size([0.0, 5.0, 0.0]) == pytest.approx(1.0)
    assert effective_sample_size([1.0, 1.0, 2.0]) == pytest.approx(16 / 6)
    assert effective_sample_size([0.0, 0.0]) == 0.0


def test_the_logging_policy_itself() -> None:
    reward = np.random.default_rng(0).random(50)
    logged = np.full(50, 0.2)
    for estimate in (inverse_propensity, self_normalised):
        made = estimate(reward, logged, logged)
        assert made.value == pytest.approx(reward.mean())
        assert made.effective_sample_size == pytest.approx(50.0)


class Bandit(NamedTuple):
    """Three contexts (positions), four actions, two known policies."""

    mean: np.ndarray  # (3, 4) P(reward)
    logging: np.ndarray  # (3, 4)
    target: np.ndarray  # (3, 4)

    @property
    def value(self) -> float:
        return float((self.target * self.mean).sum(1).mean())

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        context = rng.integers(3, size=n)
        action = (rng.random((n, 1)) > self.logging.cumsum(1)[context]).sum(1).clip(0, 3)
        reward = (rng.random(n) < self.mean[context, action]).astype(float)
        return context, action, reward


@pytest.fixture(scope="module")
def bandit() -> Bandit:
    rng = np.random.default_rng(5)
    return Bandit(
        rng.uniform(0.05, 0.6, (3, 4)), rng.dirichlet(np.full(4, 4.0), 3),
        rng.dirichlet(np.full(4, 2.0), 3),
    )  # fmt: skip


def test_unbiased_with_honest_intervals(bandit: Bandit) -> None:
    rng = np.random.default_rng(1)
    wrong = np.full((3, 4), 0.4)  # a model that is far off; the correction must mend it
    made: dict[str, list[tuple[float, bool]]] = {"ips": [], "snips": [], "dr": []}
    replicates = 1000
    for _ in range(replicates):
        context, action, reward = bandit.draw(400, rng)
        logged, target = bandit.logging[context, action], bandit.target[context, action]
        expected = (bandit.target * wrong).sum(1)[context]
        for name, one in (
            ("ips", inverse_propensity(reward, logged, target)),
            ("snips", self_normalised(reward, logged, target)),
            ("dr", doubly_robust(reward, logged, target, wrong[context, action], expected)),
        ):
            made[name].append((one.value, one.low <= bandit.value <= one.high))
    # SNIPS's bias is of order 1 / n; the other two have none
    for name, slack in (("ips", 0.0), ("dr", 0.0), ("snips", 0.002)):
        values, covered = np.array([v for v, _ in made[name]]), np.array([c for _, c in made[name]])
        error = values.std(ddof=1) / np.sqrt(replicates)
        assert abs(values.mean() - bandit.value) < 4 * error + slack
        assert covered.mean() == pytest.approx(0.95, abs=0.025)
    # the naive mean of rewards is the logging policy's value, which is another one
    naive = float((bandit.logging * bandit.mean).sum(1).mean())
    assert abs(naive - bandit.value) > 0.02


def test_a_constant_on_the_rewards(bandit: Bandit) -> None:
    context, action, reward = bandit.draw(300, np.random.default_rng(2))
    logged, target = bandit.logging[context, action], bandit.target[context, action]
    before, after = (self_normalised(r, logged, target) for r in (reward, reward + 10))
    assert after.value == pytest.approx(before.value + 10)
    assert after.standard_error == pytest.approx(before.standard_error)
    ips = [inverse_propensity(r, logged, target).value for r in (reward, reward + 10)]
    assert abs(ips[1] - ips[0] - 10) > 0.05  # IPS moves by ten times the mean weight instead


def test_an_exact_model(bandit: Bandit) -> None:
    """With the true means as rewards and as model, DR is the direct method whatever the weights."""
    context, action, _ = bandit.draw(300, np.random.default_rng(3))
    exact = bandit.mean[context, action]
    expected = (bandit.target * bandit.mean).sum(1)[context]
    wrong_propensity = np.full(300, 0.01)
    dr = doubly_robust(exact, wrong_propensity, bandit.target[context, action], exact, expected)
    dm = direct_method(expected)
    assert dr.value == pytest.approx(dm.value)
    assert dr.standard_error == pytest.approx(dm.standard_error)


@pytest.mark.parametrize(
    ("reward", "propensity", "target", "message"),
    [
        ([1, 0], [0.5, 0.0], [0.5, 0.5], r"propensity, event 1: 0.0 is not a probability in \(0"),
        ([1, 0], [0.5, 1.5], [0.5, 0.5], r"propensity, event 1: 1.5"),
        ([1, 0], [0.5, 0.5], [-0.1, 0.5], r"target, event 0: -0.1 is not a probability in \[0"),
        ([1, np.nan], [0.5, 0.5], [0.1, 0.5], r"reward, event 1: nan is not a finite number"),
        ([1, 0, 1], [0.5, 0.5], [0.1, 0.5], r"one value per event .*reward \(3,\), weight \(2,\)"),
        ([1, 0], [0.5, 0.5], [[0.1, 0.5]], r"propensity \(2,\), target \(1, 2\)"),
        (1, 1, 1, r"propensity \(\)"),
        ([1], [0.5], [0.5], "has 1 events; an estimate needs at least 2"),
    ],
)  # fmt: skip
def test_mistakes(reward: object, propensity: object, target: object, message: str) -> None:
    for estimate in (inverse_propensity, self_normalised):
        with pytest.raises(SchemaError, match=message):
            estimate(reward, propensity, target)  # pyright: ignore[reportArgumentType]


def test_a_target_that_never_takes_the_logged_actions() -> None:
    assert inverse_propensity([1, 0], [0.5, 0.5], [0, 0]).value == 0
    with pytest.raises(SchemaError, match="every logged action probability 0"):
        self_normalised([1, 0], [0.5, 0.5], [0, 0])
    with pytest.raises(SchemaError, match=r"predicted \(2,\), expected \(3,\)"):
        doubly_robust([1, 0], [0.5, 0.5], [0, 0], [1, 1], [1, 1, 1])
