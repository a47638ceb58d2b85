"""Command line of recenv: list, build, play, compare, fidelity.

$ recenv list
$ recenv build recenv/Toy-v0
$ recenv play recenv/Toy-v0 --seed 3 --recommender popularity
$ recenv compare recenv/Toy-v0 --users heldout --episodes 10 --out report
$ recenv fidelity recenv/Toy-v0 --out fidelity
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recenv.env.registration import REGISTRY, load_world, resolve
from recenv.errors import ConfigError, RecenvError, UnknownNameError

if TYPE_CHECKING:
    from recenv.evaluation import Pool
    from recenv.recommenders import PrivilegedRecommender, Recommender
    from recenv.world import World


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; ``argv`` without the program's name, by default the process's own.

    Returns:
        0; 2 after an error of recenv's own, 130 after Ctrl-C and 143 after SIGTERM, each told
        on one line of stderr. Whichever it is, locks are released and half-written files removed.
    """
    try:
        with _ended_by_sigterm():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("recenv: interrupted; what was finished is kept.", file=sys.stderr)
        return 128 + signal.SIGINT
    except _TerminatedError:
        print("recenv: terminated; what was finished is kept.", file=sys.stderr)
        return 128 + signal.SIGTERM


class _TerminatedError(BaseException):
    """SIGTERM came; like KeyboardInterrupt, it is no Exception that code on the way may handle."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM unwind the stack as Ctrl-C does, unless somebody else handles it."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise _TerminatedError

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: list[str]) -> int:
    """The command, without what signals do."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            _list()
        elif options.command == "build":
            print(load_world(options.id).describe())
        elif options.command == "play":
            _play(options.id, options.seed, options.recommender)
        elif options.command == "fidelity":
            command = shlex.join(["recenv", *arguments])
            _fidelity(options.id, options.seed, options.out, command)
        else:
            command = shlex.join(["recenv", *arguments])
            _compare(
                options.id, options.users, options.episodes, options.seed, options.out, command
            )
    except RecenvError as error:
        print(f"recenv: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recenv", description="Recommender-system environments fitted to logged interactions."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the environment ids")
    build = commands.add_parser("build", help="build a world, or read it back, and describe it")
    play = commands.add_parser("play", help="print one visit, answered by the fitted user")
    compare = commands.add_parser("compare", help="compare the baselines, with intervals")
    fidelity = commands.add_parser("fidelity", help="compare the simulator with held-out reality")
    for command in (build, play, compare, fidelity):
        command.add_argument(
            "id", help="environment id, as 'recenv/Toy-v0', or the folder of a saved world"
        )
    fidelity.add_argument("--out", type=Path, help="folder to write a report to")
    for command in (play, compare, fidelity):
        command.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    play.add_argument(
        "--recommender", default="popularity", help="a baseline's name (default: popularity)"
    )
    compare.add_argument(
        "--users",
        choices=("heldout", "train", "all"),
        default="heldout",
        help="who visits (default: heldout)",
    )
    compare.add_argument("--episodes", type=int, default=10, help="visits per user (default: 10)")
    compare.add_argument("--out", type=Path, help="folder to write a report to")
    return parser


def _list() -> None:
    width = max(map(len, REGISTRY))
    for env_id, spec in sorted(REGISTRY.items()):
        game = spec.game
        print(
            f"{env_id:<{width}}  {game.slate_size} of {game.num_candidates} candidates, "
            f"at most {game.max_rounds} rounds"
        )


def _play(source: str, seed: int, name: str) -> None:
    from recenv.env.visit import RECOMMENDER_AGENT, Visit
    from recenv.recommenders.base import recommend, tell

    world, game = resolve(source)
    recommender = _named(name, world)
    visit = Visit(world, game, "ansi")
    visit.reset(seed, None)
    while visit.live:
        turn = recommend(recommender, visit.simulator, visit.state)
        visit.play(RECOMMENDER_AGENT, turn.slates[0] if game.slate_size > 1 else turn.slates[0, 0])
        visit.respond_fitted()
        tell(recommender, turn, visit.state, visit.outcome())
    print(visit.render(), end="")


def _named(name: str, world: World) -> Recommender | PrivilegedRecommender:
    """A baseline by the first word of its name, in any case ("oracle", "als")."""
    from recenv.recommenders import baselines, left_out

    missing = {key.lower(): why for key, why in left_out().items()}
    if name.lower() in missing:
        raise ConfigError(missing[name.lower()])
    known = {r.name.split()[0].lower(): r for r in baselines(world)}
    if name.lower() not in known:
        raise UnknownNameError("recommender", name, known)
    return known[name.lower()]


def _compare(
    source: str, users: Pool, episodes: int, seed: int, out: Path | None, command: str
) -> None:
    from recenv.benchmark import REPORT_FOLDER, compare, print_table, write_report
    from recenv.recommenders import baselines, left_out

    if out is not None:
        REPORT_FOLDER.check(out)
    for name, why in left_out().items():
        print(f"recenv: {name} is left out. {why}", file=sys.stderr)
    world, game = resolve(source)
    comparison = compare(
        world,
        game,
        baselines(world),
        users=users,
        episodes_per_user=episodes,
        seed=seed,
        progress=sys.stderr.isatty(),
    )
    print(f"{source}: {comparison.visitors}, {episodes} visits each, seed {seed}")
    print_table(comparison.rows())
    if out is not None:
        report = write_report(out, comparison, title=f"Baselines on {source}", command=command)
        print(f"Report: {report}")


def _fidelity(source: str, seed: int, out: Path | None, command: str) -> None:
    from recenv.evaluation.fidelity import (
        REPORT_FOLDER,
        FidelityConfig,
        fidelity,
        held_out,
        write_fidelity,
    )

    if out is not None:
        REPORT_FOLDER.check(out)
    world, game = resolve(source)
    report = fidelity(
        world,
        *held_out(world, game),
        FidelityConfig(seed=seed),
        reward=game.reward,
        command=command,
        progress=sys.stderr.isatty(),
    )
    print(f"{source}: {report.verdict}")
    for line in report.broken:
        print(f"- {line}")
    if out is not None:
        print(f"Report: {write_fidelity(out, report)}")


if __name__ == "__main__":
    sys.exit(main())
