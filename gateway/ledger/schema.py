"""The ledger's file: tables, the triggers that make them append-only, and how it is opened.

A batch's ``id`` is the position of its leaf plus one, so that it leads to its leaf without an
index; only the few leaves of documents, which do not begin like a batch's (see ``merkle``), have
one. ``completed`` holds the hashes of the subtrees
that end with a leaf, lowest first; ``base`` is the id of the batch against which one is packed.
A ledger from before this layout keeps its table of nodes and
its index of all leaves, and is used with them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import StoreError
from edge_agent.folders import make_folder

_BUSY_S = 30.0
REMEDY = (
    ". The file is damaged: stop the gateway, keep the file with its -wal and -shm files for"
    " whoever looks into it, and put the newest backup in its place; the agents send again what"
    " it lacks"
)

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, agent TEXT NOT NULL, seq INTEGER NOT NULL,
    sha256 BLOB NOT NULL, raw BLOB NOT NULL, received_ns INTEGER NOT NULL,
    t0 INTEGER NOT NULL, t1 INTEGER NOT NULL, config BLOB NOT NULL, flags TEXT NOT NULL,
    base INTEGER, UNIQUE (site, agent, seq)) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_time ON batches (site, agent, t1, t0, seq);
CREATE TABLE IF NOT EXISTS configs (
    digest BLOB NOT NULL, site TEXT NOT NULL, agent TEXT NOT NULL, raw BLOB NOT NULL,
    received_ns INTEGER NOT NULL, UNIQUE (digest, site, agent)) STRICT;
CREATE TABLE IF NOT EXISTS forks (
    site TEXT NOT NULL, agent TEXT NOT NULL, seq INTEGER NOT NULL, sha256 BLOB NOT NULL,
    raw BLOB NOT NULL, received_ns INTEGER NOT NULL, head_seq INTEGER NOT NULL,
    head_sha256 BLOB NOT NULL, UNIQUE (site, agent, seq, sha256)) STRICT;
CREATE TABLE IF NOT EXISTS enrolments (
    kid BLOB NOT NULL, site TEXT NOT NULL, agent TEXT NOT NULL, spki BLOB NOT NULL,
    UNIQUE (kid, site, agent)) STRICT;
CREATE TABLE IF NOT EXISTS freezes (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, agent TEXT NOT NULL, at_ns INTEGER NOT NULL,
    frozen INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS freezes_by_agent ON freezes (site, agent, id);
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, reason TEXT NOT NULL, topic TEXT NOT NULL, head BLOB NOT NULL,
    sha256 BLOB NOT NULL, size INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    UNIQUE (topic, sha256)) STRICT;
CREATE TABLE IF NOT EXISTS quarantine_counts (
    site TEXT NOT NULL, agent TEXT NOT NULL, reason TEXT NOT NULL, messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL, not_kept INTEGER NOT NULL, last_ns INTEGER NOT NULL,
    last_sha256 BLOB NOT NULL, PRIMARY KEY (site, agent, reason)) STRICT;
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, site TEXT NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, sha256 BLOB NOT NULL, raw BLOB NOT NULL,
    received_ns INTEGER NOT NULL, UNIQUE (kind, site, id, version)) STRICT;
CREATE TABLE IF NOT EXISTS leaves (
    position INTEGER PRIMARY KEY, leaf BLOB NOT NULL, hash BLOB NOT NULL,
    completed BLOB) STRICT;
CREATE INDEX IF NOT EXISTS document_leaves ON leaves (hash)
    WHERE substr(leaf, 1, 7) != x'85656261746368';
CREATE TABLE IF NOT EXISTS checkpoints (
    size INTEGER PRIMARY KEY, root BLOB NOT NULL, at_ns INTEGER NOT NULL,
    note TEXT NOT NULL, key BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cosignatures (
    size INTEGER NOT NULL, witness TEXT NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (size, witness)) STRICT;
CREATE TABLE IF NOT EXISTS timestamps (
    size INTEGER NOT NULL, authority TEXT NOT NULL, at_ns INTEGER NOT NULL,
    request BLOB NOT NULL, response BLOB NOT NULL, PRIMARY KEY (size, authority)) STRICT;
CREATE TABLE IF NOT EXISTS lab_documents (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    sha256 BLOB NOT NULL, raw BLOB NOT NULL, spki BLOB NOT NULL, received_ns INTEGER NOT NULL,
    UNIQUE (site, name, version)) STRICT;
CREATE TABLE IF NOT EXISTS attachments (
    sha256 BLOB PRIMARY KEY, content BLOB NOT NULL, received_ns INTEGER NOT NULL) STRICT;
"""
_KEYS = {
    "batches": "site = new.site AND agent = new.agent AND seq = new.seq OR id = new.id",
    "configs": "digest = new.digest AND site = new.site AND agent = new.agent",
    "forks": "site = new.site AND agent = new.agent AND seq = new.seq AND sha256 = new.sha256",
    "enrolments": "kid = new.kid AND site = new.site AND agent = new.agent",
    "freezes": "id = new.id",
    "documents": "kind = new.kind AND site = new.site AND id = new.id AND version = new.version"
    " OR number = new.number",
    "leaves": "position = new.position",
    "attachments": "sha256 = new.sha256",
    "lab_documents": "site = new.site AND name = new.name AND version = new.version OR id = new.id",
}
# The insert trigger closes a door: INSERT OR REPLACE deletes without firing delete triggers.
_TRIGGERS = """
CREATE TRIGGER IF NOT EXISTS {table}_no_update BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
CREATE TRIGGER IF NOT EXISTS {table}_no_delete BEFORE DELETE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
CREATE TRIGGER IF NOT EXISTS {table}_no_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {key})
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
"""


@contextmanager
def stored() -> Iterator[None]:
    """Turn the database's errors into ``StoreError``."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        remedy = REMEDY if type(error) is sqlite3.DatabaseError else ""
        message = f"ledger: {error}{remedy}"
        raise StoreError(message) from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, durable on leaving; the database's errors as ``StoreError``."""
    with stored():
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def connect(path: Path) -> sqlite3.Connection:
    """Open the ledger, making file, tables and triggers as needed.

    Raises:
        StoreError: it cannot be opened.
    """
    with stored():
        make_folder(path.parent)
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        triggers = (_TRIGGERS.format(table=table, key=key) for table, key in _KEYS.items())
        tables = _TABLES + "".join(triggers)
        db.executescript("BEGIN IMMEDIATE;" + tables + "COMMIT;")
        for table, column in (("leaves", "completed BLOB"), ("batches", "base INTEGER")):
            names = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
            if column.split()[0] not in names:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    return db
