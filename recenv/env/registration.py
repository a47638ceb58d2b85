"""Environment ids, and the ways to make an environment from one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gymnasium
import pettingzoo

from recenv.config import GameConfig, SplitConfig, UserModelConfig, WorldConfig
from recenv.errors import UnknownNameError

if TYPE_CHECKING:
    from gymnasium.vector import AutoresetMode

    from recenv.env.aec import RecAECEnv
    from recenv.env.parallel import RecParallelEnv
    from recenv.env.single import RecEnv
    from recenv.env.vector import RecVectorEnv
    from recenv.world import World


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


@lru_cache(maxsize=8)
def load_world(env_id: str) -> World:
    """The world of an id, built at first use and cached on disk and in this process.

    Raises:
        UnknownNameError: no such id.
    """
    return env_spec(env_id).make_world()


def resolve(source: str | World, overrides: dict[str, Any]) -> tuple[World, GameConfig]:
    """World and game of an id or a world, with the game's settings overridden.

    Raises:
        UnknownNameError: no such id, or no such setting.
        ConfigError: a setting has a wrong value.
    """
    if isinstance(source, str):
        return load_world(source), env_spec(source).game.replace(**overrides)
    fitting = {"num_candidates": min(GameConfig.num_candidates, len(source.catalog))}
    return source, GameConfig.from_dict({**fitting, **overrides})


def parallel_env(
    source: str | World,
    *,
    render_mode: str | None = None,
    num_sessions: int = 1,
    **overrides: Any,
) -> RecParallelEnv:
    """A PettingZoo parallel environment.

    Args:
        source: an environment id, or a world of your own (``recenv.build_world``).
        render_mode: None or "ansi".
        num_sessions: visits side by side, each with a recommender and a user of its own.
        overrides: settings of ``GameConfig``, as ``slate_size=1`` or
            ``reward={"cooperation": 1.0}``.

    Raises:
        UnknownNameError: no such id, or no such setting.
        ConfigError: a setting has a wrong value, or does not fit the world.
    """
    from recenv.env.parallel import RecParallelEnv

    return RecParallelEnv(
        *resolve(source, overrides), render_mode=render_mode, num_sessions=num_sessions
    )


def aec_env(source: str | World, *, render_mode: str | None = None, **overrides: Any) -> RecAECEnv:
    """The same game as a PettingZoo AEC environment; see ``parallel_env``."""
    from recenv.env.aec import RecAECEnv

    return RecAECEnv(*resolve(source, overrides), render_mode=render_mode)


def single_env(source: str | World, *, render_mode: str | None = None, **overrides: Any) -> RecEnv:
    """The recommender alone as a Gymnasium environment; see ``parallel_env``."""
    from recenv.env.single import RecEnv

    return RecEnv(*resolve(source, overrides), render_mode=render_mode)


def vector_env(
    source: str | World,
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


def register_all() -> None:
    """Register every id with Gymnasium and PettingZoo. Called by ``import recenv``."""
    for env_id in REGISTRY:
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="recenv.env.registration:single_env",
                vector_entry_point="recenv.env.registration:vector_env",
                kwargs={"source": env_id},
            )
        if env_id not in pettingzoo.parallel_registry:
            pettingzoo.register("parallel", env_id, parallel_env, kwargs={"source": env_id})
        if env_id not in pettingzoo.aec_registry:
            pettingzoo.register("aec", env_id, aec_env, kwargs={"source": env_id})
