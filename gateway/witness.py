"""A witness of logs: cosigns a checkpoint only when it grew out of the last one it cosigned.

Runs at the regulator, the verifier or an industry body. One row of state a log (size, root),
stored before the answer leaves. The protocol is C2SP tlog-witness: ``POST /add-checkpoint`` with

    old <size of the checkpoint that the log believes to be the witness's newest>
    <base64 hashes of the consistency proof, one a line>
    <empty line>
    <the checkpoint, a signed note>

    200  a cosignature line            409  the witness stands at another size (its size follows)
    400  malformed                     422  the proof does not hold
    403  not signed by the log's key   404  a log that it does not know
"""

import base64
import binascii
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.errors import BadProfile, BadSignature
from edge_agent.wire import merkle, notes
from edge_agent.wire.keys import Signer
from edge_agent.wire.notes import Head, NoteKey

MAX_REQUEST = 128 * 1024
SIZE_TYPE = "text/x.tlog.size"
_TEXT = "text/plain; charset=utf-8"
_MAX_PROOF = 63
_SCHEMA = """
CREATE TABLE IF NOT EXISTS logs (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the witness answers: HTTP status, body and its type."""

    status: int
    body: str
    content_type: str = _TEXT


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request: the old size, the proof, and the checkpoint's note."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str

    def text(self) -> str:
        """The request's body."""
        hashes = [base64.b64encode(item).decode("ascii") for item in self.proof]
        return "\n".join([f"old {self.old_size}", *hashes, "", self.note])


class Witness:
    """The state of one witness; may be used from several threads and processes at once."""

    def __init__(
        self, path: Path, name: str, signer: Signer, logs: Iterable[NoteKey], clock: Clock
    ) -> None:
        """Open the state.

        Args:
            path: SQLite file, made when it is not there.
            name: the witness's name in its cosignatures.
            signer: its Ed25519 key.
            logs: the logs it knows, by origin and key.
            clock: gives the time of cosignatures.
        """
        self._path = path
        self._name, self._signer, self._clock = name, signer, clock
        self._logs = {key.name: key for key in logs}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = self._connect()
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
        db.close()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request; the new state is durable before this returns."""
        try:
            request = parse_request(body)
            head, _ = notes.parse(request.note)
        except BadProfile as error:
            return Answer(400, f"{error}\n")
        key = self._logs.get(head.origin)
        if key is None:
            return Answer(404, f"unknown log {head.origin}\n")
        try:
            notes.verify_checkpoint(request.note, key)
        except BadSignature as error:
            return Answer(403, f"{error}\n")
        if request.old_size > head.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        return self._advance(request, head)

    def state(self, origin: str) -> tuple[int, bytes] | None:
        """Size and root of the newest checkpoint cosigned of a log."""
        db = self._connect()
        try:
            row = db.execute("SELECT size, root FROM logs WHERE origin = ?", (origin,)).fetchone()
        finally:
            db.close()
        return (row[0], row[1]) if row else None

    def _advance(self, request: Request, head: Head) -> Answer:
        """Compare, store and only then sign; of two that race one sees the other's state."""
        db = self._connect()
        try:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(
                "SELECT size, root FROM logs WHERE origin = ?", (head.origin,)
            ).fetchone()
            size, root = row or (0, merkle.EMPTY_ROOT)
            refusal = _refusal(request, head, size, root)
            if refusal is None:
                db.execute(
                    "INSERT INTO logs VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET"
                    " size = excluded.size, root = excluded.root, note = excluded.note",
                    (head.origin, head.size, head.root, request.note),
                )
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.close()
        if refusal is not None:
            return refusal
        at_s = self._clock.utc_ns() // NS_PER_S
        return Answer(200, notes.cosign(head, self._name, self._signer, at_s))

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")
        return db


def _refusal(request: Request, head: Head, size: int, root: bytes) -> Answer | None:
    if request.old_size != size or (head.size == size and head.root != root and size > 0):
        return Answer(409, f"{size}\n", SIZE_TYPE)
    if size == 0:
        return Answer(422, "the first checkpoint needs no proof\n") if request.proof else None
    try:
        merkle.check_consistency((size, root), (head.size, head.root), request.proof)
    except merkle.ProofError as error:
        return Answer(422, f"{error}\n")
    return None


def parse_request(body: bytes) -> Request:
    """Read a request's body.

    Raises:
        BadProfile: malformed.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadProfile("the request is not UTF-8") from error
    head, found, note = text.partition("\n\n")
    first, *hashes = head.split("\n")
    size = first.removeprefix("old ")
    if not found or size == first or not size.isdecimal() or len(size) > 16:
        raise BadProfile("the request begins with a line 'old <size>' and has an empty line")
    if len(hashes) > _MAX_PROOF:
        raise BadProfile(f"a proof has at most {_MAX_PROOF} hashes")
    return Request(int(size), tuple(_hashes(hashes)), note)


def _hashes(lines: Sequence[str]) -> list[bytes]:
    try:
        found = [base64.b64decode(line, validate=True) for line in lines]
    except (binascii.Error, ValueError) as error:
        raise BadProfile("a proof's line is not base64") from error
    if any(len(item) != merkle.HASH_BYTES for item in found):
        raise BadProfile("a proof's line is not 32 bytes")
    return found
