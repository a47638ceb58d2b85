"""What a run keeps out of the terminal."""

import os

import pytest

from training import ray_output

NOTICE = b"[2026 E 1 1] core_worker.cc:2465: Actor with class name: 'X' has constructor arguments\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_known_notices_are_held_back_and_all_else_is_not(capfd, monkeypatch, verbose):
    monkeypatch.setenv(ray_output.VERBOSE, str(int(verbose)))

    @ray_output.quiet_start()
    def fail():
        os.write(2, b"before\n" + NOTICE + b"RuntimeError: CUDA error\n")
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        fail()
    os.write(2, b"after\n")
    kept = b"before\n" + (NOTICE if verbose else b"") + b"RuntimeError: CUDA error\nafter\n"
    assert capfd.readouterr().err == kept.decode()
