"""Signal handling of commands: SIGINT and SIGTERM lead to a checkpoint and an exit code.

Ray puts handlers of its own over Python's, of which the one in C++ ends the process with a stack
and without a checkpoint. ``kept`` keeps what was there before.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HELD = b"\nStopping with a checkpoint; once more stops at once ...\n"


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came."""


class Stop:
    """The signals that came: empty, and so false, until one does.

    Attributes:
        advice: what to do after an interruption, in a sentence; said by whoever ends.
    """

    def __init__(self) -> None:
        self.advice = ""
        self._came: list[int] = []
        self._holding = 0

    def __len__(self) -> int:
        return len(self._came)

    @property
    def code(self) -> int:
        """The exit code: 128 and the first signal's number, as shells have it."""
        return 128 + (self._came[0] if self._came else signal.SIGINT)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the first signal is only remembered: whoever is inside looks for it."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1

    def _take(self, number: int, at_once: Callable[[int], object]) -> None:
        # no print: its buffer may be what the signal interrupted
        if self._came:
            at_once(number)
        self._came.append(number)
        if not self._holding:
            raise Interrupted
        os.write(2, _HELD)


def end_at_once(number: int, told: bytes = b"\nStopped at once.\n") -> None:
    """End the process, without anything that cleans up; what Ray started ends with it."""
    os.write(2, told)
    os._exit(128 + number)


def _raise(number: int) -> None:
    raise Interrupted


@contextmanager
def stop_on_signals(*, command: bool = False) -> Iterator[Stop]:
    """Take SIGINT and SIGTERM; the first one raises ``Interrupted`` unless it is held.

    Outside the main thread, which alone gets signals, nothing comes.

    Args:
        command: the process is this command's own: a second signal ends it, where otherwise it
            raises ``Interrupted``.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: object) -> None:
        stop._take(number, end_at_once if command else _raise)

    old = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        _install(old)


def _install(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # None: it was not installed by Python
            signal.signal(number, handler)


@contextmanager
def kept() -> Iterator[None]:
    """Keep the handlers of SIGINT and SIGTERM over calls that put their own in place.

    Signals that come inside wait until the end. So they do in all threads that are begun inside,
    for ever, but not in processes. A thread from before may still take one: for it, handlers that
    are replaced in C++ are put back again and again, every millisecond if the machine is not busy.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    done = threading.Event()
    before = _hold_back()
    keeper = threading.Thread(target=_put_back, args=(_actions(), done), daemon=True)
    keeper.start()
    try:
        try:
            yield
        finally:
            done.set()
            keeper.join()
    finally:
        _install(handlers)  # also where Python believes they are in place: C++ tells it nothing
        _let_through(before)


_masks: list[set[int]] = []
"""What the main thread blocked before each ``kept`` that it is in."""


def _hold_back() -> bool:
    """Let signals wait in this thread and in those it begins; whether the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        return False
    _masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)))
    return True


def _let_through(held: bool) -> None:
    if held:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())


def _in_child() -> None:
    # a process that is begun inside would else never end by SIGTERM, nor would those that it begins
    if _masks:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks[0])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _actions() -> dict[int, Any]:
    """What C knows of the handlers, as it wants it back; empty where there is no ``sigaction``."""
    if os.name != "posix":
        return {}
    out: dict[int, Any] = {}
    for number in SIGNALS:
        out[number] = ctypes.create_string_buffer(512)  # more than any system's struct takes
        _libc().sigaction(int(number), None, out[number])
    return out


def _put_back(actions: dict[int, Any], done: threading.Event) -> None:
    """Undo what others do to handlers from C, where Python's ``signal`` may only be called in the
    main thread, which is inside their call.
    """
    while not done.wait(0.001):
        for number, action in actions.items():
            _libc().sigaction(int(number), action, None)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def command_module() -> str:
    """The module of training that ``python -m`` runs as this process's command; "" if none."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = getattr(spec, "name", None) or ""
    return name if name.startswith("training.") else ""


def _end(number: int, frame: object) -> None:
    end_at_once(number, b"\nInterrupted.\n")  # nothing was begun


def _end_from_now_on() -> dict[signal.Signals, Any]:
    """Have signals end the process; the handlers that were there, empty outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, _end) for number in SIGNALS}


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Inside, while a command is imported, SIGINT and SIGTERM end the process in one line."""
    old = _end_from_now_on()
    try:
        yield
    finally:
        _install(old)


if command_module():
    _end_from_now_on()  # while the command's module is imported
