"""Fingerprints of files that were hashed before and have not changed since, so that mixing them again reads them once.

A file is known again by its path, size, time of change and number on the disk. Who can set these can deceive it:
verification hashes every byte and asks here for nothing.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path


__all__ = ["identity_of", "recall", "remember"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS fingerprint (identity TEXT PRIMARY KEY, mark TEXT NOT NULL)"
# A file that changed less long ago may change again without another time of change, as clocks of disks are coarse.
_SETTLED = 2.0  # seconds


def identity_of(files: Iterable[Path], part: str | None) -> str | None:
    """What files are known again by; `None` for such as changed a moment ago.

    Args:
        files: All of one checkpoint.
        part: What of them is taken, where they hold several networks.
    """
    stats = [(str(file.resolve()), file.stat()) for file in sorted(files)]
    if any(time.time() - stat.st_mtime < _SETTLED for _, stat in stats):
        return None
    known = [(path, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev) for path, stat in stats]
    return json.dumps([version("seasoning"), part, known])


def recall(identity: str | None) -> str | None:
    """The fingerprint of files of this identity, where they were hashed before."""
    found = None if identity is None else _run("SELECT mark FROM fingerprint WHERE identity = ?", identity)
    return found[0] if found else None


def remember(identity: str | None, mark: str) -> None:
    """Keep a fingerprint for the next time; where nothing can be kept, nothing is."""
    if identity is not None:
        _run("INSERT OR REPLACE INTO fingerprint VALUES (?, ?)", identity, mark)


def _run(query: str, *values: str) -> tuple[str, ...] | None:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seasoning"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(folder / "fingerprints.sqlite")) as connection, connection:
            connection.execute(_SCHEMA)
            found: tuple[str, ...] | None = connection.execute(query, values).fetchone()
            return found
    except (OSError, sqlite3.Error):
        return None
