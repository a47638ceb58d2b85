"""How far fitted numbers move when the worlds are fitted again as other machines would.

``python tests/golden/refit.py`` refits every fitted world in folders of their own: on one thread
throughout (texts are otherwise encoded on as many as there are), on two where the fit takes one,
and with the instructions of older processors. It prints the largest difference from the golden
file of each list of numbers, as a share of the number (``close``), and whether the exact part is
the same. It takes minutes for each world and machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
MACHINES = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OMP_NUM_THREADS": "1",
    },
    "SSE4": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        "OMP_NUM_THREADS": "1",
    },
}


def moved(golden: Any, now: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """(name of the list, difference) of every number of two records of one shape."""
    from golden.replay import LEAST

    if isinstance(golden, dict):
        for key in golden:
            yield from moved(golden[key], now[key], key)
    elif isinstance(golden, list):
        for a, b in zip(golden, now, strict=True):
            yield from moved(a, b, name)
    else:
        yield name, abs(golden - now) / max(abs(golden), LEAST.get(name, 1))


def fit_again(env_id: str) -> None:
    """In a process of its own: fit, replay, and print what moved."""
    sys.path.insert(0, str(TESTS))
    from golden.replay import record
    from golden.versions import read

    import recenv.encoders.interest_vectors
    import recenv.users.fitting.pipeline

    if os.environ["OMP_NUM_THREADS"] != "1":
        recenv.encoders.interest_vectors.one_thread = contextlib.nullcontext
        recenv.users.fitting.pipeline.one_thread = contextlib.nullcontext
    golden, now = read(env_id), record(env_id)
    worst: dict[str, float] = {}
    for name, by in moved(golden["fitted"], now["fitted"]):
        worst[name] = max(worst.get(name, 0.0), by)
    same = golden["exact"] == now["exact"]
    print(json.dumps({"exact": same, **{k: float(f"{v:.1e}") for k, v in worst.items()}}))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", help="default: every fitted id")
    parser.add_argument("--only", choices=MACHINES, help="one of the machines")
    args = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from golden.versions import read

    from recenv.env.registration import REGISTRY

    fitted = [env_id for env_id in REGISTRY if read(env_id)["exact"]["world"]["config"]]
    for machine in [args.only] if args.only else MACHINES:
        for env_id in args.ids or fitted:
            with tempfile.TemporaryDirectory() as home:
                caches = {"RECENV_HOME": home, "NUMBA_CACHE_DIR": f"{home}/numba"}
                told = {"HF_HUB_OFFLINE": "1", **MACHINES[machine]}
                code = "import sys; sys.path.insert(0, sys.argv[1]); from golden import refit; "
                code += "refit.fit_again(sys.argv[2])"
                command = [sys.executable, "-c", code, str(TESTS), env_id]
                env = {**os.environ, **told, **caches}
                done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return done.returncode
            print(f"{env_id}, {machine}: {done.stdout.strip()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
