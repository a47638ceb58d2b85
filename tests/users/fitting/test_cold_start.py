"""The vector of a cold-start user: planted ones come back from rows, without rows the mean user."""

import numpy as np
import pytest

from recenv.users.fitting.cold_start import LawRows, cold_start_user


def test_the_cold_start_user_is_the_one_who_answered():
    """Rows of one planted user, half of them seldom looked at: vector and bias come back."""
    rng = np.random.default_rng(0)
    n, truth, bias = 200_000, np.array([0.8, -0.5]), -0.7
    vectors = rng.normal(size=(n, 2)).astype(np.float32)
    fixed = rng.normal(size=n).astype(np.float32)
    examined = np.where(np.arange(n) % 2, 1.0, 0.3).astype(np.float32)
    p = examined / (1 + np.exp(-(vectors @ truth + fixed + bias)))
    rows = LawRows(vectors, fixed, rng.random(n) < p, np.ones(n, np.float32), examined)
    vector, (found,) = cold_start_user([rows], np.zeros(2, np.float32), 1.0)
    np.testing.assert_allclose(vector, truth, atol=0.03)
    assert found == pytest.approx(bias, abs=0.03)


def test_nothing_to_tell_leaves_the_mean_user():
    vector, biases = cold_start_user([], np.array([0.3, -1.0], np.float32), 5.0)
    np.testing.assert_allclose(vector, [0.3, -1.0])
    assert biases == ()
