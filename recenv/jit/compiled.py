"""Compilation of functions by numba, and the cache of machine code.

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

What is kept is machine code in pickles: who can write there can run code as whoever reads it. So
the folder is made for its owner alone, one that belongs to somebody else is not used, and each
file ends with a digest of what stands before it. A file that was cut or changed by accident counts
as missing: the function is compiled again. (Against an intruder a digest does nothing; the
folder's owner and mode do.)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import extending, njit
from numba.core import config as _config
from numba.core.caching import FunctionCache, IndexDataCacheFile

from recenv.errors import require_version
from recenv.folders import home

NUMBA = ("0.61", "0.69")
"""Versions of numba, from the first to below the second, whose private parts are known."""

require_version("numba", numba.__version__, *NUMBA)

config: Any = _config
_ROOT = Path(__file__).parents[1]
_TAKE_PART = (
    "jit/**/*.py",
    "rng.py",
    "schema.py",
    "data/event_order.py",
    "studies/speed/rates.py",
    "sim/**/*.py",
    "users/**/*.py",
    "recommenders/**/*.py",
)
_DIGEST = hashlib.sha256().digest_size  # bytes at the end of each kept file


def sources(root: Path) -> list[Path]:
    """All files that compiled functions, or the constants in them, come from."""
    return [path for pattern in _TAKE_PART for path in sorted(root.glob(pattern))]


def sources_digest(root: Path) -> str:
    """16 hexadecimal digits of ``sources``."""
    told = hashlib.sha256()
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        told.update(name.encode() + b"\0" + path.read_bytes())
    return told.hexdigest()[:16]


FOLDER = Path(config.CACHE_DIR or home() / "compiled") / sources_digest(_ROOT)
"""Where compiled functions are kept: in ``NUMBA_CACHE_DIR`` if that is set."""


@cache
def _usable() -> bool:
    """Make the folder, for its owner alone; whether compiled functions can be kept there."""
    ours = [FOLDER] if config.CACHE_DIR else [FOLDER.parent, FOLDER]
    try:
        ours[0].parent.mkdir(parents=True, exist_ok=True)
        for folder in ours:
            folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid"):  # Windows keeps a user's folders private by itself
            for folder in ours:
                _make_private(folder)
    except OSError as error:
        warnings.warn(
            f"Compiled functions cannot be kept in {FOLDER} ({error}), so each process compiles "
            "them again, which takes a minute. Set RECENV_HOME to a folder of your own.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _make_private(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(
            f"{folder} belongs to user {found.st_uid}, who could run code as you through it"
        )
    if found.st_mode & 0o077:
        folder.chmod(0o700)


class _File(IndexDataCacheFile):
    """Numba's files of one function, each with a digest at its end; pickle ignores what follows."""

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if _whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _whole(self._data_path(name)):
            raise FileNotFoundError(name)  # for numba: it is compiled again
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[Any]:
        with super()._open_for_write(filepath) as file:
            written = _Digested(file)
            yield written
            file.write(written.told.digest())


class _Digested:
    """A file to write to that digests what passes."""

    def __init__(self, file: Any) -> None:
        self.file, self.told = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.told.update(data)
        return self.file.write(data)


def _whole(path: str) -> bool:
    """Whether a kept file ends with the digest of what stands before it."""
    try:
        data = memoryview(Path(path).read_bytes())
    except FileNotFoundError:
        return False
    return hashlib.sha256(data[:-_DIGEST]).digest() == bytes(data[-_DIGEST:])


class _Kept(FunctionCache):
    """Numba's memory of one function, in ``FOLDER``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        elsewhere = config.CACHE_DIR
        config.CACHE_DIR = str(FOLDER)  # numba reads it here
        try:
            super().__init__(function)
        finally:
            config.CACHE_DIR = elsewhere
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _File(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk: the function runs all the same
            warnings.warn(
                f"A compiled function could not be kept in {FOLDER} ({error}), so the next process "
                "compiles it again. Free space there, or move RECENV_HOME to another disk.",
                RuntimeWarning,
                stacklevel=2,
            )


def kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's ``njit`` with any of its options, but for how it is kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher: Any = njit(**options)(function)
        if _usable():
            dispatcher._cache = _Kept(function)  # as enable_caching does with numba's own
        return dispatcher

    return decorate


_LEAN: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
INLINED: Any = {"forceinline": True, **_LEAN}

inlined = kept(**INLINED)
"""For functions of one row, and the laws and draws that they call."""

kernel = kept(nogil=True, **_LEAN)
"""For loops over rows. They release Python's global lock."""

compiled = kept(error_model="numpy")
"""For everything else that calls those; it may make arrays."""

intrinsic: Any = extending.intrinsic
overload: Any = extending.overload
"""Numba's own; their types say less than they take."""
