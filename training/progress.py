"""How far a run is: a bar in a terminal, now and then a line in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm.auto import tqdm

_EVERY = 30.0
"""Seconds between lines, where there is no terminal to draw a bar in."""


class Progress:
    """Rounds done, rounds per second and time left.

    Args:
        label: what is done.
        total: rounds of the whole run.
        done: of them, done before.
        shown: False for silence.
        file: where to write; by default stderr.
    """

    def __init__(
        self, label: str, total: int, done: int, *, shown: bool, file: TextIO | None = None
    ) -> None:
        self._file: TextIO = sys.stderr if file is None else file
        self._total = total
        notebook = type(self._file).__module__.startswith("ipykernel")
        self._lines = shown and not (self._file.isatty() or notebook)
        self._last = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=" rounds",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not shown or self._lines,
            file=self._file,
        )
        self._label, self._began, self._initial, self._done = label, self._last, done, done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, rounds: int, note: str = "") -> None:
        """Count further rounds.

        Args:
            rounds: done since the last call.
            note: shown beside.
        """
        self._done += rounds
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(rounds)
        now = time.monotonic()
        if self._lines and (now - self._last >= _EVERY or self._done >= self._total):
            self._last = now
            self._file.write(f"{self._line(now - self._began, note)}\n")
            self._file.flush()

    def _line(self, seconds: float, note: str) -> str:
        rate = (self._done - self._initial) / max(seconds, 1e-9)
        left = tqdm.format_interval(round(max(0, self._total - self._done) / max(rate, 1e-9)))
        text = (
            f"{self._label}: {self._done} of {self._total} rounds, {rate:.0f} rounds/s, {left} left"
        )
        return f"{text}, {note}" if note else text
