"""Command-line flags derived from the config dataclasses: one list of settings, one default."""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from recenv.arguments import Parser, one_of, typed
from recenv.config import Config, GameConfig, RewardConfig, describe
from recenv.errors import ConfigError, UnknownNameError
from training.config import TrainConfig
from training.config.algorithms import ALGORITHMS

_GAME = "--game."
_GAME_PAGES = ("game", "reward")
_SHORT = (
    "env",
    "algorithm",
    "train",
    "opponent",
    "fixed_user",
    "kl_weight",
    "seed",
    "rounds",
    "evaluation_every",
    "num_env_runners",
    "warm_start",
    "network.init",
)
"""The settings that a command's own page of help shows."""

PAGES = {
    "run": "settings of a run",
    "network": "settings of both agents' networks",
    **{name: f"settings of --algorithm {name}" for name in ALGORITHMS},
    "game": "settings of the game, where they differ from the environment's own",
    "reward": "settings of the game's rewards, where they differ from the environment's own",
}
"""Pages of settings, by name, and their headings; "all" is all of them."""


@dataclass(frozen=True)
class _Setting:
    """A setting of ``TrainConfig`` or of a config inside it.

    Attributes:
        page: of ``PAGES``.
        name: with dots.
        hint: its type.
        default: its value if nobody says another; None if the environment does.
        meaning: what it is.
    """

    page: str
    name: str
    hint: Any
    default: Any
    meaning: str

    @property
    def flag(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")

    def add_to(self, parser: Any, *, shown: bool = True) -> None:
        """Add the flag to a parser or a group of it."""
        told = self.meaning.replace("``", "").rstrip(".")
        if self.default not in (None, ""):
            told += f" [{self.default}]"
        options: dict[str, Any] = {
            "dest": self.name,
            "default": argparse.SUPPRESS,
            "help": told.replace("%", "%%") if shown else argparse.SUPPRESS,
        }
        if self.hint is bool and self.page in _GAME_PAGES:
            parser.add_argument(self.flag, metavar="{true,false}", **options)
        elif self.hint is bool:
            parser.add_argument(self.flag, action=argparse.BooleanOptionalAction, **options)
        elif typing.get_origin(self.hint) is Literal:
            names = typing.get_args(self.hint)
            metavar = f"{{{','.join(names)}}}"
            parser.add_argument(self.flag, type=one_of(names), metavar=metavar, **options)
        else:
            metavar = self.hint.__name__.upper()
            parser.add_argument(self.flag, type=self.hint, metavar=metavar, **options)


class SettingsParser(Parser):
    """A parser with one flag for every setting of ``TrainConfig``, and pages of help.

    Args:
        prog: the command, as it is typed.
        description: its text.
        defaults: those that differ from ``TrainConfig``'s, for the help; see ``config_of``.

    A nested setting is written with a dot (``--ippo.learning-rate``). ``--game.<setting> value``
    overrides any setting of ``recenv.config.GameConfig`` (``--game.reward.cooperation 1``).
    """

    def __init__(self, prog: str, description: str, **defaults: Any) -> None:
        super().__init__(
            prog,
            description,
            usage=f"{prog} [options] [settings]",
            epilog=_epilog(prog),
            add_help=False,
        )
        self.add_argument(
            "-h", "--help", nargs="?", action=_Help, help="this page, or that of some settings",
            metavar="PAGE",
        )  # fmt: skip
        self._settings = list(_settings(defaults))
        own = [setting for setting in self._settings if setting.page not in _GAME_PAGES]
        shown = self.add_argument_group("settings used most (defaults in brackets)")
        for setting in own:
            setting.add_to(shown, shown=setting.name in _SHORT)

    def page(self, name: str) -> str:
        """The help for some settings.

        Args:
            name: of ``PAGES``, or "all".

        Raises:
            UnknownNameError: there is no such page.
        """
        if name not in (*PAGES, "all"):
            raise UnknownNameError("page of help", name, [*PAGES, "all"])
        parser = argparse.ArgumentParser(
            prog=self.prog, usage=self.usage, add_help=False, epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        for page, heading in PAGES.items():
            if name in (page, "all"):
                group = parser.add_argument_group(f"{heading} (defaults in brackets)")
                for setting in self._settings:
                    if setting.page == page:
                        setting.add_to(group)
        return parser.format_help()

    def known_flags(self) -> list[str]:
        """See ``Parser``; those of the game, too."""
        game = [s.flag for s in self._settings if s.page in _GAME_PAGES]
        return [*super().known_flags(), *game]


class _Help(argparse.Action):
    """Print a page of help and end."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        try:
            print(parser.page(values) if values else parser.format_help(), end="")
        except UnknownNameError as error:
            parser.error(str(error))
        parser.exit()


def _epilog(prog: str) -> str:
    return (
        f"All settings: `{prog} --help all`, or one page of\n{', '.join(PAGES)}.\n"
        "Settings can stand in a TOML file, too (--config); flags go on top."
    )


def parse(parser: Parser, argv: list[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """(all arguments, the settings given as flags, nested as ``TrainConfig.from_dict`` wants).

    Raises:
        ConfigError: a ``--game.`` flag without a value.
        SystemExit: an unknown flag, or a value of the wrong type.
    """
    arguments, rest = parser.parse_known_args(typed(argv))
    given: dict[str, Any] = {}
    while rest:
        flag = rest.pop(0)
        if not flag.startswith(_GAME):
            parser.refuse(flag, f"--{getattr(arguments, 'algorithm', TrainConfig.algorithm)}.")
        key, _, value = flag.removeprefix(_GAME).partition("=")
        if not value:
            if not rest:
                raise ConfigError(f"{flag} wants a value, as in {flag} 1.")
            value = rest.pop(0)
        _put(given, ["game", *key.replace("-", "_").split(".")], _toml_value(value))
    for setting in _settings({}):
        if hasattr(arguments, setting.name):
            _put(given, setting.name.split("."), getattr(arguments, setting.name))
    return arguments, given


def merged(base: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    """A config with flags on top; the game's settings are merged one by one."""
    changes = dict(given)
    if "game" in changes:
        changes["game"] = _merge(base.game, changes["game"])
    return base.replace(**changes)


def config_of(path: Path | None, given: dict[str, Any], **defaults: Any) -> TrainConfig:
    """The config of a file (or the defaults) with flags on top.

    Args:
        path: of a TOML file.
        given: settings given as flags.
        defaults: a command's own, where neither says anything.

    Raises:
        ConfigError: a value is wrong, or there is no such file.
        UnknownNameError: an unknown key.
    """
    if path is None:
        return merged(TrainConfig(), {**defaults, **given})
    if not path.is_file():
        raise ConfigError(f"There is no config file {path}. --config wants a TOML file.")
    config = TrainConfig.from_toml(path)
    stated = tomllib.loads(path.read_text())
    return merged(config, {**{k: v for k, v in defaults.items() if k not in stated}, **given})


def _settings(defaults: dict[str, Any]) -> Iterator[_Setting]:
    """Every plain setting, page by page."""
    config = TrainConfig()
    for setting in _leaves("run", config):
        yield dataclasses.replace(setting, default=defaults.get(setting.name, setting.default))
    for page in ("network", *ALGORITHMS):
        yield from _leaves(page, getattr(config, page), f"{page}.")
    for page, part, prefix in (
        ("game", GameConfig(), "game."),
        ("reward", RewardConfig(), "game.reward."),
    ):
        for setting in _leaves(page, part, prefix):
            if (page, setting.name) != ("reward", "game.reward.behaviour_weight"):
                yield dataclasses.replace(setting, default=None)


def _leaves(page: str, config: Config, prefix: str = "") -> Iterator[_Setting]:
    """The plain settings of a config, without those of configs inside it."""
    hints, meanings = typing.get_type_hints(type(config)), describe(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if isinstance(value, Config) or hint is dict:
            continue
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            hint = next(a for a in typing.get_args(hint) if a is not type(None))
        yield _Setting(page, f"{prefix}{field.name}", hint, value, meanings[field.name])


def _toml_value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(
                f"--{'.'.join(path)} names a setting inside {key!r}, but {key!r} was given the "
                f"value {tree!r}. Give one or the other."
            )
    tree[path[-1]] = value


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    out = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            value = _merge(cast("dict[str, Any]", out[key]), value)
        out[key] = value
    return out
