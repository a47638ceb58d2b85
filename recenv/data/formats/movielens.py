"""MovieLens 1M, 20M, 25M and 32M in GroupLens's own files.

Source: F. M. Harper and J. A. Konstan (2015), "The MovieLens Datasets: History and Context",
ACM TiiS 5(4), doi:10.1145/2827872. GroupLens's terms: research use, to be cited, not to be
redistributed.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections import Counter
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pyarrow as pa

from recenv.data.download import downloaded, fetch, unpack
from recenv.data.files import Source, find
from recenv.data.formats.movielens_100k import BASE_URL, LIKED, film_text
from recenv.data.log_builder import NO_IMPRESSIONS, VISITS, LogBuilder
from recenv.data.publication import Publication, objects, rated, saved_again
from recenv.data.text_chunks import BLOCK_BYTES, Layout, read_delimited
from recenv.errors import DataNotFoundError, SchemaError
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog

SIZES = ("1m", "20m", "25m", "32m")

_NO_GENRE = "(no genres listed)"
_MAX_MEMBER = 1 << 32  # bytes; the largest real one has 0.9 GB
_MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")


def publication(size: str) -> Publication:
    """What GroupLens calls ``ml-<size>``."""
    end = "dat" if size == "1m" else "csv"
    return Publication(
        name=f"movielens-{size}",
        page=f"https://grouplens.org/datasets/movielens/{size}/",
        files=f"ratings.{end} and movies.{end} of ml-{size}.zip",
        cite="Cite Harper & Konstan (2015), doi:10.1145/2827872. The data may not be "
        "redistributed (GroupLens terms).",
    )


def load_movielens(
    size: str,
    folder: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    sample_users: float = 1.0,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """MovieLens of one of ``SIZES``, downloaded from GroupLens unless it is there.

    "There" is the folder named, or recenv's cache: the files, or the publisher's archive. Of the
    cache nothing is removed.

    Arguments and errors are those of ``recenv.data.load``.
    """
    published = publication(size)
    if folder is not None:
        return read_movielens(
            Path(folder), size, sample_users=sample_users, progress=progress
        )  # fmt: skip
    cache = published.cache
    if download and not any(find(cache, name) for name in _files(size)):
        _download(published, size, cache, base_url or BASE_URL, progress)
    return read_movielens(cache, size, sample_users=sample_users, progress=progress)


def read_movielens(
    folder: Path,
    size: str,
    *,
    liked: float = LIKED,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read ``ratings`` and ``movies``; every rating is a click.

    A film's text is its title, year and genres; its category is its rarest genre in the
    catalogue, which tells films apart better than "Drama" does. The catalogue holds the films
    that were rated.

    Args:
        folder: where the files (or the zip archive) lie.
        size: one of ``SIZES``.
        liked: the lowest rating that stands for a purchase.
        sample_users: share of the users to keep, with their whole histories.
        block_bytes: bytes parsed at a time.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        DataNotFoundError: a file is missing.
        SchemaError: a file is damaged; the message names file, line and column.
        ConfigError: ``sample_users`` is out of range.
    """
    published = publication(size)
    ratings, movies = (published.one(folder, name) for name in _files(size))
    old = size == "1m"
    names = ("userId", "movieId", "rating", "timestamp")
    layout = Layout(separator="::", columns=names) if old else Layout()
    kinds = (pa.int64(), pa.int64(), pa.float64(), pa.int64())
    types: dict[str, pa.DataType] = dict(zip(names, kinds, strict=True))
    builder = LogBuilder(sample_users, [ratings])
    for chunk in read_delimited(
        [ratings], layout, types, block_bytes=block_bytes, progress=progress
    ):
        rating = chunk.numbers("rating", 0.5, 5, "a rating from 0.5 to 5")
        builder.add(
            chunk.ids("userId"),
            chunk.ids("movieId"),
            chunk.seconds("timestamp"),
            rated(rating, liked, CLICK, PURCHASE),
        )
    items = builder.items()
    encoding, notes = saved_again(movies, "latin-1") if old else ("utf-8", ())
    films = _films(movies, old, encoding, block_bytes)
    found = [films.get(item) for item in items.ids]
    if None in found:
        raise SchemaError(
            f"{ratings}: film {items.ids[found.index(None)]} is not in {movies} "
            f"({found.count(None)} such films). The files do not belong together; get them afresh."
        )
    genres = [film[1] for film in found if film is not None]
    counts = Counter(genre for names in genres for genre in names)
    items.text = objects([film_text(title, names) for title, names in filter(None, found)])
    items.label = objects([min(names, key=lambda g: (counts[g], g)) for names in genres])
    return builder.finish(
        items,
        name=published.name,
        notes=(
            "MovieLens records ratings, not clicks or purchases: every rating is read as a click, "
            f"and a rating of {liked:g} or more as a purchase.",
            NO_IMPRESSIONS,
            *notes,
            VISITS,
            published.cite,
        ),
    )


def _files(size: str) -> tuple[str, str]:
    return ("ratings.dat", "movies.dat") if size == "1m" else ("ratings.csv", "movies.csv")


def _films(
    movies: Source, old: bool, encoding: str, block_bytes: int
) -> dict[str, tuple[str, list[str]]]:
    """Film to title and genres.

    Raises:
        SchemaError: a film stands twice, with different words.
    """
    names = ("movieId", "title", "genres")
    layout = Layout("::", names, encoding=encoding) if old else Layout(quoted=True)
    kinds = (pa.int64(), pa.string(), pa.string())
    types: dict[str, pa.DataType] = dict(zip(names, kinds, strict=True))
    films: dict[str, tuple[str, list[str]]] = {}
    for chunk in read_delimited([movies], layout, types, block_bytes=block_bytes):
        told = zip(
            chunk.ids("movieId").tolist(),
            chunk.columns["title"].to_pylist(),
            chunk.columns["genres"].to_pylist(),
            strict=True,
        )
        again = np.zeros(len(chunk), dtype=bool)
        for row, (item, title, genres) in enumerate(told):
            film = (title, [g for g in genres.split("|") if g != _NO_GENRE] or ["unknown"])
            again[row] = films.setdefault(str(item), film) != film
        chunk.refuse(again, "movieId", "stands on an earlier line with another title or genres")
    return films


def _download(
    published: Publication, size: str, cache: Path, base_url: str, progress: bool | None
) -> None:
    """Fetch the publisher's checksum, then the archive, and unpack the two files."""
    archive_name = f"ml-{size}.zip"
    url = f"{base_url.rstrip('/')}/{archive_name}"
    archive = downloaded(cache, archive_name)
    remedy = f"Or download {url}, unpack it and pass folder=."
    try:
        fetch(url, archive, _checksum(f"{url}.md5"), progress=progress)
    except DataNotFoundError as error:
        raise DataNotFoundError(
            f"{published.name} is not on this machine. {error} {remedy}"
        ) from error
    try:
        unpack(archive, cache, [f"ml-{size}/{name}" for name in _files(size)], _MAX_MEMBER)
    finally:
        archive.unlink(missing_ok=True)


def _checksum(url: str) -> str:
    """The MD5 sum in the publisher's small text file."""
    if not url.startswith(("https://", "http://")):
        raise DataNotFoundError(f"{url!r} is no http or https address. Give one that is.")
    request = urllib.request.Request(url, headers={"User-Agent": "recenv"})
    try:
        with urllib.request.urlopen(request, timeout=30.0) as answer:
            text = answer.read(1000).decode("ascii", "replace")
    except (OSError, HTTPException) as error:
        why = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else error
        raise DataNotFoundError(
            f"{url}, the publisher's checksum, cannot be downloaded ({why}). Check the "
            "connection and try again."
        ) from error
    found = _MD5.search(text)
    if found is None:
        raise DataNotFoundError(f"{url} holds no MD5 checksum, but {text[:80]!r}. Try again later.")
    return found[0].lower()
