"""The log that a world is judged by: the one it was built from, or one that it emits."""

from __future__ import annotations

from recenv.config import GameConfig, SplitConfig
from recenv.data import Split, dataset_names, load, make_split
from recenv.errors import ConfigError
from recenv.schema import InteractionLog
from recenv.synthetic.log import emit_log
from recenv.world import World

_PLANTED_VISITS, _PLANTED_SEED = 20, 20_000


def held_out(world: World, game: GameConfig | None = None) -> tuple[InteractionLog, Split]:
    """The whole log that a world was built from, and its split.

    A planted world has no log: it emits a fresh one, half of it held out, so that the report
    shows what a simulator that is the truth looks like.

    Args:
        world: planted, or built by ``recenv.build_world``.
        game: rules of the visits that a planted world emits; by default ``GameConfig``'s, with
            no more candidates than there are items.

    Raises:
        ConfigError: the world was saved without its held-out events, by an earlier recenv, and
            its log is no public data set.
        DataNotFoundError: see ``recenv.load``.
    """
    if world.config is None:
        few = min(GameConfig.num_candidates, len(world.catalog))
        game = game or GameConfig(num_candidates=few)
        log = emit_log(world, game, visits_per_user=_PLANTED_VISITS, seed=_PLANTED_SEED)
        return log, make_split(log, SplitConfig(test_fraction=0.5))
    if world.tested_on is not None:
        return world.whole_log()
    name = world.train.name
    if name not in dataset_names():
        raise ConfigError(
            f"The world {world.name!r} was built from the log {name!r} and saved by an earlier "
            "recenv without the events that it was not fitted on. Build and save it again "
            "(recenv.build_world, World.save), or call "
            "recenv.evaluation.fidelity.fidelity(world, log) with the log itself."
        )
    log = load(name)[0]
    return log, make_split(log, world.config.split)
