"""One file from the web: resumed where it broke off, verified before anyone sees it."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from recenv.data.files import BROKEN
from recenv.errors import DataNotFoundError
from recenv.progress import Progress

_BLOCK = 1 << 16
_ATTEMPTS = 3
_TIMEOUT = 30.0  # seconds without a byte


def fetch(url: str, target: Path, md5: str, *, progress: bool | None = None) -> Path:
    """Download ``url`` to ``target`` and return it.

    What has arrived is kept beside it in ``<target>.part``; the next attempt, also of a later
    run, asks the server for the rest only (HTTP ``Range``, RFC 9110 section 14).

    Args:
        url: http or https address.
        target: file to write; it appears only once its checksum is right.
        md5: the publisher's MD5 checksum, as hexadecimal digits.
        progress: False for silence; see ``recenv.progress``.

    Raises:
        DataNotFoundError: the address cannot be read, or what came has another checksum (then
            nothing is left on disk).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    error: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            _receive(url, part, progress)
            break
        except urllib.error.HTTPError as broken:
            raise DataNotFoundError(
                f"{url} answered {broken.code} {broken.reason}. Try again later, or download "
                "the file by hand and name its folder."
            ) from broken
        except (OSError, HTTPException) as broken:
            error = broken
    else:
        raise DataNotFoundError(
            f"{url} cannot be downloaded ({error}). Check the connection and try again: the "
            "download goes on where it broke off."
        ) from error
    digest = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != md5:
        part.unlink()
        raise DataNotFoundError(
            f"What {url} sent has the MD5 checksum {digest.hexdigest()}, but {md5} was expected. "
            "It was deleted. Try again, or download the file by hand and name its folder."
        )
    os.replace(part, target)
    return target


def downloaded(folder: Path, name: str) -> Path:
    """Where an archive lies while it is downloaded and unpacked: a name that is recenv's own."""
    return folder.with_name(f".download-{name}")


def unpack(archive: Path, folder: Path, members: Sequence[str], largest: int) -> Path:
    """Write members of a zip archive into a folder that appears at once and whole.

    Nothing that is there already is touched: if ``folder`` exists, a new folder in it takes the
    files.

    Args:
        archive: the zip file.
        folder: where the files go.
        members: their names in the archive, ``<folder in the archive>/<file>``.
        largest: bytes that no member exceeds.

    Returns:
        The folder that holds the files.

    Raises:
        DataNotFoundError: the archive lacks a member, or cannot be unpacked.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".part-{folder.name}-"))
    try:
        with zipfile.ZipFile(archive) as file:
            for name in members:
                member = file.getinfo(name)
                if member.file_size > largest:
                    raise DataNotFoundError(f"{name} in {archive} is far too large.")
                # the target path is ours: no name from inside the archive reaches the disk
                with file.open(member) as source, (part / Path(name).name).open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK)
        return _moved(part, folder, members[0].split("/", 1)[0])
    except DataNotFoundError:
        raise
    except (KeyError, *BROKEN) as error:
        raise DataNotFoundError(
            f"{archive} is not the archive of {folder.name}, or is damaged ({error}). Delete it "
            "and try again."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _moved(part: Path, folder: Path, name: str) -> Path:
    """Give the folder ``part`` the path ``folder``, or one in it that is free."""
    inside = (folder / f"{name}{end}" for end in ("", *(f"-{k}" for k in range(1, 100))))
    for place in itertools.chain([folder], inside):
        if not place.exists():
            os.replace(part, place)
            return place
    raise DataNotFoundError(
        f"{folder} has no room for the files: move away what is called {name} there, and try again."
    )


def _receive(url: str, part: Path, progress: bool | None) -> None:
    """Append what is still missing of ``url`` to ``part``."""
    if not url.startswith(("https://", "http://")):
        raise DataNotFoundError(f"{url!r} is no http or https address. Give one that is.")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "recenv"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing lies beyond what we have; the checksum decides
            return
        raise
    with answer:
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            have = 0
        length = int(answer.headers.get("Content-Length", 0))
        bar = Progress(
            url.rsplit("/", 1)[-1],
            have + length or None,
            have,
            unit="bytes",
            shown=progress,
        )
        received = 0
        with bar, part.open("ab" if have else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                received += len(block)
                bar.update(len(block))
        if received < length:
            raise OSError(f"the connection broke after {have + received} of {have + length} bytes")
