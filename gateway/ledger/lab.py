"""Lab documents in the ledger: signed bytes and the files they name, append-only (see ``schema``)."""

import hashlib
import sqlite3
from collections.abc import Iterator

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


def add_attachment(db: sqlite3.Connection, content: bytes, received_ns: int) -> None:
    """Keep a file under its SHA-256, durable on return; one that is there already stays.

    Raises:
        StoreError: the file cannot be written now.
    """
    sha256 = hashlib.sha256(content).digest()
    with schema.stored():
        if not db.execute("SELECT 1 FROM attachments WHERE sha256 = ?", (sha256,)).fetchone():
            db.execute("INSERT INTO attachments VALUES (?, ?, ?)", (sha256, content, received_ns))


def attachment(db: sqlite3.Connection, sha256: bytes) -> bytes | None:
    """A file by the digest that a document names; None when it was never handed in."""
    with schema.stored():
        row = db.execute("SELECT content FROM attachments WHERE sha256 = ?", (sha256,)).fetchone()
    return bytes(row[0]) if row else None


def attachments(db: sqlite3.Connection) -> Iterator[tuple[bytes, bytes]]:
    """Digest and content of every file."""
    with schema.stored():
        yield from db.execute("SELECT sha256, content FROM attachments ORDER BY rowid")
