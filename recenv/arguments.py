"""Arguments of the commands: one look of the help, errors in one line that name what is near."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from recenv.errors import nearest, nearest_flags


class Parser(argparse.ArgumentParser):
    """A parser of one command's arguments; flags are written out whole.

    Args:
        prog: the command, as it is typed.
        description: its text, shown line by line.
        options: see ``argparse.ArgumentParser``.
    """

    def __init__(self, prog: str, description: str, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        text = description.replace("``", "").strip()
        super().__init__(prog=prog, description=text, allow_abbrev=False, **options)

    def add_choice(self, flag: str, names: Iterable[str], **options: Any) -> None:
        """Add an argument whose value is one of some names."""
        known = list(names)
        options.setdefault("metavar", f"{{{','.join(known)}}}")
        self.add_argument(flag, type=one_of(known), **options)

    def add_progress(self) -> None:
        """Add ``--progress`` and ``--no-progress``; None if neither is given."""
        self.add_argument(
            "--progress",
            action=argparse.BooleanOptionalAction,
            help="a bar in a terminal, elsewhere a line for each stage [yes]",
        )

    def parsed(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """The arguments.

        Args:
            argv: without the program's name, by default the process's own.

        Raises:
            SystemExit: a word that is no argument, or a value of the wrong type.
        """
        found, rest = self.parse_known_args(typed(argv))
        if rest:
            self.refuse(rest[0])
        return found

    def refuse(self, word: str, preferred: str = "") -> NoReturn:
        """End with an error for a word that is no argument.

        Args:
            word: that was given.
            preferred: beginning of flags that are named first where several are as near.
        """
        if not word.startswith("-"):
            self.error(f"{word!r} is one word too many")
        flag = word.partition("=")[0]
        near = nearest_flags(flag, self.known_flags(), preferred)
        self.error(f"there is no {flag}." + (f" Did you mean {' or '.join(near)}?" if near else ""))

    def known_flags(self) -> list[str]:
        """Every flag with two hyphens, in the order that they were added."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        return [flag for flag in flags if flag.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr and exit code 2."""
        text = " ".join(message.split())
        end = "" if text[-1] in ".?" else "."
        self.exit(2, f"{self.prog}: {text}{end} `{self.prog} --help` shows what there is.\n")


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """A type of arguments: one of some names."""

    def check(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(
                f"{text!r} is none of {', '.join(names)}.{nearest(text, names)}"
            )
        return text

    return check


def typed(argv: Sequence[str] | None) -> list[str]:
    """The arguments given, by default those of this process."""
    return list(sys.argv[1:] if argv is None else argv)
