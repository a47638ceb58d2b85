"""Where a model's weights lie, and what names their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from recenv.errors import DataNotFoundError

_LOADED = (".safetensors", ".bin", ".json", ".txt", ".model")


def require_local(model: str, wanted: str) -> None:
    """Check that ``model`` is there, if it looks like a path and not like a hub name.

    Raises:
        DataNotFoundError: it looks like a path, but nothing lies there.
    """
    pathlike = model.startswith((".", "/", "~")) or "\\" in model or model.endswith(".gguf")
    if pathlike and not Path(model).expanduser().exists():
        raise DataNotFoundError(f"There is no model folder {model}. {wanted}")


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
