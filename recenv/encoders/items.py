"""Item texts encoded once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from recenv import artifacts
from recenv.config import EncoderConfig, content_hash
from recenv.encoders.text import TextEncoder, make_encoder
from recenv.schema import Catalog

CHUNK = 4096
"""Texts in one cached artifact: what an interrupted run loses at most."""

_KIND = "encodings"


def encode_items(
    catalog: Catalog, config: EncoderConfig, *, progress: bool = True
) -> npt.NDArray[np.float32]:
    """(N, E) float32 vectors of unit length, one per item.

    Args:
        catalog: its ``text`` is encoded.
        config: which encoder.
        progress: whether to show bars on stderr.

    Raises:
        MissingDependencyError: a package that the encoder needs is not installed.
        ArtifactError: a cached encoding is damaged; the message says what to delete.
    """
    return encode_texts([str(t) for t in catalog.text], make_encoder(config), progress=progress)


def encode_texts(
    texts: Sequence[str], encoder: TextEncoder, *, progress: bool = True
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
    several = progress and len(starts) > 1
    parts = []
    for start in tqdm(starts, desc="encoding", unit="chunk", disable=not several):
        chunk = [str(t) for t in distinct[start : start + CHUNK]]
        folder = artifacts.home() / "encodings" / content_hash(encoder.identity, chunk)
        if artifacts.exists(folder):
            vectors = artifacts.load(folder, _KIND)[0]["vectors"]
        else:
            vectors = encoder.encode(chunk, progress and not several)
            meta = {"encoder": encoder.identity, "texts": len(chunk)}
            artifacts.save(folder, _KIND, {"vectors": vectors}, meta)
        parts.append(vectors)
    return np.concatenate(parts)[code]
