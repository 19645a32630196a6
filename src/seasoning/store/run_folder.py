"""The folder of a run: whose it is, and one process in it at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seasoning.errors import RunConflict, differences
from seasoning.store.database import Store


__all__ = ["PAGE", "STORE", "check_folder", "claimed", "entries", "opened"]

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


@contextmanager
def opened(folder: Path, spec: Mapping[str, Any] | None, readable: Callable[[Any], bool]) -> Iterator[Store]:
    """The store of this run; a folder of another run is refused."""
    with Store(folder / STORE) as store:
        there = store.note("spec")
        if there is None and (spec is None or store.measurements()):
            raise RunConflict(f"{folder} holds measurements and no run to go on with: choose another --out")
        if there is not None and not readable(there):
            raise RunConflict(f"{folder} holds a run of another version of seasoning: choose another --out")
        if spec is not None and there is None:
            store.write_note("spec", dict(spec))
        elif spec is not None and there != dict(spec):
            raise RunConflict(
                f"{folder} holds another run ({differences(there, spec)}): "
                "go on with that one by --resume alone, or choose another folder with --out"
            )
        yield store
