"""Weights of a pretrained model: their location, and a hash of their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from recenv.errors import DataNotFoundError, nearest

OWN = ("minilm", "hashing", "smollm2")
"""Names of models that are no names on a hub."""

_HUB_TIMEOUT = 10.0  # seconds
_LOADED = (".safetensors", ".bin", ".json", ".txt", ".model")


def require_local(model: str, wanted: str) -> None:
    """Check that ``model`` is there, if it looks like a path and not like a hub name.

    Raises:
        DataNotFoundError: it looks like a path, but nothing lies there.
    """
    pathlike = model.startswith((".", "/", "~")) or "\\" in model or model.endswith(".gguf")
    if pathlike and not Path(model).expanduser().exists():
        raise DataNotFoundError(f"There is no model folder {model}. {wanted}")


def require_hub(model: str) -> None:
    """Check that a name on the Hugging Face hub can be loaded, before its libraries try for long.

    They ask for file after file, each several times, before they say that there is no network.

    Raises:
        DataNotFoundError: it is not among the models that were loaded before on this machine, and
            the hub does not know it, or cannot be reached.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    why, what = None, ""
    # sentence-transformers looks for a name without an owner among its own
    for name in [model] if "/" in model else [model, f"sentence-transformers/{model}"]:
        try:
            for file in ("config.json", "modules.json"):
                if isinstance(try_to_load_from_cache(name, file), str):
                    return
            HfApi().model_info(name, timeout=_HUB_TIMEOUT)
            return
        except (RepositoryNotFoundError, HFValidationError) as error:
            why, what = error, "the hub has no such model"
        except Exception as error:  # of whichever library asks, and of the hub itself
            why, what = error, f"the hub cannot be asked ({type(error).__name__})"
            break
    raise DataNotFoundError(
        f"The model {model!r} is none of recenv's own ({', '.join(OWN)}), no folder, and not among "
        f"the hub's models on this machine; and {what}.{nearest(model, OWN)} Mend the name, name a "
        "folder that a model was saved to, or try again with a network."
    ) from why


def digest(place: Path) -> str:
    """16 hexadecimal digits of the content of a file, or of all that a model folder loads."""
    total = hashlib.sha256()
    for path in [place] if place.is_file() else sorted(place.rglob("*")):
        if path.is_file() and (path == place or path.suffix in _LOADED):
            name = "" if path == place else path.relative_to(place).as_posix()
            total.update(f"\x1f{name}\x1f".encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
