"""The GPU's code in numba's CUDA simulator, which must be chosen before numba is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def simulated(which: str) -> str:
    """What the tests of the GPU print in the simulator."""
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/sim/test_cuda.py", "-m", which],
        cwd=ROOT,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(900)
def test_the_gpu_code_runs_in_the_simulator():
    assert "7 passed, 1 skipped" in simulated("not slow")


@pytest.mark.slow
def test_small_tables_and_codes_run_in_the_simulator():
    assert "1 passed" in simulated("slow")


def test_without_a_gpu_the_error_says_what_to_do():
    code = """
import torch
from numba import cuda
if cuda.is_available():
    print("GPU"), exit(0)
from recenv.env.registration import load_world
from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.sim.cuda import CudaSimulator
try:
    CudaSimulator(load_world("recenv/Toy-v0"), GameConfig(num_candidates=20))
except ConfigError as error:
    print(error)
"""
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "GPU" in done.stdout, done.stderr
