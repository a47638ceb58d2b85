"""Where recenv keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder for caches and built worlds: ``RECENV_HOME``, or the user's cache folder."""
    named = os.environ.get("RECENV_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("recenv"))
