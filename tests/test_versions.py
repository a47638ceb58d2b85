"""Packages whose private parts are used have bounds: those of the package, checked at the start."""

import tomllib
from pathlib import Path

import pytest

from recenv.errors import UnsupportedVersionError, require_version
from recenv.jit import compiled

ROOT = Path(__file__).parent.parent


def test_versions_with_unknown_private_parts_are_refused():
    require_version("numba", "0.61.0rc1", "0.61", "0.69")
    require_version("numba", "0.68.99", "0.61", "0.69")
    for found in ("0.60.2", "0.69.0", "1.0", "0.69.0dev0+12.gabc"):
        with pytest.raises(UnsupportedVersionError, match=r"pip install 'numba>=0\.61,<0\.69'"):
            require_version("numba", found, "0.61", "0.69")


def test_bounds_are_those_of_the_package():
    from training.cluster import RAY

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "numba>={},<{}".format(*compiled.NUMBA) in project["dependencies"]
    assert "ray[rllib]>={},<{}".format(*RAY) in project["optional-dependencies"]["train"]
