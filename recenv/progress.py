"""Progress of a long computation: a bar in a terminal, elsewhere one line per stage.

One class for everything that takes a while. In a terminal or a notebook it draws one bar. Where
the output is kept (a file, a pipe, a log) nothing is drawn over: there is a line when the stage
ends, and one now and then while it lasts. The time left is estimated without the first step,
which compiles and fills caches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TextIO, TypeVar

from tqdm.auto import tqdm

EVERY = 30.0
"""Seconds between lines, where there is no terminal to draw a bar in."""

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
_COUNT = "{desc}: {n_fmt} [{elapsed}{postfix}]"  # of what has no known end

T = TypeVar("T")


def draws_bars(shown: bool | None = None, file: TextIO | None = None) -> bool:
    """Whether progress is a bar that is drawn again and again.

    Args:
        shown: as of ``Progress``.
        file: as of ``Progress``.
    """
    out: TextIO = sys.stderr if file is None else file
    notebook = type(out).__module__.startswith("ipykernel")
    return shown is not False and (notebook or out.isatty())


class Progress:
    """Steps done of a stage, steps per second and time left.

    Args:
        label: what is done.
        total: steps of the whole stage; None if nobody knows.
        done: of them, done before.
        unit: what a step is, in the plural.
        shown: False for silence. True and None say it: a bar in a terminal or a notebook, lines
            elsewhere.
        file: where to write; by default stderr.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        done: int = 0,
        *,
        unit: str = "steps",
        shown: bool | None = None,
        file: TextIO | None = None,
    ) -> None:
        self._file: TextIO = sys.stderr if file is None else file
        self._label, self._total, self._unit = label, total, unit
        drawn = draws_bars(shown, self._file)
        self._lines = shown is not False and not drawn
        self._began = self._last = time.monotonic()
        self._initial = self._done = done
        self._first: tuple[float, int] | None = None  # time and steps after the first update
        self._note, self._told, self._grows = "", False, False
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit_scale=True,
            dynamic_ncols=True,
            bar_format=_COUNT if total is None else _BAR,
            disable=not drawn,
            file=self._file,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        if self._lines and not self._told and kind is None:
            self._write(time.monotonic())

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self._done

    def extend(self, steps: int) -> None:
        """Expect further steps in this stage, which now ends with the ``with`` block alone."""
        self._total, self._grows = (self._total or 0) + steps, True
        self._bar.total = self._total

    def say(self, note: str) -> None:
        """Show a note beside what is done so far."""
        self._note = note
        if not self._bar.disable:
            self._bar.set_postfix_str(", ".join(self._details(time.monotonic())))

    def update(self, steps: int = 1, note: str = "") -> None:
        """Count further steps.

        Args:
            steps: done since the last call.
            note: shown beside.
        """
        now = time.monotonic()
        self._done += steps
        self._note = note
        if not self._bar.disable:
            self._bar.set_postfix_str(", ".join(self._details(now)), refresh=False)
            self._bar.update(steps)
        ended = self._done == self._total and not self._grows
        if self._lines and (now - self._last >= EVERY or ended):
            self._write(now)
        if self._first is None:
            self._first = now, self._done

    def of(self, steps: Iterable[T]) -> Iterator[T]:
        """The same steps, each counted once it is done; the stage ends with them."""
        with self:
            for step in steps:
                yield step
                self.update()

    def _rate(self, now: float) -> float | None:
        """Steps per second after the first update; None until there were two."""
        if self._first is None:
            return None
        began, done = self._first
        return (self._done - done) / (now - began) if self._done > done and now > began else None

    def _details(self, now: float) -> list[str]:
        """Rate, time left, and the note, as far as there are any."""
        out, rate = [], self._rate(now)
        if rate is not None:
            shown = f"{rate:.2g}" if rate < 10 else self._counted(round(rate))
            out.append(f"{shown} {self._unit}/s")
            if self._total is not None and self._done < self._total:
                left = max(0, self._total - self._done) / rate
                out.append(f"{tqdm.format_interval(round(left))} left")
        return [*out, *([self._note] if self._note else [])]

    def _counted(self, steps: int) -> str:
        """A number of steps; bytes are many."""
        return tqdm.format_sizeof(steps) if self._unit == "bytes" else str(steps)

    def _write(self, now: float) -> None:
        self._last = now
        whole = self._total is not None and self._done >= self._total
        self._told = whole and not self._grows
        of = "" if self._total is None else f" of {self._counted(self._total)}"
        head = f"{self._label}: {self._counted(self._done)}{of} {self._unit}"
        if whole:
            head += f" in {tqdm.format_interval(round(now - self._began))}"
        self._file.write(", ".join([head, *self._details(now)]) + "\n")
        self._file.flush()
