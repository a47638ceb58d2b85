"""Music: Last.fm-1K (every listen, with its time) and HetRec 2011 (counts, without times).

Sources: O. Celma (2010), "Music Recommendation and Discovery in the Long Tail", Springer;
I. Cantador, P. Brusilovsky and T. Kuflik (2011), "2nd Workshop on Information Heterogeneity and
Fusion in Recommender Systems (HetRec 2011)", RecSys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recenv.data.log_builder import NO_IMPRESSIONS, VISITS, LogBuilder
from recenv.data.publication import Publication
from recenv.data.text_chunks import BLOCK_BYTES, Layout, read_delimited, trimmed
from recenv.errors import ConfigError
from recenv.schema import CLICK, Catalog, InteractionLog

LASTFM_1K = Publication(
    name="lastfm-1k",
    page="http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html",
    files="userid-timestamp-artid-artname-traid-traname.tsv of lastfm-dataset-1K.tar.gz",
    cite="Cite Celma (2010). Distributed with permission of Last.fm, for non-commercial use.",
)
HETREC = Publication(
    name="lastfm-hetrec",
    page="https://grouplens.org/datasets/hetrec-2011/",
    files="user_artists.dat and artists.dat of hetrec2011-lastfm-2k.zip",
    cite="Cite Cantador et al. (2011), HetRec 2011, and Last.fm; for non-commercial use.",
)

_NO_PURCHASES = "The log has no purchases and no ratings: nothing is read as a purchase."


def read_lastfm_1k(
    folder: Path,
    *,
    item: Literal["artist", "track"] = "artist",
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read Last.fm-1K: every listen is a click.

    Items go by their names, since many have no MusicBrainz id. Rows with another number of
    columns than six, and rows without a name, are left out; a note counts them.

    Args:
        folder: where the file lies.
        item: whether an item is an artist, or a track ("artist - title").
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        ConfigError: ``item`` is another word.
        DataNotFoundError: the file is missing.
        SchemaError: the file is damaged; the message names file, line and column.
    """
    if item not in ("artist", "track"):
        raise ConfigError(f"item must be 'artist' or 'track', but is {item!r}.")
    names = ("user", "time", "artid", "artist", "traid", "track")
    layout = Layout(separator="\t", columns=names, skip_uneven=True)
    types = {
        "user": pa.string(),
        "time": pa.timestamp("s", tz="UTC"),
        "artist": pa.string(),
        "track": pa.string(),
    }
    source = LASTFM_1K.one(folder, "userid-timestamp-artid-artname-traid-traname.tsv")
    builder = LogBuilder(sample_users, [source], titles=True)
    uneven = nameless = 0
    for chunk in read_delimited(
        [source],
        layout,
        types,
        block_bytes=block_bytes,
        progress=progress,
    ):
        artist, track = trimmed(chunk.columns["artist"]), trimmed(chunk.columns["track"])
        wanted = [artist] if item == "artist" else [artist, track]
        keep = np.ones(len(chunk), dtype=bool)
        for column in wanted:
            keep &= np.asarray(
                pc.not_equal(column, "")  # pyright: ignore[reportAttributeAccessIssue]
            )
        nameless += int((~keep).sum())
        uneven = chunk.skipped
        title = artist
        if item == "track":
            title = pc.binary_join_element_wise(  # pyright: ignore[reportAttributeAccessIssue]
                artist, track, " - "
            )
        builder.add(
            chunk.ids("user"),
            title,
            chunk.seconds("time"),
            np.full(len(chunk), CLICK, np.int8),
            keep=keep,
        )
    return builder.finish(
        builder.items(),
        name=LASTFM_1K.name,
        notes=(
            "Every listen is read as a click. " + _NO_PURCHASES,
            NO_IMPRESSIONS,
            f"{uneven} rows with another number of columns, and {nameless} without a name, were "
            "left out.",
            VISITS,
            LASTFM_1K.cite,
        ),
    )


def read_lastfm_hetrec(
    folder: Path,
    *,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read HetRec 2011's ``user_artists.dat``: each artist that a user listened to is a click.

    The file has no times: all are 0, and the order of a user's events is random. How often a
    user listened (the weight) is not read.

    Args:
        folder: where the files lie.
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        DataNotFoundError: user_artists.dat is missing.
        SchemaError: a file is damaged; the message names file, line and column.
    """
    layout = Layout(separator="\t")
    types = {"userID": pa.int64(), "artistID": pa.int64()}
    source = HETREC.one(folder, "user_artists.dat")
    builder = LogBuilder(sample_users, [source])
    for chunk in read_delimited(
        [source],
        layout,
        types,
        block_bytes=block_bytes,
        progress=progress,
    ):
        builder.add(
            chunk.ids("userID"),
            chunk.ids("artistID"),
            np.zeros(len(chunk)),
            np.full(len(chunk), CLICK, dtype=np.int8),
        )
    items = builder.items()
    artists = HETREC.at_most_one(folder, "artists.dat")
    for chunk in read_delimited(
        artists,
        layout,
        {"id": pa.int64(), "name": pa.string()},
        block_bytes=block_bytes,
    ):
        place = items.find(chunk.ids("id"))
        for at, name in zip(place.tolist(), chunk.columns["name"].to_pylist(), strict=True):
            if at >= 0:
                items.describe(at, name)
    return builder.finish(
        items,
        name=HETREC.name,
        notes=(
            "Every artist that a user listened to is read as one click. " + _NO_PURCHASES,
            NO_IMPRESSIONS,
            "The file has no times: all are 0, and the order of a user's events is random.",
            *(items.retold(artists[0]) if artists else ()),
            HETREC.cite,
        ),
    )
