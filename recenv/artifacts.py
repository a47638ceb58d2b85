"""Artifacts: folders of arrays and settings that are written whole or not at all.

An artifact folder holds ``arrays.safetensors``, optional text files, and ``manifest.json``
with the kind, the format version, the hashes of the inputs and of every file, and a hash of all
that the manifest itself says. Loading checks all of them and never executes code. A hash says that
nothing changed by accident; who loads checks with ``check_array`` that what is there fits together.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recenv.errors import ArtifactError, RecenvError
from recenv.folders import home as home
from recenv.locks import Lock

FORMAT_VERSION = 2
"""Goes up whenever an artifact of an older recenv can no longer be read.

What recenv keeps in ``RECENV_HOME`` is then made again; what a user saved is refused.
"""

_ARRAYS, _MANIFEST = "arrays.safetensors", "manifest.json"

_REMEDIES = {
    errno.ENOSPC: "Free space on that disk",
    errno.EDQUOT: "Free some of your quota on that disk",
    errno.EROFS: "Choose a folder that can be written to",
    errno.EACCES: "Choose a folder that you may write to",
    errno.EPERM: "Choose a folder that you may write to",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is written into an error that says what to do.

    Raises:
        ArtifactError: the disk is full, the folder may not be written to, and the like.
    """
    try:
        yield
    except RecenvError:
        raise
    except (OSError, SafetensorError) as error:
        number, reason = _reason(error)
        remedy = _REMEDIES.get(number, "Mend that")
        raise ArtifactError(
            f"{path} could not be written: {reason}. What stood there before is unchanged. "
            f"{remedy}, or write elsewhere (RECENV_HOME moves what recenv keeps for itself), and "
            "run the same command again."
        ) from error


def _reason(error: OSError | SafetensorError) -> tuple[int, str]:
    """Number and words of what the operating system said; safetensors wraps it in a text."""
    if isinstance(error, OSError):
        return error.errno or 0, error.strerror or str(error)
    code = re.search(r"(?:code:|os error) (\d+)", str(error))
    return (int(code[1]), os.strerror(int(code[1]))) if code else (0, str(error))


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    Raises:
        ArtifactError: it cannot be written; then nothing of the new content is left.
    """
    payload = data.encode() if isinstance(data, str) else data
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


def save(
    folder: str | Path,
    kind: str,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    *,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write an artifact folder, replacing one of the same kind that stands there.

    Args:
        folder: where; its parent is made if needed. It may be there if it is empty or holds
            an artifact of this kind and nothing else.
        kind: what the artifact is, checked at loading.
        arrays: numeric arrays by name.
        meta: JSON-able settings and the hashes of the inputs.
        texts: further text files by file name (``config.toml``).

    Raises:
        ArtifactError: something else stands there, which is left as it is; or nothing can be
            written there.
    """
    folder = Path(folder)
    _check_free(folder, kind)
    target = folder.resolve()  # behind a link, what it points to is replaced, not the link
    with writing(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
        old = part.with_name(f"{part.name}-old")
        try:
            # np.ascontiguousarray would make a lone number an array of one
            save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, part / _ARRAYS)
            for name, text in (texts or {}).items():
                (part / name).write_text(text, encoding="utf-8")
            files = {f.name: _sha256(f) for f in sorted(part.iterdir())}
            text = _manifest(kind, dict(meta), files)
            (part / _MANIFEST).write_text(text, encoding="utf-8")
            _sync(part)
            with lock(target):
                if _same(target, text):
                    return folder  # another process wrote the same; leave it to its readers
                _check_free(folder, kind)
                _swap(part, target, old)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _swap(part: Path, target: Path, old: Path) -> None:
    """Put ``part`` where ``target`` is, and that to ``old``; or leave all as it was."""
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(part, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise


def _check_free(folder: Path, kind: str) -> None:
    """Check that whatever stands at ``folder`` was written by ``save`` as this kind."""
    unchanged = "It was left as it is. Choose another folder, one that is not there yet"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtifactError(f"A {kind} is saved as a folder, but {folder} is a file. {unchanged}.")
    there = {path.name for path in folder.iterdir()}
    if not there:
        return
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        found, own = manifest["kind"], {_MANIFEST, *manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(
            f"The folder {folder} is not empty and holds no {kind}. {unchanged}."
        ) from None
    if found != kind:
        raise ArtifactError(f"The folder {folder} holds a {found!r}, not a {kind}. {unchanged}.")
    foreign = sorted(there - own) + sorted(n for n in there & own if (folder / n).is_dir())
    if foreign:
        raise ArtifactError(
            f"The folder {folder} holds a {kind}, but {foreign[0]!r} too, which recenv did not "
            f"write and replacing the {kind} would remove. {unchanged}, or move {foreign[0]!r} "
            "elsewhere."
        )


def lock(target: Path, purpose: str = "write") -> Lock:
    """A lock between processes of this machine on what is made at ``target``; see ``locks``.

    Args:
        target: a folder or file.
        purpose: "write" is what ``save`` does itself while it replaces a folder; who holds
            a lock while saving needs another.
    """
    return Lock(target, purpose)


def load(folder: str | Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read an artifact folder back as (arrays, meta).

    Raises:
        ArtifactError: it is missing, of another kind or format version, or a file in it is
            damaged; the message says which and what to do.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    version, found, remedy = manifest["format"], manifest["kind"], _remedy(folder)
    if found != kind:
        raise ArtifactError(
            f"{folder} holds a {found!r}, but a {kind!r} was wanted. Give the folder of a {kind}."
        )
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        raise ArtifactError(
            f"The artifact {folder} has format version {version}, but this recenv reads "
            f"version {FORMAT_VERSION}. It was written by {'an older' if older else 'a newer'} "
            f"recenv: install that one, or make it again with this one. {remedy}"
        )
    if manifest["hash"] != _content(manifest):
        raise ArtifactError(f"{folder / _MANIFEST} is changed: its hash is another. {remedy}")
    for name, expected in manifest["files"].items():
        file = folder / name
        if not file.is_file() or _sha256(file) != expected:
            raise ArtifactError(f"{file} is missing, truncated or changed. {remedy}")
    with reading(folder):
        return load_file(folder / _ARRAYS), manifest["meta"]


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, of any format version, its entries of the right types."""
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        types = {"kind": str, "format": int, "meta": dict, "files": dict}
        if manifest["format"] == FORMAT_VERSION:
            types["hash"] = str
        wrong = [key for key, wanted in types.items() if not isinstance(manifest[key], wanted)]
        names = manifest["files"]
        if wrong or _ARRAYS not in names or not all(map(_is_plain, names)):
            raise ValueError(f"its {wrong[0] if wrong else 'files'!r} is none of recenv's")
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"No artifact at {folder} ({_MANIFEST} is missing). Give the folder that save wrote."
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). {_remedy(folder)}") from error
    return manifest


def _is_plain(name: str) -> bool:
    """Whether it names a file in the folder itself."""
    return re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) is not None


def _remedy(folder: Path) -> str:
    """Advice on a damaged artifact: only what recenv keeps for itself is safe to delete."""
    if folder.resolve().is_relative_to(home().resolve()):
        return f"Delete the folder {folder} and run the same command again to make it afresh."
    return (
        f"Give the folder that save wrote. If this is it, restore {folder} from a copy, or save "
        "it again elsewhere."
    )


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while an artifact's content is read into an error that names it.

    Raises:
        ArtifactError: what is there cannot be read, or does not fit together.
    """
    try:
        yield
    except (
        RecenvError,
        SafetensorError,
        OSError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        what = str(error) if isinstance(error, RecenvError) else f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{folder} is damaged. {what} {_remedy(folder)}") from error


def check_array(
    arrays: Mapping[str, np.ndarray],
    name: str,
    dtype: npt.DTypeLike,
    shape: tuple[int | None, ...],
    *,
    low: float | None = None,
    high: float | None = None,
    finite: bool = True,
) -> np.ndarray:
    """One array of an artifact, as it has to be.

    Args:
        arrays: by name.
        name: of the one.
        dtype: that it must have, exactly.
        shape: that it must have; None stands for any length.
        low, high: bounds of its values.
        finite: whether it must hold no NaN and no infinity.

    Raises:
        ArtifactError: it is missing, or not so.
    """
    if name not in arrays:
        raise ArtifactError(f"The array {name!r} is missing.")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        wanted is None or wanted == length
        for wanted, length in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        told = ", ".join("any" if n is None else str(n) for n in shape)
        raise ArtifactError(
            f"The array {name!r} must be {np.dtype(dtype)} of shape ({told}), but is "
            f"{array.dtype} of shape {array.shape}."
        )
    if array.size == 0:
        return array
    if array.dtype == bool:  # a file can hold any byte
        low, high, array = 0, 1, array.view(np.uint8)
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ArtifactError(f"The array {name!r} holds values that are not finite.")
    least, most = array.min(), array.max()
    if (low is not None and not least >= low) or (high is not None and not most <= high):
        raise ArtifactError(
            f"The array {name!r} must hold values from {low} to {high}, but holds {least} to "
            f"{most}."
        )
    return arrays[name]


def exists(folder: Path) -> bool:
    """Whether an artifact was written here (whole: folders appear at once)."""
    return (folder / _MANIFEST).is_file()


def kept(folder: Path) -> bool:
    """Whether something that recenv keeps for itself is there, and need not be made.

    What an older recenv wrote in a format of its own does not count: it is made again. What is
    damaged counts: loading it says so.
    """
    if not exists(folder):
        return False
    try:
        version = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["format"]
        return not (isinstance(version, int) and version < FORMAT_VERSION)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True


def _manifest(kind: str, meta: dict[str, Any], files: dict[str, str]) -> str:
    manifest = {"kind": kind, "format": FORMAT_VERSION, "meta": meta, "files": files}
    manifest["hash"] = _content(manifest)
    return json.dumps(manifest, indent=2, sort_keys=True)


def _content(manifest: Mapping[str, Any]) -> str:
    """Hash of all that a manifest says beside this hash itself, however it is written down."""
    told = {key: value for key, value in manifest.items() if key != "hash"}
    # as it is read back: a tuple is a list there, and a key a text
    text = json.dumps(json.loads(json.dumps(told)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _same(folder: Path, manifest: str) -> bool:
    """Whether this very artifact stands there, every file of it unchanged."""
    path = folder / _MANIFEST
    if not path.is_file() or path.read_bytes() != manifest.encode():
        return False
    files = json.loads(manifest)["files"]
    return all((folder / f).is_file() and _sha256(folder / f) == h for f, h in files.items())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Have the files on the disk before the folder gets its name."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
