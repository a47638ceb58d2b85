"""Cache folder of recenv."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import platformdirs

_LONGEST = 60  # characters of a name that stand in a folder's name


def home() -> Path:
    """The folder for caches and built worlds: ``RECENV_HOME``, or the user's cache folder."""
    named = os.environ.get("RECENV_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("recenv"))


def slug(name: str) -> str:
    """Part of a folder's name that stands for any name, and for no other.

    Letters and digits of ASCII, ``.``, ``_`` and ``-`` stay. A name that has other characters,
    begins or ends with a dot or a hyphen, or is long loses these, and gets a digest of the whole
    name behind it.
    """
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:_LONGEST].rstrip(".-")
    if kept == name and name:
        return name
    told = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{kept}-{told}".lstrip("-")
