"""Checkpoints of the log as signed notes (C2SP: tlog-checkpoint, signed-note, tlog-cosignature).

    carbon-log/<installation>          origin
    4711                               size
    qINS1GRFXWHwdkUeLPEoH7yEMkTBzzBBuwdLPiNGhFY=      root, base64
    day al-001 2026-10-01              any further lines: closed plant days
                                       empty line
    — carbon-log/<installation> <base64 of key id and Ed25519 signature>
    — witness.example <base64 of key id, time and signature>

A key id is the first four bytes of SHA-256(name, 0x0A, type, public key); type 1 signs the text,
type 4 (cosignature/v1) signs a header with the witness's time and the text.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.errors import BadProfile, BadSignature
from edge_agent.wire.keys import Signer
from edge_agent.wire.merkle import HASH_BYTES

LOG_TYPE, COSIGNATURE_TYPE = 1, 4
MAX_NOTE = 65_536
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_KEY_ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 4, 8, 64
_NAME = re.compile(r"[!-*,-~]{1,200}\Z")  # printable, no space, no plus
_SIZE = re.compile(r"(0|[1-9][0-9]{0,15})\Z")


@dataclass(frozen=True, slots=True)
class Head:
    """What a checkpoint states: origin, size, root and the lines of the extension."""

    origin: str
    size: int
    root: bytes
    extension: tuple[str, ...] = ()

    def body(self) -> str:
        """The text that is signed."""
        encoded = base64.b64encode(self.root).decode("ascii")
        lines = [self.origin, str(self.size), encoded, *self.extension]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class NoteKey:
    """An Ed25519 key under a name, as a verifier knows it: 32 raw bytes."""

    name: str
    public: bytes

    def key_id(self, kind: int) -> bytes:
        """Four bytes that name the key in a signature line."""
        text = self.name.encode() + b"\n" + bytes([kind]) + self.public
        return hashlib.sha256(text).digest()[:_KEY_ID_BYTES]


def note_key(name: str, spki: bytes) -> NoteKey:
    """A key from its DER SubjectPublicKeyInfo.

    Raises:
        BadProfile: not Ed25519, or the name may not stand in a note.
    """
    if not spki.startswith(_SPKI_PREFIX) or len(spki) != len(_SPKI_PREFIX) + HASH_BYTES:
        raise BadProfile("a log's or witness's key must be Ed25519")
    if not _NAME.match(name):
        raise BadProfile(f"{name!r}: printable characters without space and + are right")
    return NoteKey(name, spki[len(_SPKI_PREFIX) :])


def sign_checkpoint(head: Head, signer: Signer) -> str:
    """The checkpoint's note, signed by the log's key."""
    key = note_key(head.origin, signer.public_spki())
    body = head.body()
    return f"{body}\n{_line(key, LOG_TYPE, signer.sign(body.encode()))}"


def cosign(head: Head, name: str, signer: Signer, at_s: int) -> str:
    """A witness's signature line for a checkpoint, with the time in seconds since 1970."""
    key = note_key(name, signer.public_spki())
    signature = signer.sign(_cosigned(head.body(), at_s))
    return _line(key, COSIGNATURE_TYPE, at_s.to_bytes(_TIME_BYTES, "big") + signature)


def parse(note: str) -> tuple[Head, list[str]]:
    """A note's statement and its signature lines, nothing verified.

    Raises:
        BadProfile: not a checkpoint.
    """
    if len(note) > MAX_NOTE or "\r" in note:
        raise BadProfile("a checkpoint has at most 64 KiB and plain line ends")
    body, found, rest = note.partition("\n\n")
    lines = body.split("\n")
    if not found or len(lines) < 3 or not _NAME.match(lines[0]) or not _SIZE.match(lines[1]):
        raise BadProfile("a checkpoint is origin, size, root, an empty line and signatures")
    root = _decoded(lines[2])
    if len(root) != HASH_BYTES or base64.b64encode(root).decode("ascii") != lines[2]:
        raise BadProfile("the checkpoint's root is not 32 bytes in base64")
    signatures = rest.splitlines()
    if not signatures or not all(line.startswith("— ") for line in signatures):
        raise BadProfile("the checkpoint has no signature lines")
    return Head(lines[0], int(lines[1]), root, tuple(lines[3:])), signatures


def verify_checkpoint(note: str, key: NoteKey) -> Head:
    """The statement of a checkpoint signed by the log's key.

    Raises:
        BadProfile: not a checkpoint of this log.
        BadSignature: the log's key did not sign it.
    """
    head, lines = parse(note)
    if head.origin != key.name:
        raise BadProfile(f"the checkpoint is of {head.origin!r}, not of {key.name!r}")
    for blob in _blobs(lines, key, LOG_TYPE, _SIGNATURE_BYTES):
        if _is_signed(key, blob, head.body().encode()):
            return head
    raise BadSignature(f"the checkpoint is not signed by {key.name}")


def cosigned_at(head: Head, lines: Sequence[str], key: NoteKey) -> int | None:
    """When a witness cosigned a checkpoint [s since 1970]; None when it did not."""
    for blob in _blobs(lines, key, COSIGNATURE_TYPE, _TIME_BYTES + _SIGNATURE_BYTES):
        at_s = int.from_bytes(blob[:_TIME_BYTES], "big")
        if _is_signed(key, blob[_TIME_BYTES:], _cosigned(head.body(), at_s)):
            return at_s
    return None


def _cosigned(body: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{body}".encode()


def _line(key: NoteKey, kind: int, blob: bytes) -> str:
    encoded = base64.b64encode(key.key_id(kind) + blob).decode("ascii")
    return f"— {key.name} {encoded}\n"


def _blobs(lines: Sequence[str], key: NoteKey, kind: int, length: int) -> list[bytes]:
    found = []
    for line in lines:
        name, _, encoded = line.removeprefix("— ").strip().partition(" ")
        blob = _decoded(encoded)
        is_ours = name == key.name and blob[:_KEY_ID_BYTES] == key.key_id(kind)
        if is_ours and len(blob) == _KEY_ID_BYTES + length:
            found.append(blob[_KEY_ID_BYTES:])
    return found


def _is_signed(key: NoteKey, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
