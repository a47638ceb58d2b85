"""Progress: a bar in a terminal, lines elsewhere."""

import io

import pytest

from recenv import progress
from recenv.progress import Progress, draws_bars


class Terminal(io.StringIO):
    def isatty(self):
        return True


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
    with Progress("training", 10_000, 4_000, unit="rounds", file=out) as bar:
        for note in ("a 1", "a 2", "a 3", "a 4"):
            clock.now += 20.0
            bar.update(500, note)
        clock.now += 1.0
        bar.update(4_000)
    # after the first update: 500 rounds in 20 seconds, 1500 in 60, then 5500 in 61
    assert out.getvalue().splitlines() == [
        "training: 5000 of 10000 rounds, 25 rounds/s, 03:20 left, a 2",
        "training: 6000 of 10000 rounds, 25 rounds/s, 02:40 left, a 4",
        "training: 10000 of 10000 rounds in 01:21, 90 rounds/s",
    ]


def test_a_slow_first_step_does_not_count_for_what_is_left(clock):
    out = io.StringIO()
    with Progress("fit", 100, unit="epochs", file=out) as bar:
        clock.now += 44.0  # compiles
        bar.update()
        assert "left" not in out.getvalue()  # nobody can tell yet
        for _ in range(31):
            clock.now += 1.0
            bar.update()
    assert out.getvalue().splitlines()[1].endswith("1 epochs/s, 01:09 left")


@pytest.mark.parametrize("steps", [1, 500])
def test_a_short_stage_is_one_line_outside_of_a_terminal(clock, steps):
    out = io.StringIO()
    assert list(Progress("reading", steps, file=out).of(range(steps))) == list(range(steps))
    assert out.getvalue() == f"reading: {steps} of {steps} steps in 00:00\n"
    assert "\r" not in out.getvalue()


def test_a_stage_without_a_known_end_says_how_much_it_was(clock):
    out = io.StringIO()
    with Progress("fit", unit="epochs", file=out) as bar:
        for _ in range(3):
            clock.now += 1.0
            bar.update()
    assert out.getvalue() == "fit: 3 epochs, 1 epochs/s\n"


def test_a_stage_that_grows_is_told_once(clock):
    out = io.StringIO()
    with Progress("fit", 0, unit="epochs", file=out) as bar:
        for steps in (2, 3):
            bar.extend(steps)
            for _ in range(steps):
                clock.now += 1.0
                bar.update(note=f"loss {steps}")
        assert bar.done == 5
    assert out.getvalue() == "fit: 5 of 5 epochs in 00:05, 1 epochs/s, loss 3\n"


def test_bytes_are_told_in_short():
    out = io.StringIO()
    with Progress("log.csv", 678_260_987, unit="bytes", file=out) as bar:
        bar.update(678_260_987)
    assert out.getvalue() == "log.csv: 678M of 678M bytes in 00:00\n"


def test_a_note_is_shown_before_the_first_step_is_done(clock):
    out = Terminal()
    with Progress("world", 3, unit="stages", file=out) as bar:
        bar.say("encoding item texts")
        assert "encoding item texts" in out.getvalue().split("\r")[-1]


def test_a_stage_that_fails_says_nothing(clock):
    out = io.StringIO()
    with pytest.raises(ValueError, match="no"), Progress("fit", 3, file=out):
        raise ValueError("no")
    assert out.getvalue() == ""


@pytest.mark.parametrize("shown", [None, True])
def test_a_terminal_gets_a_bar(clock, shown):
    out = Terminal()
    with Progress("training", 30_000, unit="rounds", shown=shown, file=out) as bar:
        for _ in range(3):
            clock.now += 10.0
            bar.update(10_000, "recommender 3.20")
    drawn = out.getvalue().split("\r")[-1]
    assert "30.0k/30.0k" in drawn
    assert "1000 rounds/s" in drawn
    assert "recommender 3.20" in drawn


def test_silence(clock):
    for out in (io.StringIO(), Terminal()):
        with Progress("training", 10, shown=False, file=out) as bar:
            clock.now += 100
            bar.update(10)
        assert out.getvalue() == ""


def test_bars_are_drawn_in_terminals_alone():
    assert draws_bars(None, Terminal())
    assert draws_bars(True, Terminal())
    assert not draws_bars(False, Terminal())
    assert not draws_bars(True, io.StringIO())
