"""Cells of the study of foreign worlds: a setting's truth, its log's own estimates, and a fit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recenv.artifacts import home
from recenv.config import Config, WorldConfig, content_hash
from recenv.errors import RecenvError
from recenv.studies.cells import Cell, sources_hash
from recenv.studies.foreign.estimators import estimates
from recenv.studies.foreign.logs import Setting, emitted, tables_of, true_values
from recenv.studies.foreign.twins import Twin, fitted, logging_measures, policy_values, seeded

_POLICIES = ("studies/foreign/policies.py", "studies/foreign/logs.py")
_SOURCES = (
    *_POLICIES,
    "studies/foreign/twins.py",
    "users",
    "sim",
    "jit",
    "encoders",
    "data",
    "config.py",
    "rng.py",
    "world.py",
)


@dataclass(frozen=True)
class ForeignConfig(Config):
    """Sizes of the measurements.

    Attributes:
        true_visits: of every policy in the simulator itself, 2 or more.
        visits: of every policy in a fitted world, 1 or more.
        fits: of each log, with other seeds of split, vectors and users; 1 or more.
        build: how a log is split, encoded and fitted: the defaults.
    """

    true_visits: int = 1000
    visits: int = 2000
    fits: int = 3
    build: WorldConfig = field(default_factory=WorldConfig)

    def check(self) -> None:
        """Raise ConfigError where a value is out of range."""
        self.require_counts("true_visits", "visits", "fits")
        self.require(self.true_visits >= 2, "true_visits", "at least 2, for their error")


def environments() -> Path:
    """Folder of the virtual environments, which the speed study shares."""
    return home() / "peers"


def code_hash() -> str:
    """Hash of the code that fits and simulates."""
    return sources_hash(*_SOURCES)


def truth_cell(setting: Setting, config: ForeignConfig, folder: Path) -> Cell:
    """True values of the policies; see ``logs.true_values``."""
    name = content_hash(setting.key, config.true_visits, sources_hash(*_POLICIES))
    return Cell(f"truth-{name}", measure_truth, (setting, config.true_visits, folder))


def log_cell(setting: Setting, folder: Path) -> Cell:
    """Sizes of a log and what its own estimators say."""
    code = sources_hash(*_POLICIES, "studies/foreign/estimators.py", "evaluation/off_policy.py")
    return Cell(f"log-{content_hash(setting.key, code)}", measure_log, (setting, folder))


def fit_cell(setting: Setting, config: ForeignConfig, seed: int, folder: Path) -> Cell:
    """One fit to a log and what the fitted users say of the policies."""
    name = content_hash(setting.key, config.build.to_dict(), config.visits, seed, code_hash())
    given = setting, config.build, config.visits, seed, folder
    return Cell(f"fit-{name}", measure_fit, given)


def measure_truth(setting: Setting, visits: int, folder: Path) -> dict[str, Any]:
    """See ``truth_cell``."""
    arrays = emitted(setting, folder, environments())
    return true_values(setting, tables_of(setting, arrays), visits, folder, environments())


def measure_log(setting: Setting, folder: Path) -> dict[str, Any]:
    """See ``log_cell``."""
    arrays = emitted(setting, folder, environments())
    visits = len(np.unique(arrays["session"]))
    return {
        "users": len(np.unique(arrays["user"])),
        "impressions": len(arrays["item"]),
        "clicks": int(arrays["click"].sum()),
        "views": len(arrays["view_item"]),
        "visits": visits,
        "rounds": len(arrays["item"]) / setting.slate / visits,
        "estimates": estimates(setting, arrays),
    }


def measure_fit(
    setting: Setting, build: WorldConfig, visits: int, seed: int, folder: Path
) -> dict[str, Any]:
    """See ``fit_cell``; a log that recenv refuses to fit gives ``error``, its message."""
    arrays = emitted(setting, folder, environments())
    start = time.process_time()
    try:
        world = fitted(setting, arrays, seeded(build, seed))
    except RecenvError as error:
        return {"seed": seed, "error": f"{type(error).__name__}: {error}"}
    seconds = time.process_time() - start
    twin = Twin(setting, arrays, world)
    return {
        "seed": seed,
        "world": world.hash,
        "fit_seconds": seconds,
        "notes": list(world.notes),
        **policy_values(twin, tables_of(setting, arrays), visits),
        "logging": logging_measures(twin, arrays),
    }
