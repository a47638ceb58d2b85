"""Search space: a TOML file in the shape of a config, with domains in place of values.

::

    [ippo]
    learning_rate = { loguniform = [1e-4, 1e-2] }
    epochs = { grid = [2, 4] }
    [game.reward]
    cooperation = { choice = [0.0, 0.5, 1.0] }

``grid`` tries every value, as often as there are samples; ``choice``, ``uniform``,
``loguniform``, ``randint`` and ``lograndint`` draw one for each trial. Ranges are
``[low, high]``; the high end of integers is not drawn. A plain value is the same in all trials.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recenv.errors import ConfigError
from training.cli import merged
from training.config import TrainConfig

LISTS = ("grid", "choice")
RANGES = ("uniform", "loguniform", "randint", "lograndint")

Values = dict[str, Any]
"""Dotted name of a setting to its value."""


@dataclass(frozen=True)
class Domain:
    """Domain of a setting: its distribution and bounds.

    Attributes:
        kind: one of ``LISTS`` or ``RANGES``.
        values: of a list, or the two ends of a range.
    """

    kind: str
    values: tuple[Any, ...]

    def check(self, name: str) -> None:
        """Raise ConfigError unless the values fit the kind."""
        if not self.values:
            raise ConfigError(f"{name}.{self.kind} is empty. List at least one value.")
        if self.kind in LISTS:
            return
        low, high = self.values if len(self.values) == 2 else (1, 0)
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        if not (numbers and low < high and (low > 0 or not self.kind.startswith("log"))):
            positive = " positive" if self.kind.startswith("log") else ""
            raise ConfigError(
                f"{name}.{self.kind} wants two{positive} numbers [low, high] with low < high, "
                f"but is {list(self.values)}."
            )
        if "int" in self.kind and not all(isinstance(v, int) for v in self.values):
            raise ConfigError(f"{name}.{self.kind} wants whole numbers, but is {self.values}.")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all: the whole list, or both ends of the range."""
        if self.kind in LISTS:
            return self.values
        low, high = self.values
        return (low, high - 1) if "int" in self.kind else (float(low), float(high))


@dataclass(frozen=True)
class Space:
    """Search space: a config's settings, some with domains.

    Attributes:
        domains: by dotted name of the setting.
        fixed: settings that are the same in all trials.
    """

    domains: dict[str, Domain] = field(default_factory=dict)
    fixed: Values = field(default_factory=dict)

    @classmethod
    def from_toml(cls, source: str | Path) -> Space:
        """Read TOML text, or a file if a Path is given.

        Raises:
            ConfigError: it is no TOML, has no domain, or a domain's values do not fit.
        """
        if isinstance(source, Path) and not source.is_file():
            raise ConfigError(f"There is no file {source}. --space wants a TOML file.")
        try:
            text = source.read_text() if isinstance(source, Path) else source
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Not valid TOML ({error}). Mend the file and try again.") from error
        space = cls()
        space._read(tree, "")
        if not space.domains:
            raise ConfigError(
                "The space has nothing to search. Give a domain to at least one setting, as in "
                "ippo.learning_rate = { loguniform = [1e-4, 1e-2] }."
            )
        return space

    def _read(self, tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            name = f"{prefix}{key}"
            if not isinstance(value, dict):
                self.fixed[name] = value
                continue
            kinds = [k for k in value if k in (*LISTS, *RANGES)]
            if not kinds:
                self._read(value, f"{name}.")
                continue
            if len(value) > 1 or not isinstance(value[kinds[0]], list):
                raise ConfigError(
                    f"{name} wants one domain with a list, as in {{ {kinds[0]} = [...] }}, but is "
                    f"{value}."
                )
            domain = Domain(kinds[0], tuple(value[kinds[0]]))
            domain.check(name)
            self.domains[name] = domain

    def check(self, base: TrainConfig) -> None:
        """Raise ConfigError or UnknownNameError unless the values suit a config.

        Each domain is tried alone, at its ends.
        """
        for name, domain in self.domains.items():
            for value in domain.ends:
                config_with(base, {**self.fixed, name: value})

    def draw(self, samples: int, seed: int) -> list[Values]:
        """Settings of every trial: ``samples`` times the product of the grids.

        Drawn by Ray Tune; the same for the same seed.
        """
        from ray import tune
        from ray.tune.search.variant_generator import generate_variants

        make = {
            "grid": lambda *values: tune.grid_search(list(values)),
            "choice": lambda *values: tune.choice(list(values)),
            "uniform": tune.uniform,
            "loguniform": tune.loguniform,
            "randint": tune.randint,
            "lograndint": tune.lograndint,
        }
        # dots would be taken for nesting
        names = {name.replace(".", "/"): name for name in self.domains}
        spec = {
            key: make[domain.kind](*domain.values)
            for key, domain in zip(names, self.domains.values(), strict=True)
        }
        state = np.random.default_rng(seed)
        trials = []
        for _ in range(samples):
            for _, drawn in generate_variants(spec, random_state=state):
                values = {names[key]: _plain(value) for key, value in drawn.items()}
                trials.append({**self.fixed, **values})
        return trials


def config_with(base: TrainConfig, values: Values) -> TrainConfig:
    """A config with settings by dotted name on top.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
        UnknownNameError: a name that is no setting.
    """
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        here = tree
        for key in path:
            here = here.setdefault(key, {})
        here[last] = value
    return merged(base, tree)


def _plain(value: Any) -> Any:
    """Python number from a NumPy one."""
    return value.item() if isinstance(value, np.generic) else value
