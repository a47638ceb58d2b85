"""Short videos of Kuaishou: KuaiRand and KuaiRec.

Sources: Gao et al. (2022), "KuaiRand: An Unbiased Sequential Recommendation Dataset with
Randomly Exposed Videos", CIKM, doi:10.1145/3511808.3557624; Gao et al. (2022), "KuaiRec: A
Fully-observed Dataset and Insights for Evaluating Recommender Systems", CIKM,
doi:10.1145/3511808.3557220.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from recenv.data.build import NO_IMPRESSIONS, VISITS, Items, LogBuilder
from recenv.data.formats.common import Publication, same_folder
from recenv.data.source import Source, find, text_of
from recenv.data.stream import BLOCK_BYTES, Layout, read_delimited
from recenv.errors import ConfigError
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
    progress: bool = False,
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
    builder = LogBuilder(sample_users)
    for chunk in read_delimited(
        same_folder(found), Layout(), types, block_bytes=block_bytes, progress=progress
    ):
        click = chunk.numbers("is_click", 0, 1, "0 or 1")
        strong = chunk.numbers(purchase, 0, 1, "0 or 1")
        builder.add(
            chunk.ids("user_id"),
            chunk.ids("video_id"),
            chunk.seconds("time_ms", ticks=1000),
            np.where(click > 0, np.where(strong > 0, PURCHASE, CLICK), IGNORE).astype(np.int8),
            propensity=np.full(len(chunk), 1 / POOL) if logs == "random" else None,
        )
    items = builder.items()
    for chunk in read_delimited(
        find(folder, "video_features_basic_*.csv"),
        Layout(),
        {"video_id": pa.int64(), "tag": pa.string()},
        block_bytes=block_bytes,
        progress=progress,
    ):
        place = items.find(chunk.ids("video_id"))
        rows = np.flatnonzero(place >= 0)
        tags = chunk.columns["tag"].take(rows).to_pylist()
        _tagged(items, place[rows], [re.findall(r"\d+", tag) for tag in tags])
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
    progress: bool = False,
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
    builder = LogBuilder(sample_users)
    untimed = 0
    for chunk in read_delimited(
        [KUAIREC.one(folder, f"{matrix}_matrix.csv")],
        Layout(),
        types,
        block_bytes=block_bytes,
        progress=progress,
    ):
        ratio = chunk.numbers("watch_ratio", 0, 1e9, "a ratio, not negative")
        time = chunk.numbers("timestamp", -1, 1e11, "a time since 1970", blank=-1.0)
        response = np.where(ratio >= liked, PURCHASE, np.where(ratio >= clicked, CLICK, IGNORE))
        untimed += int((time < 0).sum())
        builder.add(
            chunk.ids("user_id"),
            chunk.ids("video_id"),
            time,
            response.astype(np.int8),
            keep=(time >= 0) & (small | (response >= CLICK)),
        )
    items = builder.items()
    for chunk in read_delimited(
        find(folder, "item_categories.csv"),
        Layout(),
        {"video_id": pa.int64(), "feat": pa.string()},
        block_bytes=block_bytes,
    ):
        place = items.find(chunk.ids("video_id"))
        rows = np.flatnonzero(place >= 0)
        tags = chunk.columns["feat"].take(rows).to_pylist()
        _tagged(items, place[rows], [re.findall(r"\d+", tag) for tag in tags])
    for source in find(folder, "kuairec_caption_category.csv"):
        _captions(items, source)
    return builder.finish(
        items,
        name=f"{KUAIREC.name}-{matrix}",
        notes=(
            f"A watch ratio of {liked:g} or more is read as a purchase, from {clicked:g} on as a "
            f"click, below it as {'ignored' if small else 'nothing (the row is left out)'}.",
            *(("Nearly every user watched nearly every video, by design: the items shown are not "
               "a recommender's choice.",) if small else (NO_IMPRESSIONS,)),
            *((f"{untimed} rows without a time were left out.",) if untimed else ()),
            VISITS,
            KUAIREC.cite,
        ),
        has_impressions=small,
    )  # fmt: skip


def _tagged(items: Items, place: np.ndarray, tags: Sequence[list[str]]) -> None:
    """Text and category (the first tag) of the items at ``place``."""
    for at, names in zip(place.tolist(), tags, strict=True):
        items.text[at] = f"Video {items.ids[at]}." + (f" Tags {', '.join(names)}." if names else "")
        items.label[at] = names[0] if names else "unknown"


def _captions(items: Items, source: Source) -> None:
    """Captions and categories. Some of the real file's rows are broken: they are passed over."""
    place = {str(name): at for at, name in enumerate(items.ids)}
    with text_of(source) as file:
        for row in csv.DictReader(file):
            at = place.get(str(row.get("video_id") or "").strip())
            if at is None:
                continue
            levels = [_word(row.get(f"{n}_level_category_name")) for n in ("first", "second")]
            words = [_word(row.get("caption")) or _word(row.get("manual_cover_text")), *levels]
            if any(words):
                items.text[at] = ". ".join(w for w in words if w)
            if levels[0]:
                items.label[at] = levels[0]


def _word(cell: object) -> str:
    text = " ".join(cell.split()) if isinstance(cell, str) else ""
    return "" if text.upper() in ("UNKNOWN", "NAN") else text
