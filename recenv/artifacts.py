"""Artifacts: folders of arrays and settings that are written whole or not at all.

An artifact folder holds ``arrays.safetensors``, optional text files, and ``manifest.json``
with the kind, the format version, the hashes of the inputs and of every file. Loading checks
all of them and never executes code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recenv.errors import ArtifactError
from recenv.folders import home as home

FORMAT_VERSION = 1
"""Goes up whenever an artifact of an older recenv can no longer be read."""

_ARRAYS, _MANIFEST = "arrays.safetensors", "manifest.json"


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = data.encode() if isinstance(data, str) else data
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def save(
    folder: Path,
    kind: str,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    *,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write an artifact folder, replacing one that stands there.

    Args:
        folder: where; its parent is made if needed.
        kind: what the artifact is, checked at loading.
        arrays: numeric arrays by name.
        meta: JSON-able settings and the hashes of the inputs.
        texts: further text files by file name (``config.toml``).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".part-{folder.name}-"))
    try:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, part / _ARRAYS)
        for name, text in (texts or {}).items():
            (part / name).write_text(text)
        files = {f.name: _sha256(f) for f in sorted(part.iterdir())}
        manifest = {"kind": kind, "format": FORMAT_VERSION, "meta": dict(meta), "files": files}
        text = json.dumps(manifest, indent=2, sort_keys=True)
        (part / _MANIFEST).write_text(text)
        with lock(folder):
            if exists(folder) and (folder / _MANIFEST).read_text() == text and _whole(folder):
                return folder  # another process wrote the same; leave it to its readers
            if folder.exists():
                os.replace(folder, part.with_name(f"{part.name}-old"))
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(part.with_name(f"{part.name}-old"), ignore_errors=True)
    return folder


def lock(folder: Path) -> FileLock:
    """A lock between processes of this machine on what is made at ``folder``.

    The lock's file lies in the folder for temporary files, not beside the artifact.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]
    return FileLock(Path(tempfile.gettempdir()) / f"recenv-{os.getuid()}-{name}.lock")


def load(folder: Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read an artifact folder back as (arrays, meta).

    Raises:
        ArtifactError: it is missing, of another kind or format version, or a file in it is
            damaged; the message says which and what to do.
    """
    remedy = f"Delete the folder {folder} and run the same command again to make it afresh."
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        found, version = manifest["kind"], manifest["format"]
        files, meta = manifest["files"], manifest["meta"]
    except FileNotFoundError:
        raise ArtifactError(f"No artifact at {folder} ({_MANIFEST} is missing). {remedy}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / _MANIFEST} is damaged ({error}). {remedy}") from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"The artifact {folder} has format version {version}, but this recenv reads "
            f"version {FORMAT_VERSION}. {remedy} Or install the recenv that wrote it."
        )
    if found != kind:
        raise ArtifactError(f"{folder} holds a {found!r}, but a {kind!r} was wanted. {remedy}")
    for name, expected in files.items():
        file = folder / name
        if not file.is_file() or _sha256(file) != expected:
            raise ArtifactError(f"{file} is missing, truncated or changed. {remedy}")
    try:
        return load_file(folder / _ARRAYS), meta
    except SafetensorError as error:
        raise ArtifactError(f"{folder / _ARRAYS} is damaged ({error}). {remedy}") from error


def exists(folder: Path) -> bool:
    """Whether an artifact was written here (whole: folders appear at once)."""
    return (folder / _MANIFEST).is_file()


def _whole(folder: Path) -> bool:
    """Whether every file of the manifest stands there unchanged."""
    files = json.loads((folder / _MANIFEST).read_text())["files"]
    return all((folder / f).is_file() and _sha256(folder / f) == h for f, h in files.items())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
