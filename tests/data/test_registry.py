"""The registry of data sets."""

from __future__ import annotations

import inspect

import pytest

from recenv.data import load
from recenv.data.registry import DATA_SETS
from recenv.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_entry_is_whole(name: str) -> None:
    one = DATA_SETS[name]
    assert one.publication.name == name
    assert one.publication.page.startswith(("https://", "http://", "the wheel "))
    assert one.publication.files
    assert one.publication.cite
    taken = inspect.signature(one.loader).parameters
    assert all(taken[option].kind is inspect.Parameter.KEYWORD_ONLY for option in one.options)
    # what a loader wants beyond that has a default
    rest = [p for key, p in taken.items() if key not in ("folder", *one.options)]
    assert all(p.default is not inspect.Parameter.empty for p in rest)


def test_options_that_a_data_set_has_not() -> None:
    for name, one in DATA_SETS.items():
        if "base_url" not in one.options:
            with pytest.raises(ConfigError, match=rf"not download {name}.*{one.publication.page}"):
                load(name, base_url="https://example.org")
        if "sample_users" not in one.options:
            with pytest.raises(ConfigError, match="leave sample_users out"):
                load(name, sample_users=0.5)
    with pytest.raises(UnknownNameError, match="movielens-100k"):
        load("movielens-100")
