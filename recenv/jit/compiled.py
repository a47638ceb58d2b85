"""How functions are compiled by numba, and where the results are kept, in one place.

- ``error_model="numpy"``: division follows IEEE 754 instead of checking for zero, so that loops can
  become vector instructions. No fast-math flag is set: additions keep their order, so that bits do
  not depend on the processor.
- ``_nrt=False``: no reference counts. A row of the game passes the fifty arrays of its state from
  function to function; counting them up and down would take ten times as long as the game. Nothing
  that is compiled so may make an array.
- ``forceinline``: a function of one row becomes part of the loop over rows.

Numba keeps compiled functions by the file that each stands in, and does not notice that a function
called from another file has changed. So they are kept in a folder named by all the sources that
take part (``FOLDER``): what was compiled from other sources is never found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import extending, njit
from numba.core import config as _config

from recenv.folders import home

config: Any = _config
_ROOT = Path(__file__).parents[1]
_SOURCES = ("jit", "sim", "users", "recommenders", "rng.py", "schema.py")


def sources_digest(root: Path) -> str:
    """16 hexadecimal digits of all sources that compiled functions come from."""
    told = hashlib.sha256()
    for name in _SOURCES:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            told.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return told.hexdigest()[:16]


FOLDER = Path(config.CACHE_DIR or home() / "compiled") / sources_digest(_ROOT)
"""Where compiled functions are kept: in ``NUMBA_CACHE_DIR`` if that is set."""


def _kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        elsewhere = config.CACHE_DIR
        config.CACHE_DIR = str(FOLDER)  # numba reads it while it decorates
        try:
            return njit(cache=True, **options)(function)
        finally:
            config.CACHE_DIR = elsewhere

    return decorate


_LEAN: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
INLINED: Any = {"forceinline": True, **_LEAN}

inlined = _kept(**INLINED)
"""For functions of one row, and the laws and draws that they call."""

kernel = _kept(nogil=True, **_LEAN)
"""For loops over rows. They release Python's global lock."""

compiled = _kept(error_model="numpy")
"""For everything else that calls those; it may make arrays."""

intrinsic: Any = extending.intrinsic
overload: Any = extending.overload
"""Numba's own; their types say less than they take."""
