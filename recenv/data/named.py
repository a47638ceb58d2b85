"""Public data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recenv.data import movielens
from recenv.errors import UnknownNameError
from recenv.schema import Catalog, InteractionLog

_Loader = Callable[..., tuple[InteractionLog, Catalog]]
_LOADERS: dict[str, _Loader] = {movielens.NAME: movielens.load}


def dataset_names() -> tuple[str, ...]:
    """The names that ``load`` knows."""
    return tuple(sorted(_LOADERS))


def load(
    name: str,
    folder: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    progress: bool = True,
) -> tuple[InteractionLog, Catalog]:
    """A public data set as (log, catalogue).

    Looks in ``folder`` only, if one is named; otherwise in recenv's cache, in installed
    packages that carry the data, and then at the publisher's address.

    Args:
        name: one of ``dataset_names()``.
        folder: where the data set's own files lie.
        download: whether the publisher may be asked.
        base_url: another address in place of the publisher's (a mirror).
        progress: whether to show a bar while downloading.

    Raises:
        UnknownNameError: no data set of this name is known.
        DataNotFoundError: the files are in none of these places.
        SchemaError: a file is damaged; the message names file and row.
    """
    if name not in _LOADERS:
        raise UnknownNameError("data set", name, _LOADERS)
    return _LOADERS[name](folder, download=download, base_url=base_url, progress=progress)
