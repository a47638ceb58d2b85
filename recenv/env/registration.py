"""Environment ids, and the ways to make an environment from one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import pettingzoo

from recenv.config import GameConfig, SplitConfig, UserModelConfig, WorldConfig
from recenv.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from gymnasium.vector import AutoresetMode

    from recenv.env.aec import RecAECEnv
    from recenv.env.parallel import RecParallelEnv
    from recenv.env.single import RecEnv
    from recenv.env.vector import RecVectorEnv
    from recenv.world import World

WORLD_ID = "recenv/World-v0"
"""The id whose world is an argument: ``gymnasium.make("recenv/World-v0", world=folder)``."""


@dataclass(frozen=True)
class EnvSpec:
    """What an id stands for."""

    id: str
    make_world: Callable[[], World]
    game: GameConfig = field(default_factory=GameConfig)


def _toy() -> World:
    from recenv.synthetic.world import planted_world

    return planted_world()


def _movielens_100k() -> World:
    return _fitted("movielens-100k", WorldConfig())


def _complete_journey() -> World:
    # baskets by the calendar; patience is a prior of a shop that people seldom leave empty-handed
    users = UserModelConfig(leave_intercept=-4.0, leave_length=0.0)
    split = SplitConfig(by="time")
    return _fitted("complete-journey", WorldConfig(split=split, user_model=users))


def _open_bandit() -> World:
    return _fitted("open-bandit", WorldConfig())


def _fitted(name: str, config: WorldConfig) -> World:
    from recenv.data import load
    from recenv.world import build_world

    return build_world(*load(name), config)


REGISTRY = {
    spec.id: spec
    for spec in (
        EnvSpec("recenv/Toy-v0", _toy, GameConfig(num_candidates=20)),
        EnvSpec("recenv/MovieLens100K-v0", _movielens_100k),
        EnvSpec("recenv/CompleteJourney-v0", _complete_journey),
        EnvSpec("recenv/OpenBandit-v0", _open_bandit, GameConfig(slate_size=3)),
    )
}


def env_spec(env_id: str) -> EnvSpec:
    """The registered spec of an id.

    Raises:
        UnknownNameError: no such id; the message names the nearest one.
    """
    if env_id not in REGISTRY:
        raise UnknownNameError("environment id", env_id, REGISTRY)
    return REGISTRY[env_id]


def load_world(source: str | Path | World) -> World:
    """The world that is named by an environment id or by the folder of a saved world.

    A world of an id is built at its first use and cached on disk. Worlds read or built are kept
    in this process, and the same one is given again.

    Args:
        source: an id ("recenv/Toy-v0"), a folder that ``World.save`` wrote, or a world, which is
            returned as it is. A name that is both an id and a folder is the id.

    Raises:
        UnknownNameError: neither an id nor a folder; the message names the nearest id.
        ArtifactError: the folder holds no world, or a damaged one.
        ConfigError: ``source`` is of another type.
    """
    if isinstance(source, str) and source in REGISTRY:
        return _world_of_id(source)
    if isinstance(source, str | Path):
        return _world_of_folder(*_folder(source))
    from recenv.world import World

    if not isinstance(source, World):
        raise ConfigError(
            "A world is named by an environment id, a folder that World.save wrote, or is a World "
            f"itself; but got {source!r}, of type {type(source).__name__}."
        )
    return source


def game_of(source: str | Path | World) -> GameConfig:
    """The rules of the game that a world is played by unless settings say otherwise.

    An id has its own. Any other world has those of ``GameConfig``, with no more candidates and
    slots than it has items.

    Raises:
        UnknownNameError, ArtifactError, ConfigError: see ``load_world``.
    """
    if isinstance(source, str) and source in REGISTRY:
        return REGISTRY[source].game
    items = len(load_world(source).catalog)
    return GameConfig(
        num_candidates=min(GameConfig.num_candidates, items),
        slate_size=min(GameConfig.slate_size, items),
    )


def resolve(
    source: str | Path | World, overrides: dict[str, Any] | None = None
) -> tuple[World, GameConfig]:
    """World and game of a source, with the game's settings overridden; see ``load_world``.

    Raises:
        UnknownNameError: neither an id nor a folder, or no such setting.
        ArtifactError: the folder holds no world, or a damaged one.
        ConfigError: a setting has a wrong value.
    """
    return load_world(source), game_of(source).replace(**(overrides or {}))


@lru_cache(maxsize=8)
def _world_of_id(env_id: str) -> World:
    return REGISTRY[env_id].make_world()


@lru_cache(maxsize=4)
def _world_of_folder(folder: Path, written: int) -> World:
    """The world of a folder as it stood at the time (in ns) that it was written."""
    from recenv.world import World

    return World.load(folder)


def _folder(source: str | Path) -> tuple[Path, int]:
    """The folder that a name means, and when what it holds was written.

    Raises:
        UnknownNameError: there is no such folder.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UnknownNameError(
            "environment id or folder of a saved world",
            str(source),
            REGISTRY,
            advice=f"A folder would be looked for at {folder.absolute()}; World.save writes one.",
        )
    manifest = folder / "manifest.json"
    return folder.resolve(), manifest.stat().st_mtime_ns if manifest.exists() else 0


def parallel_env(
    source: str | Path | World,
    *,
    render_mode: str | None = None,
    num_sessions: int = 1,
    **overrides: Any,
) -> RecParallelEnv:
    """A PettingZoo parallel environment.

    Args:
        source: an environment id, the folder of a saved world (``World.save``), or a world of
            your own (``recenv.build_world``).
        render_mode: None, "ansi" (text) or "rgb_array" (a picture).
        num_sessions: visits side by side, each with a recommender and a user of its own.
        overrides: settings of ``GameConfig``, as ``slate_size=1`` or
            ``reward={"cooperation": 1.0}``.

    Raises:
        UnknownNameError: neither an id nor a folder, or no such setting.
        ArtifactError: the folder holds no world, or a damaged one.
        ConfigError: a setting has a wrong value, or does not fit the world.
    """
    from recenv.env.parallel import RecParallelEnv

    return RecParallelEnv(
        *resolve(source, overrides), render_mode=render_mode, num_sessions=num_sessions
    )


def aec_env(
    source: str | Path | World, *, render_mode: str | None = None, **overrides: Any
) -> RecAECEnv:
    """The same game as a PettingZoo AEC environment; see ``parallel_env``."""
    from recenv.env.aec import RecAECEnv

    return RecAECEnv(*resolve(source, overrides), render_mode=render_mode)


def single_env(
    source: str | Path | World, *, render_mode: str | None = None, **overrides: Any
) -> RecEnv:
    """The recommender alone as a Gymnasium environment; see ``parallel_env``."""
    from recenv.env.single import RecEnv

    return RecEnv(*resolve(source, overrides), render_mode=render_mode)


def vector_env(
    source: str | Path | World,
    *,
    num_envs: int = 1,
    autoreset_mode: AutoresetMode | str = "NextStep",
    copy: bool = True,
    threads: int = 1,
    render_mode: str | None = None,
    **overrides: Any,
) -> RecVectorEnv:
    """Many visits of ``single_env`` as one Gymnasium vector environment; see ``RecVectorEnv``."""
    from recenv.env.vector import RecVectorEnv

    return RecVectorEnv(
        *resolve(source, overrides),
        num_envs=num_envs,
        autoreset_mode=autoreset_mode,
        copy=copy,
        threads=threads,
        render_mode=render_mode,
    )


def world_env(world: str | Path | World | None = None, **settings: Any) -> RecEnv:
    """``single_env`` of ``recenv/World-v0``, whose world is an argument.

    Raises:
        ConfigError: no world was given; see also ``parallel_env``.
    """
    return single_env(_given(world), **settings)


def world_vector_env(world: str | Path | World | None = None, **settings: Any) -> RecVectorEnv:
    """``vector_env`` of ``recenv/World-v0``; see ``world_env``."""
    return vector_env(_given(world), **settings)


def world_parallel_env(world: str | Path | World | None = None, **settings: Any) -> RecParallelEnv:
    """``parallel_env`` of ``recenv/World-v0``; see ``world_env``."""
    return parallel_env(_given(world), **settings)


def world_aec_env(world: str | Path | World | None = None, **settings: Any) -> RecAECEnv:
    """``aec_env`` of ``recenv/World-v0``; see ``world_env``."""
    return aec_env(_given(world), **settings)


def _given(world: str | Path | World | None) -> str | Path | World:
    if world is None:
        raise ConfigError(
            f"{WORLD_ID} needs its world: give world=, a folder that World.save wrote or a World, "
            f'as gymnasium.make({WORLD_ID!r}, world="shop").'
        )
    return world


def register_all() -> None:
    """Register every id with Gymnasium and PettingZoo. Called by ``import recenv``."""
    for env_id in REGISTRY:
        told = {"source": env_id}
        _register(env_id, told, ("single_env", "vector_env"), parallel_env, aec_env)
    _register(WORLD_ID, {}, ("world_env", "world_vector_env"), world_parallel_env, world_aec_env)


def _register(
    env_id: str,
    kwargs: dict[str, Any],
    gymnasium_names: tuple[str, str],
    parallel: Callable[..., RecParallelEnv],
    aec: Callable[..., RecAECEnv],
) -> None:
    single, vector = (f"{__name__}:{name}" for name in gymnasium_names)
    if env_id not in gymnasium.registry:
        gymnasium.register(
            env_id, entry_point=single, vector_entry_point=vector, kwargs=dict(kwargs)
        )
    if env_id not in pettingzoo.parallel_registry:
        pettingzoo.register("parallel", env_id, parallel, kwargs=dict(kwargs))
    if env_id not in pettingzoo.aec_registry:
        pettingzoo.register("aec", env_id, aec, kwargs=dict(kwargs))
