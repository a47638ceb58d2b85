"""Golden files, their digests, and the changelog's table of versions that must name them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from golden.replay import Record, close

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
HEADING = "## Environment versions"


class Row(NamedTuple):
    """One line of the table: what a version of an id does, for ever."""

    id: str
    behaviour: str
    what: str

    def __str__(self) -> str:
        return f"| {self.id} | {self.behaviour} | {self.what} |"


# golden files


def path(env_id: str, folder: Path = FOLDER) -> Path:
    """Of the golden file of an id."""
    return folder / f"{env_id.replace('/', '-')}.json"


def write(record: Record, folder: Path = FOLDER) -> None:
    """Write a record as its id's golden file."""
    path(record["id"], folder).write_text(_pretty(record) + "\n")


def read(env_id: str, folder: Path = FOLDER) -> Record:
    """The golden file of an id."""
    return json.loads(path(env_id, folder).read_text())


def digest(record: Record) -> str:
    """12 hexadecimal digits of what a record says, however it is laid out."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(golden: Record, now: Record) -> list[str]:
    """Where a behaviour is not that of a golden file, beyond tolerance; empty if nowhere.

    A setting that the golden file does not know of may have come up since: its default then
    stands for what was so before, and the rest of the record says whether it does.
    """
    if not isinstance(golden, dict) or set(golden) != set(now):
        return ["the golden file has another form"]
    exact = _compare(golden["exact"], now["exact"], "exact", lambda a, b, _: a == b)
    fitted = _compare(golden["fitted"], now["fitted"], "fitted", close(golden))
    return [*exact, *fitted]


_SETTINGS = ("exact.game", "exact.world.config")


def _compare(golden: Any, now: Any, where: str, same: Any) -> Iterator[str]:
    if isinstance(golden, dict) and isinstance(now, dict):
        new = set() if where.startswith(_SETTINGS) else set(now) - set(golden)
        for name in sorted(new | (set(golden) - set(now))):
            yield f"{where}.{name}: {'new' if name in new else 'gone'}"
        for name in golden:
            if name in now:
                yield from _compare(golden[name], now[name], f"{where}.{name}", same)
    elif isinstance(golden, list) and isinstance(now, list) and len(golden) == len(now):
        for number, (a, b) in enumerate(zip(golden, now, strict=True)):
            yield from _compare(a, b, f"{where}[{number}]", same)
    elif isinstance(golden, list) or isinstance(now, list) or not same(golden, now, where):
        yield f"{where}: {_short(golden)} has become {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with a list of numbers on one line."""
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {_pretty(v, inner)}" for k, v in value.items()]
        marks = "{}"
    elif isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        parts, marks = [_pretty(v, inner) for v in value], "[]"
    else:
        return json.dumps(value)
    if not parts:
        return marks
    return f"{marks[0]}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{marks[1]}"


# the table


def table(changelog: str) -> list[Row]:
    """Rows of the changelog's table of versions."""
    _, _, section = changelog.partition(f"{HEADING}\n")
    section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("|")]
    return [
        Row(*(cell.strip() for cell in line.strip("|").split("|", 2)))
        for line in lines[2:]  # after the head and its rule
    ]


def faults(
    ids: Iterable[str], rows: list[Row], folder: Path = FOLDER, released: Iterable[Row] = ()
) -> list[str]:
    """What is wrong with the golden files and the table of versions; empty if nothing.

    Args:
        ids: those that are registered.
        rows: of the table.
        folder: of the golden files.
        released: rows that the last release had.
    """
    ids, told = list(ids), {row.id: row for row in rows}
    out = [f"{row} stands there with another row of its id" for row in _doubled(rows)]
    for env_id in ids:
        if not path(env_id, folder).exists():
            out.append(f"{env_id} has no golden file: run python tests/golden/make.py")
        elif env_id not in told:
            out.append(f"{env_id} has no row in the changelog: {_wanted(env_id, folder)}")
        elif told[env_id].behaviour != digest(read(env_id, folder)):
            out.append(
                f"the row of {env_id} says {told[env_id].behaviour}, but its golden file is "
                f"{digest(read(env_id, folder))}: a behaviour that changed is a new version"
            )
    known = {path(env_id, folder) for env_id in ids}
    out += [
        f"{file.name} is the golden file of no id: delete it, or register the id"
        for file in sorted(folder.glob("*.json"))
        if file not in known
    ]
    for env_id in dict.fromkeys([*ids, *told]):
        before = version(env_id, -1)
        if before and before not in told:
            out.append(f"{env_id} has come without a row of {before}: rows stay for ever")
    out += [
        f"{row} was released, and is gone or changed: rows stay for ever"
        for row in released
        if told.get(row.id) != row
    ]
    return out


def _doubled(rows: list[Row]) -> list[Row]:
    seen: set[str] = set()
    return [row for row in rows if row.id in seen or seen.add(row.id)]


def _wanted(env_id: str, folder: Path) -> str:
    return str(Row(env_id, digest(read(env_id, folder)), "..."))


def version(env_id: str, step: int) -> str | None:
    """The id with its version raised by ``step``; None if there is no such version."""
    name, _, number = env_id.rpartition("-v")
    raised = int(number) + step
    return f"{name}-v{raised}" if raised >= 0 else None


# what was released


def unreleased(root: Path = ROOT) -> bool:
    """Whether the changelog says that the version in pyproject.toml is not released yet."""
    number = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return f"\n## {number} (unreleased)\n" in (root / "CHANGELOG.md").read_text()


def released(root: Path = ROOT) -> list[Row]:
    """Rows that the last tagged release had; none where git knows of no tag."""
    try:
        tag = _git(root, "describe", "--tags", "--abbrev=0").strip()
        return table(_git(root, "show", f"{tag}:CHANGELOG.md"))
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, no tag
        return []


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
