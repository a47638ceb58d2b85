"""Knowledge graphs of items, from RecBole's atomic files ``.kg`` and ``.link``.

Both are tab-separated, with a header of ``name:type``: ``head_id``, ``relation_id`` and
``tail_id`` of every triple; ``item_id`` of the log and ``entity_id`` of the graph. Source: Zhao
et al. (2021), "RecBole: Towards a Unified, Comprehensive and Efficient Framework for
Recommendation Algorithms", CIKM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recenv.data.files import Source, find, text_of
from recenv.data.text_chunks import BLOCK_BYTES, Layout, read_delimited
from recenv.errors import DataNotFoundError, SchemaError

_TRIPLE = ("head_id", "relation_id", "tail_id")
_LINK = ("item_id", "entity_id")


@dataclass(frozen=True)
class KnowledgeGraph:
    """Facts of the form (head, relation, tail), and which entity an item is.

    Attributes:
        entities: (V,) names, sorted.
        relations: (R,) names, sorted.
        triples: (M, 3) int32 codes of head, relation and tail, sorted, none twice.
        links: item id to entity code, of the items whose entity stands in a triple.
        num_unknown: number of links to entities that no triple names.
    """

    entities: npt.NDArray[np.object_]
    relations: npt.NDArray[np.object_]
    triples: npt.NDArray[np.int32]
    links: dict[str, int]
    num_unknown: int

    @cached_property
    def hash(self) -> str:
        """Content hash of the triples and their names (16 hexadecimal digits)."""
        total = hashlib.sha256(self.triples.tobytes())
        for names in (self.entities, self.relations):
            total.update(("\x1f".join(map(str, names)) + "\x1e").encode())
        return total.hexdigest()[:16]

    def entity_of(self, item_ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
        """(N,) entity code of each item, -1 where it has none."""
        return np.array([self.links.get(str(i), -1) for i in item_ids], dtype=np.int64)


def read_knowledge_graph(folder: str | Path, *, block_bytes: int = BLOCK_BYTES) -> KnowledgeGraph:
    """Read the one ``.kg`` and the one ``.link`` file of a folder, some bytes at a time.

    Memory holds the names once and 12 bytes a triple. Triples that stand twice count once.

    Raises:
        DataNotFoundError: the folder lacks one of the files.
        SchemaError: it holds several of a kind, or one has wrong columns, a blank cell, no rows,
            or an item linked to two entities.
    """
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    parts = []
    for table in _chunks(_only(Path(folder), ".kg"), _TRIPLE, block_bytes):
        columns = (entities, relations, entities)
        codes = [_code(table[c], known) for c, known in zip(_TRIPLE, columns, strict=True)]
        parts.append(np.stack(codes, axis=1))
    triples = np.concatenate(parts)
    for known, columns in ((entities, [0, 2]), (relations, [1])):
        # codes follow the names, whatever the order of the rows
        rank = np.empty(len(known), dtype=np.int32)
        for new, name in enumerate(sorted(known)):
            rank[known[name]], known[name] = new, new
        triples[:, columns] = rank[triples[:, columns]]
    path = _only(Path(folder), ".link")
    links: dict[str, int] = {}
    named: dict[str, str] = {}
    for table in _chunks(path, _LINK, block_bytes):
        for item, entity in zip(*(table[c].to_pylist() for c in _LINK), strict=True):
            if named.setdefault(item, entity) != entity:
                raise SchemaError(
                    f"{path}: item {item!r} is linked to {named[item]!r} and to {entity!r}. "
                    "Keep one entity per item."
                )
            if entity in entities:
                links[item] = entities[entity]
    return KnowledgeGraph(
        entities=np.array(sorted(entities), dtype=object),
        relations=np.array(sorted(relations), dtype=object),
        triples=np.unique(triples, axis=0),
        links=links,
        num_unknown=len(named) - len(links),
    )


def _only(folder: Path, suffix: str) -> Source:
    found = find(folder, f"*{suffix}")
    if not found:
        raise DataNotFoundError(
            f"The folder {folder} holds no {suffix} file. Name a folder with one .kg and one .link "
            "file in RecBole's format."
        )
    if len(found) > 1:
        raise SchemaError(
            f"The folder {folder} holds {len(found)} {suffix} files "
            f"({', '.join(f.name for f in found)}). Keep one graph per folder."
        )
    return found[0]


def _chunks(source: Source, columns: Sequence[str], block_bytes: int) -> Iterator[dict[str, Any]]:
    """The wanted columns as text, without their types; never empty."""
    with text_of(source) as file:
        heads = file.readline().rstrip("\r\n").split("\t")
    header = [name.split(":")[0] for name in heads]
    wanted = ":token\t".join(columns)
    for column in columns:
        if column not in header:
            raise SchemaError(
                f"{source} has no column {column!r}; it has {', '.join(map(repr, header))}. Its "
                f"first line must be tab-separated, as in {wanted}:token."
            )
        if header.count(column) > 1:
            raise SchemaError(
                f"{source}, line 1 names the column {column!r} twice. Keep one of them."
            )
    names = {column: heads[header.index(column)] for column in columns}
    types = dict.fromkeys(names.values(), pa.string())
    empty = True
    for chunk in read_delimited([source], Layout("\t"), types, block_bytes=block_bytes):
        empty = False
        for name in names.values():
            chunk.refuse(_blank(chunk.columns[name]), name, "is blank")
        yield {column: chunk.columns[name] for column, name in names.items()}
    if empty:
        raise SchemaError(f"{source} has no rows below its header. Give at least one.")


def _blank(texts: pa.StringArray) -> npt.NDArray[np.bool_]:
    trimmed = pc.utf8_trim_whitespace(texts)  # pyright: ignore[reportAttributeAccessIssue]
    return np.asarray(pc.equal(trimmed, ""))  # pyright: ignore[reportAttributeAccessIssue]


def _code(names: pa.StringArray, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Codes of names; new ones are added to ``known``."""
    encoded = names.dictionary_encode()
    new = [known.setdefault(name, len(known)) for name in encoded.dictionary.to_pylist()]
    return np.array(new, dtype=np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]
