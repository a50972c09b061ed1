"""The outbox's file: how it is opened, what its errors mean, and what is done on a full disk."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import StoreError
from edge_agent.folders import make_folder
from edge_agent.reserve import Reserve


class OutboxFull(StoreError):
    """The configured limit is reached, or the disk takes no more; nothing was written."""


class OutboxDamaged(StoreError):
    """The file is not what was written; names it, what is wrong, and the remedy."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: damaged: {why}. Stop the agent, move the file aside together with its -wal"
            " and -shm files, keep them for whoever looks into it, and go on from the gateway's"
            " last ack with `edge-agent resume-from-ack`"
        )


class OutboxFile:
    """A SQLite file in WAL mode that is flushed at each commit, and a reserve beside it."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._reserve = Reserve(path.with_suffix(".reserve"))

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Close the file when it cannot be used.

        Raises:
            OutboxDamaged, OutboxFull: it cannot.
        """
        try:
            with self.written(), self.sound():
                self.db.execute("PRAGMA journal_mode=WAL")
                self.db.execute("PRAGMA synchronous=FULL")
                self.db.execute("PRAGMA cache_size=-256")
                yield
        except StoreError:
            self.db.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, rolled back on any exception, also on one of COMMIT itself.

        A full disk makes SQLite roll back by itself at times: then there is nothing left to end.
        """
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        finally:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    @contextmanager
    def sound(self) -> Iterator[None]:
        """Turn what SQLite finds wrong with the file into ``OutboxDamaged``."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a full disk, a lock: no damage
                raise
            raise OutboxDamaged(self.path, str(error)) from error

    @contextmanager
    def written(self) -> Iterator[None]:
        """Turn what keeps SQLite from writing into ``OutboxFull``."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self.full(error) from error

    def full(self, error: sqlite3.OperationalError) -> OutboxFull:
        """The error for what kept SQLite from writing."""
        return OutboxFull(f"{self.path} cannot be written: {error}")

    def free(self, work: Callable[[], None]) -> None:
        """Do on a full disk what makes room there: the reserve is given up for it, and taken again.

        The write-ahead log goes back into the database before and after, and is cut to nothing.
        """
        self._reserve.release()
        try:
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            work()
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._reserve.hold()

    def urgent(self, write: Callable[[], None]) -> None:
        """Write something small on the fullest disk: acks wait for it, and acks make room."""
        try:
            write()
        except sqlite3.OperationalError:
            with self.written():
                self.free(write)
