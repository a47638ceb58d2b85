"""Writes the golden files ``tests/golden/<id>.json``: what fixed seeds and actions bring.

``python tests/golden/make.py`` writes the file of every new id and prints the row to add to the
changelog's table of versions. A file whose behaviour is as before is left as it is. One whose
behaviour has changed is not overwritten: register the next version instead. Only before an id's
first release, ``--unreleased`` overwrites it, and mends the digest in its row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import conftest  # noqa: F401  where the tests keep their worlds and compiled functions

from golden.replay import Record, record
from golden.versions import (
    FOLDER,
    ROOT,
    Row,
    differences,
    digest,
    path,
    read,
    released,
    table,
    unreleased,
    version,
    write,
)

from recenv.env.registration import REGISTRY


class BehaviourChangedError(Exception):
    """An id does not do what its golden file says."""


def make(
    ids: Iterable[str],
    *,
    may_change: bool = False,
    folder: Path = FOLDER,
    root: Path = ROOT,
    replay: Callable[[str], Record] = record,
) -> list[Row]:
    """Write golden files, and return the rows that the changelog's table must have for them.

    Args:
        ids: whose.
        may_change: overwrite files whose behaviour has changed, of ids that were never released.
        folder: of the golden files.
        root: of the repository: of its changelog and its tags.
        replay: what an id does now.

    Raises:
        BehaviourChangedError: a file would change, and may not. Files of other ids are written.
    """
    told = {row.id: row for row in table((root / "CHANGELOG.md").read_text())}
    out_before = {row.id for row in released(root)}
    rows, refused = [], []
    for env_id in ids:
        now = replay(env_id)
        changed = path(env_id, folder).exists() and differences(read(env_id, folder), now)
        if changed and (not may_change or not unreleased(root) or env_id in out_before):
            refused.append(_refusal(env_id, changed))
            continue
        if changed or not path(env_id, folder).exists():
            write(now, folder)
        what = told[env_id].what if env_id in told else "..."
        rows.append(Row(env_id, digest(read(env_id, folder)), what))
    if refused:
        raise BehaviourChangedError("\n".join(refused))
    return rows


def _refusal(env_id: str, changed: list[str]) -> str:
    some = "".join(f"\n  {line}" for line in changed[:5])
    more = f"\n  and {len(changed) - 5} more" if len(changed) > 5 else ""
    return (
        f"behaviour of {env_id} changed: register {version(env_id, 1)}, add its row, keep the old "
        f"one{some}{more}"
    )


def mend(rows: Iterable[Row], root: Path = ROOT) -> None:
    """Put new digests into the rows that the changelog's table already has."""
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text()
    old = {row.id: row for row in table(text)}
    for row in rows:
        if row.id in old:
            text = text.replace(str(old[row.id]), str(row))
    changelog.write_text(text)


def main(words: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", help="default: every registered id")
    parser.add_argument(
        "--unreleased",
        action="store_true",
        help="overwrite golden files of ids that were never released",
    )
    args = parser.parse_args(words)
    try:
        rows = make(args.ids or REGISTRY, may_change=args.unreleased)
    except BehaviourChangedError as error:
        print(error, file=sys.stderr)
        return 1
    if args.unreleased:
        mend(rows)
    told = table((ROOT / "CHANGELOG.md").read_text())
    for row in rows:
        print(row, "" if row in told else "<- add this row to the table in CHANGELOG.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
