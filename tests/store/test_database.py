import io
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seasoning.errors import BadInput
from seasoning.outcomes import Measurement, ModelKey
from seasoning.store.database import Store
from tests.make import outcomes


ASKED = Measurement(ModelKey.of(["aa", "bb"], [0.25, 0.75]), "digits/test", "cc", "l2:0.5", "apgd(steps=40)", 3)
HEADER = {"seconds": 1.5}


def test_outcomes_come_back_whole_and_in_the_order_of_ids(tmp_path: Path) -> None:
    first = outcomes(labels=[3, 4], clean=[3, 0], ids=[9, 5])
    second = outcomes(labels=[1], clean=[1], ids=[7])
    with Store(tmp_path / "a.sqlite") as store:
        assert store.outcomes(ASKED) is None
        assert store.known(ASKED) is None
        store.add(ASKED, 3, first, HEADER)
        assert store.outcomes(ASKED) is None
        part = store.known(ASKED)
        assert part is not None
        assert part.ids.tolist() == [5, 9]
        assert sorted(store.known_ids(ASKED)) == [5, 9]
        store.add(ASKED, 3, second, HEADER)
    with Store(tmp_path / "a.sqlite") as store:
        whole = store.outcomes(ASKED)
        assert whole is not None
        assert whole.ids.tolist() == [5, 7, 9]
        assert whole.labels.tolist() == [4, 1, 3]
        assert {name: column.dtype for name, column in whole.columns().items()} == {
            name: column.dtype for name, column in first.columns().items()
        }
        assert store.measurements() == [ASKED]
        assert [header for _, header in store.headers()] == [HEADER, HEADER]


def test_the_header_of_the_last_block_is_that_of_the_measurement(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        assert store.header(ASKED) == {}
        for number in range(3):
            store.add(ASKED, 3, outcomes(labels=[1], clean=[1], ids=[number]), HEADER | {"batch_size": number})
        store.add(replace(ASKED, seed=4), 1, outcomes(labels=[1], clean=[1]), HEADER)
        assert store.header(ASKED)["batch_size"] == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, smoke=True),
        replace(ASKED, seed=4),
        replace(ASKED, threat="l2:0.6"),
        replace(ASKED, attack="apgd(steps=10)"),
        replace(ASKED, samples="dd"),
        replace(ASKED, model=ModelKey.of(["aa", "bb"], [0.75, 0.25])),
        replace(ASKED, model=ModelKey.of(["aa", "bb"], [0.25, 0.75], "ensemble")),
    ],
)
def test_nothing_else_answers_a_request(tmp_path: Path, other: Measurement) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.add(other, 1, outcomes(labels=[1], clean=[1]), HEADER)
        assert store.outcomes(other) is not None
        assert store.outcomes(ASKED) is None


def test_an_ingredient_is_the_soup_of_itself_alone() -> None:
    assert ModelKey.of(["aa", "bb"], [0.0, 1.0]) == ModelKey.of(["bb"], [1])


def test_measurements_read_back_from_their_text() -> None:
    again = Measurement.from_json(ASKED.to_json())
    assert again == ASKED
    assert again.key == ASKED.key


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        with pytest.raises(TypeError):
            store.add(ASKED, 1, outcomes(labels=[1], clean=[1]), {"seconds": object()})
        assert store.measurements() == []
        assert len(store.known_ids(ASKED)) == 0


def test_notes_are_kept_and_replaced(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        assert store.note("spec") is None
        store.write_note("spec", {"seed": 1})
        store.write_note("spec", {"seed": 2})
        assert store.note("spec") == {"seed": 2}


def test_finished_measurements_are_those_of_which_no_sample_is_missing(tmp_path: Path) -> None:
    other, last = replace(ASKED, seed=4), replace(ASKED, seed=5)
    with Store(tmp_path / "a.sqlite") as store:
        assert store.finished() == []
        for asked, ids in ((ASKED, [9, 5]), (other, [1]), (last, [1, 2, 3])):
            store.add(asked, 3, outcomes(labels=[1] * len(ids), clean=[1] * len(ids), ids=ids), HEADER)
        assert store.finished() == [last]
        store.add(ASKED, 3, outcomes(labels=[1], clean=[1], ids=[7]), HEADER)
        # In the order of asking, as all measurements are.
        assert store.finished() == [ASKED, last]
        assert store.measurements() == [ASKED, other, last]
        for asked in store.finished():
            assert store.outcomes(asked) is not None


def test_some_columns_of_what_is_known_are_those_of_all(tmp_path: Path) -> None:
    made = outcomes(labels=[3, 4], clean=[3, 0], adversarial=[1, 2], ids=[9, 5])
    with Store(tmp_path / "a.sqlite") as store:
        assert store.columns(ASKED, ("ids",)) is None
        store.add(ASKED, 3, made, HEADER)
        whole, part = store.known(ASKED), store.columns(ASKED, ("labels", "ids"))
        every = store.columns(ASKED)
    assert whole is not None
    assert part is not None
    assert every is not None
    assert set(part) == {"labels", "ids"}
    assert set(every) == set(whole.columns())
    for name, column in whole.columns().items():
        assert every[name].tolist() == column.tolist()
        if name in part:
            assert part[name].tolist() == column.tolist()
            assert part[name].dtype == column.dtype


def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(BadInput, match="no store"):
        Store(path)
    assert path.read_bytes().startswith(b"something else")


def test_floats_keep_their_bits(tmp_path: Path) -> None:
    made = outcomes(labels=[1, 2], clean=[1, 2])
    made = replace(made, margin=np.array([1e-30, -np.float32(1) / 3], dtype=np.float32))
    with Store(tmp_path / "a.sqlite") as store:
        store.add(ASKED, 2, made, HEADER)
        back = store.outcomes(ASKED)
    assert back is not None
    assert np.array_equal(back.margin, made.margin)


def test_the_file_is_plain_sqlite(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.add(ASKED, 2, outcomes(labels=[1, 2], clean=[1, 2]), HEADER)
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    assert connection.execute("SELECT samples FROM block").fetchall() == [(2,)]
    connection.close()


def test_blocks_of_an_earlier_version_are_read_with_those_of_today(tmp_path: Path) -> None:
    old, new = outcomes(labels=[3, 4], clean=[3, 0], ids=[9, 5]), outcomes(labels=[1], clean=[1], ids=[7])
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **old.columns())
    with Store(tmp_path / "a.sqlite") as store:
        store.add(ASKED, 3, old, HEADER)
        replaced(tmp_path / "a.sqlite", archive.getvalue())
        store.add(ASKED, 3, new, HEADER)
        whole = store.outcomes(ASKED)
        few = store.columns(ASKED, ("labels",))
    assert whole is not None
    assert whole.ids.tolist() == [5, 7, 9]
    assert whole.labels.tolist() == [4, 1, 3]
    assert few is not None
    assert {name: column.tolist() for name, column in few.items()} == {"ids": [5, 7, 9], "labels": [4, 1, 3]}


@pytest.mark.parametrize("kind", ["a flipped bit", "cut short", "an archive cut short", "objects"])
def test_a_damaged_block_is_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array([{"a": 1}], dtype=object))
    with Store(tmp_path / "a.sqlite") as store:
        store.add(ASKED, 2, outcomes(labels=[3, 4], clean=[3, 0], ids=[9, 5]), HEADER)
        (blob,) = store._connection.execute("SELECT outcomes FROM block").fetchone()
        bad = {
            "a flipped bit": blob[:-6] + bytes([blob[-6] ^ 4]) + blob[-5:],
            "cut short": blob[:-1],
            "an archive cut short": buffer.getvalue()[:-30],
            "objects": buffer.getvalue(),
        }[kind]
        replaced(tmp_path / "a.sqlite", bad)
        with pytest.raises(BadInput, match="a block of outcomes is damaged"):
            store.outcomes(ASKED)


def replaced(path: Path, blob: bytes) -> None:
    """Write other bytes into the only block of a store."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE block SET outcomes = ?", (blob,))
