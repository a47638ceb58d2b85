"""How the step is compiled by numba, in one place.

- ``error_model="numpy"``: division follows IEEE 754 instead of checking for zero, so that loops can
  become vector instructions. No fast-math flag is set: additions keep their order, so that bits do
  not depend on the processor.
- ``_nrt=False``: no reference counts. A row of the game passes the fifty arrays of its state from
  function to function; counting them up and down would take ten times as long as the game. Nothing
  that is compiled so may make an array.
- ``forceinline``: a function of one row becomes part of the loop over rows.
"""

from __future__ import annotations

from typing import Any

from numba import extending, njit

_COMMON: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}

INLINED: Any = {"forceinline": True, **_COMMON}

inlined: Any = njit(**INLINED)
"""For functions of one row, and the laws and draws that they call."""

kernel: Any = njit(nogil=True, **_COMMON)
"""For loops over rows. They release Python's global lock."""

intrinsic: Any = extending.intrinsic
overload: Any = extending.overload
"""Numba's own; their types say less than they take."""
