"""Output of Ray and RLlib: notices are filtered from the terminal, errors stay."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

VERBOSE = "RECENV_VERBOSE"
"""Environment variable: set to 1 by ``--verbose``, and inherited by the processes of a run."""

_LOGGERS = ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation")
_UNASKED = (b"core_worker.cc", b"Install gputil for GPU system monitoring")


def set_verbose(verbose: bool) -> int:
    """Set what this process, and those that it starts, show; the level of logging."""
    os.environ[VERBOSE] = str(int(verbose))
    return quiet()


def quiet() -> int:
    """Let Ray's and RLlib's loggers in this process show errors alone, unless verbose.

    Returns:
        The level of logging.
    """
    level = logging.INFO if os.environ.get(VERBOSE) == "1" else logging.ERROR
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)
    return level


@contextmanager
def quiet_start() -> Iterator[None]:
    """Filter stderr while processes start: all but listed notices pass.

    Ray's core writes a notice about every actor that may be restarted, past all loggers.
    """
    if os.environ.get(VERBOSE) == "1":
        yield
        return
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held:
                if not any(text in line for text in _UNASKED):
                    os.write(2, line)
