"""Fixed opponents: policies of the side that does not learn, by name or from another run."""

from __future__ import annotations

from pathlib import Path

from recenv.config import GameConfig
from recenv.errors import ConfigError, UnknownNameError
from recenv.recommenders import (
    ALSRecommender,
    ContentRecommender,
    PopularityRecommender,
    RandomRecommender,
    Recommender,
)
from recenv.users.user_policy import UserPolicy
from recenv.world import World
from training.config import CLASSICAL, FITTED, Side
from training.runs.load_policy import NetworkRecommender, NetworkUser, load, load_user


def make_opponent(name: str, world: World, game: GameConfig | None = None) -> Recommender:
    """A classical recommender, or a trained one, which plays greedily.

    Args:
        name: "random", "popularity", "content", "als" (fitted on the world's training log), or
            the folder of a run, of one of its checkpoints, or of a policy.
        world: that it recommends in.
        game: that it is to play; not needed for a classical one.

    Raises:
        UnknownNameError: no such recommender, and no such folder.
        ArtifactError: the folder holds no recommender, or one of another world.
        ConfigError: it was trained in slates of another size, or with a history of another length.
    """
    makers = {
        "random": RandomRecommender,
        "popularity": PopularityRecommender,
        "content": lambda: ContentRecommender(world),
        "als": lambda: world.derive(("opponent", "als"), lambda: ALSRecommender(world)),
    }
    assert tuple(makers) == CLASSICAL
    if name in makers:
        return makers[name]()

    def make() -> NetworkRecommender:
        if not Path(name).is_dir():
            raise UnknownNameError("opponent (nor is it a run's folder)", name, makers)
        return load(name, world, name=f"recommender of {Path(name).name}")

    trained = world.derive(("recommender of", name), make)  # so that it reaches every worker
    if game is not None:
        _check_slots("recommender", name, trained.network.slots, game)
        _check_history(name, len(trained.network.memory), game)
    return trained


def make_fixed_user(name: str, world: World, game: GameConfig) -> UserPolicy | None:
    """A trained user, which draws its answers; None for the fitted one.

    Args:
        name: "fitted", or the folder of a run, of one of its checkpoints, or of a policy.
        world: that it lives in.
        game: that it is to play.

    Raises:
        UnknownNameError: neither that name nor such a folder.
        ArtifactError: the folder holds no user, or one of another world.
        ConfigError: it was trained in slates of another size.
    """
    if name == FITTED:
        return None

    def make() -> NetworkUser:
        if not Path(name).is_dir():
            raise UnknownNameError("fixed user (nor is it a run's folder)", name, [FITTED])
        return load_user(name, world, name=f"user of {Path(name).name}")

    trained = world.derive(("user of", name), make)
    _check_slots("user", name, trained.network.slots, game)
    return trained


def _check_slots(side: Side, name: str, slots: int, game: GameConfig) -> None:
    if slots != game.slate_size:
        raise ConfigError(
            f"The {side} of {name} was trained with slates of {slots}, but this game's have "
            f"{game.slate_size}. Play with --game.slate_size {slots}, or take another {side}."
        )


def _check_history(name: str, history: int, game: GameConfig) -> None:
    if history != game.history_length:
        raise ConfigError(
            f"The recommender of {name} looks back on {history} items, but this game shows "
            f"{game.history_length}. Play with --game.history_length {history}, or take another "
            "recommender."
        )
