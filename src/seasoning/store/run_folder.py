"""The folder of a run: whose it is, and one process in it at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from seasoning.errors import RunConflict


__all__ = ["PAGE", "STORE", "check_folder", "claimed", "entries"]

STORE, PAGE = "outcomes.sqlite", "report.html"
_LOCK = ".lock"


def entries(folder: Path, own: Sequence[str], stranger: str) -> list[str]:
    """What lies in a folder, apart from its lock and hidden files; a folder of something else is refused untouched.

    Args:
        folder: It need not be there.
        own: Names that may lie in it.
        stranger: What any other name is, in words, such as `"of no training"`.

    Raises:
        RunConflict: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise RunConflict(f"{folder} is a file: choose a folder with --out")
    here = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.exists() else []
    strange = [name for name in here if name not in own]
    if strange:
        raise RunConflict(
            f"{folder} holds {strange[0]!r}, which is {stranger}: choose an empty or a new folder with --out"
        )
    return here


def check_folder(folder: Path, *, fresh: bool) -> None:
    """Refuse a folder of something else, without touching it, and, unless a fresh run may start, one without a run.

    Raises:
        RunConflict: saying which.
    """
    there = (folder / STORE).exists()
    if not there:
        entries(folder, (), "of no run")
    if not there and not fresh:
        raise RunConflict(f"{folder} holds no run to go on with: leave out --resume, or name the folder of a run")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it even when this process is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, blocking=False, is_singleton=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunConflict(f"another process is at work in {folder}: wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()
