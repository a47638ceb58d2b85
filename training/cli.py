"""Command-line flags derived from the config dataclasses: one list of settings, one default."""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from recenv.config import Config
from recenv.errors import ConfigError
from training.config import TrainConfig

_GAME = "--game."


def make_parser(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with one flag for every setting of ``TrainConfig``.

    Args:
        description: the command's text, of which the first paragraph is shown.
        defaults: those that differ from ``TrainConfig``'s, for the help; see ``config_of``.

    A nested setting is written with a dot (``--ippo.learning-rate``). ``--game.<setting> value``
    overrides any setting of ``recenv.config.GameConfig`` (``--game.reward.cooperation 1``).
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Any setting of the game: --game.slate_size 1, --game.reward.cooperation 0.5 ...",
        allow_abbrev=False,
    )
    settings = parser.add_argument_group("settings (defaults in brackets)")
    for name, hint, default in _leaves(TrainConfig()):
        flag = "--" + name.replace("_", "-")
        options: dict[str, Any] = {
            "dest": name,
            "default": argparse.SUPPRESS,
            "help": f"[{defaults.get(name, default)}]",
        }
        if hint is bool:
            settings.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        elif typing.get_origin(hint) is Literal:
            settings.add_argument(flag, choices=typing.get_args(hint), **options)
        else:
            settings.add_argument(flag, type=hint, metavar=hint.__name__.upper(), **options)
    return parser


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress`` and ``--no-progress``; None if neither is given."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="a bar in a terminal, elsewhere lines [yes]",
    )


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """(all arguments, the settings given as flags, nested as ``TrainConfig.from_dict`` wants).

    Raises:
        ConfigError: a ``--game.`` flag without a value.
        SystemExit: an unknown flag, or a value of the wrong type.
    """
    arguments, rest = parser.parse_known_args(argv)
    given: dict[str, Any] = {}
    while rest:
        flag = rest.pop(0)
        if not flag.startswith(_GAME):
            parser.error(f"unrecognized argument: {flag}")
        key, _, value = flag.removeprefix(_GAME).partition("=")
        if not value:
            if not rest:
                raise ConfigError(f"{flag} wants a value, as in {flag} 1.")
            value = rest.pop(0)
        _put(given, ["game", *key.replace("-", "_").split(".")], _toml_value(value))
    for name, _, _ in _leaves(TrainConfig()):
        if hasattr(arguments, name):
            _put(given, name.split("."), getattr(arguments, name))
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


def _leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, type, default) of every plain setting."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if isinstance(value, Config):
            yield from _leaves(value, f"{prefix}{field.name}.")
        elif hint is not dict:
            if isinstance(hint, types.UnionType):
                hint = next(a for a in typing.get_args(hint) if a is not type(None))
            yield f"{prefix}{field.name}", hint, value


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
