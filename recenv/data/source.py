"""Where the bytes of a log lie: files, gzipped files, members of a zip archive."""

from __future__ import annotations

import fnmatch
import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from recenv.errors import SchemaError

BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)
"""What reading a damaged file raises."""

UNIT = b"\x1f"
"""Unit separator (ASCII): stands in for a separator of several bytes."""


@dataclass(frozen=True)
class Source:
    """A file, or a member of a zip archive. ``.gz`` is unpacked on the way."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path if self.member is None else self.path / self.member)

    @property
    def name(self) -> str:
        """The file's own name, without ``.gz``."""
        return (self.member or self.path.name).rsplit("/", 1)[-1].removesuffix(".gz")

    @property
    def size(self) -> int:
        """Bytes, as they lie on the disk (unpacked, for a member of an archive)."""
        if self.member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).file_size


def find(folder: Path, pattern: str) -> list[Source]:
    """The files of this name in a folder, its subfolders (two deep) or its zip archives.

    The nearest level that has any counts. ``pattern`` is a glob pattern; ``.gz`` may follow it.
    ``folder`` may itself be a zip archive. Sorted by path.
    """
    if folder.is_dir():
        for depth in ("", "*/", "*/*/"):
            files = {p for end in ("", ".gz") for p in folder.glob(depth + pattern + end)}
            files = {p for p in files if p.is_file()}
            if files:
                plain = {p for p in files if p.suffix != ".gz" or p.with_suffix("") not in files}
                return [Source(p) for p in sorted(plain)]
        archives = sorted(folder.glob("*.zip"))
    else:
        archives = [folder] if folder.suffix == ".zip" and folder.is_file() else []
    found = []
    for path in archives:
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(archive.namelist())
        except zipfile.BadZipFile as error:
            raise SchemaError(f"{path} is no zip archive ({error}). Get it afresh.") from error
        found += [
            Source(path, name)
            for name in names
            if fnmatch.fnmatch(name.rsplit("/", 1)[-1].removesuffix(".gz"), pattern)
            and not name.startswith("__MACOSX/")
        ]
    return found


def text_of(source: Source, encoding: str = "utf-8") -> io.TextIOWrapper:
    """A small file as text, for Python's own parsers; undecodable bytes become U+FFFD."""
    return io.TextIOWrapper(
        io.BufferedReader(Stream(source, ",", "utf-8", None)),
        encoding=encoding,
        errors="replace",
        newline="",
    )


class Stream(io.RawIOBase):
    """Bytes of a source, unpacked, in UTF-8, with a separator of one byte."""

    def __init__(self, source: Source, separator: str, encoding: str, bar: Any) -> None:
        super().__init__()
        self._archive: zipfile.ZipFile | None = None
        if source.member is not None:
            self._archive = zipfile.ZipFile(source.path)
            self._file: IO[bytes] = self._archive.open(source.member)
        else:
            self._file = source.path.open("rb")
        packed = (source.member or source.path.name).endswith(".gz")
        self._text: Any = gzip.GzipFile(fileobj=self._file) if packed else self._file
        self._long = separator.encode() if len(separator) > 1 else None
        self._encoding = None if encoding.lower() in ("utf-8", "utf8") else encoding
        self._bar, self._seen, self._held, self._ended = bar, 0, b"", False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the front of ``buffer``; the number of bytes, 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        # one byte of another encoding may become two
        ask = size if size < 0 or self._encoding is None else max(size // 2, 1)
        ask = ask if ask < 0 else max(ask - len(self._held), 1)
        while not self._ended:
            data = self._text.read(ask)
            self._ended = size < 0 or not data
            if self._bar is not None:
                here = self._file.tell()
                self._bar.update(here - self._seen)
                self._seen = here
            data = self._joined(data)
            if data:
                return data
        return b""

    def _joined(self, data: bytes) -> bytes:
        if self._encoding is not None:
            data = data.decode(self._encoding).encode()
        if self._long is None:
            return data
        data, self._held = self._held + data, b""
        if not self._ended:  # a separator may be cut in two here
            whole = data.rstrip(self._long[:1])
            data, self._held = whole, data[len(whole) :]
        return data.replace(self._long, UNIT)

    def close(self) -> None:
        """Close the file and the archive around it."""
        if not self.closed:
            for part in (self._text, self._file, self._archive):
                if part is not None:
                    part.close()
        super().close()
