"""Private keys in PKCS#8 PEM files: owner only, no link, with or without a passphrase."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import KeyFileError
from edge_agent.wire.keys.public import ED25519, KeptKey, lower_form, spki_of

_FILE_BYTES = 16_384
_FOLDER_RIGHTS = 0o022
Private = Ed25519PrivateKey | EllipticCurvePrivateKey


class FileSigner(KeptKey):
    """A private key that was read from a file."""

    def __init__(self, private: Private) -> None:
        super().__init__(spki_of(private.public_key()))
        self._private = private

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, or r and s of ES256: 64 bytes."""
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(message)
        return lower_form(self._private.sign(message, ECDSA(hashes.SHA256())))


def create_signer(
    path: Path, *, algorithm: int = ED25519, passphrase: bytes | None = None
) -> FileSigner:
    """Make a new key in a new file, owner only, with its public half beside it.

    Args:
        path: a file that does not exist yet.
        algorithm: ``ED25519`` or ``ES256``.
        passphrase: encrypts the file.

    Raises:
        KeyFileError: the file exists already or its folder cannot be used.
    """
    private: Private = (
        Ed25519PrivateKey.generate() if algorithm == ED25519 else generate_private_key(SECP256R1())
    )
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    signer = FileSigner(private)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        public = path.with_suffix(".pub.pem")
        public.write_bytes(signer.public_pem())
        public.chmod(0o644)
    except OSError as error:
        message = f"{path}: cannot create the key file: {error.strerror}"
        raise KeyFileError(message) from error
    return signer


def load_signer(path: Path, passphrase: bytes | None = None) -> FileSigner:
    """Read a private key file, refusing unsafe ones.

    Raises:
        KeyFileError: missing, a link, another owner's, readable by others, in a folder where
            others may write, empty, no key of ours, or not opened by the passphrase.
    """
    _check_folder(path)
    found = _parse(read_secret(path, "key"), passphrase)
    if isinstance(found, str):
        message = f"{path}: {found}"
        raise KeyFileError(message)
    return FileSigner(found)


def _parse(pem: bytes, passphrase: bytes | None) -> Private | str:
    """The key in a file's bytes, or what is wrong with them."""
    if not pem:
        return "the key file is empty; a PKCS#8 PEM key is right"
    try:
        private = serialization.load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if isinstance(private, Ed25519PrivateKey):
        return private
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return private
    encrypted = b"ENCRYPTED" in pem
    if encrypted and passphrase is None:
        return "the key is encrypted; a passphrase file is needed"
    if encrypted:
        return "the passphrase does not open this key"
    kind = "unencrypted" if passphrase is None else "encrypted"
    given = "" if passphrase is None else ", but a passphrase was given"
    return f"holds no {kind} PKCS#8 Ed25519 or P-256 key{given}"


def read_secret(path: Path, what: str = "secret") -> bytes:
    """Contents of a small file that only its owner may read (key, passphrase, PIN).

    A file in systemd's credentials folder may belong to root: there systemd keeps others out.

    Raises:
        KeyFileError: missing, a link, another owner's, or readable by others.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        message = (
            f"{path}: cannot open the {what} file: {error.strerror} (a regular file is needed)"
        )
        raise KeyFileError(message) from error
    try:
        _check_rights(path, os.fstat(handle))
        return os.read(handle, _FILE_BYTES)
    finally:
        os.close(handle)


def _check_rights(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        message = f"{path}: is not a regular file"
        raise KeyFileError(message)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and path.absolute().parent == Path(credentials) and info.st_uid == 0:
        return
    if info.st_uid != os.geteuid():
        message = f"{path}: belongs to user {info.st_uid}, not to the user that runs this"
        raise KeyFileError(message)
    if info.st_mode & 0o077:
        message = (
            f"{path}: mode {stat.S_IMODE(info.st_mode):04o} lets others in; chmod 0600 is right"
        )
        raise KeyFileError(message)


def _check_folder(path: Path) -> None:
    """Who may write into the folder could put another key in the file's place."""
    try:
        info = path.absolute().parent.stat()
    except OSError as error:
        message = f"{path}: cannot open the key file: {error.strerror}"
        raise KeyFileError(message) from error
    if info.st_mode & _FOLDER_RIGHTS and not info.st_mode & stat.S_ISVTX:
        message = (
            f"{path.parent}: mode {stat.S_IMODE(info.st_mode):04o} lets others replace the key;"
            " chmod 0700 is right"
        )
        raise KeyFileError(message)
