"""Threads that share a loop: every row once, nothing lost, nothing that hangs or burns on."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from sim.test_bits import digest, played

from recenv.jit import threads
from recenv.jit.atomics import job, kept_job
from recenv.jit.compiled import kernel
from recenv.jit.threads import Loop, share

ROOT = Path(__file__).parents[2]
two_processors = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")


@kernel
def _note(low, high, seen, bad):
    for i in range(low, high):
        if i == bad:
            raise ValueError("a bad row")
        seen[i] += 1


@kernel
def _note_together(board, count, seen, bad):
    function, arguments = job(_note, (seen, bad))
    share(board, count, function, arguments)


@kernel
def _note_kept(memory, seen, bad):
    return kept_job(_note, (seen, bad), memory)


NOTE = Loop(_note, _note_together, _note_kept)


@kernel
def _work(low, high, out):
    for i in range(low, high):
        x = i
        for _ in range(20_000):
            x = x * 6364136223846793005 + 1442695040888963407
        out[i] = x


@kernel
def _work_together(board, count, out):
    function, arguments = job(_work, (out,))
    share(board, count, function, arguments)


WORK = Loop(_work, _work_together)


def in_a_python_of_its_own(code, *flags):
    """What the code prints; it has two minutes, so that what hangs fails."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *flags, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(("tests", "tests/jit"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_row_is_run_once(count):
    seen = np.zeros(5000, np.int64)
    for rows in (0, 1, 127, 255, 256, 257, 1000, 5000):
        seen[:] = 0
        for _ in range(20):
            threads.run(NOTE, rows, count, seen, -1)
        assert (seen[:rows] == 20).all()
        assert (seen[rows:] == 0).all()


def test_no_meeting_is_missed():
    """Calls at all distances, so that workers are met awake, asleep, and on their way there."""
    code = """
    import time
    import numpy as np
    from recenv.jit import threads
    from test_threads import NOTE
    seen, calls = np.zeros(512, np.int64), 4000
    for n in range(calls):
        threads.run(NOTE, 512, 2, seen, -1)
        until = time.perf_counter() + (n % 100) * 2e-6
        while time.perf_counter() < until:
            pass
    print((seen == calls).all())
    """
    assert in_a_python_of_its_own(code) == ["True"]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("bad", [0, 4999])
def test_an_error_in_any_thread_is_raised(count, bad):
    seen = np.zeros(5000, np.int64)
    for _ in range(3):
        with pytest.raises(ValueError, match="a bad row"):
            threads.run(NOTE, 5000, count, seen, bad)
    seen[:] = 0
    threads.run(NOTE, 5000, count, seen, -1)  # the threads are as good as before
    assert (seen == 1).all()


@two_processors
def test_workers_take_part_and_then_sleep():
    out = np.zeros(4096, np.int64)
    threads.run(WORK, 4096, 2, out)
    (worker,) = threads._idle[2][-1].workers
    clock = time.pthread_getcpuclockid(worker.ident)
    before, until = time.clock_gettime(clock), time.monotonic() + 60
    while time.clock_gettime(clock) - before < 0.02:  # a busy machine may be late with it
        assert time.monotonic() < until, "the worker does nothing"
        threads.run(WORK, 4096, 2, out)
    before = time.clock_gettime(clock)
    time.sleep(0.5)
    assert time.clock_gettime(clock) - before < 0.02  # of which it looks out for PATIENCE


@two_processors
def test_several_callers_at_once(toy):
    """Threads of Python, each with a simulator of its own, do not mix their workers up."""
    wanted, got = digest(played(toy, 777), 777), []

    def call():
        for _ in range(3):
            got.append(digest(played(toy, 777, count=2), 777))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert got == [wanted] * 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork():
    """A forked process makes threads of its own instead of waiting for its parent's."""
    code = """
    import os
    import numpy as np
    from recenv.jit import threads
    from test_threads import NOTE
    seen = np.zeros(1000, np.int64)
    threads.run(NOTE, 1000, 2, seen, -1)
    child = os.fork()
    threads.run(NOTE, 1000, 2, seen, -1)
    (crew,) = threads._idle[2]
    mine = (seen == 2).all() and crew.workers[0].is_alive()
    if child == 0:
        os._exit(0 if mine else 1)
    print(mine, os.waitpid(child, 0)[1])
    """
    assert in_a_python_of_its_own(code) == ["True", "0"]


@pytest.mark.parametrize("wait", [0, 0.05])
def test_python_ends_while_workers_are_awake_or_asleep(wait):
    """And what is asked for after they have gone is done without them."""
    code = f"""
    import atexit, time
    import numpy as np
    seen = np.zeros(1000, np.int64)

    @atexit.register
    def later():
        threads.run(NOTE, 1000, 2, seen, -1)
        print((seen == 3).all(), any(crews for crews in threads._idle.values()))

    from recenv.jit import threads
    from test_threads import NOTE
    threads.run(NOTE, 1000, 3, seen, -1)
    threads.run(NOTE, 1000, 2, seen, -1)
    time.sleep({wait})
    """
    assert in_a_python_of_its_own(code) == ["True", "False"]


def test_a_bound_loop_takes_other_arrays_of_its_types():
    bound = threads.BoundLoop(NOTE, np.zeros(10, np.int64), -1)
    seen = np.zeros(600, np.int64)
    for count in (1, 2):
        threads.run(bound, 600, count, seen, -1)
    assert (seen == 2).all()
    with pytest.raises(ValueError, match="a bad row"):
        threads.run(bound, 600, 1, seen, 5)


def test_a_prepared_call_does_what_the_loop_does_and_keeps_what_it_needs():
    seen, bad = np.zeros(600, np.int64), -1
    bound = threads.BoundLoop(NOTE, seen, bad)
    call, fails = bound.prepared(500, seen, bad), bound.prepared(600, seen, 5)
    call()
    call()
    assert seen.tolist() == [2] * 500 + [0] * 100
    with pytest.raises(ValueError, match="a bad row"):
        fails()
    own = weakref.ref(seen)
    del seen
    gc.collect()
    assert own() is not None
