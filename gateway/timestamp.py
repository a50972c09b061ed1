"""Tokens of outside time-stamping authorities (RFC 3161): asking for one, and checking one.

A token says that an authority, whose root a verifier knows from elsewhere, saw the SHA-256 of a
text at a time. Request and response are kept as they travelled, so that stock tools can check them
too: ``openssl ts -verify -data TEXT -in RESPONSE -CAfile ROOTS``. Pure: no clock, no network.

The library checks signature, chain and purpose of the authority's certificate at the token's time.
Requests are written here, because it can neither name a policy nor take a nonce.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import rfc3161_client as tsp
from cryptography import x509
from rfc3161_client.tsp import Accuracy, TimeStampResponse

from edge_agent.errors import CarbonError

MAX_RESPONSE = 65_536
NONCE_BYTES = 8
_SHA256 = "2.16.840.1.101.3.4.2.1"
_DIGESTS = frozenset(f"2.16.840.1.101.3.4.2.{kind}" for kind in (1, 2, 3))  # SHA-256, 384, 512
_INTEGER, _OCTETS, _NULL, _OID, _SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
_TRUE = b"\x01\x01\xff"
_SHORT = 127
_VERIFY_ERROR = re.compile(r"Verify error: ?([\w ,-]+)")


class TimestampError(CarbonError):
    """A token does not prove what it should; says why."""


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority as a verifier knows it: its roots, and the policy it must issue under.

    ``roots`` may hold intermediate certificates that the authority leaves out of its tokens;
    each of them is trusted. An empty ``policy`` takes any.
    """

    name: str
    roots: tuple[x509.Certificate, ...]
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token proves: the text existed before ``before``."""

    authority: str
    before: datetime
    policy: str
    serial: int


def roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates out of PEM text.

    Raises:
        TimestampError: there is none.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        message = "one or more certificates in PEM form are right"
        raise TimestampError(message) from error


def oid(text: str) -> str:
    """An object identifier in dotted form, checked.

    Raises:
        ValueError: it is none.
    """
    try:
        x509.ObjectIdentifier(text)
        request(b"", bytes(NONCE_BYTES), text)
    except ValueError as error:
        message = f"{text!r} is no object identifier; 1.3.6.1.4.1.99999.1 is the form"
        raise ValueError(message) from error
    return text


def request(text: bytes, nonce: bytes, policy: str = "") -> bytes:
    """A ``TimeStampReq`` in DER for the SHA-256 of a text, which asks for the certificate.

    Args:
        text: what is to be stamped.
        nonce: 8 random bytes, so that an old response cannot answer.
        policy: the policy asked for, in dotted form; the authority's own when empty.
    """
    algorithm = _der(_SEQUENCE, _oid(_SHA256), _der(_NULL))
    imprint = _der(_SEQUENCE, algorithm, _der(_OCTETS, hashlib.sha256(text).digest()))
    version, number = _der(_INTEGER, b"\x01"), _integer(int.from_bytes(nonce, "big"))
    asked = _oid(policy) if policy else b""
    return _der(_SEQUENCE, version, imprint, asked, number, _TRUE)


def check(response: bytes, asked: bytes, text: bytes, known: Sequence[Authority]) -> Token:
    """What a response proves.

    Args:
        response: ``TimeStampResp`` in DER.
        asked: the request that it answers.
        text: what must have been stamped.
        known: the authorities; one of them must have signed.

    Raises:
        TimestampError: refused, not readable, of another text, not the answer to the request,
            of none of the authorities, of an expired one, or under another policy.
    """
    decoded = _decoded(response)
    info = decoded.tst_info
    imprint = info.message_imprint
    if imprint.hash_algorithm.dotted_string != _SHA256:
        raise TimestampError(
            f"the digest is of kind {imprint.hash_algorithm.dotted_string}, SHA-256 is right"
        )
    if imprint.message != hashlib.sha256(text).digest():
        raise TimestampError("the token is for another digest")
    weak = {one.dotted_string for one in decoded.signed_data.digest_algorithms} - _DIGESTS
    if weak:
        raise TimestampError(f"the token is signed over a digest of kind {', '.join(weak)}")
    policy = info.policy.dotted_string
    _check_nonce(asked, text, info.nonce, policy)
    signer = _signer(decoded, known)
    if signer.policy not in ("", policy):
        raise TimestampError(f"the token's policy is {policy}, {signer.policy} is right")
    return Token(signer.name, _latest(decoded), policy, info.serial_number)


def _decoded(response: bytes) -> TimeStampResponse:
    if len(response) > MAX_RESPONSE:
        raise TimestampError(f"a response has at most {MAX_RESPONSE} bytes")
    try:
        decoded = tsp.decode_timestamp_response(response)
        status = decoded.status
        if status != tsp.PKIStatus.GRANTED:
            said = ", ".join(decoded.status_string or ()) or "no reason given"
            raise TimestampError(f"the authority refused (status {status}): {said}")
        decoded.tst_info  # noqa: B018  read here, where its errors are taken
    except (ValueError, TypeError) as error:
        raise TimestampError(f"not a time-stamp response: {error}") from error
    return decoded


def _check_nonce(asked: bytes, text: bytes, nonce: int | None, policy: str) -> None:
    """The request is rebuilt from what the token says: so the token answers it, or it does not."""
    if nonce is None or not 0 <= nonce < 1 << 8 * NONCE_BYTES:
        raise TimestampError("the token does not repeat the nonce of a request of ours")
    stated = nonce.to_bytes(NONCE_BYTES, "big")
    if asked not in (request(text, stated, policy), request(text, stated)):
        raise TimestampError("the token answers another request: nonce or policy differ")


def _signer(decoded: TimeStampResponse, known: Sequence[Authority]) -> Authority:
    """The authority under whose roots the token's signature holds at the token's time."""
    reasons = []
    for one in known:
        builder = tsp.VerifierBuilder(roots=list(one.roots))
        try:
            builder.build().verify(decoded, decoded.tst_info.message_imprint.message)
        except (tsp.VerificationError, ValueError) as error:
            reasons.append(f"{one.name}: {_reason(error)}")
        else:
            return one
    raise TimestampError(
        f"not signed by a known authority at {decoded.tst_info.gen_time}: {'; '.join(reasons)}"
    )


def _reason(error: Exception) -> str:
    """The one sentence in what the library says of a whole stack of errors."""
    match = _VERIFY_ERROR.search(str(error))
    return match[1].strip() if match else str(error)[:200]


def _latest(decoded: TimeStampResponse) -> datetime:
    """The token's time plus the accuracy that the authority states."""
    info = decoded.tst_info
    stated = cast("Accuracy | None", info.accuracy)  # None where the token states none
    if stated is None:
        return info.gen_time
    return info.gen_time + timedelta(
        seconds=stated.seconds or 0,
        milliseconds=stated.millis or 0,
        microseconds=stated.micros or 0,
    )


def _der(tag: int, *parts: bytes) -> bytes:
    """An element whose content is shorter than 128 bytes, as all of a request's are."""
    content = b"".join(parts)
    if len(content) > _SHORT:
        raise ValueError("an object identifier is too long")
    return bytes((tag, len(content))) + content


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return _der(_OID, *(_base128(arc) for arc in (40 * first + second, *rest)))


def _base128(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))
