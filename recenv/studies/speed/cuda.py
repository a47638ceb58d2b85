"""GPU step rates, beside the bandwidth of the GPU's memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recenv.errors import ConfigError
from recenv.progress import Progress
from recenv.sim.simulator import Simulator
from recenv.studies.speed.rates import GAME, Clock, touched_bytes, world_of

if TYPE_CHECKING:
    from recenv.sim.cuda import CudaSimulator

_MOST_MEMORY = 20e9  # bytes of a state
_CALLS = 20  # in one repeat

SIZES = ((1682, 64), (100_000, 64), (100_000, 384))  # items, dimensions
BATCHES = (1024, 16384, 65536, 262_144, 1_048_576)


def measure_cuda(clock: Clock, *, progress: bool | None) -> dict[str, Any]:
    """Steps on a GPU, launched one by one and from a captured graph, and its copy bandwidth.

    Raises:
        ConfigError: there is no GPU.
        MissingDependencyError: torch or numba-cuda is not installed.
    """
    from recenv.sim.cuda import CudaSimulator, torch

    if not torch.cuda.is_available():
        raise ConfigError("--device cuda needs a GPU that torch sees. Leave it out for the CPU.")
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = [_seconds(lambda: target.copy_(source)) for _ in range(clock.repeats)]
    copy = source.numel() / statistics.median(seconds)
    rows: list[dict[str, Any]] = []
    with Progress("measuring", unit="cells", shown=progress) as bar:
        for items, dim in SIZES:
            world = world_of(items, dim)
            for vectors in (False, True):
                simulator = CudaSimulator(world, GAME.replace(vectors=vectors))
                for batch in BATCHES:
                    if simulator.bytes_per_visit * batch > _MOST_MEMORY:
                        continue
                    for way, values in _rates(simulator, batch, clock.repeats).items():
                        about = {"items": items, "dim": dim, "vectors": vectors, "rows": batch}
                        rows.append({**about, "way": way, "values": values})
                    bar.update()
    fields = Simulator(world_of(1682, 64, users=50), GAME).fields
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "copy_gb_s": copy / 1e9,
        "bound": copy / touched_bytes(fields, own_screens=True),
        "rates": rows,
    }


def _rates(simulator: CudaSimulator, batch: int, repeats: int) -> dict[str, list[float]]:
    """User-steps per second of each way to launch, over repeats."""
    from recenv.sim.cuda import torch

    state = simulator.reset(np.arange(batch))
    slates = torch.arange(GAME.slate_size, device="cuda").repeat(batch, 1)

    def step() -> None:
        simulator.step(state, slates, autoreset=True, check=False)

    step()  # compiled before it is captured
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    ways: dict[str, Callable[[], object]] = {"launched": step, "captured": graph.replay}
    return {way: [batch / _seconds(call) for _ in range(repeats)] for way, call in ways.items()}


def _seconds(call: Callable[[], object]) -> float:
    """Of one call on the GPU, the mean of ``_CALLS``."""
    from recenv.sim.cuda import torch

    call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(_CALLS):
        call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / _CALLS / 1e3
