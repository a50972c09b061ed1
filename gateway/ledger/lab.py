"""Lab documents in the ledger: signed bytes in one append-only table (see ``schema``)."""

import hashlib
import sqlite3

from gateway.ledger import schema


def add(
    db: sqlite3.Connection, place: tuple[str, str, int], raw: bytes, spki: bytes, received_ns: int
) -> None:
    """Add a signed document under (site, name, version), durable on return.

    Raises:
        StoreError: this version is there already, or the file cannot be written.
    """
    with schema.stored():
        db.execute(
            "INSERT INTO lab_documents (site, name, version, sha256, raw, spki, received_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*place, hashlib.sha256(raw).digest(), raw, spki, received_ns),
        )


def versions(db: sqlite3.Connection, site: str, name: str) -> int:
    """How many versions of a document there are."""
    with schema.stored():
        query = "SELECT count(*) FROM lab_documents WHERE site = ? AND name = ?"
        return int(db.execute(query, (site, name)).fetchone()[0])


def documents(db: sqlite3.Connection, site: str) -> list[tuple[bytes, bytes]]:
    """Signed bytes and the signer's key (SubjectPublicKeyInfo), by arrival."""
    with schema.stored():
        query = "SELECT raw, spki FROM lab_documents WHERE site = ? ORDER BY id"
        return [(raw, spki) for raw, spki in db.execute(query, (site,))]
