"""The agent's signing keys: the one in use and, during a rotation, the next one.

In files: ``NAME.pem`` with ``NAME.crt``, the next one as ``NAME.next.pem`` with ``NAME.next.crt``.
In a token: the key of the label, the next one under the label with ``.next``. Which of the two
signs is what the outbox says; the files are renamed only after a batch with the ``keychange`` is
durable, so that a stop at any point leaves a key that fits the chain.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge_agent.config import Keys, Pkcs11
from edge_agent.errors import KeyFileError
from edge_agent.later import Later
from edge_agent.wire.keys import (
    ED25519,
    FileSigner,
    Signer,
    create_signer,
    key_id,
    load_signer,
    read_secret,
)

if TYPE_CHECKING:
    from edge_agent.wire.keys.hsm import HsmSigner, Slot

Stored: TypeAlias = "FileSigner | HsmSigner"
_HSM = "edge_agent.wire.keys.hsm"
_SLOT, _HSM_SIGNER = Later(_HSM, "Slot"), Later(_HSM, "HsmSigner")
_CREATE_HSM_KEY = Later(_HSM, "create_hsm_key")


@dataclass(frozen=True, slots=True)
class Successor:
    """A next key that an operator approved: it has a certificate."""

    signer: Stored
    certificate: bytes


class AgentSigner:
    """The key that signs now; another one after a rotation."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def __repr__(self) -> str:
        return f"AgentSigner({self._signer!r})"

    @property
    def kid(self) -> bytes:
        """Id of the key that signs now."""
        return key_id(self._signer.public_spki())

    def public_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the key that signs now."""
        return self._signer.public_spki()

    def sign(self, message: bytes) -> bytes:
        """64-byte signature.

        Raises:
            SignerUnavailable: the store does not answer now.
        """
        return self._signer.sign(message)

    def switch(self, signer: Signer) -> None:
        """From now on another key signs."""
        self._signer = signer


class Keystore:
    """Finds, makes and renames the agent's keys."""

    def __init__(self, settings: Keys, state_dir: Path) -> None:
        self._settings = settings
        self._state_dir = state_dir

    def current(self, kid: bytes | None) -> Stored:
        """The key that signs the next batch.

        Args:
            kid: what the outbox says; None before the first rotation.

        Raises:
            KeyFileError, SignerUnavailable: it cannot be used, or no key here is that one.
        """
        if self._exists() and kid is None:
            return self._open()
        if kid is not None:
            if self._exists() and (first := self._open()).kid == kid:
                return first
            if self._exists(after=True) and (second := self._open(after=True)).kid == kid:
                self._promote()
                return second if self._settings.pkcs11 else self._open()
            message = f"no key here is {kid.hex()[:16]}, which signed last; is this an old backup?"
            raise KeyFileError(message)
        return self._open()

    def successor(self) -> Successor | None:
        """The next key, once its certificate is here too."""
        path = self.certificate(after=True)
        if not path.exists() or not self._exists(after=True):
            return None
        return Successor(self._open(after=True), path.read_bytes())

    def create(self, *, after: bool = False, algorithm: int = ED25519) -> Stored:
        """Make the first key, or the next one.

        Raises:
            KeyFileError: there is one already.
        """
        if self._settings.pkcs11 is not None:
            made: HsmSigner = _CREATE_HSM_KEY(
                self._slot(self._settings.pkcs11, after=after), algorithm
            )
            return made
        passphrase = self._passphrase()
        return create_signer(self._path(after=after), algorithm=algorithm, passphrase=passphrase)

    def open(self, *, after: bool = False) -> Stored:
        """One of the two keys.

        Raises:
            KeyFileError, SignerUnavailable: it cannot be used.
        """
        return self._open(after=after)

    def certificate(self, *, after: bool = False) -> Path:
        """Where a key's certificate belongs."""
        if self._settings.pkcs11 is not None:
            base = self._state_dir / f"{self._settings.pkcs11.label}.pem"
        else:
            base = self._path(after=False)
        return base.with_suffix(".next.crt" if after else ".crt")

    def _open(self, *, after: bool = False) -> Stored:
        if self._settings.pkcs11 is not None:
            found: HsmSigner = _HSM_SIGNER(self._slot(self._settings.pkcs11, after=after))
            return found
        return load_signer(self._path(after=after), self._passphrase())

    def _exists(self, *, after: bool = False) -> bool:
        """Whether there is such a key; a token is asked only when it is opened."""
        if self._settings.pkcs11 is not None:
            return not after or self.certificate(after=True).exists() or self._promoted()
        return self._path(after=after).exists()

    def _promoted(self) -> bool:
        """Whether a token's next key is in use already: its certificate took the first place."""
        return self.certificate().exists()

    def _path(self, *, after: bool) -> Path:
        path = self._settings.signing
        if path is None:
            message = "keys.signing or keys.pkcs11 is needed"
            raise KeyFileError(message)
        return path.with_suffix(".next.pem") if after else path

    def _slot(self, settings: Pkcs11, *, after: bool) -> "Slot":
        slot: Slot = _SLOT(
            settings.module,
            settings.token,
            settings.label,
            settings.pin_file,
            self._state_dir / "pin-refused",
        )
        return replace(slot, label=f"{settings.label}.next") if after else slot

    def _passphrase(self) -> bytes | None:
        path = self._settings.passphrase_file
        return read_secret(path, "passphrase").strip() if path else None

    def _promote(self) -> None:
        """Give the next key the first one's name; the old one stays beside it."""
        if self._settings.pkcs11 is None:
            first, second = self._path(after=False), self._path(after=True)
            if first.exists():
                first.rename(first.with_suffix(".old.pem"))
            second.rename(first)
            public = second.with_suffix(".pub.pem")
            if public.exists():
                public.rename(first.with_suffix(".pub.pem"))
        if self.certificate(after=True).exists():
            self.certificate(after=True).rename(self.certificate())
