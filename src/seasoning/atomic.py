"""Writing files so that they are there completely or not at all."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path


__all__ = ["replacing"]

# No process writes one file for a day without adding to it: an older one was left by a process that was killed.
_LEFT_BEHIND = 24 * 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that replaces it when the block ends without an error.

    The content reaches the disk before the rename, so a crash leaves the old file or the new one, never a part. Every
    call has a name of its own (`.NAME.….tmp`), so that several processes may write the same file: the last one to
    finish stays. What a killed process left is removed by a later call for the same file, a day after it was last
    written to; until then it might belong to a process at work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left_behind(path: Path) -> None:
    for old in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        # Another process may remove it first.
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _LEFT_BEHIND:
                old.unlink()
