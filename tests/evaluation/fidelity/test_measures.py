"""Measures against scipy, closed forms and hand-made cases; draws against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recenv.evaluation.fidelity import measures as m
from recenv.evaluation.fidelity.resample import Resampler


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def sides(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, weights of the first side, weights of the second)."""
    second_side = np.arange(len(first) + len(second)) >= len(first)
    return np.concatenate([first, second]), (~second_side).astype(float), second_side.astype(float)


def test_distances_of_samples_are_scipys(rng: np.random.Generator) -> None:
    first, second = rng.poisson(4, 60), rng.poisson(5, 90)
    values, a, b = sides(first, second)
    assert m.kolmogorov_smirnov(values)(a, b) == pytest.approx(
        stats.ks_2samp(first, second).statistic
    )
    assert m.wasserstein(values)(a, b) == pytest.approx(stats.wasserstein_distance(first, second))
    counts = [np.bincount(x, minlength=20) for x in (first, second)]
    assert m.rank_correlation(values, 20)(a, b) == pytest.approx(stats.spearmanr(*counts)[0])
    p, q = (c + 0.5 for c in counts)
    assert m.kullback_leibler(values, 20)(a, b) == pytest.approx(
        stats.entropy(p / p.sum(), q / q.sum())
    )


def test_scores_are_scipys(rng: np.random.Generator) -> None:
    score = rng.integers(8, size=200) / 8  # with ties
    y = rng.random(200) < score
    positive, negative = score[y], score[~y]
    u = stats.mannwhitneyu(positive, negative).statistic
    one = np.ones(200)
    assert m.auc(score, y)(one) == pytest.approx(u / (len(positive) * len(negative)))
    weight = rng.integers(4, size=200)
    x, z = rng.normal(size=(2, 200))
    many = np.repeat(np.arange(200), weight)
    assert m.weighted_correlation(x, z)(weight) == pytest.approx(
        stats.pearsonr(x[many], z[many])[0]
    )


def test_weights_are_repeated_rows(rng: np.random.Generator) -> None:
    p, y = rng.random(50), rng.random(50) < 0.4
    weight = rng.integers(3, size=50)
    many = np.repeat(np.arange(50), weight)
    ones = np.ones(len(many))
    for make in (m.auc, m.information_gain, lambda p, y: m.choice(p, y, 3)["F1"]):
        assert make(p, y)(weight) == pytest.approx(make(p[many], y[many])(ones))


def test_auc_of_many_values_loses_nothing_that_matters(rng: np.random.Generator) -> None:
    score = rng.normal(size=5000)
    y = rng.random(5000) < 1 / (1 + np.exp(-score))
    u = stats.mannwhitneyu(score[y], score[~y]).statistic
    assert m.auc(score, y)(np.ones(5000)) == pytest.approx(u / (y.sum() * (~y).sum()), abs=1e-4)


def test_total_variation_by_hand() -> None:
    values, a, b = sides(np.array([0, 0, 1, 7]), np.array([1, 2]))
    # shares (1/2, 1/4, 0, 1/4) and (0, 1/2, 1/2, 0): half of 1/2 + 1/4 + 1/2 + 1/4
    assert m.total_variation(values)(a, b) == pytest.approx(0.75)


def test_calibration_error_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9])
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    one = np.ones(8)
    # bins of four: |0.1 - 0.25| and |0.9 - 1|, each half
    assert m.calibration_error(p, y, one, 2)(one) == pytest.approx(0.125)
    rows = m.reliability(p, y, one, 2)
    assert [(r["predicted"], r["observed"], r["rows"]) for r in rows] == [
        pytest.approx((0.1, 0.25, 4)),
        pytest.approx((0.9, 1.0, 4)),
    ]
    # equal probabilities share a bin, however many bins are asked for
    assert len(m.reliability(p, y, one, 50)) == 2


def test_information_gain_closed_forms() -> None:
    y = np.array([1, 0, 0, 0])
    one = np.ones(4)
    assert m.information_gain(np.full(4, 0.25), y)(one) == pytest.approx(0)
    assert m.information_gain(y.astype(float), y)(one) == pytest.approx(1, abs=1e-4)
    assert m.entropy(0.25) == pytest.approx(stats.entropy([0.25, 0.75]))


def test_chi_square_is_pearsons_for_one_group() -> None:
    hit = np.repeat([1.0, 0.0, 1.0, 0.0], [30, 70, 45, 55])
    second = np.repeat([0.0, 0.0, 1.0, 1.0], [30, 70, 45, 55])
    group = np.zeros(200, int)
    wanted = stats.chi2_contingency([[30, 70], [45, 55]], correction=False)[0]
    assert m.chi_square(group, hit)(1 - second, second) == pytest.approx(wanted)


def test_choice_by_hand() -> None:
    """Two kinds of items; odds ratio r: true items of kind 1 with share 0.8, false with 0.2."""
    p = np.repeat([0.8, 0.2, 0.8, 0.2], [80, 20, 20, 80])
    real = np.repeat([1, 1, 0, 0], [80, 20, 20, 80])
    found = m.choice(p, real, 1)
    one = np.ones(200)
    # at 1:1 the log-odds need no shift: expected hits 80 * 0.8 + 20 * 0.2 of 100 chosen
    for name in ("precision", "recall", "F1"):
        assert found[name](one) == pytest.approx(0.68, abs=2e-3)
    # knowing nothing is chance
    assert m.choice(np.full(200, 0.3), real, 3)["precision"](one) == pytest.approx(0.25)


def test_level_shift_reaches_the_wanted_level(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=40), rng.random((3, 40))
    wanted = np.array([1.0, 5.0, 10.0])
    shift = m.level_shift(x, w, wanted)
    p = 1 / (1 + np.exp(-(x + shift[:, None])))
    np.testing.assert_allclose((w * p).sum(1), wanted, rtol=1e-6)


def test_nothing_on_one_side_is_nan() -> None:
    values, a, b = sides(np.array([1.0, 2.0]), np.array([3.0]))
    for measure in (
        m.kolmogorov_smirnov(values),
        m.wasserstein(values),
        m.total_variation(values.astype(int)),
        m.kullback_leibler(values.astype(int), 4),
        m.mean_difference(values),
    ):
        assert np.isnan(measure(a, 0 * b))
    assert np.isnan(m.auc(values, np.ones(3))(np.ones(3)))


def test_standard_error_of_a_mean_is_that_of_users_means(rng: np.random.Generator) -> None:
    """Equal visits per user: the cluster bootstrap has the closed form sd(means) / sqrt(n)."""
    users = np.repeat(np.arange(80), 5)
    values = rng.normal(size=80)[users] + 0.1 * rng.normal(size=400)
    drawn = Resampler(users, 80, 4000, 0).score(m.mean(values), users, np.ones(400))
    means = values.reshape(80, 5).mean(1)
    assert drawn.error == pytest.approx(means.std() / np.sqrt(80), rel=0.05)
    assert drawn.value == pytest.approx(values.mean())


def test_noise_is_the_spread_over_all_swaps(rng: np.random.Generator) -> None:
    """Six users: all 64 swaps of labels, enumerated."""
    users = np.tile(np.repeat(np.arange(6), 3), 2)
    simulated = np.arange(36) >= 18
    values = rng.integers(5, size=36)
    measure = m.kolmogorov_smirnov(values)
    every = []
    for code in range(64):
        swap = (code >> np.arange(6) & 1).astype(bool)
        side = (simulated ^ swap[users]).astype(float)
        every.append(measure(1 - side, side))
    found = Resampler(users, 6, 8000, 0).compare(measure, users, simulated)
    assert found.noise == pytest.approx(np.mean(every), rel=0.03)
    assert found.error == pytest.approx(np.std(every), rel=0.05)
    assert found.value == pytest.approx(stats.ks_2samp(values[:18], values[18:]).statistic)


def test_draws_in_blocks_are_the_same(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, values = rng.integers(30, size=300), rng.normal(size=300)
    resampler = Resampler(users, 30, 50, 0)
    whole = resampler.score(m.auc(values, values > 0.5), users, np.ones(300))
    monkeypatch.setattr("recenv.evaluation.fidelity.resample._MOST", 700)
    blocks = resampler.score(m.auc(values, values > 0.5), users, np.ones(300))
    np.testing.assert_array_equal(whole.drawn, blocks.drawn)
