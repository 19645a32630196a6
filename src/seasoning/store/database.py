"""Measurements on disk: one SQLite file, one row for each finished block of samples.

A block is there completely or not at all. Killing a run at any moment loses at most the block in flight, and what the
store knows is never measured again.
"""

import io
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import Measurement, Outcomes


__all__ = ["Store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS measurement (key TEXT PRIMARY KEY, asked TEXT NOT NULL, samples INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS block (
    key TEXT NOT NULL REFERENCES measurement, number INTEGER NOT NULL, samples INTEGER NOT NULL,
    outcomes BLOB NOT NULL, header TEXT NOT NULL, PRIMARY KEY (key, number)
);
"""

_NEEDED = {field.name for field in fields(Outcomes) if field.default is MISSING}
_POSSIBLE = {field.name for field in fields(Outcomes)}


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
        # Every measurement that was listed, by its key, and the other way round.
        self._asked: dict[str, Measurement] = {}
        self._keys: dict[Measurement, str] = {}

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
        key = self._key(asked)
        with self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO measurement VALUES (?, ?, ?)", (key, asked.to_json(), samples)
            )
            (number,) = self._connection.execute("SELECT COUNT(*) FROM block WHERE key = ?", (key,)).fetchone()
            row = (key, number, len(outcomes), _pack(outcomes), json.dumps(dict(header)))
            self._connection.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?)", row)

    def known_ids(self, asked: Measurement) -> NDArray[np.int64]:
        """Ids of the samples that are measured already, ascending."""
        known = self.columns(asked, ("ids",))
        return np.empty(0, dtype=np.int64) if known is None else known["ids"]

    def outcomes(self, asked: Measurement) -> Outcomes | None:
        """All rows of a finished measurement in the order of the ids; `None` while samples are missing."""
        query = "SELECT samples FROM measurement WHERE key = ?"
        row = self._connection.execute(query, (self._key(asked),)).fetchone()
        known = self.known(asked)
        return known if row is not None and known is not None and len(known) == row[0] else None

    def finished(self) -> list[Measurement]:
        """Every measurement of which all samples are there, in the order of asking, without reading outcomes."""
        whole = "WHERE samples = (SELECT SUM(samples) FROM block WHERE block.key = measurement.key)"
        return self._listed(f"SELECT key, asked FROM measurement {whole} ORDER BY rowid")

    def known(self, asked: Measurement) -> Outcomes | None:
        """The rows of a measurement that are there, finished or not, in the order of the ids; `None` where none is."""
        columns = self.columns(asked)
        return None if columns is None else Outcomes(**columns)

    def columns(self, asked: Measurement, names: Collection[str] | None = None) -> dict[str, NDArray[Any]] | None:
        """Columns of the rows that are there, in the order of the ids; `None` where none is. A few are read quickly.

        Args:
            asked: The measurement.
            names: Of the columns of `Outcomes`, by default all; the ids are always among them, and those that the data
                set has no use for never.
        """
        query = "SELECT outcomes FROM block WHERE key = ? ORDER BY number"
        blocks = [_unpack(blob, names) for (blob,) in self._connection.execute(query, (self._key(asked),))]
        if not blocks:
            return None
        if any(block.keys() != blocks[0].keys() for block in blocks):
            raise BadInput(f"blocks of outcomes on {asked.data} have different columns: choose another folder")
        rows = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        order = np.argsort(rows["ids"])
        return {name: column[order] for name, column in rows.items()}

    def measurements(self) -> list[Measurement]:
        """Everything that was asked, finished or not, in the order of asking."""
        return self._listed("SELECT key, asked FROM measurement ORDER BY rowid")

    def header(self, asked: Measurement) -> dict[str, Any]:
        """Header of the last block of a measurement; empty where there is none."""
        query = "SELECT header FROM block WHERE key = ? ORDER BY number DESC LIMIT 1"
        row = self._connection.execute(query, (self._key(asked),)).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def headers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key of the measurement and header of every block, in the order of writing, without reading outcomes."""
        for key, header in self._connection.execute("SELECT key, header FROM block ORDER BY rowid"):
            yield key, json.loads(header)

    def blocks(self) -> Iterator[tuple[Measurement, dict[str, Any]]]:
        """What was asked and the header of every block, in the order of writing, without reading outcomes."""
        asked = {self._keys[each]: each for each in self.measurements()}
        for key, header in self.headers():
            yield asked[key], header

    def _listed(self, query: str) -> list[Measurement]:
        """Measurements, and their keys remembered, which take longer to compute than to read."""
        found = []
        for key, text in self._connection.execute(query):
            if key not in self._asked:
                self._asked[key] = Measurement.from_json(text)
                self._keys[self._asked[key]] = key
            found.append(self._asked[key])
        return found

    def _key(self, asked: Measurement) -> str:
        return self._keys.get(asked) or asked.key


def _pack(outcomes: Outcomes) -> bytes:
    """A block as bytes: a line of JSON with name, type and shape of every column, then the columns; compressed."""
    columns = {name: np.ascontiguousarray(column) for name, column in outcomes.columns().items()}
    heading = {name: (column.dtype.str, column.shape) for name, column in columns.items()}
    return zlib.compress(b"".join([json.dumps(heading).encode() + b"\n", *(c.tobytes() for c in columns.values())]))


def _unpack(blob: bytes, names: Collection[str] | None) -> dict[str, NDArray[Any]]:
    """The columns of a block, or some of them with the ids."""
    columns = _archived(blob) if blob.startswith(b"PK") else _written(blob)
    if not _NEEDED <= columns.keys() <= _POSSIBLE:
        raise BadInput("the store was written by another version of seasoning: choose another folder")
    return columns if names is None else {name: columns[name] for name in columns.keys() & {"ids", *names}}


def _written(blob: bytes) -> dict[str, NDArray[Any]]:
    """The columns that `_pack` wrote."""
    try:
        line, _, content = zlib.decompress(blob).partition(b"\n")
    except zlib.error as error:
        raise BadInput(f"a block of outcomes is damaged ({error}): choose another folder") from error
    columns: dict[str, NDArray[Any]] = {}
    start = 0
    for name, (kind, shape) in json.loads(line).items():
        columns[name] = np.ndarray(shape, kind, content, start)
        start += columns[name].nbytes
    return columns


def _archived(blob: bytes) -> dict[str, NDArray[Any]]:
    """The columns of a block that an earlier version wrote, as an archive of NumPy's."""
    try:
        with np.load(io.BytesIO(blob)) as archive:
            return dict(archive)
    except (zipfile.BadZipFile, ValueError) as error:
        raise BadInput(f"a block of outcomes is damaged ({error}): choose another folder") from error
