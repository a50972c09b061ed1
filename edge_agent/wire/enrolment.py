"""What an agent says to get a key accepted: the enrolment request, and the change of keys.

A request carries a certificate request and a proof of possession over a nonce of the gateway, so
that nobody can enrol a key recorded elsewhere:

    proof = signature over "carbon enrolment v1" 00 nonce(32) SHA-256(csr)

A change of keys is an event in batch n, which the old key signs; its proof is the new key's
signature over what binds it to this place in this chain:

    "carbon keychange v1" 00 site 00 agent 00 seq(8, big-endian) prev(32) SHA-256(new spki)
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization

from edge_agent.errors import BadSignature, CarbonError, EvidenceError, TrustError
from edge_agent.wire import cbor, certificates
from edge_agent.wire.certificates import Purpose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import PublicKey, Signer, public_key

NONCE_BYTES = 32
MAX_REQUEST = 8_192
_ENROLMENT = b"carbon enrolment v1\x00"
_KEYCHANGE = b"carbon keychange v1\x00"


@dataclass(frozen=True, slots=True)
class Request:
    """A checked enrolment request."""

    site: str
    agent: str
    purpose: Purpose
    public: PublicKey
    nonce: bytes
    raw: bytes

    @property
    def fingerprint(self) -> str:
        """What operator and agent compare out of band: the key id in hex."""
        return self.public.kid.hex()


def make_request(signer: Signer, site: str, agent: str, purpose: Purpose, nonce: bytes) -> bytes:
    """An enrolment request for a key.

    Raises:
        TrustError: a name is not allowed or the nonce is none of ours.
    """
    if len(nonce) != NONCE_BYTES:
        message = f"a nonce has {NONCE_BYTES} bytes, this one {len(nonce)}"
        raise TrustError(message)
    csr = certificates.request(signer, site, agent).public_bytes(serialization.Encoding.DER)
    fields = {
        "v": 1,
        "purpose": purpose.value,
        "csr": csr,
        "nonce": nonce,
        "proof": signer.sign(_possession(nonce, csr)),
    }
    return cbor.encode(fields)


def open_request(raw: bytes) -> Request:
    """Check and read an enrolment request; whose nonce it names is for the gateway to judge.

    Raises:
        TrustError: names the first rule it breaks.
    """
    if len(raw) > MAX_REQUEST:
        message = f"a request has at most {MAX_REQUEST} bytes, this one {len(raw)}"
        raise TrustError(message)
    try:
        fields = cbor.decode(raw)
        purpose = Purpose(fields["purpose"])
        csr, nonce, proof = (_bytes(fields, name) for name in ("csr", "nonce", "proof"))
    except (EvidenceError, KeyError, TypeError, ValueError) as error:
        message = "not an enrolment request"
        raise TrustError(message) from error
    site, agent, public = certificates.check_request(csr)
    try:
        public.verify(proof, _possession(nonce, csr))
    except BadSignature:
        message = "the request's proof is not its key's signature over the nonce"
        raise TrustError(message) from None
    return Request(site, agent, purpose, public, nonce, raw)


def _possession(nonce: bytes, csr: bytes) -> bytes:
    return _ENROLMENT + nonce + hashlib.sha256(csr).digest()


def keychange(site: str, agent: str, head: ChainHead, new: Signer, certificate: bytes) -> Any:
    """Fields of the event that announces a new key in the batch after ``head``."""
    spki = new.public_spki()
    proof = new.sign(_change(site, agent, head.seq + 1, head.sha256, spki))
    return {"new_spki": spki, "new_cert": certificate, "proof": proof}


def check_keychange(event: Mapping[str, Any], site: str, agent: str, head: ChainHead) -> PublicKey:
    """The key that a ``keychange`` event in the batch after ``head`` announces.

    Raises:
        TrustError: a field is missing, the key is worthless, or the proof is not the new key's
            for this place.
    """
    try:
        key = public_key(_bytes(event, "new_spki"))
        change = _change(site, agent, head.seq + 1, head.sha256, key.spki)
        key.verify(_bytes(event, "proof"), change)
    except (CarbonError, KeyError, TypeError, ValueError) as error:
        message = "the keychange has no proof of the new key for this batch"
        raise TrustError(message) from error
    return key


def _bytes(fields: Mapping[str, Any], name: str) -> bytes:
    """A byte string of a message; a number would make as many zeros."""
    value = fields[name]
    if type(value) is not bytes:
        message = f"{name} is no byte string"
        raise TypeError(message)
    return value


def _change(site: str, agent: str, seq: int, prev: bytes, spki: bytes) -> bytes:
    return b"".join(
        (
            _KEYCHANGE,
            site.encode(),
            b"\x00",
            agent.encode(),
            b"\x00",
            seq.to_bytes(8, "big"),
            prev,
            hashlib.sha256(spki).digest(),
        )
    )
