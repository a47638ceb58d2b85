"""Short videos of Kuaishou: KuaiRand and KuaiRec.

Sources: Gao et al. (2022), "KuaiRand: An Unbiased Sequential Recommendation Dataset with
Randomly Exposed Videos", CIKM, doi:10.1145/3511808.3557624; Gao et al. (2022), "KuaiRec: A
Fully-observed Dataset and Insights for Evaluating Recommender Systems", CIKM,
doi:10.1145/3511808.3557220.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from recenv.data.files import Source, text_of
from recenv.data.log_builder import NO_IMPRESSIONS, VISITS, Items, LogBuilder
from recenv.data.publication import Publication, same_folder
from recenv.data.text import CsvRows
from recenv.data.text_chunks import BLOCK_BYTES, COMMAS, Layout, read_delimited, without_rows
from recenv.errors import ConfigError, SchemaError
from recenv.schema import CLICK, IGNORE, PURCHASE, Catalog, InteractionLog

KUAIRAND = Publication(
    name="kuairand",
    page="https://kuairand.com",
    files="log_standard_*.csv, log_random_*.csv and, for categories, video_features_basic_*.csv "
    "of KuaiRand-Pure, -1K or -27K",
    cite="Cite Gao et al. (2022), doi:10.1145/3511808.3557624 (CC BY-SA 4.0).",
)
KUAIREC = Publication(
    name="kuairec",
    page="https://kuairec.com",
    files="big_matrix.csv or small_matrix.csv and, for texts and categories, "
    "kuairec_caption_category.csv and item_categories.csv",
    cite="Cite Gao et al. (2022), doi:10.1145/3511808.3557220 (CC BY-SA 4.0).",
)

POOL = 7583
"""Videos in KuaiRand's pool, from which the random log draws uniformly (the publisher's table)."""

_LEVELS = ("first_level_category_name", "second_level_category_name")
_LOGS = {
    "standard": ["log_standard_*.csv"],
    "random": ["log_random_*.csv"],
    "all": ["log_standard_*.csv", "log_random_*.csv"],
}


def read_kuairand(
    folder: Path,
    *,
    logs: Literal["standard", "random", "all"] = "standard",
    purchase: Literal["long_view", "is_like", "is_follow"] = "long_view",
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read KuaiRand-Pure, -1K or -27K: every row is a video that was shown.

    ``is_click`` 0 is an ignored video and 1 a click; where the signal ``purchase`` is 1 too,
    it stands for a purchase.

    Args:
        folder: of one version.
        logs: the standard recommendations; the videos put in at random, with propensity
            1 / ``POOL``; or both, without propensities.
        purchase: the signal that stands for a purchase.
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        ConfigError: ``logs`` or ``purchase`` is another word.
        DataNotFoundError: a log is missing.
        SchemaError: a file is damaged; the message names file, line and column.
    """
    if logs not in _LOGS:
        raise ConfigError(f"logs must be one of {', '.join(_LOGS)}, but is {logs!r}.")
    signals = ("long_view", "is_like", "is_follow")
    if purchase not in signals:
        raise ConfigError(f"purchase must be one of {', '.join(signals)}, but is {purchase!r}.")
    found = [s for pattern in _LOGS[logs] for s in KUAIRAND.files_in(folder, pattern)]
    types = {
        "user_id": pa.int64(),
        "video_id": pa.int64(),
        "time_ms": pa.int64(),
        "is_click": pa.int64(),
        purchase: pa.int64(),
    }
    builder = LogBuilder(sample_users, found)
    for chunk in read_delimited(
        same_folder(found), COMMAS, types, block_bytes=block_bytes, progress=progress
    ):
        click = chunk.numbers("is_click", 0, 1, "0 or 1")
        strong = chunk.numbers(purchase, 0, 1, "0 or 1")
        builder.add(
            chunk.ids("user_id"),
            chunk.ids("video_id"),
            chunk.seconds("time_ms", "ms"),
            np.where(click > 0, np.where(strong > 0, PURCHASE, CLICK), IGNORE).astype(np.int8),
            propensity=np.full(len(chunk), 1 / POOL) if logs == "random" else None,
        )
    items = builder.items()
    features = KUAIRAND.at_most_one(folder, "video_features_basic_*.csv")
    for chunk in read_delimited(
        features,
        Layout(quoted=True),
        {"video_id": pa.int64(), "tag": pa.string()},
        block_bytes=block_bytes,
        progress=progress,
    ):
        place = items.find(chunk.ids("video_id"))
        rows = np.flatnonzero(place >= 0)
        tags = chunk.columns["tag"].take(rows).to_pylist()
        _tagged(items, place[rows], [re.findall(r"\d+", tag) for tag in tags])
    retold = items.retold(features[0]) if features else ()
    exposure = {
        "standard": "The log holds what Kuaishou's own policies showed.",
        "random": f"Videos were put in at random from a pool of {POOL}: propensity 1/{POOL}.",
        "all": "The log mixes Kuaishou's own policies with videos put in at random.",
    }
    return builder.finish(
        items,
        name=KUAIRAND.name,
        notes=(
            f"is_click is read as a click and {purchase} as a purchase; the log has no purchases "
            "of its own. In the single-column feed is_click means that the video played for "
            "more than 7 s, or to its end.",
            exposure[logs] + " It tells no position of a video on the screen.",
            "Texts are not published: a video's text is its tags' numbers.",
            *retold,
            VISITS,
            KUAIRAND.cite,
        ),
        has_impressions=True,
    )


def read_kuairec(
    folder: Path,
    *,
    matrix: Literal["big", "small"] = "big",
    clicked: float = 0.5,
    liked: float = 2.0,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read KuaiRec's big or small matrix of watch ratios (time watched / length).

    In the small matrix nearly every user watched nearly every video, so what stands below
    ``clicked`` was shown and passed over: it has impressions. The big matrix does not say
    whether all that was shown is in it: its rows below ``clicked`` are left out, and it has no
    impressions.

    Args:
        folder: where the files lie.
        matrix: which one.
        clicked: the lowest watch ratio that stands for a click.
        liked: the lowest one that stands for a purchase (2, which is the publisher's example
            of a like).
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        ConfigError: ``matrix`` is another word, or ``liked`` is below ``clicked``.
        DataNotFoundError: the matrix is missing.
        SchemaError: a file is damaged; the message names file, line and column.
    """
    if matrix not in ("big", "small"):
        raise ConfigError(f"matrix must be 'big' or 'small', but is {matrix!r}.")
    if not 0 <= clicked <= liked:
        raise ConfigError(f"Wanted 0 <= clicked <= liked, but they are {clicked} and {liked}.")
    types = {
        "user_id": pa.int64(),
        "video_id": pa.int64(),
        "timestamp": pa.float64(),
        "watch_ratio": pa.float64(),
    }
    small = matrix == "small"
    source = KUAIREC.one(folder, f"{matrix}_matrix.csv")
    builder = LogBuilder(sample_users, [source])
    untimed = 0
    for chunk in read_delimited(
        [source],
        COMMAS,
        types,
        block_bytes=block_bytes,
        progress=progress,
    ):
        ratio = chunk.numbers("watch_ratio", 0, 1e9, "a ratio, not negative")
        time = chunk.seconds("timestamp", blank=True)
        response = np.where(ratio >= liked, PURCHASE, np.where(ratio >= clicked, CLICK, IGNORE))
        timed = ~np.isnan(time)
        untimed += int((~timed).sum())
        builder.add(
            chunk.ids("user_id"),
            chunk.ids("video_id"),
            time,
            response.astype(np.int8),
            keep=timed & (small | (response >= CLICK)),
        )
    items = builder.items()
    categories = KUAIREC.at_most_one(folder, "item_categories.csv")
    for chunk in read_delimited(
        categories,
        Layout(quoted=True),
        {"video_id": pa.int64(), "feat": pa.string()},
        block_bytes=block_bytes,
    ):
        place = items.find(chunk.ids("video_id"))
        rows = np.flatnonzero(place >= 0)
        tags = chunk.columns["feat"].take(rows).to_pylist()
        _tagged(items, place[rows], [re.findall(r"\d+", tag) for tag in tags])
    retold = items.retold(categories[0]) if categories else ()
    broken = 0
    for captions in KUAIREC.at_most_one(folder, "kuairec_caption_category.csv"):
        broken += _captions(items, captions)
    return builder.finish(
        items,
        name=f"{KUAIREC.name}-{matrix}",
        notes=(
            f"A watch ratio of {liked:g} or more is read as a purchase, from {clicked:g} on as a "
            f"click, below it as {'ignored' if small else 'nothing (the row is left out)'}.",
            *(("Nearly every user watched nearly every video, by design: the items shown are not "
               "a recommender's choice.",) if small else (NO_IMPRESSIONS,)),
            *((f"{untimed} rows without a time were left out.",) if untimed else ()),
            *retold,
            *((f"{broken} rows of the caption file are broken: their captions were not read.",)
              if broken else ()),
            VISITS,
            KUAIREC.cite,
        ),
        has_impressions=small,
    )  # fmt: skip


def _tagged(items: Items, place: np.ndarray, tags: Sequence[list[str]]) -> None:
    """Text and category (the first tag) of the items at ``place``."""
    for at, names in zip(place.tolist(), tags, strict=True):
        text = f"Video {items.ids[at]}." + (f" Tags {', '.join(names)}." if names else "")
        items.describe(at, text, names[0] if names else "")


_RECORD = re.compile(r"\d+,")  # a video's number: how a row of the caption file begins


def _captions(items: Items, source: Source) -> int:
    """Captions and categories; the number of broken rows, which are passed over.

    Captions may hold line breaks, and some of the real file's rows are broken. A line that begins
    like a row begins one, so that a stray quote costs the row it stands in and no other.

    Raises:
        SchemaError: the first line lacks a column or has one twice, or no row follows.
    """
    place = {str(name): at for at, name in enumerate(items.ids)}
    rows = broken = 0
    with text_of(source) as file:
        names = next(CsvRows([file.readline()]), [])
        for name in ("video_id", "caption", "manual_cover_text", *_LEVELS):
            if names.count(name) != 1:
                raise SchemaError(
                    f"{source}: the first line must name the column {name!r} once, but is "
                    f"{','.join(names)!r}. Get the file afresh."
                )
        for record in _records(file):
            rows += bool(record.strip())
            try:
                cells = next(CsvRows([record], strict=True), [])
            except csv.Error:  # a quote that is not closed
                cells = []
            if len(cells) != len(names) or "\ufffd" in record:
                broken += 1
                continue
            row = dict(zip(names, cells, strict=True))
            at = place.get(row["video_id"].strip())
            if at is None:
                continue
            levels = [_word(row[level]) for level in _LEVELS]
            words = [_word(row["caption"]) or _word(row["manual_cover_text"]), *levels]
            if any(words):
                items.text[at] = ". ".join(w for w in words if w)
            if levels[0]:
                items.label[at] = levels[0]
    if not rows:
        raise without_rows(source)
    return broken


def _records(lines: Iterable[str]) -> Iterator[str]:
    """Rows: a line, with those that follow while a quote is open and no row begins."""
    record = ""
    for line in lines:
        if record and (_RECORD.match(line) or record.count('"') % 2 == 0):
            yield record
            record = ""
        record += line
    if record.strip():
        yield record


def _word(cell: str) -> str:
    text = " ".join(cell.split())
    return "" if text.upper() in ("UNKNOWN", "NAN") else text
