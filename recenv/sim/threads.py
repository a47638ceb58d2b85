"""One kernel on several threads: each runs the same machine code on rows of its own.

Numba's ``parallel=True`` would compile a second version of a kernel, which may round otherwise;
here the bits cannot depend on the number of threads. Kernels release Python's global lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

PARALLEL_FROM = 512
"""Rows from which a second thread pays (measured: waking a thread takes about as long as some
hundreds of rows do, so that two of them reach twice the speed from some thousands of rows on)."""

Kernel = Callable[..., None]

_pools: dict[int, ThreadPoolExecutor] = {}


def run(kernel: Kernel, rows: int, threads: int, *args: Any) -> None:
    """Call ``kernel(low, high, *args)`` so that all of [0, rows) is covered once.

    Args:
        kernel: compiled, and free to run on any range of rows by itself.
        rows: B.
        threads: how many may run at once.
        args: of the kernel.
    """
    threads = min(threads, max(rows // (PARALLEL_FROM // 2), 1))
    if threads == 1:
        kernel(0, rows, *args)
        return
    edges = [rows * t // threads for t in range(threads + 1)]
    others = [
        _pool(threads - 1).submit(kernel, edges[t], edges[t + 1], *args) for t in range(1, threads)
    ]
    kernel(0, edges[1], *args)
    wait(others)
    for other in others:
        other.result()


def _pool(workers: int) -> ThreadPoolExecutor:
    if workers not in _pools:
        _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="recenv")
    return _pools[workers]


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_pools.clear)
