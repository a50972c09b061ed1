"""Private keys in a PKCS#11 token (HSM, smart card, TPM): they sign there and never leave it.

Rules:

    H1  the PIN comes from a file of the owner's and is read anew at each login
    H2  a PIN that the token refused is never tried again by itself, not even after a restart:
        a mark remembers the PIN file (its time and place, nothing of its contents) until the
        operator writes it anew
    H3  a removed token is looked for again at each signature; its key must be the same one

Every call may block for as long as the token takes: never call it on the event loop.
"""

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from edge_agent.errors import KeyFileError, SignerUnavailable
from edge_agent.wire.keys.files import read_secret
from edge_agent.wire.keys.public import (
    ED25519,
    KeptKey,
    algorithm_of,
    joined,
    public_key,
)

_ED25519_OID = bytes.fromhex("06032b6570")
_ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
_P256_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_PIN_REFUSED = (
    pkcs11.PinIncorrect,
    pkcs11.PinLocked,
    pkcs11.PinExpired,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
)
_PRIVATE = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.PRIVATE: True,
    Attribute.SIGN: True,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a key is: the module's library, the token's and the key's label, the PIN's file.

    ``mark`` is where a refused PIN is remembered (H2).
    """

    module: Path
    token: str
    label: str
    pin_file: Path
    mark: Path


class HsmSigner(KeptKey):
    """A key in a token; opened at the first use and again after the token was away."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._lock = threading.Lock()
        self._session: Any = None
        self._key: Any = None
        with self._lock:
            super().__init__(self._open())

    def __repr__(self) -> str:
        return f"HsmSigner(token={self._slot.token}, kid={self.kid.hex()})"

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, or r and s of ES256: 64 bytes.

        Raises:
            SignerUnavailable: the token is away, locked, or another one stands in its place.
        """
        with self._lock:
            if self._session is not None:
                try:
                    return self._sign(message)
                except PKCS11Error:
                    self._close()
            if self._open() != self._spki:
                self._close()
                raise SignerUnavailable(f"{self._where()}: holds another key than at the start")
            try:
                return self._sign(message)
            except PKCS11Error as error:
                self._close()
                raise SignerUnavailable(f"{self._where()}: {_named(error)}") from None

    def close(self) -> None:
        """Log out."""
        with self._lock:
            self._close()

    def _sign(self, message: bytes) -> bytes:
        if algorithm_of(self._spki) == ED25519:
            return bytes(self._key.sign(message, mechanism=Mechanism.EDDSA))
        digest = hashlib.sha256(message).digest()
        raw = bytes(self._key.sign(digest, mechanism=Mechanism.ECDSA))
        half = len(raw) // 2
        return joined(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def _where(self) -> str:
        return f"key {self._slot.label!r} of token {self._slot.token!r}"

    def _open(self) -> bytes:
        """Log in once and find the key; gives its public half."""
        try:
            self._session = _login(self._slot)
            found = {
                kind: self._session.get_key(object_class=kind, label=self._slot.label)
                for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
            }
        except PKCS11Error as error:
            self._close()
            raise SignerUnavailable(f"{self._where()}: {_named(error)}") from None
        self._key = found[ObjectClass.PRIVATE_KEY]
        return _checked_spki(self._key, found[ObjectClass.PUBLIC_KEY], self._where())

    def _close(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            try:
                session.close()
            except PKCS11Error:
                return


def create_hsm_key(slot: Slot, algorithm: int = ED25519) -> HsmSigner:
    """Make a key inside the token: sensitive, not extractable.

    Raises:
        KeyFileError: the token has a key of that label already.
        SignerUnavailable: the token cannot be used.
    """
    try:
        session = _login(slot, writable=True)
        try:
            _refuse_twin(session, slot)
            kind, curve = (
                (KeyType.EC_EDWARDS, _ED25519_OID)
                if algorithm == ED25519
                else (KeyType.EC, encode_named_curve_parameters("secp256r1"))
            )
            parameters = session.create_domain_parameters(
                kind, {Attribute.EC_PARAMS: curve}, local=True
            )
            how = Mechanism.EC_EDWARDS_KEY_PAIR_GEN if algorithm == ED25519 else None
            parameters.generate_keypair(
                mechanism=how, store=True, label=slot.label, private_template=_PRIVATE
            )
        finally:
            session.close()
    except PKCS11Error as error:
        raise SignerUnavailable(f"token {slot.token!r}: {_named(error)}") from None
    return HsmSigner(slot)


def _refuse_twin(session: Any, slot: Slot) -> None:
    try:
        session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=slot.label)
    except pkcs11.NoSuchKey:
        return
    message = f"token {slot.token!r} has a key {slot.label!r} already; choose another label"
    raise KeyFileError(message)


def _login(slot: Slot, *, writable: bool = False) -> Any:
    """A session; the PIN is given to the token at most once and never after a refusal (H2)."""
    token = _find_token(slot)
    identity = _identity(slot.pin_file)
    if slot.mark.exists() and slot.mark.read_text(encoding="ascii") == identity:
        message = (
            f"token {slot.token!r} refused the PIN of {slot.pin_file}; it is not tried again "
            "until that file is written anew"
        )
        raise SignerUnavailable(message)
    pin = read_secret(slot.pin_file, "PIN").decode("utf-8", "replace").strip()
    try:
        session = token.open(user_pin=pin, rw=writable)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open(rw=writable)  # by another key of this process
    except _PIN_REFUSED as error:
        slot.mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        slot.mark.write_text(identity, encoding="ascii")
        message = f"token {slot.token!r} refused the PIN of {slot.pin_file}: {_named(error)}"
        raise SignerUnavailable(message) from None
    finally:
        del pin
    slot.mark.unlink(missing_ok=True)
    return session


def _find_token(slot: Slot) -> Any:
    """The token, also when it was put in after the library was loaded."""
    if not slot.module.is_file():
        message = f"{slot.module}: there is no PKCS#11 library"
        raise SignerUnavailable(message)
    library = pkcs11.lib(str(slot.module))
    try:
        return library.get_token(token_label=slot.token)
    except PKCS11Error:
        library.reinitialize()
        return library.get_token(token_label=slot.token)


def _identity(path: Path) -> str:
    try:
        info = path.stat()
    except OSError as error:
        message = f"{path}: cannot open the PIN file: {error.strerror}"
        raise KeyFileError(message) from error
    return f"{info.st_dev} {info.st_ino} {info.st_mtime_ns}"


def _checked_spki(private: Any, public: Any, where: str) -> bytes:
    if private[Attribute.EXTRACTABLE] or not private[Attribute.SENSITIVE]:
        message = (
            f"{where}: can be taken out of the token; a sensitive, not extractable one is right"
        )
        raise KeyFileError(message)
    point = bytes(public[Attribute.EC_POINT])[2:]
    start = _ED25519_SPKI if private.key_type is KeyType.EC_EDWARDS else _P256_SPKI
    return public_key(start + point).spki


def _named(error: Exception) -> str:
    """The library's own word for what happened; its texts are often empty."""
    return type(error).__name__
