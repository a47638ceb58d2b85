"""Small files written by hand, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recenv.schema import Catalog, InteractionLog

Read = tuple[InteractionLog, Catalog]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Put the files into the folder, with the folders they need."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def events(read: Read) -> list[tuple[str, str, float, int]]:
    """(user, item, time, response), sorted."""
    log, catalog = read
    columns = (log.column(c).tolist() for c in ("user", "item", "time", "response"))
    rows = zip(*columns, strict=True)
    return sorted((str(log.user_ids[u]), str(catalog.item_ids[i]), t, r) for u, i, t, r in rows)


def items(read: Read) -> dict[str, tuple[str, str, float]]:
    """Item to text, category and price."""
    c = read[1]
    names = [c.category_names[k] for k in c.category]
    return dict(zip(c.item_ids, zip(c.text, names, c.price.tolist(), strict=True), strict=True))


def told(read: Read, word: str) -> bool:
    """Whether a note of the log has the words."""
    return any(word in note for note in read[0].notes)
