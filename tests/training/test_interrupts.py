"""SIGINT and SIGTERM: a checkpoint of the last whole iteration, a line, an exit code."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from helpers.launched import TINY, children, finish, folder, start, wait_until
from helpers.training_without_ray import StandIn, begin

from training import cluster, command, interrupts
from training.interrupts import Interrupted, kept, stop_on_signals
from training.train import train

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in interrupts.SIGNALS} == before


@BOTH
def test_a_first_signal_raises_unless_it_is_held(number, capfd):
    with stop_on_signals() as stop:
        assert not stop
        with pytest.raises(Interrupted):
            signal.raise_signal(number)
        assert stop.code == 128 + number
    with stop_on_signals() as stop:
        with stop.held():
            signal.raise_signal(number)
            assert stop
        assert stop.code == 128 + number
    assert "once more stops at once" in capfd.readouterr().err


@BOTH
def test_a_second_signal_ends_a_command_at_once(number, monkeypatch):
    class Ended(BaseException):
        pass

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    with stop_on_signals(command=True) as stop, stop.held():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Ended) as told:
            signal.raise_signal(number)
    assert told.value.args == (128 + number,)
    with stop_on_signals() as stop, stop.held():  # a program that is not ours goes on
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            signal.raise_signal(number)


def test_other_threads_get_no_signals():
    seen = []

    def work():
        with stop_on_signals() as stop:
            seen.append(len(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


def test_handlers_are_kept_over_those_of_others():
    with stop_on_signals() as stop, stop.held():
        with kept():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as C++ does it
            signal.raise_signal(signal.SIGTERM)  # waits
        assert stop.code == 143


TAKEN = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path
from training.interrupts import kept, stop_on_signals

def caught():
    lines = Path("/proc/self/status").read_text().splitlines()
    mask = next(line for line in lines if line.startswith("SigCgt")).split()[1]
    return int(mask, 16) >> (signal.SIGTERM - 1) & 1

def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)

threading.Thread(target=time.sleep, args=(100,), daemon=True).start()  # it takes signals
with stop_on_signals() as stop, stop.held():
    with kept():
        reset = ctypes.CDLL(None).signal
        reset.argtypes = (ctypes.c_int, ctypes.c_void_p)
        reset(signal.SIGTERM, None)  # what the system does: it ends the process
        wait_until(caught)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: stop)
    print("code", stop.code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thread_from_before_that_takes_a_signal_does_not_end_the_process():
    done = subprocess.run(
        [sys.executable, "-c", TAKEN], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "code 143\n"), done.stderr


def has_sigterm(status, field):
    """Whether a mask of signals in a file of Linux, ``/proc/.../status``, holds SIGTERM."""
    line = next(line for line in status.splitlines() if line.startswith(field))
    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_signals_wait_in_threads_that_are_begun_inside_but_not_in_processes():
    mine, inside = Path("/proc/thread-self/status"), []
    with kept():
        thread = threading.Thread(target=lambda: inside.append(mine.read_text()))
        thread.start()
        thread.join()
        command, nothing = ["cat", "/proc/self/status"], lambda: None  # as Ray begins its own
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=nothing)
        status, _ = child.communicate()
        assert has_sigterm(mine.read_text(), "SigBlk")
    assert has_sigterm(inside[0], "SigBlk")
    assert not has_sigterm(status, "SigBlk")
    assert not has_sigterm(mine.read_text(), "SigBlk")


def test_ray_starts_and_ends_without_its_handlers():
    """Ray's own in Python is not put in place, and what C++ puts there is undone."""
    put = cluster.ray_utils.set_sigterm_handler
    with stop_on_signals() as stop:
        ours = signal.getsignal(signal.SIGTERM)
        with cluster._own_handlers():
            cluster.ray_utils.set_sigterm_handler(lambda number, frame: sys.exit(number))
            assert signal.getsignal(signal.SIGTERM) is ours
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) is ours
        assert not stop
    assert cluster.ray_utils.set_sigterm_handler is put


@BOTH
@pytest.mark.parametrize("moment", ["iterate", "save", "networks"])
def test_a_signal_at_any_moment_ends_with_the_last_whole_iteration(
    number, moment, monkeypatch, tmp_path, env_config, capsys
):
    class Signalled(StandIn):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.calls = 0

        def _maybe(self, name):
            self.calls += name == moment
            if name == moment and self.calls == 3 - (moment == "save"):
                signal.raise_signal(number)

        def iterate(self):
            self._maybe("iterate")
            return super().iterate()

        def save(self, folder):
            self._maybe("save")
            super().save(folder)

        def networks(self):
            self._maybe("networks")
            return super().networks()

    run = begin(monkeypatch, env_config, tmp_path / "run", iterations=100, session=Signalled)

    def body(stop):
        stop.advice = "Go on."
        with stop.held():
            assert not train(run, progress=False, stop=stop)
        raise Interrupted

    assert command.run(body) == 128 + number
    rows = run.read_metrics()
    assert run.checkpoint().iteration == rows[-1]["iteration"] in (2, 3, 4)
    assert [row["iteration"] for row in rows] == list(range(len(rows)))
    run.checkpoint().check()
    assert "Interrupted. Go on." in capsys.readouterr().err
    monkeypatch.setattr("training.train.Session", StandIn)
    run.write_config(run.config().replace(rounds=6 * 128))
    assert train(run, progress=False)
    assert len(run.read_metrics()) == 7


def test_a_signal_before_training_leaves_the_run_as_it_was(monkeypatch, tmp_path, env_config):
    run = begin(monkeypatch, env_config, tmp_path / "run")
    with stop_on_signals() as stop, stop.held():
        signal.raise_signal(signal.SIGTERM)
        assert not train(run, stop=stop)
    assert [p.name for p in run.path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("name", ["train", "tune", "suite", "record", "evaluate", "export"])
@BOTH
def test_every_command_ends_in_one_line(name, number, monkeypatch, tmp_path, capsys):
    """Wherever it is: here, while it reads its arguments' world, run or search."""
    module = __import__(f"training.{name}", fromlist=[name])
    arguments = {
        "train": ["--runs", str(tmp_path), "--no-report"],
        "tune": ["--resume", str(tmp_path)],
        "suite": ["--runs", str(tmp_path)],
        "record": ["--out", str(tmp_path / "x.parquet")],
        "evaluate": [str(tmp_path)],
        "export": [str(tmp_path)],
    }[name]
    seam = {
        "train": "config_of",
        "tune": "SearchFolder",
        "suite": "config_of",
        "record": "resolve",
        "evaluate": "seed_runs",
        "export": "load",
    }[name]
    monkeypatch.setattr(module, seam, lambda *a, **k: signal.raise_signal(number))
    assert module.main(arguments) == 128 + number
    told = capsys.readouterr().err
    assert told.strip() == "Interrupted."
    assert not list(tmp_path.iterdir())


def catches(process):
    """Whether a command has its handlers, which are there before anything that takes long."""
    return has_sigterm(Path(f"/proc/{process.pid}/status").read_text(), "SigCgt")


@BOTH
def test_a_command_that_is_still_being_imported_ends_in_one_line(number):
    process = subprocess.Popen(
        [sys.executable, "-m", "training.record", "--out", "nowhere/x.parquet"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: catches(process), process)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number, told
    assert told.strip() == "Interrupted."


HIDDEN = "import sys\nsys.modules[{!r}] = None\n"


@pytest.mark.parametrize(
    ("name", "package"),
    [("train", "ray"), ("tune", "ray"), ("export", "torch")],
)
def test_a_missing_package_is_told_in_one_line(tmp_path, name, package):
    (tmp_path / "sitecustomize.py").write_text(HIDDEN.format(package))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", f"training.{name}", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"recenv {name} needs" in done.stderr
    assert f"'{package}'" in done.stderr
    assert "pip install 'recenv[train]'" in done.stderr


MOMENTS = [
    ("imports", 0.0),
    ("imports", 3.0),
    ("begun", 0.0),
    ("begun", 3.0),
    ("begun", 6.0),
    ("rows", 1),
    ("rows", 3),
    ("part", 1),
    ("part", 4),
    ("trained", 0.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "when"), MOMENTS)
@BOTH
def test_a_command_ends_with_a_checkpoint_and_leaves_no_process(tmp_path, number, what, when):
    run, draws = folder(tmp_path), random.Random(f"{what} {when} {number}")
    rounds = "512" if what == "trained" else str(10**7)
    process = start(tmp_path, "--rounds", rounds, "--checkpoint-every", "1")
    output = tmp_path / "output.txt"
    try:
        if what == "imports":
            wait_until(lambda: catches(process), process)
            time.sleep(when)
        elif what == "begun":
            wait_until(lambda: run.exists, process)
            time.sleep(when)
        elif what == "rows":
            wait_until(lambda: len(run.read_metrics()) > when, process)
            time.sleep(draws.uniform(0, 0.5))
        elif what == "part":
            wait_until(lambda: run.checkpoint() and run.checkpoint().iteration >= when, process)
            wait_until((run.path / "checkpoints" / ".part").exists, process)
        else:
            wait_until(lambda: "Trained:" in output.read_text(), process)
        started = children(process)
        process.send_signal(number)
    except BaseException:
        process.kill()
        raise
    told = finish(process, tmp_path, code=128 + number)
    assert "Traceback" not in told
    assert "***" not in told  # a stack of C++
    assert told.count("Interrupted.") == 1
    if what != "imports":
        if what == "trained":
            assert "recenv evaluate" in told
        else:
            assert f"--resume {run.path}" in told
    if what in ("rows", "part", "trained"):
        assert run.checkpoint().iteration == run.read_metrics()[-1]["iteration"]
        run.checkpoint().check()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_leaves_no_process(tmp_path):
    run = folder(tmp_path)
    process = start(tmp_path, "--rounds", str(10**7))
    wait_until(lambda: len(run.read_metrics()) > 2, process)
    started = children(process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    _, alive = psutil.wait_procs(started, timeout=120)
    assert not alive


@pytest.mark.slow
@BOTH
def test_a_search_ends_so_that_it_can_go_on(tmp_path, number):
    space = tmp_path / "space.toml"
    space.write_text("[ippo]\nlearning_rate = { grid = [1e-3, 1e-2] }\n")
    flags = [flag for flag in TINY if flag != "--no-progress"]
    process = start(
        tmp_path, *flags, "--rounds", str(10**7), "--space", str(space), "--samples", "1",
        "--searches", str(tmp_path / "searches"), "--name", "s", new=False, module="training.tune",
    )  # fmt: skip
    metrics = tmp_path / "searches" / "s" / "trials" / "00000" / "metrics.parquet"
    wait_until(metrics.exists, process)
    started = children(process)
    process.send_signal(number)
    told = finish(process, tmp_path, code=128 + number)
    assert "recenv tune --resume" in told
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(started, timeout=120)
    assert not alive
