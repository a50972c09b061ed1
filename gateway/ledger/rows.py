"""Rows of batches as they are read: checked, and unpacked against the batch they need for it."""

import sqlite3
from typing import Any

from edge_agent.errors import StoreError
from gateway.ledger import packing, schema
from gateway.ledger.entries import LedgerRow

COLUMNS = "id, site, agent, seq, sha256, raw, received_ns, t0, t1, config, flags, base"
_TYPES = (int, str, str, int, bytes, bytes, int, int, int, bytes, str)
_RAW = 5
_BASES = 32


class Rows:
    """Makes rows of ``COLUMNS``; belongs to one open ledger and is used by its thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._bases: dict[int, bytes | None] = {}

    def read(self, columns: tuple[Any, ...]) -> LedgerRow:
        """One row.

        Raises:
            StoreError: it is not what was written, or the ledger cannot be read now.
        """
        *most, flags, base = columns
        if tuple(map(type, (*most, flags))) != _TYPES:
            message = f"ledger: a batch's row is not what was written{schema.REMEDY}"
            raise StoreError(message)
        most[_RAW] = packing.unpack(most[_RAW], None if base is None else self._base(base))
        return LedgerRow(*(*most, tuple(flags.split())))

    def _base(self, id_: int) -> bytes | None:
        """The bytes of a batch that stands by itself, against which others are packed."""
        if id_ not in self._bases:
            query = "SELECT raw FROM batches WHERE id = ? AND base IS NULL"
            with schema.stored():
                found = self._db.execute(query, (id_,)).fetchone()
            if len(self._bases) == _BASES:
                self._bases.pop(next(iter(self._bases)))
            self._bases[id_] = packing.unpack(found[0]) if found else None
        return self._bases[id_]
