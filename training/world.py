"""World and game of a run: by name, or in Ray's workers from the object store.

A worker of a run does not read the world from a folder, which its machine may not have. The
driver puts the world into Ray's object store; every machine fetches it once, and all workers
there read the same memory. A world's arrays cannot be written to there.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from recenv.config import GameConfig
from recenv.env import registration
from recenv.errors import ArtifactError
from recenv.sim.state import Tables
from recenv.world import World

_NAMESPACE = "recenv"


def load_world(env: str) -> World:
    """The world of an environment id, or of the folder of a saved world.

    Raises:
        UnknownNameError: neither an id nor such a folder.
        ArtifactError: the folder is damaged, or an absolute path names none.
    """
    shared = _shared(env)
    if shared is not None:
        return shared
    if Path(env).is_absolute() and not Path(env).is_dir():
        raise ArtifactError(
            f"There is no saved world in {env}. Put the folder back, or name where it is now: "
            "--env FOLDER, in a resumed run too; its hash is checked."
        )
    return registration.load_world(env)


def resolve(env: str, overrides: dict[str, Any]) -> tuple[World, GameConfig]:
    """World and game of an id or folder, with the game's settings overridden.

    Raises:
        UnknownNameError: neither an id nor a folder, or no such setting.
        ConfigError: a setting has a wrong value.
    """
    world = load_world(env)
    known = env if env in registration.REGISTRY else world
    return world, registration.game_of(known).replace(**overrides)


def share(env: str, members: tuple[int, ...] = (0,)) -> Any:
    """Put a world into Ray's object store, where the workers of this job find it by its name.

    What was made of the world before (``World.derive``) comes with it, so that no worker makes
    it again. Ray must be running.

    Args:
        env: an environment id, or the folder of a saved world.
        members: of the world's ensemble, that workers need.

    Returns:
        Ray's reference: the world stays in the store as long as the driver runs.

    Raises:
        UnknownNameError, ArtifactError: see ``load_world``.
    """
    import ray
    from ray import cloudpickle
    from ray.experimental import internal_kv

    reference = ray.put(lean(load_world(env), members))
    # A reference in RLlib's config would be written to checkpoints, where it means nothing.
    told = cloudpickle.dumps(reference)  # type: ignore[attr-defined]
    internal_kv._internal_kv_put(_key(env), told, namespace=_NAMESPACE)
    return reference


def _key(env: str) -> str:
    import ray

    return f"{ray.get_runtime_context().get_job_id()}:{env}"


_fetched: dict[str, World] = {}


def _shared(env: str) -> World | None:
    """The world from the object store, if this is a worker of a driver that shared it."""
    ray = sys.modules.get("ray")  # whoever has not imported Ray is no worker of it
    if ray is None or not ray.is_initialized():
        return None
    if ray.get_runtime_context().get_actor_id() is None:
        return None
    from ray import cloudpickle
    from ray.experimental import internal_kv

    if env not in _fetched:
        found = internal_kv._internal_kv_get(_key(env), namespace=_NAMESPACE)
        if found is None:
            return None
        _fetched[env] = ray.get(cloudpickle.loads(found))
    return _fetched[env]


def lean(world: World, members: tuple[int, ...]) -> World:
    """The world in parts that pickle without a copy: arrays, each of them once.

    Strings are kept as one array, and tables that are arrays of the world itself stay the same.
    """
    catalog, log = copy.copy(world.catalog), copy.copy(world.train)
    vars(catalog).update(
        item_ids=Strings.of(world.catalog.item_ids), text=Strings.of(world.catalog.text)
    )
    vars(log).update(user_ids=Strings.of(world.train.user_ids))
    kept: dict[int, World] = {}

    def lean(member: World) -> World:
        _ = member.hash, member.log_popularity  # made here, and not by each worker
        own = {_place(a): a for a in _arrays(member)}
        derived = {
            key: Tables(*(own.get(_place(a), a) for a in value))
            if isinstance(value, Tables)
            else value
            for key, value in member._derived.items()
        }
        out = copy.copy(member)  # dataclasses.replace would forget what was made of the world
        vars(out).update(catalog=catalog, train=log, _derived=derived, _members=kept)
        return out

    for member in members:
        if member != 0:
            kept[member] = lean(world.member(member))
    return lean(world)


def _arrays(world: World) -> list[np.ndarray]:
    arrays, _ = world.user_model.to_artifact()
    if world.user_model.repeat is not None:
        arrays |= dict(enumerate(world.user_model.repeat.filter))
    return [*arrays.values(), world.interests.items, world.interests.users, world.log_popularity]


def _place(array: np.ndarray) -> tuple[Any, ...]:
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


class Strings:
    """Strings in two arrays, decoded when they are asked for; read like an array of objects.

    Args:
        data: bytes of all strings in UTF-8, one after the other.
        ends: (N,) where each of them ends.
    """

    def __init__(self, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self._data, self._ends = data, ends

    @classmethod
    def of(cls, values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
        """The same strings in this form."""
        encoded = [str(value).encode() for value in values]
        data = np.frombuffer(b"".join(encoded), np.uint8)
        return cast("Any", cls(data, np.cumsum([len(e) for e in encoded], dtype=np.int64)))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, at: Any) -> Any:
        if not isinstance(at, int | np.integer):
            return np.asarray(self)[at]
        end = self._ends[at]
        return self._data[self._ends[at - 1] if at % len(self) else 0 : end].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.object_]:
        out = np.empty(len(self), object)
        out[:] = list(self)
        return out
