"""File locks between processes of a machine, so that each artifact is made once.

A lock is a file in ``RECENV_HOME/locks`` while somebody holds it; beside it stands who that is.
Both go when it is released. A lock's file may be removed only if nobody has opened it meanwhile to
wait for it, or two would hold what they think is one lock; so files are opened and removed only
under a second lock, ``guard``, which is never held for longer than that takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from recenv.errors import ArtifactError, LockedError
from recenv.folders import home

LONGEST_WAIT = 2 * 3600.0
"""Seconds that a lock is waited for, unless told otherwise."""

_TELL_AFTER = 3.0  # seconds of waiting that go without a word
_LOOK_EVERY = 0.05  # seconds between two tries
_GUARD_WAIT = 60.0  # seconds; it is held for microseconds


class Lock:
    """A lock on what is made at ``target``; a context manager that waits ``LONGEST_WAIT``.

    Whoever holds it must not acquire it again. It ends with its process, however that ends.

    Args:
        target: a folder or file, there or not.
        purpose: what is done to it, as a reader is told ("build"). Locks of different purposes
            are different locks.
    """

    def __init__(self, target: Path, purpose: str) -> None:
        self.target, self.purpose = target, purpose
        name = f"{target.resolve()}\0{purpose}".encode(errors="surrogatepass")
        self._folder = home() / "locks"
        self._file = self._folder / f"{hashlib.sha256(name).hexdigest()[:24]}.lock"
        self._note = self._file.with_suffix(".json")
        self._lock = FileLock(self._file, thread_local=False)

    def acquire(self, timeout: float = LONGEST_WAIT) -> None:
        """Take the lock; after a few seconds of waiting a line on stderr says for whom.

        Args:
            timeout: seconds to wait at most.

        Raises:
            LockedError: another process, or another thread, still holds it; the message says who.
            ArtifactError: ``RECENV_HOME/locks`` cannot be written to.
        """
        began, told = time.monotonic(), False
        while not self._try():
            waited = time.monotonic() - began
            if waited >= timeout:
                raise LockedError(
                    f"{self._holder()} still holds the lock to {self.purpose} {self.target} after "
                    f"{waited:.0f} s. Wait until it is done and run the same command again; if it "
                    "hangs, end it first."
                )
            if waited >= _TELL_AFTER and not told:
                print(
                    f"recenv: waiting for {self._holder()}, which holds the lock to {self.purpose} "
                    f"{self.target}; at most {timeout / 60:.0f} minutes.",
                    file=sys.stderr,
                    flush=True,
                )
                told = True
            time.sleep(min(_LOOK_EVERY, max(timeout - waited, 0)))

    def release(self) -> None:
        """Let go of the lock, and remove its file."""
        with self._guard():
            self._note.unlink(missing_ok=True)
            self._lock.release()
            # who opens the file waits for the guard, so nobody else has it
            self._file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _try(self) -> bool:
        """Take the lock if it is free."""
        with self._guard():
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                return False
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            note = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
            with contextlib.suppress(OSError):  # a full disk: the lock holds without a note
                self._note.write_text(json.dumps(note))
        return True

    def _holder(self) -> str:
        """Description of the lock's holder."""
        try:
            note: dict[str, Any] = json.loads(self._note.read_text())
            return f"process {note['pid']} on {note['host']} (since {note['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"  # it lets go just now, or could not leave a note

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            guard = FileLock(self._folder / "guard", thread_local=False)
            guard.acquire(timeout=_GUARD_WAIT, poll_interval=0.002)
        except Timeout:
            raise LockedError(
                f"Another process holds {self._folder / 'guard'}, which is never held for longer "
                "than a moment. End the processes of recenv that hang, and try again."
            ) from None
        except OSError as error:
            raise ArtifactError(
                f"No lock can be made in {self._folder}: {error.strerror or error}. Set "
                "RECENV_HOME to a folder that you may write to, on a disk with free space."
            ) from error
        try:
            yield
        finally:
            guard.release()
