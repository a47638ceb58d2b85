"""Thread pool for compiled loops: each thread runs the same loop on disjoint rows.

Numba's ``parallel=True`` would make another loop out of it; here threads share the very loop that
one thread runs, compiled with the same options, so that bits cannot depend on their number.

A step of a thousand rows takes some 300 microseconds; waking a thread and handing Python's global
lock over takes tens. So the threads of a crew speak through words in memory, in compiled code that
needs no such lock (``recenv.jit.atomics``): an idle worker spins for ``PATIENCE`` seconds before it
sleeps. The calling thread does not wait for workers to start: rows are handed out in small pieces
(dynamic scheduling), and pieces that a late worker has not begun are done by the others.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
import time
from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import typeof, types

from recenv.jit.atomics import add, change, fail, lock, look, pause, play, swap, unlock, words
from recenv.jit.compiled import inlined, kernel

PARALLEL_FROM = 256
"""Rows from which a second thread pays."""

PATIENCE = 100e-6
"""Seconds for which a worker looks out for more before it sleeps: all that it takes from others.

Longer than the way from one step of a vector environment to the next, far shorter than a step of
training."""

_PIECE = 32  # rows that are dealt at once, at least
_PIECES = 64  # that a thread's share of a large batch is cut into

_IDLE, _PARKED, _JOB, _RUNNING, _AWAITED, _STOP = range(6)  # a worker's state
# words of a thread's part of the board: what different threads write is on different lines
_STATE, _WAKE, _DONE, _CLAIMED, _STOLEN, _BLOCK = 0, 1, 2, 8, 9, 16
# of the caller's part, which has no worker's state
_FUNCTION, _ARGUMENTS, _ROWS, _SIZE, _PATIENT, _FAILED = range(6)

Kernel = Callable[..., None]
Board = npt.NDArray[np.int64]


class Loop(NamedTuple):
    """A kernel for one thread, ``alone(low, high, *args)``, and for all of a crew.

    ``together(board, rows, *args)`` is ``share(board, rows, *job(alone, args))``, and
    ``kept(memory, *args)``, of loops that can be prepared, is ``kept_job(alone, args, memory)``.
    """

    alone: Kernel
    together: Kernel
    kept: Callable[..., tuple[int, int]] | None = None


class BoundLoop:
    """A loop for arguments of certain types, compiled when it is first called.

    A call goes to the machine code without looking what types its arguments have, which takes
    several times as long as the step of a single visit. So they must be what they were.

    Args:
        loop: for any types.
        args: such arguments; arrays among them have their rows in one piece.
    """

    def __init__(self, loop: Loop, *args: Any) -> None:
        self._loop, self._types = loop, tuple(map(_type, args))

    @cached_property
    def alone(self) -> Kernel:
        """``Loop.alone``."""
        return _entry(self._loop.alone, types.int64, types.int64, *self._types)

    @cached_property
    def together(self) -> Kernel:
        """``Loop.together``."""
        return _entry(self._loop.together, types.int64[::1], types.int64, *self._types)

    def prepared(self, rows: int, *args: Any) -> Callable[[], None]:
        """``alone(0, rows, *args)`` as a call without arguments, made once for many.

        Python hands over four numbers instead of some fifty arrays.
        """
        assert self._loop.kept is not None
        memory = np.zeros(words(args), np.int64)
        kept: Any = _entry(self._loop.kept, types.int64[::1], *self._types)
        call = _Prepared(_entry(_do, *[types.int64] * 4), *kept(memory, *args), 0, rows)
        call.needs = memory, args
        return call


class _Prepared(partial[None]):
    """A call whose arguments are addresses, and what lies there."""

    needs: tuple[Any, ...]


@kernel
def _do(function, arguments, low, high):  # noqa: ANN001, ANN202
    """Do rows [low, high) of a job."""
    if play(function, arguments, low, high):
        fail(arguments)


def _type(value: Any) -> Any:
    found = typeof(value)
    # code for arrays that can be written to serves those that cannot, if it only reads
    return found.copy(layout="C", readonly=False) if isinstance(found, types.Array) else found


def _entry(compiled: Any, *told: Any) -> Callable[..., Any]:
    compiled.compile(told)
    return compiled.overloads[told].entry_point


@inlined
def _deal(board, me):  # noqa: ANN001, ANN202
    """Take pieces of the job as long as there are any.

    First those of one's own share, from its beginning on; then those of the others' shares, from
    their ends: a row is nearly always stepped by the same thread, whose cache still has it. Of
    one's own share half of what is left is taken at once (guided self-scheduling, Polychronopoulos
    & Kuck 1987), because a loop has less to do for many rows at once. Who counts a share up by
    some has as many pieces of it.
    """
    people, rows, size = len(board) // _BLOCK, board[_ROWS], board[_SIZE]
    pieces = (rows + size - 1) // size
    for n in range(people):
        whose = (me + n) % people
        first, stop = pieces * whose // people, pieces * (whose + 1) // people
        own, mine = first, whose == me
        while True:
            left = stop - first - look(board, whose * _BLOCK + _CLAIMED)
            some = max(left // 2, 1) if mine else 1
            left = stop - first - add(board, whose * _BLOCK + _CLAIMED, some)
            if left <= 0:
                break
            some = min(some, left)
            if mine:
                piece = own
                own += some
            else:
                piece = stop - 1 - add(board, whose * _BLOCK + _STOLEN, 1)
            low, high = piece * size, min((piece + some) * size, rows)
            if play(board[_FUNCTION], board[_ARGUMENTS], low, high):
                swap(board, _FAILED, 1)
                return


@inlined
def share(board, rows, function, arguments):  # noqa: ANN001, ANN201
    """Do a job together with the board's workers; return when all of it is done."""
    people = len(board) // _BLOCK
    board[_FUNCTION] = function
    board[_ARGUMENTS] = arguments
    board[_ROWS] = rows
    board[_SIZE] = max(rows // (_PIECES * people) // _PIECE, 1) * _PIECE
    board[_FAILED] = 0
    for person in range(people):
        board[person * _BLOCK + _CLAIMED] = 0
        board[person * _BLOCK + _STOLEN] = 0
    for person in range(1, people):
        block = person * _BLOCK
        if swap(board, block + _STATE, _JOB) == _PARKED:
            unlock(board[block + _WAKE])
    _deal(board, 0)
    for person in range(1, people):
        block = person * _BLOCK
        if change(board, block + _STATE, _JOB, _IDLE):
            continue  # it did not come in time to take part
        left = board[_PATIENT]
        while look(board, block + _STATE) == _RUNNING:
            if left > 0:
                left -= 1
                pause()
            elif change(board, block + _STATE, _RUNNING, _AWAITED):
                lock(board[block + _DONE])
    if board[_FAILED] != 0:
        fail(arguments)


@kernel
def _serve(board, me):  # noqa: ANN001, ANN202
    """A worker's life."""
    block = me * _BLOCK
    left = board[_PATIENT]
    while True:
        state = look(board, block + _STATE)
        if state == _JOB:
            if change(board, block + _STATE, _JOB, _RUNNING):
                _deal(board, me)
                if swap(board, block + _STATE, _IDLE) == _AWAITED:
                    unlock(board[block + _DONE])
                left = board[_PATIENT]
        elif state == _STOP:
            return
        elif left > 0:
            left -= 1
            pause()
        elif change(board, block + _STATE, _IDLE, _PARKED):
            lock(board[block + _WAKE])
            left = board[_PATIENT]


@kernel
def _look_out(board, times):  # noqa: ANN001, ANN202
    """As a worker does, for nothing."""
    for _ in range(times):
        if look(board, _STATE) == _STOP:
            return
        pause()


class _Crew:
    """Threads that wait for jobs, for one caller at a time.

    They are daemons that never ask for Python's global lock until they are let go.
    """

    def __init__(self, people: int) -> None:
        line = 8  # words
        memory = np.zeros(people * _BLOCK + line, np.int64)
        first = -(memory.ctypes.data // memory.itemsize) % line
        self.board = memory[first : first + people * _BLOCK]
        self.board[_PATIENT] = _looks(PATIENCE)
        self.workers = []
        for person in range(1, people):
            for word in (_WAKE, _DONE):
                self.board[person * _BLOCK + word] = _taken_lock()
            worker = threading.Thread(
                target=_serve, args=(self.board, person), name=f"recenv-{person}", daemon=True
            )
            self.workers.append(worker)
            worker.start()

    def stop(self) -> None:
        """Let the workers go; they must not have a job."""
        for person, worker in enumerate(self.workers, 1):
            self.board[person * _BLOCK + _STATE] = _STOP
            _unlock(int(self.board[person * _BLOCK + _WAKE]))
            worker.join(timeout=1)


def run(loop: Loop | BoundLoop, rows: int, threads: int, *args: Any) -> None:
    """Call ``loop.alone(low, high, *args)`` so that all of [0, rows) is covered once.

    Args:
        loop: compiled, and free to run on any range of rows by itself.
        rows: B.
        threads: how many may run at once, the caller's own among them.
        args: of the kernel.
    """
    threads = min(threads, max(rows // (PARALLEL_FROM // 2), 1))
    if threads == 1 or _closed:
        loop.alone(0, rows, *args)
        return
    idle = _idle.setdefault(threads, [])
    try:
        crew = idle.pop()
    except IndexError:  # none yet, or all are at work for other threads of Python
        crew = _Crew(threads)
    try:
        loop.together(crew.board, rows, *args)
    finally:
        idle.append(crew)


_idle: dict[int, list[_Crew]] = {}
_closed = False


@cache
def _looks(seconds: float) -> int:
    """Number of polls of a worker within some seconds."""
    board, times, took = np.zeros(_BLOCK, np.int64), 10_000, math.inf
    _look_out(board, 1)
    for _ in range(3):  # the best: a thread can lose its processor for a while
        began = time.perf_counter()
        _look_out(board, times)
        took = min(took, time.perf_counter() - began)
    return max(int(seconds / took * times), 1)


_NEW_LOCK = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", ctypes.pythonapi))
_LOCK = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(
    ("PyThread_acquire_lock", ctypes.pythonapi)
)
_unlock = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThread_release_lock", ctypes.pythonapi))


def _taken_lock() -> int:
    """Address of a lock that is taken; workers keep theirs as long as the process lives."""
    address = _NEW_LOCK()
    if not address:
        raise MemoryError("There is no memory for a lock.")
    _LOCK(address, 1)
    return address


@atexit.register
def _close() -> None:
    """Let all go before Python does; what comes later is done by one thread."""
    global _closed
    _closed = True
    for crews in _idle.values():
        for crew in crews:
            crew.stop()
    _idle.clear()


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_idle.clear)
