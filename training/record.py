"""Recording of played visits, as ids: ``recenv record``.

Writes one Parquet file, a row a visit: the user, the ids of each slate, the answers. What the
agents saw is rebuilt from it when it is read (``training.sampling.demonstrations``); ``--algorithm
bc`` learns from it.
"""

from __future__ import annotations

from training import command  # first: it tells what is missing, and takes signals

# isort: split
import argparse
import sys
from pathlib import Path
from typing import Any

from recenv.arguments import Parser
from recenv.config import GameConfig, describe
from recenv.recommenders import OracleRecommender, PrivilegedRecommender, Recommender
from recenv.sim.simulator import Simulator
from recenv.world import World
from training.cli import parse
from training.config import FITTED, TrainConfig
from training.runs.opponents import make_fixed_user, make_opponent
from training.runs.recording import RecordedVisits, record, save
from training.world import resolve

ORACLE = "oracle"


def make_recorded(name: str, world: World, game: GameConfig) -> Recommender | PrivilegedRecommender:
    """A recommender to record: the greedy oracle, or as ``make_opponent``.

    Raises:
        UnknownNameError: no such recommender, and no such folder.
        ArtifactError: the folder holds no recommender, or one of another world.
    """
    return OracleRecommender() if name == ORACLE else make_opponent(name, world, game)


def main(argv: list[str] | None = None) -> int:
    """The command; see ``--help``. Returns the exit code."""
    parser = Parser(
        "recenv record",
        __doc__ or "",
        epilog="Any setting of the game: --game.slate-size 1, --game.users all ...; `recenv train "
        "--help game`\nlists them.",
    )
    parser.add_argument(
        "--env", default=TrainConfig.env, help=f"{describe(TrainConfig)['env']} [{TrainConfig.env}]"
    )
    parser.add_argument(
        "--policy",
        default="popularity",
        help="fills the slates: random, popularity, content, als, oracle or a run's folder "
        "[popularity]",
    )
    parser.add_argument(
        "--user", default=FITTED, help=f"answers them: {FITTED}, or a run's folder [{FITTED}]"
    )
    parser.add_argument("--visits", type=int, default=2000, help="how many [2000]")
    parser.add_argument("--seed", type=int, default=0, help="of their draws [0]")
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    parser.add_progress()
    return command.run(lambda stop: _record(*parse(parser, argv)))


def _record(arguments: argparse.Namespace, given: dict[str, Any]) -> int:
    world, game = resolve(arguments.env, given.get("game", {}))
    recommender = make_recorded(arguments.policy, world, game)
    visits = record(
        Simulator(world, game),
        recommender,
        make_fixed_user(arguments.user, world, game),
        visits=arguments.visits,
        seed=arguments.seed,
        progress=arguments.progress,
    )
    meta = {
        "env": arguments.env,
        "world": world.hash,
        "world_name": world.name,
        "game": game.to_dict(),
        "recommender": recommender.name,
        "user": arguments.user,
        "seed": arguments.seed,
    }
    print(_told(save(arguments.out, visits, meta), visits))
    return 0


def _told(path: Path, visits: RecordedVisits) -> str:
    rounds, size = int(visits.starts[-1]), path.stat().st_size
    assert visits.rewards is not None
    ours, theirs = visits.rewards.mean(0)
    return (
        f"Recorded: {path}: {len(visits)} visits, {rounds} rounds, {size / 1000:.0f} kB "
        f"({size / rounds:.1f} bytes a round); mean reward of the recommender {ours:.2f}, of the "
        f"user {theirs:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
