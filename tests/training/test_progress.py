"""What a run shows in a terminal or a log, and what it keeps out of it."""

import io
import os

import pytest

from training import noise, progress
from training.progress import Progress


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_now_and_then(clock):
    out = io.StringIO()
    with Progress("training both", 10_000, 4_000, shown=True, file=out) as bar:
        for note in ("a 1", "a 2", "a 3", "a 4"):
            clock.now += 20.0
            bar.update(500, note)
        clock.now += 1.0
        bar.update(4_000)
    # 1000 rounds in 40 seconds, then 2000 in 80, then all in 81: those before are not counted
    assert out.getvalue().splitlines() == [
        "training both: 5000 of 10000 rounds, 25 rounds/s, 03:20 left, a 2",
        "training both: 6000 of 10000 rounds, 25 rounds/s, 02:40 left, a 4",
        "training both: 10000 of 10000 rounds, 74 rounds/s, 00:00 left",
    ]


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    with Progress("training both", 10_000, 0, shown=True, file=out) as bar:
        bar.update(10_000, "recommender 3.20")
    drawn = out.getvalue().split("\r")[-1]
    assert "10.0k/10.0k" in drawn
    assert "rounds/s" in drawn
    assert "recommender 3.20" in drawn


def test_silence(capfd):
    out = io.StringIO()
    with Progress("training both", 10, 0, shown=False, file=out) as bar:
        bar.update(10)
    assert out.getvalue() == ""


NOTICE = b"[2026 E 1 1] core_worker.cc:2465: Actor with class name: 'X' has constructor arguments\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_known_notices_are_held_back_and_all_else_is_not(capfd, monkeypatch, verbose):
    monkeypatch.setenv(noise.VERBOSE, str(int(verbose)))

    @noise.quiet_start()
    def fail():
        os.write(2, b"before\n" + NOTICE + b"RuntimeError: CUDA error\n")
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        fail()
    os.write(2, b"after\n")
    kept = b"before\n" + (NOTICE if verbose else b"") + b"RuntimeError: CUDA error\nafter\n"
    assert capfd.readouterr().err == kept.decode()
