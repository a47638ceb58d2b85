"""Sources of a log's bytes: files, gzipped files, members of a zip archive."""

from __future__ import annotations

import codecs
import fnmatch
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from recenv.errors import SchemaError

BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    UnicodeDecodeError,
    NotImplementedError,  # a way of packing that Python does not know
    RuntimeError,  # an encrypted member
    struct.error,
)
"""What reading a damaged file, or one packed in a way that Python cannot undo, raises."""

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
        with _readable(str(self)), zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).file_size


def find(folder: Path, pattern: str) -> list[Source]:
    """The files of this name in a folder, its subfolders (two deep) or its zip archives.

    The nearest level that has any counts. ``pattern`` is a glob pattern, with the folders above
    the file where they tell it from others; ``.gz`` may follow it. ``folder`` may itself be a zip
    archive. Sorted by path. What begins with a dot is no data, nor is what lies in ``__MACOSX``:
    macOS puts a side file ``._NAME`` beside each file of a foreign drive or an archive.

    Raises:
        SchemaError: a zip archive is damaged.
    """
    if folder.is_dir():
        for depth in ("", "*/", "*/*/"):
            files = {p for end in ("", ".gz") for p in folder.glob(depth + pattern + end)}
            files = {p for p in files if p.is_file() and _is_data(p.relative_to(folder).parts)}
            if files:
                plain = {p for p in files if p.suffix != ".gz" or p.with_suffix("") not in files}
                return [Source(p) for p in sorted(plain)]
        archives = sorted(p for p in folder.iterdir() if _is_archive(p))
    else:
        archives = [folder] if _is_archive(folder) else []
    depth = pattern.count("/") + 1
    found = []
    for path in archives:
        with _readable(str(path)), zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            _check_names(archive)
        found += [
            Source(path, name)
            for name in names
            if fnmatch.fnmatch("/".join(name.split("/")[-depth:]).removesuffix(".gz"), pattern)
            and _is_data(name.split("/"))
        ]
    return found


def _check_names(archive: zipfile.ZipFile) -> None:
    """Members are named alike in the archive's list and before their bytes.

    Otherwise a file whose name is damaged would not be missed where it may be absent.

    Raises:
        BadZipFile: one is not.
    """
    for info in archive.infolist():
        try:
            archive.open(info).close()
        except (NotImplementedError, RuntimeError):  # packed otherwise: told where it is wanted
            continue


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and _is_data([path.name]) and path.is_file()


def _is_data(parts: Sequence[str]) -> bool:
    """Whether a path is that of a file meant to be read."""
    return not any(p == "__MACOSX" or (p.startswith(".") and p.strip(".")) for p in parts)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns what a damaged file raises into a SchemaError that says what to do.

    Raises:
        SchemaError: the file cannot be read.
    """
    try:
        yield
    except BROKEN as error:
        remedy = "It is damaged or not whole: get it afresh."
        if isinstance(error, NotImplementedError):
            remedy = (
                "It is packed in a way that Python cannot undo (Windows writes Deflate64 for "
                "large files): unpack the archive by hand and name the folder."
            )
        elif isinstance(error, RuntimeError):
            remedy = "If it is encrypted, unpack the archive by hand and name the folder."
        elif isinstance(error, PermissionError):
            remedy = "Let yourself read it (chmod u+r)."
        elif isinstance(error, UnicodeDecodeError):
            remedy = "Save it as UTF-8, or get it afresh."
        raise SchemaError(f"{name} cannot be read ({_words(error)}). {remedy}") from error


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


def encoding_of(source: Source, published: str) -> str:
    """ "utf-8" where a file was saved again as that, else the encoding that it is published in.

    A file counts as UTF-8 if all of it is valid and some of it is not plain ASCII: text in an
    encoding of one byte per character is practically never valid UTF-8.

    Args:
        source: a small file; all of it is read.
        published: an encoding of one byte per character, such as "latin-1".

    Raises:
        SchemaError: the file cannot be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    plain = True
    with Stream(source) as stream:
        try:
            while data := stream.read(1 << 20):
                plain = plain and data.isascii()
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return published
        return published if plain and not stream.marked else "utf-8"


def text_of(source: Source) -> io.TextIOWrapper:
    """A small UTF-8 file as text, for Python's own parsers; undecodable bytes become U+FFFD."""
    return io.TextIOWrapper(
        io.BufferedReader(Stream(source)), encoding="utf-8", errors="replace", newline=""
    )


class Stream(io.RawIOBase):
    """Bytes of a source, unpacked, in UTF-8, with a separator of one byte.

    A byte order mark of UTF-8 at the start is left out; ``marked`` tells whether there was one.

    Args:
        source: what to read.
        separator: of columns; one of several bytes becomes ``UNIT``.
        encoding: of the file.
        bar: told how many bytes were read; None for nobody.
        check: called with each piece before it is handed out, and with b"" at the end.

    Raises:
        SchemaError: here or while reading: the file is damaged, UTF-16, or packed without
            saying so in its name.
    """

    def __init__(
        self,
        source: Source,
        separator: str = ",",
        encoding: str = "utf-8",
        bar: Any = None,
        check: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__()
        self._name = str(source)
        self._archive: zipfile.ZipFile | None = None
        self._file: IO[bytes] | None = None
        self._text: Any = None
        self._long = separator.encode() if len(separator) > 1 else None
        self._encoding = None if encoding.lower() in ("utf-8", "utf8") else encoding
        self._bar, self._seen, self._held, self._ended = bar, 0, b"", False
        self._check = check
        try:
            with _readable(self._name):
                if source.member is not None:
                    self._archive = zipfile.ZipFile(source.path)
                    self._file = self._archive.open(source.member)
                else:
                    self._file = source.path.open("rb")
                packed = (source.member or source.path.name).endswith(".gz")
                self._text = gzip.GzipFile(fileobj=self._file) if packed else self._file
                self._head = self._text.read(4)
            self.marked = self._head.startswith(codecs.BOM_UTF8)
            if self.marked:
                self._head = self._head.removeprefix(codecs.BOM_UTF8)
            self._refuse_other_kinds(self._head)
        except BaseException:
            self.close()
            raise

    def _refuse_other_kinds(self, head: bytes) -> None:
        """SchemaError where the first bytes are not those of text."""
        kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
        if kind is None and b"\0" in head:
            line = head.count(b"\n", 0, head.index(b"\0")) + 1
            raise SchemaError(
                f"{self._name}, line {line}, holds a zero byte, so it is no text in UTF-8. Save it "
                "as UTF-8, or mend the line."
            )
        if kind is not None:
            raise SchemaError(f"{self._name} {kind}.")

    def __str__(self) -> str:
        """As the source."""
        return self._name

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
        data = self._read(size)
        if self._check is not None and (data or size):
            self._check(data)
        return data

    def _read(self, size: int) -> bytes:
        # one byte of another encoding may become two
        ask = size if size < 0 or self._encoding is None else max(size // 2, 1)
        ask = ask if ask < 0 else max(ask - len(self._held), 1)
        while not self._ended:
            with _readable(self._name):
                data = self._taken(ask)
                self._ended = size < 0 or not data
                if self._bar is not None and self._file is not None:
                    here = self._file.tell()
                    self._bar.update(here - self._seen)
                    self._seen = here
                data = self._joined(data)
            if data:
                return data
        return b""

    def _taken(self, size: int) -> bytes:
        """The file's next bytes, after those at its head that were looked at."""
        head, self._head = self._head, b""
        if size < 0:
            return head + self._text.read()
        self._head = head[size:]
        head = head[:size]
        return head + self._text.read(size - len(head)) if len(head) < size else head

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


_KINDS = {
    codecs.BOM_UTF16_LE: "is UTF-16 text. Save it as UTF-8",
    codecs.BOM_UTF16_BE: "is UTF-16 text. Save it as UTF-8",
    b"\x1f\x8b": "is gzipped, but its name does not end in .gz. Give it that ending",
    b"PK\x03\x04": "is a zip archive, but its name does not end in .zip. Give it that ending",
    b"PAR1": "is a Parquet file, not text. Get the publisher's own file",
}
"""First bytes of files that are no text, and what to say of them."""
