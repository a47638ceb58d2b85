"""Publications: what a publisher gives out as a data set, and where it is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recenv import artifacts
from recenv.data.files import Source, encoding_of, find
from recenv.errors import DataNotFoundError, SchemaError


@dataclass(frozen=True)
class Publication:
    """A data set as its publisher gives it out.

    Attributes:
        name: recenv's.
        page: the publisher's.
        files: the files wanted, in words.
        cite: how to cite it, with its terms where recenv knows them.
    """

    name: str
    page: str
    files: str
    cite: str

    @property
    def cache(self) -> Path:
        """Where recenv looks when no folder is named."""
        return artifacts.home() / "data" / self.name

    def files_in(self, folder: Path, pattern: str) -> list[Source]:
        """The files of this pattern.

        Raises:
            DataNotFoundError: there is none.
        """
        found = find(folder, pattern)
        if not found:
            raise DataNotFoundError(
                f"{self.name} is not in {folder}: no file {pattern}[.gz] is in it, in its "
                f"subfolders or in a zip archive there. Wanted: {self.files}. Get them from "
                f"{self.page} and pass folder=, or put them into {self.cache}."
            )
        return found

    def one(self, folder: Path, pattern: str) -> Source:
        """The only file of this pattern.

        Raises:
            DataNotFoundError: there is none.
            SchemaError: there are several.
        """
        found = self.files_in(folder, pattern)
        self.at_most_one(folder, pattern)
        return found[0]

    def at_most_one(self, folder: Path, pattern: str) -> list[Source]:
        """The only file of this pattern, or none.

        Raises:
            SchemaError: there are several.
        """
        found = find(folder, pattern)
        if len(found) > 1:
            raise SchemaError(
                f"{self.name}: {folder} holds several files {pattern}: "
                f"{', '.join(str(f) for f in found)}. Name the folder of one of them."
            )
        return found


def same_folder(sources: Sequence[Source]) -> list[Source]:
    """The files themselves.

    Raises:
        SchemaError: they lie in several folders or archives, so they belong to several data sets.
    """
    places = {Path(str(source)).parent for source in sources}
    if len(places) > 1:
        raise SchemaError(
            f"Files of one data set lie in several folders: {', '.join(map(str, sorted(places)))}. "
            "Name one of these folders."
        )
    return list(sources)


def saved_again(source: Source, published: str) -> tuple[str, tuple[str, ...]]:
    """The encoding of an item file (``encoding_of``), and a note if it is not the publisher's."""
    encoding = encoding_of(source, published)
    if encoding == published:
        return encoding, ()
    return encoding, (
        f"{source.name} was saved again as UTF-8 and is read as that; its publisher writes "
        f"{published}.",
    )


def rated(
    rating: npt.NDArray[np.float64], liked: float, click: int, purchase: int
) -> npt.NDArray[np.int8]:
    """(n,) what a rating stands for: a purchase from ``liked`` on, else a click."""
    return np.where(rating >= liked, purchase, click).astype(np.int8)


def objects(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    """(n,) the texts as an array of objects, whatever their lengths."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array
