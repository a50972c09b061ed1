"""Public keys and their two algorithms; what signs implements ``Signer``.

Low-order Ed25519 points are refused: under such a key one signature verifies many messages. Of
the two forms (r, s) and (r, n - s) of an ES256 signature only the one with the lower s is made
and accepted, so that nobody without the key can give a signed message a second hash.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from edge_agent.errors import BadSignature, KeyFileError

ED25519 = -8
ES256 = -7
_SPKI_STARTS = {
    bytes.fromhex("302a300506032b6570032100"): ED25519,
    bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"): ES256,
}
_ED25519_SPKI_BYTES = 44
_P = 2**255 - 19
_ORDER_8 = (
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
)
_LOW_ORDER_Y = frozenset({0, 1, _P - 1, *_ORDER_8})
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HALF = 32


class Signer(Protocol):
    """Signs with a key that never leaves its store. Blocking: call it off the event loop."""

    def public_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64-byte signature over the message.

        Raises:
            SignerUnavailable: the store does not answer now.
        """
        ...


class KeptKey:
    """The public side of a private key that somebody keeps; never copied, pickled or shown."""

    def __init__(self, spki: bytes) -> None:
        self._spki = spki

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kid={self.kid.hex()})"

    def __reduce__(self) -> str:
        message = "a private key is not copied or pickled"
        raise TypeError(message)

    @property
    def kid(self) -> bytes:
        """SHA-256 of the public key's SubjectPublicKeyInfo."""
        return key_id(self._spki)

    def public_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the public key."""
        return self._spki

    def public_pem(self) -> bytes:
        """The public key as PEM, for the other side's configuration."""
        return pem_of(self._spki)


def key_id(spki: bytes) -> bytes:
    """SHA-256 of a DER SubjectPublicKeyInfo."""
    return hashlib.sha256(spki).digest()


def algorithm_of(spki: bytes) -> int:
    """COSE algorithm number of a key: ``ED25519`` or ``ES256``.

    Raises:
        KeyFileError: neither.
    """
    for start, algorithm in _SPKI_STARTS.items():
        if spki.startswith(start):
            return algorithm
    message = "only Ed25519 and ECDSA P-256 public keys are accepted"
    raise KeyFileError(message)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that may verify signatures, with its id."""

    kid: bytes
    spki: bytes
    key: Ed25519PublicKey | EllipticCurvePublicKey = field(repr=False, compare=False)

    @property
    def algorithm(self) -> int:
        """COSE algorithm number that signatures of this key must name."""
        return ED25519 if len(self.spki) == _ED25519_SPKI_BYTES else ES256

    @property
    def point(self) -> bytes:
        """The 32 bytes of an Ed25519 key."""
        return self.spki[-_HALF:]

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a signature.

        Raises:
            BadSignature: it is not this key's signature over the message.
        """
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, message)
            else:
                self.key.verify(_to_der(signature), message, ECDSA(hashes.SHA256()))
        except InvalidSignature:
            text = "signature does not verify"
            raise BadSignature(text) from None


def _to_der(signature: bytes) -> bytes:
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    if len(signature) != 2 * _HALF or not 0 < s <= _P256_ORDER // 2:
        raise InvalidSignature
    return encode_dss_signature(r, s)


def lower_form(der: bytes) -> bytes:
    """An ECDSA P-256 signature as r and the lower s, 32 bytes each."""
    r, s = decode_dss_signature(der)
    return joined(r, s)


def joined(r: int, s: int) -> bytes:
    """The numbers r and the lower of s and n - s, 32 bytes each."""
    return r.to_bytes(_HALF, "big") + min(s, _P256_ORDER - s).to_bytes(_HALF, "big")


def public_key(encoded: bytes) -> PublicKey:
    """Read a public key from PEM or DER, refusing low-order points.

    Raises:
        KeyFileError: of another kind, or one under which signatures prove nothing.
    """
    try:
        if encoded.lstrip().startswith(b"-----"):
            key = serialization.load_pem_public_key(encoded)
        else:
            key = serialization.load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        message = "not a public key in PEM or DER form"
        raise KeyFileError(message) from error
    if isinstance(key, Ed25519PublicKey):
        _refuse_low_order(key.public_bytes_raw())
    elif not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        message = "only Ed25519 and ECDSA P-256 public keys are accepted"
        raise KeyFileError(message)
    spki = spki_of(key)
    return PublicKey(key_id(spki), spki, key)


def spki_of(key: Ed25519PublicKey | EllipticCurvePublicKey) -> bytes:
    """DER SubjectPublicKeyInfo of a public key."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pem_of(spki: bytes) -> bytes:
    """A public key as PEM, for the other side's configuration."""
    return (serialization.load_der_public_key(spki)).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _refuse_low_order(point: bytes) -> None:
    y = int.from_bytes(point, "little") & (2**255 - 1)
    if y >= _P:
        message = "the public key is not in canonical form (y >= p)"
        raise KeyFileError(message)
    if y in _LOW_ORDER_Y:
        message = "the public key is a low-order point: signatures under it prove nothing"
        raise KeyFileError(message)
