"""Keys: who may sign what, and where private keys live.

``kid`` is the SHA-256 of the DER SubjectPublicKeyInfo, stable over certificate renewal. A file
key is PKCS#8 PEM, readable by its owner alone; anything wider, a link or another owner refuses
to start. Low-order Ed25519 points are refused at enrolment: under such a key one signature
verifies many messages.
"""

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.errors import BadSignature, KeyFileError, KeyNotValid, UnknownKey, WrongAgent

ED25519 = -8
_P = 2**255 - 19
_ORDER_8 = (
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
)
_LOW_ORDER_Y = frozenset({0, 1, _P - 1, *_ORDER_8})


class Signer(Protocol):
    """Signs with a key that never leaves its store."""

    def public_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64-byte signature over the message."""
        ...


class FileSigner:
    """An Ed25519 key from a PKCS#8 PEM file."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    def __repr__(self) -> str:
        return f"FileSigner(kid={self.kid.hex()})"

    @property
    def kid(self) -> bytes:
        """SHA-256 of the public key's SubjectPublicKeyInfo."""
        return key_id(self.public_spki())

    def public_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the public key."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def public_pem(self) -> bytes:
        """The public key as PEM, for the other side's configuration."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self._private.sign(message)


def key_id(spki: bytes) -> bytes:
    """SHA-256 of a DER SubjectPublicKeyInfo."""
    return hashlib.sha256(spki).digest()


def create_signer(path: Path) -> FileSigner:
    """Make a new Ed25519 key in a new file, owner only, with its public half beside it.

    Raises:
        KeyFileError: the file exists already or its folder cannot be used.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    signer = FileSigner(private)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".pub.pem").write_bytes(signer.public_pem())
    except OSError as error:
        message = f"{path}: cannot create the key file: {error.strerror}"
        raise KeyFileError(message) from error
    return signer


def load_signer(path: Path) -> FileSigner:
    """Read a private key file, refusing unsafe ones.

    Raises:
        KeyFileError: missing, a link, another owner's, readable by others, or no Ed25519 key.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        message = f"{path}: cannot open the key file: {error.strerror} (a regular file is needed)"
        raise KeyFileError(message) from error
    try:
        _check_rights(path, os.fstat(handle))
        pem = os.read(handle, 16_384)
    finally:
        os.close(handle)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        message = f"{path}: holds no unencrypted PKCS#8 Ed25519 key"
        raise KeyFileError(message)
    return FileSigner(private)


def _check_rights(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        message = f"{path}: is not a regular file"
        raise KeyFileError(message)
    if info.st_uid != os.geteuid():
        message = f"{path}: belongs to user {info.st_uid}, not to the user that runs this"
        raise KeyFileError(message)
    if info.st_mode & 0o077:
        message = (
            f"{path}: mode {stat.S_IMODE(info.st_mode):04o} lets others in; chmod 0600 is right"
        )
        raise KeyFileError(message)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that may verify signatures, with its id."""

    kid: bytes
    spki: bytes
    key: Ed25519PublicKey = field(repr=False, compare=False)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a signature.

        Raises:
            BadSignature: it is not this key's signature over the message.
        """
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            text = "signature does not verify"
            raise BadSignature(text) from None


def public_key(encoded: bytes) -> PublicKey:
    """Read a public key from PEM or DER, refusing low-order points.

    Raises:
        KeyFileError: not an Ed25519 public key, or one under which signatures prove nothing.
    """
    try:
        if encoded.lstrip().startswith(b"-----"):
            key = serialization.load_pem_public_key(encoded)
        else:
            key = serialization.load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        message = "not a public key in PEM or DER form"
        raise KeyFileError(message) from error
    if not isinstance(key, Ed25519PublicKey):
        message = "only Ed25519 public keys are accepted"
        raise KeyFileError(message)
    _refuse_low_order(key.public_bytes_raw())
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(key_id(spki), spki, key)


def _refuse_low_order(point: bytes) -> None:
    y = int.from_bytes(point, "little") & (2**255 - 1)
    if y >= _P:
        message = "the public key is not in canonical form (y >= p)"
        raise KeyFileError(message)
    if y in _LOW_ORDER_Y:
        message = "the public key is a low-order point: signatures under it prove nothing"
        raise KeyFileError(message)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Which agent a key speaks for, and when it may."""

    site: str
    agent: str
    public: PublicKey
    not_before_ns: int = 0
    not_after_ns: int = 2**63 - 1


class KeyRing:
    """The enrolled keys of all agents, by key id."""

    def __init__(self, enrolments: list[Enrolment]) -> None:
        self._by_kid = {enrolment.public.kid: enrolment for enrolment in enrolments}

    def find(self, kid: bytes, site: str, agent: str) -> Enrolment:
        """The enrolment of a key, which must be this agent's.

        Raises:
            UnknownKey: nobody enrolled this key.
            WrongAgent: it is enrolled for somebody else.
        """
        enrolment = self._by_kid.get(kid)
        if enrolment is None:
            message = f"key {kid.hex()[:16]} is not enrolled"
            raise UnknownKey(message)
        if (enrolment.site, enrolment.agent) != (site, agent):
            message = f"key of {enrolment.site}/{enrolment.agent} used for {site}/{agent}"
            raise WrongAgent(message)
        return enrolment

    def enrolments(self) -> list[Enrolment]:
        """All of them."""
        return list(self._by_kid.values())


def check_time(enrolment: Enrolment, at_ns: int) -> None:
    """Refuse a key outside its validity.

    Raises:
        KeyNotValid: ``at_ns`` is before the key's first or after its last moment.
    """
    if not enrolment.not_before_ns <= at_ns <= enrolment.not_after_ns:
        message = f"key {enrolment.public.kid.hex()[:16]} is not valid at {at_ns}"
        raise KeyNotValid(message)
