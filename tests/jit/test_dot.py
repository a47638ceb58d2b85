"""Inner products in vector instructions against the plain rule, and against float64."""

import math

import numpy as np
import pytest
from numba import njit

from recenv.jit.dot import LANES, slate_sums, weighted_sums


@njit
def one_item(interests, visitor, items, item, first, second):
    return weighted_sums(interests, visitor, items, item, first, second)


@njit
def whole_slate(interests, visitor, items, slate, first, second, out):
    slate_sums(interests, visitor, items, slate, visitor, first, second, out)


def fused(x, y, z):
    """``x * y + z`` of float32 with one rounding: exact in float64 but for the last one."""
    return np.float32(np.float64(x) * np.float64(y) + np.float64(z))


def by_the_rule(user, item, weight):
    """Running sums in eight lanes, a tree, the rest: scalar by scalar."""
    lanes = [np.float32(0)] * LANES
    whole = len(user) // LANES * LANES
    for d in range(whole):
        lanes[d % LANES] = fused(weight[d] * user[d], np.float32(item[d]), lanes[d % LANES])
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    total = lanes[0]
    for d in range(whole, len(user)):
        total = fused(weight[d] * user[d], np.float32(item[d]), total)
    return total


def made(dim, dtype, slots=7):
    rng = np.random.default_rng(dim)
    users = rng.normal(size=(3, dim)).astype(np.float32)
    items = (rng.normal(size=(20, dim)) * (1 if dtype == np.float32 else 30)).astype(dtype)
    first, second = rng.normal(size=(2, dim)).astype(np.float32)
    slate = rng.integers(-1, 20, size=(3, slots)).astype(np.int32)
    return users, items, first, second, slate


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 16, 56, 64, 99])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int8])
def test_vector_instructions_give_the_bits_of_the_rule(dim, dtype):
    users, items, first, second, slate = made(dim, dtype)
    slots = slate.shape[1]
    out = np.full((3, 2 * slots + 1), np.nan, np.float32)
    for visitor in range(3):
        whole_slate(users, visitor, items, slate, first, second, out)
        for k, item in enumerate(np.maximum(slate[visitor], 0)):
            expected = [by_the_rule(users[visitor], items[item], w) for w in (first, second)]
            assert list(out[visitor, [k, slots + k]]) == expected
            assert list(one_item(users, visitor, items, item, first, second)) == expected
    assert np.isnan(out[:, -1]).all()


@pytest.mark.parametrize("dim", [1, 8, 13, 64])
def test_plain_python_is_the_same_but_for_fusing(dim):
    users, items, first, second, slate = made(dim, np.float32)
    plain = np.zeros((3, 2 * slate.shape[1]), np.float32)
    compiled = plain.copy()
    for visitor in range(3):
        slate_sums(users, visitor, items, slate, visitor, first, second, plain)
        whole_slate(users, visitor, items, slate, first, second, compiled)
    np.testing.assert_allclose(plain, compiled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [5, 64, 384])
def test_sums_are_right(dim):
    users, items, first, second, _ = made(dim, np.float32)
    for item in range(20):
        got = one_item(users, 1, items, item, first, second)
        for value, weight in zip(got, (first, second), strict=True):
            terms = users[1].astype(float) * items[item] * weight
            size = np.abs(terms).sum()
            assert abs(value - math.fsum(terms)) < 1e-6 * size


def test_arrays_in_any_order():
    users, items, first, second, _ = made(24, np.float32)
    expected = one_item(users, 2, items, 4, first, second)
    got = one_item(np.asfortranarray(users), 2, items, 4, first, second)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
