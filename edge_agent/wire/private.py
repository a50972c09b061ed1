"""Any ``Signer`` as the private-key object that the X.509 builders ask for.

The builders only ever call ``public_key`` and ``sign``; so a key that never leaves its token can
sign requests and certificates too.
"""

from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from edge_agent.wire.keys import Signer, public_key

_HALF = 32


def as_private(signer: Signer) -> Any:
    """The signer behind the library's interface of private keys."""
    public = public_key(signer.public_spki()).key
    if isinstance(public, Ed25519PublicKey):
        return _Ed25519(signer, public)
    return _P256(signer, public)


def _refuse(*_arguments: object, **_named: object) -> NoReturn:
    message = "this key does not leave its store"
    raise TypeError(message)


class _Ed25519(Ed25519PrivateKey):
    def __init__(self, signer: Signer, public: Ed25519PublicKey) -> None:
        self._signer, self._public = signer, public

    def public_key(self) -> Ed25519PublicKey:
        return self._public

    def sign(self, data: Any) -> bytes:
        return self._signer.sign(bytes(data))

    private_bytes = _refuse
    private_bytes_raw = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse


class _P256(EllipticCurvePrivateKey):
    def __init__(self, signer: Signer, public: EllipticCurvePublicKey) -> None:
        self._signer, self._public = signer, public

    @property
    def curve(self) -> EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> EllipticCurvePublicKey:
        return self._public

    def sign(self, data: Any, signature_algorithm: object) -> bytes:  # noqa: ARG002  it is always ECDSA with SHA-256
        raw = self._signer.sign(bytes(data))
        r, s = (int.from_bytes(half, "big") for half in (raw[:_HALF], raw[_HALF:]))
        return encode_dss_signature(r, s)

    exchange = _refuse
    private_numbers = _refuse
    private_bytes = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
