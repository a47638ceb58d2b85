"""Our exponential function against the library's."""

import numpy as np
from numba import njit

from recenv.jit import logistic


@njit
def exps(x, out):
    for i in range(len(x)):
        out[i] = logistic.exp(x[i])


@njit
def sigmoids(x, out):
    for i in range(len(x)):
        out[i] = logistic.sigmoid(x[i])


def test_exp_is_right_to_the_last_bit_or_two():
    x = np.concatenate([np.linspace(-87, 87, 400_001), np.linspace(-1, 1, 100_001), [0.0]]).astype(
        np.float32
    )
    out = np.empty_like(x)
    exps(x, out)
    relative = np.abs(out / np.exp(x.astype(np.float64)) - 1)
    assert relative.max() < 1.2e-7
    assert out[-1] == 1


def test_exp_beyond_its_range_is_that_of_the_end():
    x = np.array([88, 1e30, np.inf, -88, -1e30, -np.inf], np.float32)
    out = np.empty_like(x)
    exps(x, out)
    ends = np.exp(np.array([87, 87, 87, -87, -87, -87.0]))
    np.testing.assert_allclose(out, ends, rtol=2e-7)


def test_sigmoid_keeps_small_probabilities():
    x = np.linspace(-80, 80, 100_001).astype(np.float32)
    out = np.empty_like(x)
    sigmoids(x, out)
    np.testing.assert_allclose(out, 1 / (1 + np.exp(-x.astype(np.float64))), rtol=3e-7)
    assert (np.diff(out) >= 0).all()
