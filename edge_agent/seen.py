"""Marks of what senders were told is kept, written in the transaction that keeps the readings.

A sender whose acknowledgement was lost (a kill, a broken line) sends again; by its mark a repeat is
known although this is another life of the agent (decision 0086).
"""

import sqlite3
from collections.abc import Iterable

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen(
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, mark BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS seen_device ON seen(device, id);
"""
REMEMBERED = 4_096
"""Marks of a device that stay; more may be there until the next state is stored."""


class Seen:
    """The table; ``stage`` at any time, the rest inside the outbox's transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._staged: list[tuple[str, bytes]] = []
        self._grown: set[str] = set()

    def stage(self, marks: Iterable[tuple[str, bytes]]) -> None:
        """Marks (device, mark) of readings that the next transaction will hold."""
        self._staged += marks

    @property
    def is_staged(self) -> bool:
        """Whether marks wait for a transaction."""
        return bool(self._staged)

    def write(self) -> None:
        """Write what is staged; it stays staged until ``written``."""
        if self._staged:
            self._db.executemany("INSERT INTO seen(device, mark) VALUES(?, ?)", self._staged)

    def written(self) -> None:
        """The transaction is committed."""
        self._grown.update(device for device, _ in self._staged)
        self._staged = []

    def trim(self) -> None:
        """Remove the oldest beyond what is remembered, of devices that sent something."""
        query = (
            "DELETE FROM seen WHERE device = ? AND id <= (SELECT id FROM seen WHERE device = ?"
            " ORDER BY id DESC LIMIT 1 OFFSET ?)"
        )
        for device in sorted(self._grown):
            self._db.execute(query, (device, device, REMEMBERED))
        self._grown.clear()

    def load(self) -> dict[str, list[bytes]]:
        """The marks by device, oldest first."""
        found: dict[str, list[bytes]] = {}
        for device, mark in self._db.execute("SELECT device, mark FROM seen ORDER BY id"):
            found.setdefault(device, []).append(mark)
        return found
