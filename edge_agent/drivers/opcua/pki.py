"""Certificates of the OPC UA channel: our own, and the servers' that are trusted.

1. A server is trusted by its certificate itself, one folder a device: another server's
   certificate, however well signed, opens nothing.
2. A certificate that is not trusted is kept under ``rejected/``, and the error names its
   fingerprint, the trusted ones, and the file to place. Nothing is trusted on first sight.
3. Our own key is made once, readable by its owner only, and never replaced by itself.
"""

import contextlib
import logging
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.errors import ConfigError, Refused

_VALID = timedelta(days=5 * 365)
_WARN = timedelta(days=30)
_NAME = "plant-carbon-monitor edge-agent"
_MOST_FILES = 100
_LONGEST_FILE = 65_536
_making = threading.Lock()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Our certificate and key, both DER; the URI stands in the certificate."""

    certificate: bytes
    key: bytes
    application_uri: str
    expires: datetime


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, as certificate viewers show it."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate)
    return digest.finalize().hex(":").upper()


def first_of(chain: bytes) -> bytes:
    """The leading certificate of a DER chain; raises Refused when there is none."""
    for size in _sizes(chain):
        try:
            return x509.load_der_x509_certificate(chain[:size]).public_bytes(
                serialization.Encoding.DER
            )
        except (ValueError, UnsupportedAlgorithm):
            break
    raise Refused("the server's endpoint carries no readable certificate")


def identity(pki: Path, now: datetime) -> Identity:
    """Our own certificate and key, made on first use under ``own/``.

    Raises ConfigError when they are unsafe, unreadable, do not fit each other or have expired.
    """
    folder = pki / "own"
    certificate, key = folder / "certificate.der", folder / "key.pem"
    with _making:  # all devices begin at once, and mostly share the folder
        if not certificate.exists() and not key.exists():
            _make(folder, certificate, key, now)
        loaded = _load(certificate, key)
    if loaded.expires <= now:
        right = f"remove {certificate} and {key.name}; a new pair is made, to be trusted anew"
        raise ConfigError(
            f"expired on {loaded.expires:%Y-%m-%d}", file=str(certificate), right=right
        )
    if loaded.expires - now <= _WARN:
        fields = {"file": str(certificate), "expires": f"{loaded.expires:%Y-%m-%d}"}
        _log.warning("certificate_expires %s", fields)
    return loaded


def check_server(pki: Path, device: str, presented: bytes, now: datetime) -> None:
    """Return if the certificate is one of the device's trusted ones (rules 1 and 2).

    Raises Refused with what to do otherwise, and when its key is too short to be worth anything.
    """
    trusted = _trusted(pki / "trusted" / device)
    if presented not in trusted:
        raise Refused(_untrusted(pki, device, presented, trusted))
    certificate = x509.load_der_x509_certificate(presented)
    public = certificate.public_key()
    if (
        not isinstance(public, rsa.RSAPublicKey) or not 2048 <= public.key_size <= 4096
    ):  # OPC 10000-7
        raise Refused(f"{device}: the server's certificate has no RSA key of 2048 to 4096 bits")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        fields = {"device": device, "until": f"{certificate.not_valid_after_utc:%Y-%m-%d}"}
        _log.warning("server_certificate_out_of_date %s", fields)


def _untrusted(pki: Path, device: str, presented: bytes, trusted: Sequence[bytes]) -> str:
    shown = fingerprint(presented)
    kept = pki / "rejected" / f"{device}-{shown.replace(':', '')[:16].lower()}.der"
    _private_folder(kept.parent)
    if not kept.exists() and len(list(kept.parent.iterdir())) < _MOST_FILES:
        _write(kept, presented)
    place = pki / "trusted" / device / kept.name
    _private_folder(place.parent)
    known = ", ".join(fingerprint(certificate) for certificate in trusted)
    what = (
        f"the server's certificate changed: it shows {shown}, trusted is {known}"
        if trusted
        else f"the server's certificate is not trusted yet: it shows {shown}"
    )
    return (
        f"{device}: {what}. If that is right, compare it at the server and move {kept} to {place}"
    )


def _trusted(folder: Path) -> list[bytes]:
    """The DER certificates in a folder; a file that is none is an error, not a hole."""
    if not folder.is_dir():
        return []
    certificates = []
    for file in sorted(folder.iterdir())[:_MOST_FILES]:
        content = _read(file)
        load = (
            x509.load_pem_x509_certificate
            if content.startswith(b"-----BEGIN")
            else x509.load_der_x509_certificate
        )
        try:
            certificates.append(load(content).public_bytes(serialization.Encoding.DER))
        except (ValueError, UnsupportedAlgorithm) as error:
            right = "a certificate in DER or PEM is right"
            raise ConfigError(f"is no certificate: {error}", file=str(file), right=right) from error
    return certificates


def _load(certificate: Path, key: Path) -> Identity:
    mode = key.stat().st_mode if key.is_file() and not key.is_symlink() else 0
    if not mode or stat.S_IMODE(mode) & 0o077:
        right = "a file of mode 0600 beside the certificate is right"
        raise ConfigError("the key is missing or open to others", file=str(key), right=right)
    der = _read(certificate)
    try:
        loaded = x509.load_der_x509_certificate(der)
        private = serialization.load_pem_private_key(_read(key), password=None)
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        right = "a DER certificate with one URI in its alternative names, and its PEM key, is right"
        raise ConfigError(f"cannot be used: {error}", file=str(certificate), right=right) from error
    if not isinstance(private, rsa.RSAPrivateKey) or private.public_key() != loaded.public_key():
        raise ConfigError(f"does not fit {key.name}", file=str(certificate))
    return Identity(der, _der(private), uri, loaded.not_valid_after_utc)


def _make(folder: Path, certificate: Path, key: Path, now: datetime) -> None:
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    host = socket.gethostname() or "localhost"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_NAME} {host}"[:64])])
    uri = f"urn:{host}:{_NAME.replace(' ', ':')}"
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,  # self-signed: some servers check the chain of one
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName(host)]
    public = private.public_key()
    builder = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    signed = builder.sign(private, hashes.SHA256())
    _private_folder(folder)
    _write(key, _pem(private))
    _write(certificate, signed.public_bytes(serialization.Encoding.DER))
    shown = fingerprint(signed.public_bytes(serialization.Encoding.DER))
    fields = {"file": str(certificate), "sha256": shown, "uri": uri}
    _log.info("certificate_made %s", fields)


def _der(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _sizes(chain: bytes) -> list[int]:
    """Length of the leading DER element, if the bytes begin with one of two length bytes."""
    if len(chain) < 4 or chain[0] != 0x30 or chain[1] != 0x82:
        return []
    return [4 + int.from_bytes(chain[2:4], "big")]


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def _write(file: Path, content: bytes) -> None:
    """A new file of mode 0600, complete or not there; one that is there already stays."""
    handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(scratch, file)
    finally:
        Path(scratch).unlink()


def _read(file: Path) -> bytes:
    """A small file; raises ConfigError when it cannot be read."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from error
    if len(content) > _LONGEST_FILE:
        raise ConfigError("is too long", file=str(file), right="at most 64 KiB is right")
    return content


def secret(file: Path) -> str:
    """A password from a file of its own: the first line, readable by its owner only."""
    content = _read(file)
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigError("is open to others", file=str(file), right="mode 0600 is right")
    try:
        text = content.decode("utf-8").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8", file=str(file)) from error
    if not text:
        raise ConfigError("is empty", file=str(file), right="the password is right")
    return text


def utc(time_ns: int) -> datetime:
    """UTC [ns] as a datetime."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
