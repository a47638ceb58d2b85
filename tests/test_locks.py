"""Locks between processes: who waits is told for whom, not for ever, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recenv import locks
from recenv.errors import ArtifactError, LockedError
from recenv.locks import Lock

HOLD = """
import sys, time
from pathlib import Path
from recenv.locks import Lock
with Lock(Path(sys.argv[1]), "build"):
    print("held", flush=True)
    time.sleep(600)
"""


def files(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "locks").iterdir())


def test_nothing_is_left_when_a_lock_is_released(home, tmp_path):
    with Lock(tmp_path / "x", "build"), Lock(tmp_path / "x", "write"), Lock(tmp_path, "build"):
        assert len(files(home)) == 7
    assert files(home) == ["guard"]


def test_names_that_differ_after_a_dot_have_locks_of_their_own(home, tmp_path):
    with Lock(tmp_path / "shop.v1", "build"), Lock(tmp_path / "shop.v2", "build"):
        pass


def test_a_lock_is_held_by_one(home, tmp_path):
    with (
        Lock(tmp_path / "x", "build"),
        pytest.raises(LockedError, match=rf"process {os.getpid()} .*to build {tmp_path / 'x'}"),
    ):
        Lock(tmp_path / "x", "build").acquire(timeout=0.1)
    Lock(tmp_path / "x", "build").acquire(timeout=0)


def test_who_waits_is_told_for_whom(home, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(locks, "_TELL_AFTER", 0.1)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"process {process.pid} on .*end it first"):
            Lock(tmp_path / "x", "build").acquire(timeout=0.5)
        (line,) = capfd.readouterr().err.splitlines()
        assert f"waiting for process {process.pid} on " in line
        assert f"to build {tmp_path / 'x'}" in line
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with Lock(tmp_path / "x", "build"):  # a lock ends with its process
        pass
    assert files(home) == ["guard"]


def test_many_threads_and_processes_are_never_inside_at_once(home, tmp_path):
    """Files of locks come and go all the time; each of 6 at work adds to a counter 40 times."""
    code = """
import sys
from pathlib import Path
from threading import Thread
from recenv.locks import Lock
counter = Path(sys.argv[1])
def work():
    for _ in range(40):
        with Lock(counter, "count"):
            counter.write_text(str(int(counter.read_text()) + 1))
threads = [Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    (tmp_path / "counter").write_text("0")
    command = [sys.executable, "-c", code, str(tmp_path / "counter")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [p.wait(timeout=300) for p in processes] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "240"
    assert files(home) == ["guard"]


def test_a_lock_that_is_let_go_is_taken(home, tmp_path):
    first, second = Lock(tmp_path / "x", "build"), Lock(tmp_path / "x", "build")
    first.acquire()
    thread = threading.Thread(target=second.acquire, args=(60,))
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    first.release()
    thread.join(timeout=60)
    assert not thread.is_alive()
    second.release()


def test_a_home_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECENV_HOME", str(tmp_path / "file"))
    with pytest.raises(ArtifactError, match="No lock can be made in .*Set RECENV_HOME"):
        Lock(tmp_path / "x", "build").acquire()


def test_locks_need_no_user_number(home, tmp_path, monkeypatch):
    """Windows has none."""
    monkeypatch.delattr(os, "getuid")
    with Lock(tmp_path / "x", "build"):
        pass
