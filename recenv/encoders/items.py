"""Item vectors: text embeddings, cached, joined with other features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from recenv import artifacts
from recenv.config import EncoderConfig, content_hash
from recenv.encoders.text import TextEncoder, make_encoder
from recenv.errors import SchemaError
from recenv.progress import Progress, draws_bars
from recenv.schema import Catalog

CHUNK = 4096
"""Texts in one cached artifact: what an interrupted run loses at most."""

_KIND = "encodings"


class ItemSource(NamedTuple):
    """Sources of item vectors.

    Attributes:
        name: for reports, such as "minilm", "minilm + features" or "features".
        is_language_model: whether a language model read any of it.
        identity: changes whenever equal catalogues may get other vectors.
    """

    name: str
    is_language_model: bool
    identity: str


def item_source(catalog: Catalog, config: EncoderConfig) -> ItemSource:
    """Sources from which ``encode_items`` makes the vectors.

    Raises:
        MissingDependencyError: a package that the encoder needs is not installed.
        DataNotFoundError: its model is not there.
    """
    share = _share(catalog, config)
    if share == 1:
        return ItemSource("features", False, "features-1")
    encoder = make_encoder(config)
    if share == 0:
        return ItemSource(encoder.name, encoder.is_language_model, encoder.identity)
    identity = f"{encoder.identity}-features-1-{share!r}"
    return ItemSource(f"{encoder.name} + features", encoder.is_language_model, identity)


def encode_items(
    catalog: Catalog, config: EncoderConfig, *, progress: bool | None = None
) -> npt.NDArray[np.float32]:
    """(N, E) float32 vectors, one per item.

    Of a catalogue without features: its texts' vectors, of unit length. Features stand behind
    them: each column standardised over the catalogue, columns that do not vary left out, and the
    block scaled such that in the catalogue's mean the vectors keep the squared length 1 and the
    features hold ``config.feature_share`` of it. Where no item has a text, or where no feature
    varies, the other part is all. Texts are cached; joining is linear and done afresh.

    Args:
        catalog: its ``text`` is encoded, its ``features`` are joined.
        config: which encoder, and the features' share.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        MissingDependencyError: a package that the encoder needs is not installed.
        DataNotFoundError: its model is not there.
        ArtifactError: a cached encoding is damaged; the message says what to delete.
        SchemaError: features of the wrong shape; or only they are to be used, and none varies.
    """
    share = _share(catalog, config)
    blocks = []  # each with its part of the squared length
    if share < 1:
        texts = [str(t) for t in catalog.text]
        blocks.append((1 - share, encode_texts(texts, make_encoder(config), progress=progress)))
    if catalog.features is not None and share > 0:
        blocks.append((share, _standardised(catalog.features)))
    return np.concatenate([block * np.float32(part**0.5) for part, block in blocks], axis=1)


def _share(catalog: Catalog, config: EncoderConfig) -> float:
    """Of the mean squared length, what the features get."""
    features = catalog.features
    if features is None:
        return 0.0
    catalog.validate()
    has_text = any(str(t).strip() for t in catalog.text)
    varies = bool((features != features[:1]).any())
    if varies and has_text:
        return config.feature_share
    if not varies and (not has_text or config.feature_share == 1):
        raise SchemaError(
            f"Catalog.features {features.shape} holds no column that varies, and there is no text "
            "to use instead. Give texts, or features that tell items apart."
        )
    return float(varies)


def _standardised(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N, F') of mean squared length 1: columns that vary, each of mean 0 and the same variance."""
    varying = features[:, (features != features[:1]).any(axis=0)].astype(np.float64)
    varying -= varying.mean(axis=0)
    varying /= varying.std(axis=0) * varying.shape[1] ** 0.5
    return varying.astype(np.float32)


def encode_texts(
    texts: Sequence[str], encoder: TextEncoder, *, progress: bool | None = None
) -> npt.NDArray[np.float32]:
    """(n, E) float32 vectors; every distinct text is encoded once, ever.

    Encodings are kept in ``artifacts.home() / "encodings"``, in chunks named by the texts'
    content and the encoder's identity and written as they are made, so that an interrupted run
    goes on where it stopped.

    Raises:
        ArtifactError: a cached chunk is damaged; the message says what to delete.
    """
    code, distinct = pd.factorize(np.array(texts, dtype=object))
    starts = range(0, len(distinct), CHUNK)
    inside = len(starts) == 1 and draws_bars(progress)  # the encoder's own bar says more
    stage = Progress("encoding", len(starts), unit="chunks", shown=False if inside else progress)
    parts = []
    for start in stage.of(starts):
        chunk = [str(t) for t in distinct[start : start + CHUNK]]
        folder = artifacts.home() / "encodings" / content_hash(encoder.identity, chunk)
        if artifacts.kept(folder):
            stored = artifacts.load(folder, _KIND)[0]
            with artifacts.reading(folder):
                shape = (len(chunk), None)
                vectors = artifacts.check_array(stored, "vectors", np.float32, shape)
        else:
            vectors = encoder.encode(chunk, inside)
            meta = {"encoder": encoder.identity, "texts": len(chunk)}
            artifacts.save(folder, _KIND, {"vectors": vectors}, meta)
        parts.append(vectors)
    return np.concatenate(parts)[code]
