import os
import time
from pathlib import Path

import pytest

from seasoning.atomic import replacing


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_there_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "one"
    assert listing(path.parent) == ["a.txt"]


def test_a_failed_block_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_half()
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


def test_writers_of_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as slow:
        slow.write_text("slow")
        with replacing(path) as fast:
            fast.write_text("fast")
        assert path.read_text() == "fast"
        assert slow.read_text() == "slow"
    assert path.read_text() == "slow"
    assert listing(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    names = {"old": ".a.txt.1-00ff.tmp", "young": ".a.txt.2-00ff.tmp", "other": ".b.txt.3-00ff.tmp"}
    for name in names.values():
        (tmp_path / name).write_text("half")
    yesterday = time.time() - 25 * 3600
    for which in ("old", "other"):
        os.utime(tmp_path / names[which], (yesterday, yesterday))
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert listing(tmp_path) == [names["young"], names["other"], "a.txt"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual.txt").write_text("")
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode
