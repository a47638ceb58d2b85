"""MIND, Microsoft's news data set.

Source: Wu et al. (2020), "MIND: A Large-scale Dataset for News Recommendation", ACL,
doi:10.18653/v1/2020.acl-main.331.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recenv.data.event_order import SESSION_GAP
from recenv.data.files import Source
from recenv.data.log_builder import VISITS, Items, LogBuilder
from recenv.data.publication import Publication
from recenv.data.text_chunks import BLOCK_BYTES, Chunk, Ids, Layout, is_blank, read_delimited
from recenv.errors import SchemaError
from recenv.schema import CLICK, IGNORE, Catalog, InteractionLog

MIND = Publication(
    name="mind",
    page="https://msnews.github.io",
    files="behaviors.tsv and news.tsv of MINDsmall or MINDlarge (train, dev, or a folder with "
    "both)",
    cite="Cite Wu et al. (2020), doi:10.18653/v1/2020.acl-main.331 (Microsoft Research License "
    "Terms).",
)

_BEHAVIORS = ("impression", "user", "time", "history", "impressions")
_TIME = r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{2}:[0-9]{2} [AP]M"
_UNSEEN = r"[\s\pZ\pC]"  # blanks, and control and format characters
_NEWS = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities",
         "abstract_entities")  # fmt: skip


def read_mind(
    folder: Path,
    *,
    history: bool = False,
    sample_users: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
    progress: bool | None = None,
) -> tuple[InteractionLog, Catalog]:
    """Read MIND: each article of an impression was shown, and clicked (1) or ignored (0).

    Several ``behaviors.tsv`` (train and dev in subfolders) become one log. An article's text is
    its title and abstract, its category the publisher's.

    Args:
        folder: where the files lie.
        history: whether a user's earlier clicks (the list in their first row) are put before
            the log, one second apart. Their times and what was shown with them are not known,
            so they raise the click rate; a note says so.
        sample_users, block_bytes, progress: as in ``read_movielens``.

    Raises:
        DataNotFoundError: a file is missing.
        SchemaError: a file is damaged, or an impression has no labels (the test part).
    """
    behaviors = MIND.files_in(folder, "behaviors.tsv")
    news = MIND.files_in(folder, "news.tsv")
    builder = LogBuilder(sample_users, behaviors)
    first: dict[str, tuple[float, str]] = {}  # of each user: time and history of the first row
    layout = Layout(separator="\t", columns=_BEHAVIORS)
    types = {name: pa.string() for name in _BEHAVIORS[1:]}
    for chunk in read_delimited(
        behaviors, layout, types, block_bytes=block_bytes, progress=progress
    ):
        time = _times(chunk)
        row, article, response = _shown(chunk)
        chunk.ids("user")  # none is blank
        user = chunk.columns["user"]
        builder.add(user.take(pa.array(row)), article, time[row], response)
        if history:
            told = zip(
                user.to_pylist(), time.tolist(), chunk.columns["history"].to_pylist(), strict=True
            )
            for name, when, clicks in told:
                if name not in first or when < first[name][0]:
                    first[name] = (when, clicks)
    earlier = _add_history(builder, first)
    items = builder.items()
    more = _describe(items, behaviors, news, block_bytes)
    return builder.finish(
        items,
        name=MIND.name,
        notes=(
            "A clicked article (1) is read as a click, a shown one (0) as ignored; there are no "
            "purchases.",
            "The publisher shuffled the articles of each impression: positions are not known. "
            "Times are taken as UTC.",
            *((f"{earlier} earlier clicks stand before the log, at made-up times and without "
               "what was shown beside them: the click rate is too high by them.",)
              if history else ()),
            *more,
            VISITS,
            MIND.cite,
        ),
        has_impressions=True,
    )  # fmt: skip


def _times(chunk: Chunk) -> np.ndarray:
    """(n,) seconds; the file writes "11/13/2019 8:36:57 AM"."""
    code, texts = chunk.distinct("time")
    spelled = pd.Series(texts, dtype=object)
    # pandas would take "now" for a time, and minutes of one digit
    spelled = spelled.where(spelled.str.fullmatch(_TIME), None)
    stamps = pd.to_datetime(spelled, format="%m/%d/%Y %I:%M:%S %p", utc=True, errors="coerce")
    chunk.refuse(np.asarray(stamps.isna())[code], "time", "is no time (MM/DD/YYYY HH:MM:SS AM)")
    seconds = np.asarray(pd.DatetimeIndex(stamps).as_unit("s").asi8, dtype=np.float64)
    return seconds[code]


def _shown(chunk: Chunk) -> tuple[np.ndarray, Ids, np.ndarray]:
    """Row in the chunk, article, and response of each article shown."""
    column = chunk.columns["impressions"]
    lists = pc.split_pattern(  # pyright: ignore[reportAttributeAccessIssue]
        pc.utf8_trim_whitespace(column),  # pyright: ignore[reportAttributeAccessIssue]
        " ",
    )
    row = np.repeat(np.arange(len(chunk)), np.diff(np.asarray(lists.offsets, dtype=np.int64)))
    words = lists.flatten()
    clicked = np.asarray(pc.ends_with(words, "-1"))  # pyright: ignore[reportAttributeAccessIssue]
    ignored = np.asarray(pc.ends_with(words, "-0"))  # pyright: ignore[reportAttributeAccessIssue]
    article = pc.utf8_slice_codeunits(  # pyright: ignore[reportAttributeAccessIssue]
        words, 0, -2
    )
    unseen = np.asarray(
        pc.match_substring_regex(  # pyright: ignore[reportAttributeAccessIssue]
            words, _UNSEEN
        )
    )
    for wrong, told in (
        (~(clicked | ignored) | is_blank(article),
         "has an article without a name or a label -0 or -1 (the test part has no labels)"),
        (unseen, "has a blank other than a space, or a character that cannot be seen"),
    ):  # fmt: skip
        bad = np.zeros(len(chunk), dtype=bool)
        bad[row[wrong]] = True
        chunk.refuse(bad, "impressions", told)
    return row, article, np.where(clicked, CLICK, IGNORE).astype(np.int8)


def _add_history(builder: LogBuilder, first: dict[str, tuple[float, str]]) -> int:
    """Earlier clicks, ending an hour before the user's first row; how many."""
    users: list[str] = []
    articles: list[str] = []
    times: list[float] = []
    for name, (when, clicks) in first.items():
        words = clicks.split()
        users += [name] * len(words)
        articles += words
        start = when - 2 * SESSION_GAP - len(words)
        times += [start + k for k in range(len(words))]
    if not users:
        return 0
    rows, _ = builder.add(
        pa.array(users, pa.string()),
        pa.array(articles, pa.string()),
        np.array(times),
        np.full(len(users), CLICK, dtype=np.int8),
    )
    return len(rows)


def _describe(
    items: Items, behaviors: list[Source], news: list[Source], block_bytes: int
) -> tuple[str, ...]:
    """Texts and categories; a note on repeated articles, SchemaError if one is missing."""
    layout = Layout(separator="\t", columns=_NEWS)
    types = {name: pa.string() for name in _NEWS[:5]}
    known = np.zeros(len(items.ids), dtype=bool)
    for chunk in read_delimited(news, layout, types, block_bytes=block_bytes):
        place = items.find(chunk.ids("id"))
        columns = [chunk.columns[n].to_pylist() for n in ("title", "abstract", "category")]
        for at, title, abstract, category in zip(place.tolist(), *columns, strict=True):
            if at >= 0:
                known[at] = True
                items.describe(at, " ".join(p for p in (title, abstract) if p), category)
    if not known.all():
        missing = items.ids[~known]
        raise SchemaError(
            f"Article {missing[0]!r} was shown in {', '.join(map(str, behaviors))} but is not in "
            f"{', '.join(map(str, news))} "
            f"({len(missing)} such articles). The files do not belong together; get them afresh."
        )
    return items.retold(news[0])
