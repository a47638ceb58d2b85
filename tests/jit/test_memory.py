"""Rows of arrays as memory, against numpy."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from recenv.jit.compiled import kernel
from recenv.jit.memory import columns, shift


@njit
def shifted(array, row, by):
    shift(array, row, by)


@kernel
def fill_columns(array, low, count):
    """Number the entries of rows [low, low + count), column by column."""
    turned = columns(array, low, count)
    number = 0
    for k in range(turned.shape[1]):
        for n in range(turned.shape[0]):
            turned[n, k] = number
            number += 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("by", [0, 1, 3, 6, 7, 9])
def test_shift(by, order):
    start = np.arange(28, dtype=np.int32).reshape(4, 7)
    ours, plain = start.copy(order), start.copy()
    shifted(ours, 2, by)
    shift(plain, 2, by)
    expected = start.copy()
    if by < 7:
        expected[2, by:] = start[2, : 7 - by]
    assert (ours == expected).all()
    assert (plain == expected).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_columns_lie_in_the_rows_memory(dtype):
    array = np.full((6, 3), -1, dtype)
    fill_columns(array, 2, 3)
    assert (array[2:5].ravel() == np.arange(9)).all()
    assert (array[[0, 1, 5]] == -1).all()


def test_columns_of_rows_that_lie_apart_are_refused():
    with pytest.raises(TypingError, match="C's order"):
        fill_columns(np.zeros((6, 3), np.float32, order="F"), 0, 2)
