"""The built-in store: one SQLite file, a writer and any number of readers in other processes.

Integers and floats are kept exactly as they came (columns of type ANY in strict tables). WAL
with synchronous=NORMAL is enough here: a power cut can only lose the newest transactions whole,
together with the note how far the ledger was projected, so the next start writes them again.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.errors import StoreError
from edge_agent.folders import make_folder
from edge_agent.readings import Columns, Event, Quality, Record
from edge_agent.wire import cbor
from gateway.store.base import Conflict, Projection, advance, event_time, refuse_conflicts

_BUSY_S = 30.0
_FETCH_ROWS = 4_096
_REMEDY = (
    ". The file is damaged: stop the gateway, put the file aside with its -wal and -shm files;"
    " `carbon-gateway rebuild` makes it again from the ledger"
)
_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -65536;
PRAGMA wal_autocheckpoint = 8000;
PRAGMA temp_store = MEMORY;
"""
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (site, name)) STRICT;
CREATE TABLE IF NOT EXISTS writers (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, agent TEXT NOT NULL,
    projected INTEGER NOT NULL DEFAULT 0, UNIQUE (site, agent)) STRICT;
CREATE TABLE IF NOT EXISTS points (
    series INTEGER NOT NULL, time_ns INTEGER NOT NULL, value ANY, quality INTEGER NOT NULL,
    writer INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (series, time_ns)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    writer INTEGER NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL,
    site TEXT NOT NULL, time_ns INTEGER NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (writer, seq, position)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_time ON events (site, time_ns);
COMMIT;
"""
_WRITE_POINT = """
INSERT INTO points VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (series, time_ns) DO UPDATE SET value = excluded.value, quality = excluded.quality
WHERE writer = excluded.writer AND seq = excluded.seq
"""
_WRITE_EVENT = "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_Row = tuple[int, int, int | float | None, int, int, int]


class SqliteStore:
    """Points and events in one file."""

    def __init__(self, path: Path) -> None:
        self._series: dict[tuple[str, str], int] = {}
        self._writers: dict[tuple[str, str], int] = {}
        with _stored():
            make_folder(path.parent)
            self._db = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._db.executescript(_SETTINGS + _TABLES)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def write(
        self, site: str, agent: str, seq: int, columns: Columns, events: Sequence[Event]
    ) -> None:
        """Write one batch; contradictions are an error."""
        refuse_conflicts(self.write_many([Projection(site, agent, seq, columns, events)]))

    def write_many(self, batches: Sequence[Projection]) -> list[Conflict]:
        """Write batches in one transaction, the first value of a key stays."""
        with self._transaction():
            rows = [row for batch in batches for row in self._rows(batch)]
            # Neighbours in the file go in together; equal keys keep the ledger's order.
            rows.sort(key=lambda row: row[:2])
            written = self._db.executemany(_WRITE_POINT, rows).rowcount if rows else 0
            conflicts = self._conflicts(rows) if written < len(rows) else []
            self._db.executemany(_WRITE_EVENT, self._event_rows(batches))
            self._advance(batches)
        return conflicts

    def projected(self, site: str, agent: str) -> int:
        """The last seq up to which everything was written."""
        query = "SELECT projected FROM writers WHERE site = ? AND agent = ?"
        found = self._all(query, (site, agent))
        return int(found[0][0]) if found else 0

    def read(self, site: str, series: str, start_ns: int, end_ns: int) -> Iterator[Record]:
        """Records of the half-open time range, in order."""
        query = (
            "SELECT time_ns, value, quality FROM points"
            " WHERE series = (SELECT id FROM series WHERE site = ? AND name = ?)"
            " AND time_ns >= ? AND time_ns < ? ORDER BY time_ns"
        )
        for time_ns, value, quality in self._each(query, (site, series, start_ns, end_ns)):
            yield Record(series, time_ns, value, Quality(quality))

    def read_events(
        self, site: str, start_ns: int, end_ns: int, types: Collection[str] | None = None
    ) -> Iterator[Event]:
        """Events of the half-open time range, in order of time, agent and batch."""
        query = (
            "SELECT type, body FROM events JOIN writers ON writers.id = events.writer"
            " WHERE events.site = ? AND time_ns >= ? AND time_ns < ?"
            " ORDER BY time_ns, writers.agent, seq, position"
        )
        for kind, body in self._each(query, (site, start_ns, end_ns)):
            if types is None or kind in types:
                yield cbor.decode(body, finite=False)

    def series(self, site: str) -> list[str]:
        """Names of the site's series."""
        query = (
            "SELECT name FROM series WHERE site = ?"
            " AND EXISTS (SELECT 1 FROM points WHERE points.series = id) ORDER BY name"
        )
        return [str(name) for (name,) in self._all(query, (site,))]

    def points(self, site: str) -> int:
        """Number of the site's points."""
        query = "SELECT count(*) FROM points JOIN series ON series.id = series WHERE site = ?"
        return int(self._all(query, (site,))[0][0])

    def clear(self, site: str) -> None:
        """Delete what the site has here, but no names: another process may hold their numbers."""
        points = "DELETE FROM points WHERE series IN (SELECT id FROM series WHERE site = ?)"
        with self._transaction():
            self._db.execute(points, (site,))
            self._db.execute("DELETE FROM events WHERE site = ?", (site,))
            self._db.execute("UPDATE writers SET projected = 0 WHERE site = ?", (site,))

    def _rows(self, batch: Projection) -> list[_Row]:
        columns, seq = batch.columns, batch.seq
        writer = self._writer(batch.site, batch.agent)
        ids = [self._series_id(batch.site, name) for name in columns.series]
        return [
            (ids[index], time_ns, value, quality, writer, seq)
            for index, time_ns, value, quality in zip(
                columns.index, columns.time_ns, columns.value, columns.quality, strict=True
            )
        ]

    def _event_rows(self, batches: Sequence[Projection]) -> Iterator[tuple[Any, ...]]:
        for batch in batches:
            writer = self._writer(batch.site, batch.agent)
            for position, event in enumerate(batch.events):
                time_ns, body = event_time(event), cbor.encode(event)
                yield writer, batch.seq, position, batch.site, time_ns, event["type"], body

    def _conflicts(self, rows: Sequence[_Row]) -> list[Conflict]:
        """The rows of this write whose place holds another batch's other value."""
        query = "SELECT value, quality, writer, seq FROM points WHERE series = ? AND time_ns = ?"
        names = {number: key for key, number in self._series.items()}
        agents = {number: agent for (_, agent), number in self._writers.items()}
        conflicts = []
        for series, time_ns, value, quality, writer, seq in rows:
            kept, kept_quality, *author = self._db.execute(query, (series, time_ns)).fetchone()
            same = type(kept) is type(value) and kept == value and kept_quality == quality
            if not same and author != [writer, seq]:
                site, name = names[series]
                conflicts.append(Conflict(site, name, time_ns, kept, value, agents[writer], seq))
        return conflicts

    def _advance(self, batches: Sequence[Projection]) -> None:
        seqs: dict[int, list[int]] = defaultdict(list)
        for batch in batches:
            seqs[self._writer(batch.site, batch.agent)].append(batch.seq)
        for writer, written in seqs.items():
            before = self._all("SELECT projected FROM writers WHERE id = ?", (writer,))[0][0]
            self._db.execute(
                "UPDATE writers SET projected = ? WHERE id = ?", (advance(before, written), writer)
            )

    def _series_id(self, site: str, name: str) -> int:
        found = self._series.get((site, name))
        if found is None:
            self._db.execute(
                "INSERT OR IGNORE INTO series (site, name) VALUES (?, ?)", (site, name)
            )
            query = "SELECT id FROM series WHERE site = ? AND name = ?"
            found = self._series[site, name] = int(self._all(query, (site, name))[0][0])
        return found

    def _writer(self, site: str, agent: str) -> int:
        found = self._writers.get((site, agent))
        if found is None:
            self._db.execute(
                "INSERT OR IGNORE INTO writers (site, agent) VALUES (?, ?)", (site, agent)
            )
            query = "SELECT id FROM writers WHERE site = ? AND agent = ?"
            found = self._writers[site, agent] = int(self._all(query, (site, agent))[0][0])
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        done = False
        with _stored():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
                done = True
            finally:
                if not done:
                    self._series.clear()
                    self._writers.clear()
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _all(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with _stored():
            return self._db.execute(query, values).fetchall()

    def _each(self, query: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        with _stored():
            cursor = self._db.execute(query, values)
            while page := cursor.fetchmany(_FETCH_ROWS):
                yield from page


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        remedy = _REMEDY if type(error) is sqlite3.DatabaseError else ""
        message = f"store: {error}{remedy}"
        raise StoreError(message) from error
