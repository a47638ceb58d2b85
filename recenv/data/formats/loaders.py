"""The readers by the names that ``recenv.data.load`` knows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from recenv.data.formats.amazon import AMAZON, read_amazon
from recenv.data.formats.atomic import PUBLISHED, read_atomic
from recenv.data.formats.common import Publication
from recenv.data.formats.kuaishou import KUAIRAND, KUAIREC, read_kuairand, read_kuairec
from recenv.data.formats.lastfm import HETREC, LASTFM_1K, read_lastfm_1k, read_lastfm_hetrec
from recenv.data.formats.mind import MIND, read_mind
from recenv.data.formats.movielens import SIZES, load_movielens, publication
from recenv.data.formats.shops import RETAILROCKET, TAOBAO, read_retailrocket, read_taobao
from recenv.errors import ConfigError
from recenv.schema import Catalog, InteractionLog


class Loader(Protocol):
    """Reads one data set from a folder, or from where recenv looks."""

    def __call__(
        self,
        folder: str | Path | None,
        *,
        download: bool,
        base_url: str | None,
        sample_users: float,
        progress: bool | None,
    ) -> tuple[InteractionLog, Catalog]:
        """See ``recenv.data.load``."""
        ...


class _Reader(Protocol):
    def __call__(
        self, folder: Path, *, sample_users: float, progress: bool | None
    ) -> tuple[InteractionLog, Catalog]: ...


def _local(published: Publication, read: _Reader) -> Loader:
    """A loader of files that the user brings: named, or in recenv's cache."""

    def load(
        folder: str | Path | None,
        *,
        download: bool,
        base_url: str | None,
        sample_users: float,
        progress: bool | None,
    ) -> tuple[InteractionLog, Catalog]:
        if base_url is not None:
            raise ConfigError(
                f"recenv does not download {published.name}, so base_url ({base_url!r}) has no "
                f"use. Get the files from {published.page} and pass folder=."
            )
        place = published.cache if folder is None else Path(folder)
        return read(place, sample_users=sample_users, progress=progress)

    return load


LOADERS: Mapping[str, Loader] = MappingProxyType(
    {
        **{publication(size).name: partial(load_movielens, size) for size in SIZES},
        AMAZON.name: _local(AMAZON, read_amazon),
        HETREC.name: _local(HETREC, read_lastfm_hetrec),
        KUAIRAND.name: _local(KUAIRAND, read_kuairand),
        KUAIREC.name: _local(KUAIREC, read_kuairec),
        LASTFM_1K.name: _local(LASTFM_1K, read_lastfm_1k),
        MIND.name: _local(MIND, read_mind),
        PUBLISHED.name: _local(PUBLISHED, read_atomic),
        RETAILROCKET.name: _local(RETAILROCKET, read_retailrocket),
        TAOBAO.name: _local(TAOBAO, read_taobao),
    }
)
