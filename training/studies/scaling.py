"""Scaling study: speed of sampling and training on a cluster, and memory of its workers.

    CPUS=3 training/launch/two_nodes.sh python -m training.studies.scaling --out docs/reports

trains in a planted world on the cluster that RAY_ADDRESS names, with one env runner on each node
and with two, and looks at the memory of each: what of the world lies in the object store of its
node, and what the process holds for itself. The last line is without the store: every runner
reads the world from its folder. It comes after the others, so its speed is not compared.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from recenv import artifacts
from recenv.benchmark.tables import markdown
from recenv.errors import ConfigError
from recenv.studies.speed.rates import Rate
from recenv.synthetic.world import PlantedConfig, planted_world
from training.cluster import ClusterError, ray_session
from training.config import TrainConfig
from training.config.network import NetworkConfig
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
    """Location of an array: in the object store of a node, or in the process alone."""

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
    """Location of an array."""
    at = array.__array_interface__["data"][0]
    for mapping in store:
        if mapping.start <= at < mapping.stop:
            return Place(array.nbytes, (mapping.inode, mapping.offset + at - mapping.start))
    return Place(array.nbytes, None)


def look(runner: Any) -> dict[str, Any]:
    """Memory of an env runner's world and its location; called in its process."""
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
    config: TrainConfig, runners_per_node: list[int], *, repeats: int, share_world: bool = True
) -> list[dict[str, Any]]:
    """Figures for each number of runners on each node of the cluster that RAY_ADDRESS names.

    The runners of all numbers are there from the beginning to the end, and take turns, so that
    whatever else the machines do slows all alike.

    Args:
        config: of the run but for the number of env runners.
        runners_per_node: what to compare.
        repeats: of each, after one that is not counted.
        share_world: see ``ray_session``.

    Raises:
        ClusterError: the cluster has too few CPUs for all of them, or places them unevenly.
    """
    with ray_session(config.replace(num_env_runners=1), verbose=False, share_world=share_world):
        nodes = sum(node["Alive"] for node in ray.nodes())
        wanted, found = nodes * sum(runners_per_node), ray.cluster_resources().get("CPU", 0)
        if found < wanted:
            raise ClusterError(
                f"{runners_per_node} runners on each of {nodes} nodes want {wanted} CPUs, but the "
                f"cluster has {found:g}. Start its nodes with more (CPUS=3 two_nodes.sh ...)."
            )
        sessions = []
        for number, count in enumerate(runners_per_node):
            spare = sum(runners_per_node[number + 1 :]) + found // nodes - wanted // nodes
            with _kept_free(nodes, int(spare)):
                sessions.append(Session(config.replace(num_env_runners=count * nodes), None))
        rates = [([], []) for _ in sessions]
        for repeat in range(repeats + 1):
            for session, (sampled, trained) in zip(sessions, rates, strict=True):
                figures = _rates(session)
                if repeat:
                    sampled.append(figures[0])
                    trained.append(figures[1])
        results = []
        for count, session, (sampled, trained) in zip(
            runners_per_node, sessions, rates, strict=True
        ):
            group = session.algorithm.env_runner_group
            assert group is not None
            looks = group.foreach_env_runner(look, local_env_runner=False)
            placed = Counter(seen["node"] for seen in looks)
            if sorted(placed.values()) != [count] * nodes:
                raise ClusterError(
                    f"{count} runners were wanted on each of {nodes} nodes, but Ray placed "
                    f"{dict(placed)}. Give all nodes the same number of CPUs, and nothing to do."
                )
            results.append(
                {
                    "runners_per_node": count,
                    "shared": share_world,
                    "sampled": sampled,
                    "trained": trained,
                    **summary(looks),
                }
            )
            session.close()
    return results


@contextmanager
def _kept_free(nodes: int, cpus: int) -> Iterator[None]:
    """So many CPUs of each node are taken meanwhile: what is left fills evenly."""
    if not cpus:
        yield
        return
    group = placement_group([{"CPU": cpus}] * nodes, strategy="STRICT_SPREAD")
    try:
        ray.get(group.ready())
        yield
    finally:
        remove_placement_group(group)


def _rates(session: Session) -> tuple[float, float]:
    """Rounds per second sampled, and sampled and learned from."""
    group, rounds = session.algorithm.env_runner_group, session.config.settings.rounds_per_iteration
    assert group is not None
    began = time.perf_counter()
    group.foreach_env_runner(_sample, local_env_runner=False)
    sampled = time.perf_counter()
    session.iterate()  # raises TrainingError if it does not train
    return rounds / (sampled - began), rounds / (time.perf_counter() - sampled)


def _sample(runner: Any) -> Any:
    """An iteration's part of one runner, sent to the driver as in training."""
    return runner.sample()


def planted(items: int, dim: int) -> Path:
    """Folder of a planted world of some size, made once."""
    folder = artifacts.home() / "worlds" / f"planted-{items}-items-{dim}-dim"
    if not artifacts.kept(folder):
        config = PlantedConfig(num_items=items, dim=dim, num_users=2000, history_visits=2)
        planted_world(config, name=folder.name).save(folder)
    return folder


def _line(result: dict[str, Any]) -> list[str]:
    private = [f"{value / _MB:.0f}" for value in (min(result["private"]), max(result["private"]))]
    return [
        f"{result['runners_per_node']}" + ("" if result["shared"] else ", without the store"),
        *(_rate(result[name]) for name in ("sampled", "trained")),
        " to ".join(private),
        f"{result['world_in_store'] / _MB:.0f}",
        f"{result['world_in_process'] / _MB:.0f}",
        f"{result['copies_on_a_node']}",
    ]


def _rate(values: list[float]) -> str:
    return Rate("", 0, tuple(values)).spread if values else "-"


_HEADER = [
    "runners per node",
    "rounds/s sampled",
    "rounds/s trained",
    "a runner's own memory, MB",
    "of the world, in the node's store, MB",
    "of the world, in a runner alone, MB",
    "copies of the world on a node",
]


def table(results: list[dict[str, Any]]) -> str:
    """A line for each of ``measure``'s results."""
    return markdown(_HEADER, [_line(result) for result in results])


def page(told: dict[str, Any]) -> str:
    """The report, of what is kept in its JSON."""
    nodes = len(told["results"][0]["nodes"])
    return "\n\n".join(
        [
            "# Training on a cluster",
            "`CPUS=3 training/launch/two_nodes.sh python -m training.studies.scaling`",
            f"{nodes} nodes of Ray on this machine's {told['cores']} cores; ippo, both sides, in a "
            f"planted world of {told['items']} items with {told['dim']} dimensions, whose tables "
            f"are frozen. Medians of {told['repeats']} (least - most); sampled: rounds that all "
            "runners return together; trained: sampled and learned from. A runner's own memory is "
            "what no other process shares; a copy is a place in memory.",
            table(told["results"]),
            "How it works and what it means: [training on a cluster](../training/cluster.md).\n",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--items", type=int, default=200_000, help="of the planted world [200000]")
    parser.add_argument("--dim", type=int, default=64, help="dimensions of its vectors [64]")
    parser.add_argument("--runners-per-node", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5, help="of each figure [5]")
    parser.add_argument("--out", type=Path, help="folder for training-cluster.json and .md")
    return command.run(lambda stop: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    if not os.environ.get("RAY_ADDRESS"):
        raise ConfigError("RAY_ADDRESS names no cluster. Run this in launch/two_nodes.sh.")
    config = TrainConfig(
        env=str(planted(arguments.items, arguments.dim)),
        evaluation_every=0,
        network=NetworkConfig(table_rate=0),
    )
    counts = arguments.runners_per_node
    results = measure(config, counts, repeats=arguments.repeats)
    results += measure(config, counts[-1:], repeats=0, share_world=False)
    print(table(results))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        told = {
            "items": arguments.items,
            "dim": arguments.dim,
            "repeats": arguments.repeats,
            "cores": os.cpu_count(),
            "results": results,
        }
        artifacts.write_atomically(
            arguments.out / "training-cluster.json", json.dumps(told, indent=1)
        )
        artifacts.write_atomically(arguments.out / "training-cluster.md", page(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
