"""Signed documents beside batches and configurations: append-only, versions only added.

One table for every kind (enrolment, revocation, release, approval, ...): what a document means is
decided by whoever reads it; here it only keeps its bytes, its place and its version. A document
that is the newest version already is not added twice.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.wire import merkle
from gateway.ledger import schema
from gateway.ledger.tree import Tree

_COLUMNS = "number, kind, site, id, version, sha256, raw, received_ns"


@dataclass(frozen=True, slots=True)
class Draft:
    """A document to be added: what it is, what it is about, its signed bytes, when it came."""

    kind: str
    site: str
    id: str
    raw: bytes
    received_ns: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands in the ledger; ``number`` is its place among all documents."""

    number: int
    kind: str
    site: str
    id: str
    version: int
    sha256: bytes
    raw: bytes
    received_ns: int


class Documents:
    """The table; belongs to one open ledger and is used by its thread."""

    def __init__(self, db: sqlite3.Connection, tree: Tree) -> None:
        self._db = db
        self._tree = tree

    def add(self, draft: Draft) -> Document:
        """Add the next version of a document, durable on return (inside an open transaction: with it).

        Raises:
            StoreError: the ledger cannot be written now.
        """
        with schema.stored():
            if self._db.in_transaction:
                return self._insert(draft)
            with schema.transaction(self._db):
                return self._insert(draft)

    def all(self, *kinds: str, site: str | None = None, after: int = 0) -> Iterator[Document]:
        """Documents in order of arrival.

        Args:
            kinds: only these kinds; none given means every kind.
            site: only this site's.
            after: only those behind this number.
        """
        query = f"SELECT {_COLUMNS} FROM documents WHERE number > ? ORDER BY number"  # noqa: S608  a constant list of columns
        with schema.stored():
            for row in self._db.execute(query, (after,)).fetchall():
                found = Document(*row)
                if (not kinds or found.kind in kinds) and site in (None, found.site):
                    yield found

    def newest(self, kind: str, site: str, id_: str) -> Document | None:
        """The last version of a document; None when there is none."""
        query = (
            f"SELECT {_COLUMNS} FROM documents WHERE kind = ? AND site = ? AND id = ?"  # noqa: S608  a constant list of columns
            " ORDER BY version DESC LIMIT 1"
        )
        with schema.stored():
            row = self._db.execute(query, (kind, site, id_)).fetchone()
        return Document(*row) if row else None

    def last_of(self, kind: str, site: str) -> Document | None:
        """The last version of the document with the highest id, as of the newest day."""
        query = (
            f"SELECT {_COLUMNS} FROM documents WHERE kind = ? AND site = ?"  # noqa: S608  a constant list of columns
            " ORDER BY id DESC, version DESC LIMIT 1"
        )
        with schema.stored():
            row = self._db.execute(query, (kind, site)).fetchone()
        return Document(*row) if row else None

    def of_kind(self, kind: str, site: str) -> Iterator[Document]:
        """A site's documents of one kind by id and version, without a look at any other."""
        query = (
            f"SELECT {_COLUMNS} FROM documents WHERE kind = ? AND site = ?"  # noqa: S608  a constant list of columns
            " ORDER BY id, version"
        )
        with schema.stored():
            for row in self._db.execute(query, (kind, site)).fetchall():
                yield Document(*row)

    def last_number(self) -> int:
        """Number of the last document, 0 before the first: tells cheaply whether there is news."""
        with schema.stored():
            row = self._db.execute("SELECT coalesce(max(number), 0) FROM documents").fetchone()
        return int(row[0])

    def _insert(self, draft: Draft) -> Document:
        sha256 = hashlib.sha256(draft.raw).digest()
        last = self.newest(draft.kind, draft.site, draft.id)
        if last is not None and last.sha256 == sha256:
            return last
        version = last.version + 1 if last else 1
        self._db.execute(
            "INSERT INTO documents (kind, site, id, version, sha256, raw, received_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (draft.kind, draft.site, draft.id, version, sha256, draft.raw, draft.received_ns),
        )
        self._tree.append(merkle.document_leaf(draft.kind, draft.site, draft.id, version, sha256))
        added = self.newest(draft.kind, draft.site, draft.id)
        assert added is not None  # noqa: S101  just inserted
        return added
