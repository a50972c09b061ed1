"""COSE_Sign1 (RFC 9052) of one fixed shape, parsed by hand before any CBOR library runs.

    d2                      tag 18
    84                      array(4)
    58 LL <LL bytes>        protected header {1: alg, 3: content type, 4: kid}
    a0                      unprotected header: always empty
    5x .. <n bytes>         payload, shortest length head, 1 <= n <= 262 144
    58 40 <64 bytes>        signature

A stock verifier would also accept other shapes of the same message with other hashes; this
parser accepts exactly one, so nobody without the key can make a second form of a batch.
"""

import hashlib
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from edge_agent.errors import BadEnvelope, BadHeader, WrongSize, WrongType
from edge_agent.wire.keys import ED25519, ES256, PublicKey, Signer, algorithm_of, key_id

MAX_PAYLOAD = 262_144
MAX_MESSAGE = 262_400
_SIGNATURE_BYTES = 64
_KID_BYTES = 32
_SIGNATURE1 = b"\x84\x6aSignature1"
_LEAST_LENGTH = {0x58: 24, 0x59: 0x100, 0x5A: 0x1_0000}
_CONTENT_TYPE = "application/vnd.carbon.{}+cbor"


class MessageType(StrEnum):
    """What a message is; separates the signing domains."""

    BATCH = "batch"
    CONFIG = "config"
    ACK = "ack"
    STATUS = "status"
    MONTH = "month"
    MANIFEST = "manifest"
    LAB = "lab"
    ENROLMENT = "enrolment"
    REVOCATION = "revocation"
    RELABEL = "relabel"
    RELEASE = "release"
    APPROVAL = "approval"
    CLOCK_MARK = "clockmark"
    CLOCK_VERDICT = "clockverdict"
    DAY_CLOSE = "dayclose"
    MONTH_CLOSE = "monthclose"
    PERSON_REVOCATION = "personrevocation"


class Envelope(NamedTuple):
    """The six parts of a message, not yet verified."""

    type: MessageType
    algorithm: int
    kid: bytes
    protected: bytes
    payload: bytes
    signature: bytes


class Verified(NamedTuple):
    """A message whose signature was checked; ``sha256`` is over the whole message."""

    type: MessageType
    kid: bytes
    payload: bytes
    raw: bytes
    sha256: bytes


def _protected(kind: MessageType, algorithm: int, kid: bytes) -> bytes:
    content_type = _CONTENT_TYPE.format(kind.value).encode()
    return (
        b"\xa3\x01"
        + bytes([0x20 - 1 - algorithm])
        + b"\x03\x78"
        + bytes([len(content_type)])
        + content_type
        + b"\x04\x58\x20"
        + kid
    )


def _bytes_head(length: int) -> bytes:
    if length < 24:
        return bytes([0x40 + length])
    if length < 0x100:
        return bytes([0x58, length])
    if length < 0x1_0000:
        return b"\x59" + length.to_bytes(2, "big")
    return b"\x5a" + length.to_bytes(4, "big")


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 section 4.4 with empty external data."""
    heads = _bytes_head(len(protected)), _bytes_head(len(payload))
    return b"".join((_SIGNATURE1, heads[0], protected, b"\x40", heads[1], payload))


def sign(kind: MessageType, payload: bytes, signer: Signer) -> bytes:
    """The signed message around a payload.

    Raises:
        WrongSize: the payload is empty or larger than the wire allows.
    """
    if not 0 < len(payload) <= MAX_PAYLOAD:
        message = f"payload of {len(payload)} bytes; 1 to {MAX_PAYLOAD} are allowed"
        raise WrongSize(message)
    spki = signer.public_spki()
    protected = _protected(kind, algorithm_of(spki), key_id(spki))
    signature = signer.sign(to_be_signed(protected, payload))
    return b"".join(
        (
            b"\xd2\x84",
            _bytes_head(len(protected)),
            protected,
            b"\xa0",
            _bytes_head(len(payload)),
            payload,
            b"\x58\x40",
            signature,
        )
    )


def parse(raw: bytes) -> Envelope:
    """Take a message apart; accepts the one fixed shape only.

    Raises:
        WrongSize, BadEnvelope, BadHeader: it is not of that shape.
    """
    if len(raw) > MAX_MESSAGE:
        message = f"{len(raw)} bytes; at most {MAX_MESSAGE} are allowed"
        raise WrongSize(message)
    if raw[:2] != b"\xd2\x84":
        message = "does not begin with tag 18 and an array of four"
        raise BadEnvelope(message)
    protected, at = _byte_string(raw, 2)
    if raw[at : at + 1] != b"\xa0":
        message = "the unprotected header is not empty"
        raise BadEnvelope(message)
    payload, at = _byte_string(raw, at + 1)
    signature, at = _byte_string(raw, at)
    if at != len(raw) or len(signature) != _SIGNATURE_BYTES or not payload:
        message = "wrong signature length, empty payload or trailing bytes"
        raise BadEnvelope(message)
    kind, algorithm, kid = _header(protected)
    return Envelope(kind, algorithm, kid, protected, payload, signature)


def _byte_string(raw: bytes, at: int) -> tuple[bytes, int]:
    """A definite byte string at ``at`` with the shortest length head, and where it ends."""
    first = raw[at] if at < len(raw) else 0
    if 0x58 <= first <= 0x5A:
        start = at + 1 + (1 << (first - 0x58))
        length = int.from_bytes(raw[at + 1 : start], "big")
        if length < _LEAST_LENGTH[first]:
            message = f"length head at {at} is not in shortest form"
            raise BadEnvelope(message)
    elif 0x40 <= first < 0x58:
        length, start = first - 0x40, at + 1
    else:
        message = f"byte {at} does not start a byte string of definite length"
        raise BadEnvelope(message)
    end = start + length
    if length > MAX_PAYLOAD or end > len(raw):
        message = f"byte string at {at} is longer than the message"
        raise BadEnvelope(message)
    return raw[start:end], end


@lru_cache(maxsize=4_096)
def _header(protected: bytes) -> tuple[MessageType, int, bytes]:
    kid = protected[-_KID_BYTES:]
    for algorithm in (ED25519, ES256):
        for kind in MessageType:
            if protected == _protected(kind, algorithm, kid):
                return kind, algorithm, kid
    message = "the protected header is not exactly algorithm, content type and key id"
    raise BadHeader(message)


Check = Callable[[PublicKey, bytes, bytes], None]
"""Checks a signature over a message by a key; raises ``BadSignature``."""


def verify(
    raw: bytes,
    kind: MessageType,
    find_key: Callable[[bytes], PublicKey],
    check: Check = PublicKey.verify,
) -> Verified:
    """Check shape, type, key and signature of a message, cheap before dear.

    Args:
        raw: the whole message as received.
        kind: the only type accepted here.
        find_key: gives the public key for a key id or raises ``UnknownKey``/``WrongAgent``.
        check: how the signature is checked.

    Raises:
        EvidenceError: the subclass of the first rule the message breaks.
    """
    envelope = parse(raw)
    if envelope.type is not kind:
        message = f"a {envelope.type.value} message where a {kind.value} message belongs"
        raise WrongType(message)
    public = find_key(envelope.kid)
    if envelope.algorithm != public.algorithm:
        message = f"algorithm {envelope.algorithm} is not the enrolled key's {public.algorithm}"
        raise BadHeader(message)
    check(public, envelope.signature, to_be_signed(envelope.protected, envelope.payload))
    return Verified(kind, envelope.kid, envelope.payload, raw, hashlib.sha256(raw).digest())
