"""The ``recenv`` command.

$ recenv list
$ recenv build recenv/Toy-v0
$ recenv play recenv/Toy-v0 --seed 3 --recommender popularity
$ recenv compare recenv/Toy-v0 --users heldout --episodes 10 --out report
$ recenv fidelity recenv/Toy-v0 --out fidelity
$ recenv train --env recenv/Toy-v0

Commands of other packages, ``training``'s among them, are entry points of the group
``recenv.commands``: an object with a ``summary`` that is called with the arguments and returns the
exit code.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import recenv
from recenv.arguments import Parser, typed
from recenv.env.registration import REGISTRY, resolve
from recenv.errors import ConfigError, RecenvError, UnknownNameError

if TYPE_CHECKING:
    from recenv.config import GameConfig
    from recenv.recommenders import PrivilegedRecommender, Recommender
    from recenv.world import World

GROUP = "recenv.commands"
"""The group of entry points that are commands."""


class Command(Protocol):
    """A command of ``recenv``."""

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        ...

    def __call__(self, arguments: Sequence[str], /) -> int:
        """Run it; the exit code."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; ``argv`` without the program's name, by default the process's own.

    Returns:
        0; 2 after an error of recenv's own, 130 after Ctrl-C and 143 after SIGTERM, each told
        on one line of stderr. Whichever it is, locks are released and half-written files removed.
    """
    words = typed(argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"recenv {recenv.__version__}")
        return 0
    name, arguments = words[0], words[1:]
    if name in COMMANDS:
        return COMMANDS[name](arguments)
    try:
        return _loaded(name)(arguments)
    except RecenvError as error:
        return _told(error)


def _told(error: RecenvError) -> int:
    print(f"recenv: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _overview() -> str:
    """What ``recenv --help`` prints."""
    found = {name: _summary(name) for name in further()}
    own = {name: command.summary for name, command in COMMANDS.items()}
    width = max(map(len, [*own, *found]))

    def listed(title: str, summaries: Mapping[str, str]) -> list[str]:
        lines = [f"  {name:<{width}}  {summary}" for name, summary in summaries.items()]
        return [title, *lines, ""] if lines else []

    return "\n".join(
        [
            "usage: recenv COMMAND [arguments]",
            "       recenv --version",
            "",
            "Recommender-system environments fitted to logged interactions.",
            "",
            *listed("worlds:", own),
            *listed("training:", found),
            "`recenv COMMAND --help` tells a command's arguments.",
            "",
        ]
    )


def _summary(name: str) -> str:
    """What a command that another package adds does, or why it cannot be run."""
    try:
        return _loaded(name).summary
    except ConfigError as error:
        return f"({error})"


def further() -> dict[str, EntryPoint]:
    """The commands that installed packages add, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(name: str) -> Command:
    """A command that another package adds.

    Raises:
        UnknownNameError: there is none of this name.
        ConfigError: Python finds another package of the same name first.
    """
    known = further()
    if name not in known:
        advice = "`recenv --help` tells what each does."
        if not known:
            advice = "To train, install recenv again: what is installed has no such commands."
        raise UnknownNameError("command", name, [*COMMANDS, *known], advice)
    entry = known[name]
    package = entry.module.partition(".")[0]
    ours = Path(recenv.__file__).resolve().parents[1] / package
    found = find_spec(package)
    first = found and found.origin
    if ours.is_dir() and first and Path(first).resolve().parent != ours:
        raise ConfigError(
            f"recenv {name} is part of the package {ours}, but Python finds {first} first. Take "
            "that folder off PYTHONPATH, and run the command `recenv` rather than `python -m "
            "recenv.cli` beside it."
        )
    return entry.load()


@dataclass(frozen=True)
class _Own:
    """A command of this package.

    Attributes:
        name: as it is typed.
        summary: what it does, in a line.
        add: adds its arguments to a parser.
        run: what it does with them; given the whole command too, as it was typed.
    """

    name: str
    summary: str
    add: Callable[[Parser], None]
    run: Callable[[Any, str], None]

    def __call__(self, arguments: Sequence[str]) -> int:
        """Run it; the exit code."""
        parser = Parser(f"recenv {self.name}", f"{self.summary[0].upper()}{self.summary[1:]}.")
        self.add(parser)
        try:
            with _ended_by_sigterm():
                given = parser.parsed(arguments)
                self.run(given, shlex.join(["recenv", self.name, *arguments]))
        except RecenvError as error:
            return _told(error)
        except KeyboardInterrupt:
            print("recenv: interrupted; what was finished is kept.", file=sys.stderr)
            return 128 + signal.SIGINT
        except _TerminatedError:
            print("recenv: terminated; what was finished is kept.", file=sys.stderr)
            return 128 + signal.SIGTERM
        return 0


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


def _add_world(parser: Parser) -> None:
    parser.add_argument(
        "id", help="environment id, as 'recenv/Toy-v0', or the folder of a saved world"
    )


def _add_seed(parser: Parser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of the draws [0]")


def _add_play(parser: Parser) -> None:
    _add_world(parser)
    _add_seed(parser)
    parser.add_argument(
        "--recommender", default="popularity", help="a baseline's name [popularity]"
    )


def _add_compare(parser: Parser) -> None:
    _add_world(parser)
    _add_seed(parser)
    parser.add_choice(
        "--users", ("heldout", "train", "all"), default="heldout", help="who visits [heldout]"
    )
    parser.add_argument("--episodes", type=int, default=10, help="visits per user [10]")
    parser.add_argument("--out", type=Path, help="folder to write a report to")
    parser.add_progress()


def _add_fidelity(parser: Parser) -> None:
    _add_world(parser)
    _add_seed(parser)
    parser.add_argument("--out", type=Path, help="folder to write a report to")
    parser.add_progress()


def _list(given: Any, line: str) -> None:
    width = max(map(len, REGISTRY))
    for env_id, spec in sorted(REGISTRY.items()):
        game = spec.game
        print(
            f"{env_id:<{width}}  {game.slate_size} of {game.num_candidates} candidates, "
            f"at most {game.max_rounds} rounds"
        )


def _build(given: Any, line: str) -> None:
    print(_resolved(given.id)[0].describe())


def _play(given: Any, line: str) -> None:
    from recenv.env.visit import RECOMMENDER_AGENT, Visit
    from recenv.recommenders.base import recommend, tell

    world, game = _resolved(given.id)
    recommender = _named(given.recommender, world)
    visit = Visit(world, game, "ansi")
    visit.reset(given.seed, None)
    while visit.live:
        turn = recommend(recommender, visit.simulator, visit.state)
        visit.play(RECOMMENDER_AGENT, turn.slates[0] if game.slate_size > 1 else turn.slates[0, 0])
        visit.respond_fitted()
        tell(recommender, turn, visit.state, visit.outcome())
    print(visit.render(), end="")


def _resolved(source: str) -> tuple[World, GameConfig]:
    """World and game, after a line that says why it takes long, if no compiled game is kept yet."""
    from recenv.jit.compiled import FOLDER

    there = source in REGISTRY or Path(source).is_dir()
    if there and not any(FOLDER.rglob("*.nbi")):
        told = "recenv: compiling the game (kept for next time) ..."
        print(told, file=sys.stderr, flush=True)
    return resolve(source)


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


def _compare(given: Any, line: str) -> None:
    from recenv.benchmark import REPORT_FOLDER, compare, print_table, write_report
    from recenv.recommenders import baselines, left_out

    if given.out is not None:
        REPORT_FOLDER.check(given.out)
    for name, why in left_out().items():
        print(f"recenv: {name} is left out. {why}", file=sys.stderr)
    world, game = _resolved(given.id)
    comparison = compare(
        world,
        game,
        baselines(world),
        users=given.users,
        episodes_per_user=given.episodes,
        seed=given.seed,
        progress=given.progress,
    )
    told = f"{comparison.visitors}, {given.episodes} visits each, seed {given.seed}"
    print(f"{given.id}: {told}")
    print_table(comparison.rows())
    if given.out is not None:
        title = f"Baselines on {given.id}"
        report = write_report(given.out, comparison, title=title, command=line)
        print(f"Report: {report}")


def _fidelity(given: Any, line: str) -> None:
    from recenv.evaluation.fidelity import (
        REPORT_FOLDER,
        FidelityConfig,
        fidelity,
        held_out,
        write_fidelity,
    )

    if given.out is not None:
        REPORT_FOLDER.check(given.out)
    world, game = _resolved(given.id)
    report = fidelity(
        world,
        *held_out(world, game),
        FidelityConfig(seed=given.seed),
        reward=game.reward,
        command=line,
        progress=given.progress,
    )
    print(f"{given.id}: {report.verdict}")
    for line in report.broken:
        print(f"- {line}")
    if given.out is not None:
        print(f"Report: {write_fidelity(given.out, report)}")


COMMANDS: dict[str, Command] = {
    own.name: own
    for own in (
        _Own("list", "name the environment ids", lambda parser: None, _list),
        _Own("build", "build a world, or read it back, and describe it", _add_world, _build),
        _Own("play", "print one visit, answered by the fitted user", _add_play, _play),
        _Own("compare", "compare the baselines, with intervals", _add_compare, _compare),
        _Own("fidelity", "compare the simulator with held-out reality", _add_fidelity, _fidelity),
    )
}
"""The commands of this package, by name."""


if __name__ == "__main__":
    sys.exit(main())
