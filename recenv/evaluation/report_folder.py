"""Output folder of a report: checked before the computation; foreign files are never removed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recenv.errors import ConfigError
from recenv.plots import require_matplotlib


@dataclass(frozen=True)
class ReportFolder:
    """The files of one kind of report.

    Attributes:
        record: the JSON file that every report of this kind has, and that is written first: what
            else of ``files`` lies beside it is a report's own.
        key: of the record's JSON object.
        files: names of all that such a report may consist of.
    """

    record: str
    key: str
    files: Sequence[str]

    def check(self, folder: str | Path) -> Path:
        """The folder, if a report with pictures can be written there.

        Raises:
            MissingDependencyError: matplotlib is not installed.
            ConfigError: the folder is a file or cannot be written to, or a file stands in the way
                that no report wrote.
        """
        require_matplotlib()
        folder = Path(folder)
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            why = "cannot be written to" if there.is_dir() else "is a file"
            raise ConfigError(
                f"A report wants a folder to write to, but {there} {why}. Give another folder."
            )
        found = [name for name in self.files if (folder / name).exists()]
        if found and not self.holds_report(folder):
            raise ConfigError(
                f"The folder {folder} holds a file {found[0]} that no report of this kind wrote; "
                "it would be lost. Move it, or give another folder."
            )
        return folder

    def holds_report(self, folder: Path) -> bool:
        """Whether an earlier report of this kind stands there."""
        try:
            made = json.loads((folder / self.record).read_text())
        except (OSError, ValueError):
            return False
        return isinstance(made, dict) and self.key in made

    def drop(self, folder: Path, kept: Sequence[str]) -> None:
        """Remove what an earlier report had and this one has not; the folder was checked."""
        for name in set(self.files) - set(kept):
            (folder / name).unlink(missing_ok=True)
