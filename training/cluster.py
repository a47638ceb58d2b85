"""Ray session of a run: on this machine, or on a running cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, cast

# The stack's own notice; errors are still shown. Ray reads it when it is imported.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import torch
from ray._common.utils import get_default_system_temp_dir
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.job_config import JobConfig
from ray.util.placement_group import placement_group, remove_placement_group

from recenv.errors import RecenvError, require_version
from training.config import TrainConfig
from training.interrupts import kept
from training.models.critics import CentralCritic
from training.ray_output import set_verbose
from training.runs.load_policy import make_network
from training.sampling.env import TurnEnv
from training.world import share

RAY = ("2.60", "2.61")
"""Versions of Ray, from the first to below the second, whose private parts are known."""

require_version("ray", ray.__version__, *RAY)

HERE = "local"
"""The address of a Ray that is started for the run, on this machine alone."""

_REACH = 5.0  # seconds until a cluster must answer
_PLACE, _PLACE_HERE = 30.0, 5.0  # seconds until there must be room
_AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ClusterError(RecenvError):
    """There is no cluster where one was wanted, or it has no room for the run."""


@contextmanager
def ray_session(
    config: TrainConfig, *, verbose: bool, share_world: bool = True, trials: int = 0
) -> Iterator[None]:
    """Ray for the length of a run, with the run's world in its object store.

    Args:
        config: where, and how many processes are needed.
        verbose: show the notices of Ray and RLlib.
        share_world: False lets every worker read the world by itself, to see what that costs.
        trials: runs like this one at a time, each in a process of its own; 0 for one in this.

    Raises:
        ClusterError: the cluster cannot be reached, or has no room.
    """
    level = set_verbose(verbose)
    address = ray_address(config)
    # Only at this address do Ray's ports not listen to the network, and Ray takes it only where
    # it believes that clusters are not supported.
    alone = address == HERE or _host(address) in _LOOPBACK
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0" if alone else "1"
    ray_constants.ENABLE_RAY_CLUSTER = not alone
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        with _private(keep=verbose) if address == HERE else nullcontext() as folder:
            _connect(address, (1 + len(bundles(config))) * max(1, trials), level, folder)
            try:
                make_room(config, address)
                share = share_world and (bundles(config) or trials)
                shared = _share_world(config) if share else None
                yield
                del shared
            finally:
                with kept():  # Ray's shutdown resets SIGTERM to what the system does with it
                    ray.shutdown()


def ray_address(config: TrainConfig) -> str:
    """Address of Ray: from the config, else from the variable RAY_ADDRESS, else this machine."""
    return config.ray_address or os.environ.get("RAY_ADDRESS", "") or HERE


def bundles(config: TrainConfig) -> list[dict[str, float]]:
    """CPUs and GPUs of each further process of a run."""
    runner = {"CPU": 1.0, "GPU": config.gpus_per_env_runner}
    learner = {"CPU": float(config.gpus_per_learner == 0), "GPU": config.gpus_per_learner}
    wanted = [runner] * config.num_env_runners + [learner] * config.num_learners
    return [{name: count for name, count in w.items() if count} for w in wanted]


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


@contextmanager
def _private(*, keep: bool) -> Iterator[str]:
    """Private folder of a local Ray, and a secret token: readable by this user alone.

    Ray makes its sockets and logs readable by all users of a machine, and writes the token that
    it makes into the home folder, as readable as that is. This one is in the environment of the
    processes alone. Where the environment says something of tokens, that stays.

    Args:
        keep: leave the folder, with Ray's logs, when Ray has ended.
    """
    place = get_default_system_temp_dir()
    folder = tempfile.mkdtemp(prefix="recenv-ray-", dir=place if len(place) < 24 else "/tmp")
    before = {name: os.environ.get(name) for name in _AUTH}
    if not any(before.values()):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield f"{folder}/ray"  # which Ray opens to all
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
        AuthenticationTokenLoader.instance().reset_cache()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)  # a process of Ray's may still write


def _connect(address: str, processes: int, level: int, folder: str | None) -> None:
    told: dict[str, Any] = {
        "logging_level": level,
        "log_to_driver": True,
        "job_config": _OwnPackages(),
    }
    if address == HERE:
        with _own_handlers():
            ray.init(
                address=HERE,
                num_cpus=processes,
                include_dashboard=False,
                _temp_dir=folder,
                **told,
            )
        return
    if "://" in address:
        raise ClusterError(
            f"{address!r} is an address for clients outside a cluster, through which RLlib's "
            "driver cannot work. Start training on a machine of the cluster, with --ray-address "
            "auto or host:port, or hand it to the cluster with `ray job submit`."
        )
    if address != "auto":
        _reach(address)
    try:
        with _own_handlers():
            ray.init(address=address, **told)
    except Exception as error:  # Ray raises many kinds, for wrong versions and tokens among them
        raise ClusterError(
            f"Ray cannot join the cluster at {address!r}: {error} Start one with `ray start "
            "--head`, with the same versions of Python and Ray and the same RAY_AUTH_MODE and "
            "token as here; without --ray-address, training runs on this machine alone."
        ) from error


class _OwnPackages(JobConfig):
    """A job whose processes import this recenv and training, whatever lies where it was started.

    Ray puts the current folder, and that of the script, before all others in which its processes
    look for packages. Left out is a folder that holds another package of one of our names.
    """

    def _get_proto_job_config(self) -> Any:
        folders = self._py_driver_sys_path
        self._py_driver_sys_path = [folder for folder in folders if not _shadows(folder)]
        return super()._get_proto_job_config()


_ROOT = Path(__file__).resolve().parents[1]


def _shadows(folder: str) -> bool:
    """Whether a folder holds another package that is called recenv or training."""
    for name in ("recenv", "training"):
        spec = PathFinder.find_spec(name, [folder])
        if spec and spec.origin and Path(spec.origin).resolve().parent != _ROOT / name:
            return True
    return False


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep this process's handlers of signals while Ray starts.

    Ray puts one of its own in place when it begins, and one in C++, which ends the process with a
    stack, when it connects. Threads that it begins never take a signal.
    """
    utils = cast("Any", ray_utils)
    put = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        with kept():
            yield
    finally:
        utils.set_sigterm_handler = put


_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4
"""The first bytes of an HTTP/2 client, and the kind of a server's first frame (RFC 9113, 3.4)."""


def _reach(address: str) -> None:
    """Raise ClusterError unless a server of Ray's kind listens.

    Ray itself would try for minutes and then end the process without an error to catch.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            f"--ray-address must be host:port, auto or local, but is {address!r}. `ray start "
            "--head` prints the address of the cluster that it starts."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _REACH) as server:
            server.sendall(_HELLO)
            first = server.recv(9)
    except OSError as error:
        raise ClusterError(
            f"No cluster answers at {address} ({error}). Start one with `ray start --head`, or "
            "give the address that it printed; the port must be open between the machines."
        ) from error
    if len(first) < 4 or first[3] != _SETTINGS:
        raise ClusterError(
            f"What answers at {address} is no Ray cluster (it began with {first!r}). Give the "
            "address that `ray start --head` printed, not that of a dashboard."
        )


def make_room(config: TrainConfig, address: str) -> None:
    """Raise ClusterError unless every process of the run finds a place now.

    RLlib would wait for one without an end and without a word.
    """
    here, wanted = address == HERE, bundles(config)
    for what in ("learner", "env_runner"):
        gpus, others = getattr(config, f"gpus_per_{what}"), getattr(config, f"num_{what}s")
        if gpus and not others and not torch.cuda.is_available():
            name = what.replace("_", "-")
            raise ClusterError(
                f"--gpus-per-{name} {gpus:g} with --num-{name}s 0 is for a GPU of this machine, "
                "but PyTorch finds none. Leave it out, install a PyTorch for your GPU, or ask for "
                f"processes on machines that have one with --num-{name}s."
            )
    if not wanted or (here and not any("GPU" in bundle for bundle in wanted)):
        return  # Ray was started here with as many CPUs as there are processes
    group = placement_group(wanted)
    try:
        if not group.wait(_PLACE_HERE if here else _PLACE):
            raise ClusterError(
                f"{'This machine' if here else f'The cluster at {address}'} has no room for "
                f"{_wanted(config)}. {_free()} Ask for less, add machines, or wait until others' "
                "jobs end."
            )
    finally:
        remove_placement_group(group)


def _wanted(config: TrainConfig) -> str:
    parts = []
    for flag, gpus in (("env_runners", "env_runner"), ("learners", "learner")):
        count, each = getattr(config, f"num_{flag}"), getattr(config, f"gpus_per_{gpus}")
        if count:
            cpus = "1 CPU" if flag == "env_runners" or not each else "no CPU"
            parts.append(f"--num-{flag.replace('_', '-')} {count} ({cpus}, {each:g} GPUs each)")
    return " and ".join(parts)


def _free() -> str:
    total, free = ray.cluster_resources(), ray.available_resources()
    machines = [
        f"{node['NodeManagerAddress']} has {node['Resources'].get('CPU', 0):g} CPUs and "
        f"{node['Resources'].get('GPU', 0):g} GPUs"
        for node in ray.nodes()
        if node["Alive"]
    ]
    return (
        f"{'; '.join(machines)}. Free in all: {free.get('CPU', 0):g} of {total.get('CPU', 0):g} "
        f"CPUs, {free.get('GPU', 0):g} of {total.get('GPU', 0):g} GPUs."
    )


def _share_world(config: TrainConfig) -> Any:
    """Ray's reference to the world, with all that its users make of it once and for all."""
    world, game = config.resolve()
    TurnEnv(config.env_config)  # the simulator's tables; who plays a side that does not learn
    for side in config.trained:
        make_network(side, world, game, config.network)
    if config.settings.central:
        CentralCritic(1, 1, game.slate_size, world, game)
    return share(config.env, (game.member,))
