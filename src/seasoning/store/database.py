"""Measurements on disk: one SQLite file, one row for each finished block of samples.

A block is there completely or not at all. Killing a run at any moment loses at most the block in flight, and what the
store knows is never measured again.
"""

import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import Measurement, Outcomes, concatenate


__all__ = ["Store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS measurement (key TEXT PRIMARY KEY, asked TEXT NOT NULL, samples INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS block (
    key TEXT NOT NULL REFERENCES measurement, number INTEGER NOT NULL, samples INTEGER NOT NULL,
    outcomes BLOB NOT NULL, header TEXT NOT NULL, PRIMARY KEY (key, number)
);
"""


class Store:
    """The measurements of one run; use it in a `with` block.

    Args:
        path: The SQLite file; made if it is not there.

    Raises:
        BadInput: the file is no store, or damaged.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path)
        except sqlite3.OperationalError as error:
            raise BadInput(f"{path} cannot be opened ({error}): choose another folder") from error
        try:
            (state,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise BadInput(
                f"{path} is no store of measurements, or damaged ({error}): choose another folder"
            ) from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def note(self, name: str) -> Any:
        """What `write_note` kept under a name, or `None`."""
        row = self._connection.execute("SELECT content FROM note WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def write_note(self, name: str, content: Any) -> None:
        """Keep a fact about the run that JSON can hold, in place of an earlier one of that name."""
        with self._connection:
            self._connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, json.dumps(content)))

    def add(self, asked: Measurement, samples: int, outcomes: Outcomes, header: Mapping[str, Any]) -> None:
        """Write one block, completely or not at all.

        Args:
            asked: The measurement.
            samples: How many samples it has in all.
            outcomes: The block's rows.
            header: How they were measured: versions, device, seconds.
        """
        key = asked.key
        with self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO measurement VALUES (?, ?, ?)", (key, asked.to_json(), samples)
            )
            (number,) = self._connection.execute("SELECT COUNT(*) FROM block WHERE key = ?", (key,)).fetchone()
            row = (key, number, len(outcomes), _pack(outcomes), json.dumps(dict(header)))
            self._connection.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?)", row)

    def known_ids(self, asked: Measurement) -> NDArray[np.int64]:
        """Ids of the samples that are measured already, ascending."""
        known = self.known(asked)
        return np.empty(0, dtype=np.int64) if known is None else known.ids

    def outcomes(self, asked: Measurement) -> Outcomes | None:
        """All rows of a finished measurement in the order of the ids; `None` while samples are missing."""
        row = self._connection.execute("SELECT samples FROM measurement WHERE key = ?", (asked.key,)).fetchone()
        known = self.known(asked)
        return known if row is not None and known is not None and len(known) == row[0] else None

    def known(self, asked: Measurement) -> Outcomes | None:
        """The rows of a measurement that are there, finished or not, in the order of the ids; `None` where none is."""
        blocks = list(self._blocks(asked))
        if not blocks:
            return None
        rows = concatenate(blocks)
        return rows.take(np.argsort(rows.ids))

    def measurements(self) -> list[Measurement]:
        """Everything that was asked, finished or not, in the order of asking."""
        rows = self._connection.execute("SELECT asked FROM measurement ORDER BY rowid")
        return [Measurement.from_json(text) for (text,) in rows]

    def headers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key of the measurement and header of every block, in the order of writing, without reading outcomes."""
        for key, header in self._connection.execute("SELECT key, header FROM block ORDER BY rowid"):
            yield key, json.loads(header)

    def _blocks(self, asked: Measurement) -> Iterator[Outcomes]:
        query = "SELECT outcomes FROM block WHERE key = ? ORDER BY number"
        for (blob,) in self._connection.execute(query, (asked.key,)):
            yield _unpack(blob)


def _pack(outcomes: Outcomes) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **outcomes.columns())
    return buffer.getvalue()


def _unpack(blob: bytes) -> Outcomes:
    with np.load(io.BytesIO(blob), allow_pickle=False) as columns:
        needed = {field.name for field in fields(Outcomes) if field.default is MISSING}
        if not needed <= set(columns.files) <= {field.name for field in fields(Outcomes)}:
            raise BadInput("the store was written by another version of seasoning: choose another folder")
        return Outcomes(**{name: columns[name] for name in columns.files})
