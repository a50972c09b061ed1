"""The durable outbox: batches and the calculation state they end with, in one transaction.

One SQLite file (WAL, synchronous=FULL). Acked batches stay while there is room for them, oldest
out first, so that a gateway restored from a backup can be given what it lost. Between two batches the journal keeps the readings that
arrived, so that after a kill the state plus the journal is where the agent was. Only a signed
ack makes a batch removable. Blocking: call it off the event loop.

A power cut leaves the last transaction whole (SQLite's promise on a disk that flushes when told
to; tests/faults/test_power_loss.py). Where a disk broke its own, a check at start and at each use
refuses with ``OutboxDamaged``, which says what to do.
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import StoreError
from edge_agent.outbox_file import OutboxDamaged, OutboxFile, OutboxFull
from edge_agent.seen import SCHEMA, Seen
from edge_agent.wire.chain import ChainHead

__all__ = ["Outbox", "OutboxDamaged", "OutboxFull", "OutboxInUse", "Stored"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches(
    seq INTEGER PRIMARY KEY, sha256 BLOB NOT NULL, raw BLOB NOT NULL, acked INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS configs(sha256 BLOB PRIMARY KEY, raw BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS journal(id INTEGER PRIMARY KEY, readings BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
"""


class OutboxInUse(StoreError):
    """There are data in the outbox that would be lost; nothing was written."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch in the outbox."""

    seq: int
    sha256: bytes
    raw: bytes


class Outbox:
    """Batches until they are acked, the calculation state, and the journal."""

    def __init__(self, path: Path, max_bytes: int, retain_bytes: int = 0) -> None:
        self._file = OutboxFile(path)
        self._db = self._file.db
        self._max_bytes, self._retain_bytes = max_bytes, retain_bytes
        self.seen = Seen(self._db)
        with self._file.opening():
            self._db.executescript(_SCHEMA + SCHEMA)
            self._bytes, self._acked_bytes = _size(self._db, 0), _size(self._db, 1)
            _check_head(self, path, self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def head(self) -> ChainHead:
        """The last batch ever made; numbers are never used again."""
        return _place(self._db, "head")

    @property
    def acked(self) -> int:
        """Number of the last acked batch, 0 before the first ack."""
        return _place(self._db, "acked").seq

    @property
    def unacked_bytes(self) -> int:
        """Size of the batches that wait for their ack."""
        return self._bytes

    def continue_after(self, head: ChainHead, keep: Mapping[str, bytes]) -> None:
        """Begin this new outbox behind a batch that is acked and not here.

        Args:
            head: the acked batch.
            keep: small durable values that are written with it.

        Raises:
            OutboxInUse: it holds a batch, an ack, a state or readings; nothing was written.
        """
        with self._file.written(), self._file.transaction():
            readings = self.state() is not None or self.journaled() is not None
            if self.head.seq or self.acked or self.after(0, 1) or readings:
                message = f"holds data (last batch {self.head.seq}, acked {self.acked})"
                raise OutboxInUse(message)
            place = head.seq.to_bytes(8, "big") + head.sha256
            self._put("head", place)
            self._put("acked", place)
            for key, value in keep.items():
                self._put(f"x.{key}", value)

    def state(self) -> bytes | None:
        """The calculation state that the journal's readings come after.

        Raises:
            OutboxDamaged: it is not as it was written.
        """
        with self._file.sound():
            row = self._db.execute("SELECT value FROM meta WHERE key = 'state'").fetchone()
            told = self._db.execute("SELECT value FROM meta WHERE key = 'state_sha256'").fetchone()
            if row and told and hashlib.sha256(row[0]).digest() != told[0]:
                raise OutboxDamaged(self._file.path, "the calculation state has another digest")
        return row[0] if row else None

    def journaled(self, after: int = 0) -> tuple[int, bytes] | None:
        """The journal's next entry after a number, and its own; None behind the last.

        Raises:
            OutboxDamaged: it cannot be read.
        """
        query = "SELECT id, readings FROM journal WHERE id > ? ORDER BY id LIMIT 1"
        with self._file.sound():
            found = self._db.execute(query, (after,)).fetchone()
        return (found[0], found[1]) if found else None

    def commit(
        self,
        batches: Sequence[bytes],
        head: ChainHead,
        state: bytes,
        keep: Mapping[str, bytes] | None = None,
        entry: int | None = None,
    ) -> None:
        """Store signed batches and the state they end with; clears the journal.

        Args:
            batches: signed batches, the last of which is ``head``.
            head: the chain after them.
            state: calculation state after them.
            keep: small durable values that change with them.
            entry: the state is that after this entry of the journal: later ones stay.

        Raises:
            OutboxFull: the limit or the disk is reached; nothing was written.
        """
        size = sum(map(len, batches))
        if self._bytes + size > self._max_bytes:
            message = f"outbox holds {self._bytes} unacked bytes; {self._max_bytes} are allowed"
            raise OutboxFull(message)
        while True:
            try:
                self._store(batches, head, (state, entry), keep or {})
            except sqlite3.OperationalError as error:
                if not self._drop_oldest(2 * size):  # acked batches go first
                    raise self._file.full(error) from error
            else:
                self._bytes += size
                return

    def _store(
        self,
        batches: Sequence[bytes],
        head: ChainHead,
        reached: tuple[bytes, int | None],
        keep: Mapping[str, bytes],
    ) -> None:
        with self._file.transaction():
            self._db.executemany("INSERT INTO batches VALUES(?, ?, ?, ?)", _rows(batches, head))
            self._put("head", head.seq.to_bytes(8, "big") + head.sha256)
            self._reach(*reached, keep)
        self.seen.written()

    def _drop_oldest(self, size: int) -> bool:
        """Drop that many bytes of acked batches; whether any went. Freed pages are used again."""
        before = self._acked_bytes

        def drop() -> None:
            with self._file.transaction():
                _drop_acked(self._db, size)

        with suppress(sqlite3.OperationalError):
            self._file.free(drop)
        self._acked_bytes = _size(self._db, 1)
        return self._acked_bytes < before

    def save_state(
        self, state: bytes, entry: int | None = None, keep: Mapping[str, bytes] | None = None
    ) -> None:
        """Store the state alone (no batch came of the readings, or none is kept); clears the journal.

        Args:
            state: calculation state.
            entry: it is that after this entry of the journal: later ones stay.
            keep: small durable values that change with it.

        Raises:
            OutboxFull: the disk is full; state, journal and values are as before.
        """
        with self._file.written(), self._file.transaction():
            self._reach(state, entry, keep or {})
        self.seen.written()

    def _reach(self, state: bytes, entry: int | None, keep: Mapping[str, bytes]) -> None:
        """The state and the values that belong to it; the journal behind it goes."""
        self._put("state", state)
        self._put("state_sha256", hashlib.sha256(state).digest())
        for key, value in keep.items():
            self._put(f"x.{key}", value)
        if entry is None:
            self._db.execute("DELETE FROM journal")
        else:
            self._db.execute("DELETE FROM journal WHERE id <= ?", (entry,))
        self.seen.write()
        self.seen.trim()

    def journal(self, readings: bytes, *, marks: bool = True) -> None:
        """Keep readings until the next commit.

        Args:
            readings: encoded.
            marks: what is staged in ``seen`` belongs to them.

        Raises:
            OutboxFull: the disk is full.
        """
        with self._file.written(), self._file.transaction():
            self._db.execute("INSERT INTO journal(readings) VALUES(?)", (readings,))
            if marks:
                self.seen.write()
        if marks:
            self.seen.written()

    def put_config(self, sha256: bytes, raw: bytes) -> None:
        """Keep a signed configuration message under its document's digest.

        Raises:
            OutboxFull: the disk is full.
        """
        with self._file.written():
            self._db.execute("INSERT OR REPLACE INTO configs VALUES(?, ?)", (sha256, raw))

    def configs(self) -> list[bytes]:
        """Signed configuration messages that unacked batches may need, oldest first."""
        return [row[0] for row in self._db.execute("SELECT raw FROM configs ORDER BY rowid")]

    def after(self, seq: int, count: int) -> list[Stored]:
        """The next batches after a number; raises OutboxDamaged when one is not as signed."""
        query = "SELECT seq, sha256, raw FROM batches WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._file.sound():
            found = [Stored(*row) for row in self._db.execute(query, (seq, count))]
            for item in found:
                if hashlib.sha256(item.raw).digest() != item.sha256:
                    raise OutboxDamaged(self._file.path, f"batch {item.seq} has another digest")
        return found

    def hash_at(self, seq: int) -> bytes | None:
        """Hash of a batch that is still here, or of the last acked one."""
        row = self._db.execute("SELECT sha256 FROM batches WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            return bytes(row[0])
        acked = _place(self._db, "acked")
        return acked.sha256 if acked.seq == seq > 0 else None

    def ack(self, seq: int, sha256: bytes) -> None:
        """Everything up to this batch is durable at the gateway; the oldest beyond the room go.

        Raises:
            OutboxFull: the disk is full; nothing changed, and the ack will come again.
        """
        # Only the rows between the two acks are looked at: a backlog may hold tens of thousands.
        span, before, size = (self.acked, seq), self._acked_bytes, 0
        query = "SELECT coalesce(sum(length(raw)), 0) FROM batches WHERE seq > ? AND seq <= ?"

        def write() -> None:
            nonlocal size
            self._acked_bytes = before
            with self._file.transaction():
                size = int(self._db.execute(query, span).fetchone()[0])
                self._db.execute("UPDATE batches SET acked = 1 WHERE seq > ? AND seq <= ?", span)
                self._put("acked", seq.to_bytes(8, "big") + sha256)
                self._acked_bytes += size
                excess = self._acked_bytes - self._retain_bytes
                self._acked_bytes -= _drop_acked(self._db, excess)

        try:
            self._file.urgent(write)
        except (StoreError, sqlite3.Error):
            self._acked_bytes = _size(self._db, 1)
            raise
        self._bytes -= size

    def get(self, key: str) -> bytes | None:
        """A small durable value of the agent."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (f"x.{key}",)).fetchone()
        return bytes(row[0]) if row else None

    def put(self, key: str, value: bytes) -> None:
        """Store a small durable value of the agent.

        Raises:
            OutboxFull: the disk is full.
        """
        self._file.urgent(lambda: self._put(f"x.{key}", value))

    def _put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))


def _size(db: sqlite3.Connection, acked: int) -> int:
    """Size of the batches that are acked (1) or not (0)."""
    query = "SELECT coalesce(sum(length(raw)), 0) FROM batches WHERE acked = ?"
    return int(db.execute(query, (acked,)).fetchone()[0])


def _place(db: sqlite3.Connection, key: str) -> ChainHead:
    """A noted place of the chain; its beginning where none was noted."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return ChainHead(int.from_bytes(row[0][:8], "big"), row[0][8:]) if row else ChainHead()


def _rows(batches: Sequence[bytes], head: ChainHead) -> list[tuple[int, bytes, bytes, int]]:
    first = head.seq - len(batches) + 1
    numbered = enumerate(batches, first)
    return [(seq, hashlib.sha256(raw).digest(), raw, 0) for seq, raw in numbered]


def _drop_acked(db: sqlite3.Connection, excess: int) -> int:
    """Remove the oldest acked batches until that many bytes are gone; gives how many went."""
    dropped = 0
    while dropped < excess:
        row = db.execute(
            "SELECT seq, length(raw) FROM batches WHERE acked = 1 ORDER BY seq LIMIT 1"
        ).fetchone()
        if row is None:
            break
        db.execute("DELETE FROM batches WHERE seq = ?", (row[0],))
        dropped += row[1]
    return dropped


def _check_head(outbox: Outbox, path: Path, db: sqlite3.Connection) -> None:
    """The last batch made is here as it was signed, unless it was acked and dropped."""
    head = outbox.head
    newest = db.execute("SELECT max(seq) FROM batches").fetchone()[0]
    if newest is not None and newest != head.seq:
        raise OutboxDamaged(path, f"its newest batch is {newest}, its head {head.seq}")
    found = outbox.hash_at(head.seq) if head.seq else head.sha256
    if found != head.sha256:
        raise OutboxDamaged(path, f"batch {head.seq} is not the one that was made last")
