"""How fast a cluster samples and trains, and what memory its workers take.

    CPUS=2 training/launch/two_nodes.sh python -m training.scaling --out docs/reports

trains in a planted world on the cluster that RAY_ADDRESS names, with the same number of env
runners on each node, and looks at the memory of each runner: what of the world lies in the
object store of its node, and what the process holds for itself. The last line is without the
store: every runner reads the world from its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray

from recenv import artifacts
from recenv.benchmark.tables import markdown
from recenv.errors import ConfigError, RecenvError
from recenv.sim.synthetic import PlantedConfig, planted_world
from training.cluster import ray_session
from training.config import TrainConfig
from training.network_config import NetworkConfig
from training.session import Session

_MB = 1e6
_LEAST = 1 << 16  # bytes of an array that is worth counting


class Mapping(NamedTuple):
    """A stretch of a process's memory that is the object store's."""

    start: int  # address
    stop: int
    offset: int  # of the start in the file
    inode: int
    resident: int  # bytes that the process has touched


class Place(NamedTuple):
    """Where an array lies: in the object store of a node, or in the process alone."""

    bytes: int
    file: tuple[int, int] | None  # (inode, position), the same for all who read the same memory


def store_mappings() -> tuple[list[Mapping], int]:
    """This process's mappings of the object store, and the bytes it holds for itself elsewhere.

    The latter is its unique set size: pages that no other process shares.
    """
    store: list[Mapping] = []
    private, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ (\d+)\s*(.*)", line)
        if head:
            inside = "plasma" in head[5]
            if inside:
                start, stop, offset = (int(head[i], 16) for i in (1, 2, 3))
                store.append(Mapping(start, stop, offset, int(head[4]), 0))
            continue
        name, _, value = line.partition(":")
        if inside and name == "Rss":
            store[-1] = store[-1]._replace(resident=int(value.split()[0]) * 1024)
        elif not inside and name in ("Private_Clean", "Private_Dirty"):
            private += int(value.split()[0]) * 1024
    return store, private


def place(array: np.ndarray, store: list[Mapping]) -> Place:
    """Where an array lies."""
    at = array.__array_interface__["data"][0]
    for mapping in store:
        if mapping.start <= at < mapping.stop:
            return Place(array.nbytes, (mapping.inode, mapping.offset + at - mapping.start))
    return Place(array.nbytes, None)


def look(runner: Any) -> dict[str, Any]:
    """What an env runner holds of the world, and where; called in its process."""
    store, private = store_mappings()
    simulator = runner._rollout.simulator
    found = {f"tables.{k}": v for k, v in simulator.tables._asdict().items()}
    for side, module in runner.module._rl_modules.items():
        weights = module.state_dict()
        for name, tensor in module.named_buffers():
            if name not in weights:  # it comes from the world
                found[f"{side}.{name}"] = tensor.numpy()
    events = simulator.world.train.events
    found |= {f"train.{name}": events[name].to_numpy() for name in events}
    return {
        "node": ray.util.get_node_ip_address(),
        "process": os.getpid(),
        "private": private,
        "resident": sum(m.resident for m in store),
        "arrays": {n: tuple(place(a, store)) for n, a in found.items() if a.nbytes >= _LEAST},
    }


def summary(runners: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the runners' looks: copies on a node, and bytes in the store and outside of it."""
    stored, own = [], []
    copies: dict[tuple[str, str], set[Any]] = {}
    for runner in runners:
        files = {tuple(file): size for size, file in runner["arrays"].values() if file}
        stored.append(sum(files.values()))
        own.append(sum(size for size, file in runner["arrays"].values() if not file))
        for name, (_, file) in runner["arrays"].items():
            copies.setdefault((runner["node"], name), set()).add(
                tuple(file) if file else runner["process"]
            )
    return {
        "nodes": sorted({r["node"] for r in runners}),
        "runners": len(runners),
        "world_in_store": max(stored),
        "world_in_process": max(own),
        "copies_on_a_node": max(len(c) for c in copies.values()),
        "private": [r["private"] for r in runners],
    }


def measure(
    config: TrainConfig, runners_per_node: list[int], *, iterations: int, share_world: bool = True
) -> list[dict[str, Any]]:
    """Figures for each number of runners on each node of the cluster that RAY_ADDRESS names.

    Args:
        config: of the run but for the number of env runners.
        runners_per_node: each is measured in turn.
        iterations: that are timed, after one that is not.
        share_world: see ``ray_session``.
    """
    results: list[dict[str, Any]] = []
    widest = config.replace(num_env_runners=1)
    with ray_session(widest, verbose=False, share_world=share_world):
        nodes = sum(node["Alive"] for node in ray.nodes())
        for count in runners_per_node:
            session = Session(config.replace(num_env_runners=count * nodes), None)
            try:
                results.append({"runners_per_node": count, **_measured(session, iterations)})
            finally:
                session.close()
            print(_line(results[-1]), file=sys.stderr)
    return results


def _measured(session: Session, iterations: int) -> dict[str, Any]:
    config, group = session.config, session.algorithm.env_runner_group
    assert group is not None
    rounds = iterations * config.settings.rounds_per_iteration
    session.iterate()
    began = time.perf_counter()
    rows = [session.iterate() for _ in range(iterations)]
    trained = rounds / (time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(iterations):
        group.foreach_env_runner(_sample, local_env_runner=False)
    sampled = rounds / (time.perf_counter() - began)
    return {
        "rounds_per_second_sampled": sampled,
        "rounds_per_second_trained": trained,
        "steps_trained": {s: [row[f"{s}_steps_trained"] for row in rows] for s in config.trained},
        **summary(group.foreach_env_runner(look, local_env_runner=False)),
    }


def _sample(runner: Any) -> Any:
    """An iteration's part of one runner, sent to the driver as in training."""
    return runner.sample()


def planted(items: int, dim: int) -> Path:
    """Folder of a planted world of some size, made once."""
    folder = artifacts.home() / "worlds" / f"planted-{items}-items-{dim}-dim"
    if not artifacts.exists(folder):
        config = PlantedConfig(num_items=items, dim=dim, num_users=2000, history_visits=2)
        planted_world(config, name=folder.name).save(folder)
    return folder


def _line(result: dict[str, Any]) -> list[str]:
    private = np.array(result["private"]) / _MB
    return [
        f"{result['runners_per_node']}" + ("" if result.get("shared", True) else ", no store"),
        f"{result['rounds_per_second_sampled']:,.0f}",
        f"{result['rounds_per_second_trained']:,.0f}",
        f"{private.min():.0f} to {private.max():.0f}",
        f"{result['world_in_store'] / _MB:.0f}",
        f"{result['world_in_process'] / _MB:.0f}",
        f"{result['copies_on_a_node']}",
    ]


_HEADER = [
    "runners per node",
    "rounds/s sampled",
    "rounds/s trained",
    "a runner's own memory, MB",
    "of the world, in the node's store, MB",
    "of the world, in a runner alone, MB",
    "copies of the world on a node",
]


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--items", type=int, default=200_000, help="of the planted world [200000]")
    parser.add_argument("--dim", type=int, default=64, help="dimensions of its vectors [64]")
    parser.add_argument("--runners-per-node", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--iterations", type=int, default=3, help="timed for each figure [3]")
    parser.add_argument("--out", type=Path, help="folder for cluster.json and cluster.md")
    arguments = parser.parse_args(argv)
    try:
        if not os.environ.get("RAY_ADDRESS"):
            raise ConfigError("RAY_ADDRESS names no cluster. Run this in launch/two_nodes.sh.")
        config = TrainConfig(
            env=str(planted(arguments.items, arguments.dim)),
            evaluation_every=0,
            network=NetworkConfig(table_rate=0),
        )
        counts, iterations = arguments.runners_per_node, arguments.iterations
        results = measure(config, counts, iterations=iterations)
        alone = measure(config, counts[-1:], iterations=iterations, share_world=False)
        results += [{**result, "shared": False} for result in alone]
    except RecenvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = markdown(_HEADER, [_line(result) for result in results])
    print(table)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        told = {"items": arguments.items, "dim": arguments.dim, "results": results}
        artifacts.write_atomically(arguments.out / "cluster.json", json.dumps(told, indent=1))
        artifacts.write_atomically(arguments.out / "cluster.md", table + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
