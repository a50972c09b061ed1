"""X.509 certificates of agents: names, two profiles, requests.

A certificate names one agent: subject common name ``site/agent`` and nothing else, URI
``urn:carbon:site:agent``. Two profiles, of which one is never accepted in the other's place:

    signing  key usage digitalSignature only (critical), extended usage document signing
             (RFC 9336, so that no TLS library takes it for a client's), no CA, one year
    tls      key usage digitalSignature only (critical), extended usage client authentication,
             no CA, 90 days
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.errors import KeyFileError, TrustError
from edge_agent.wire import topics
from edge_agent.wire.keys import ED25519, PublicKey, Signer, algorithm_of, public_key
from edge_agent.wire.private import as_private

_T = TypeVar("_T")
_WARN_DAYS = (1, 7, 30)
_DAY_NS = 24 * 3600 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")


class Purpose(StrEnum):
    """What a certificate is for."""

    SIGNING = "signing"
    TLS = "tls"


VALID_DAYS = {Purpose.SIGNING: 365, Purpose.TLS: 90}
_USES = {
    Purpose.SIGNING: _DOCUMENT_SIGNING,
    Purpose.TLS: ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True, slots=True)
class AgentCertificate:
    """A checked certificate: whose, of which key, from when to when [ns UTC]."""

    site: str
    agent: str
    public: PublicKey
    not_before_ns: int
    not_after_ns: int
    der: bytes


def to_ns(instant: datetime) -> int:
    """Time in ns since 1970 UTC."""
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1_000


def from_ns(time_ns: int) -> datetime:
    """The second in which a time in ns since 1970 UTC lies."""
    return _EPOCH + timedelta(seconds=time_ns // 10**9)


def subject(site: str, agent: str) -> x509.Name:
    """The only subject a certificate of this agent may have.

    Raises:
        TrustError: a name is not allowed.
    """
    for name in (site, agent):
        if not topics.NAME.match(name):
            message = f"{name!r} is no name: {topics.NAME_RULE}"
            raise TrustError(message)
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{site}/{agent}")])


def uri(site: str, agent: str) -> x509.UniformResourceIdentifier:
    """The agent's URI, as it stands in its certificates."""
    return x509.UniformResourceIdentifier(f"urn:carbon:{site}:{agent}")


def request(signer: Signer, site: str, agent: str) -> x509.CertificateSigningRequest:
    """A certificate request, signed by the key it is for."""
    builder = x509.CertificateSigningRequestBuilder(subject(site, agent))
    builder = builder.add_extension(x509.SubjectAlternativeName([uri(site, agent)]), critical=False)
    return builder.sign(as_private(signer), hash_for(signer.public_spki()))


def hash_for(spki: bytes) -> Any:
    """The hash that X.509 signatures of this key name: none for Ed25519."""
    return None if algorithm_of(spki) == ED25519 else hashes.SHA256()


def check_request(encoded: bytes) -> tuple[str, str, PublicKey]:
    """Site, agent and key of a request (DER), which its own key has signed.

    Raises:
        TrustError: unreadable, not signed by its key, a worthless key, or names that are not
            exactly one agent's.
    """
    found = _parsed(lambda: x509.load_der_x509_csr(encoded), "certificate request")
    site, agent = _names(found.subject, found.extensions)
    key = _public(found)
    try:
        good = found.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        good = False
    if not good:
        message = "the request is not signed by the key it is for"
        raise TrustError(message)
    return site, agent, key


def check(
    encoded: bytes, authorities: tuple[x509.Certificate, ...], purpose: Purpose
) -> AgentCertificate:
    """Check an agent's certificate (DER or PEM); when it is valid is for the caller to judge.

    Args:
        encoded: the certificate.
        authorities: the pinned plant CAs.
        purpose: the only profile that is accepted here.

    Raises:
        TrustError: not issued by a pinned CA, another profile, or names of no one agent.
    """
    found = load(encoded)
    if not any(issued_by(found, authority) for authority in authorities):
        pins = ", ".join(fingerprint(authority)[:16] for authority in authorities) or "none"
        message = f"the certificate was not issued by a pinned CA (pinned: {pins})"
        raise TrustError(message)
    _check_profile(found, purpose)
    site, agent = _names(found.subject, found.extensions)
    return AgentCertificate(
        site,
        agent,
        _public(found),
        to_ns(found.not_valid_before_utc),
        to_ns(found.not_valid_after_utc),
        found.public_bytes(serialization.Encoding.DER),
    )


def load(encoded: bytes) -> x509.Certificate:
    """A certificate from PEM or DER.

    Raises:
        TrustError: it is none.
    """
    if encoded.lstrip().startswith(b"-----"):
        return _parsed(lambda: x509.load_pem_x509_certificate(encoded), "certificate")
    return _parsed(lambda: x509.load_der_x509_certificate(encoded), "certificate")


def key_of(certificate: x509.Certificate) -> PublicKey:
    """The key a certificate is for.

    Raises:
        TrustError: of another kind, or one under which signatures prove nothing.
    """
    return _public(certificate)


def issued_by(found: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether a CA's key signed this certificate, under its name."""
    try:
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the whole certificate, in hex: what is compared out of band."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def extensions(purpose: Purpose, site: str, agent: str) -> list[tuple[Any, bool]]:
    """What a certificate of a profile says, and whether it must be understood."""
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (digital_signature(), True),
        (x509.ExtendedKeyUsage([_USES[purpose]]), False),
        (x509.SubjectAlternativeName([uri(site, agent)]), False),
    ]


def digital_signature(*, authority: bool = False) -> x509.KeyUsage:
    """Key usage of an end entity (digitalSignature only) or of a CA (certificates and CRLs)."""
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def expiry_warning(left_ns: int) -> str:
    """What to say of a key or certificate that ends in so many ns: nothing until 30 days before."""
    if left_ns < 0:
        return "expired"
    for days in _WARN_DAYS:
        if left_ns <= days * _DAY_NS:
            return f"expires within {days} day{'s' if days > 1 else ''}"
    return ""


def until_warning(end: datetime | None, now_ns: int) -> str:
    """What to say of an end in UTC, if there is one."""
    if end is None:
        return ""
    said = expiry_warning(to_ns(end) - now_ns)
    return f"{said} ({end:%Y-%m-%dT%H:%M:%SZ})" if said else ""


def file_warning(path: Path, now_ns: int) -> str:
    """What to say of a certificate file: nothing when it is missing or has long to live. Blocking."""
    try:
        return until_warning(load(path.read_bytes()).not_valid_after_utc, now_ns)
    except OSError:
        return ""
    except TrustError as error:
        return str(error)


def key_warning(path: Path, now_ns: int) -> str:
    """What to say of the end of a key's certificate: nothing when it cannot be read. Blocking."""
    try:
        end = load(path.read_bytes()).not_valid_after_utc
    except (OSError, TrustError):
        return ""
    return expiry_warning(to_ns(end) - now_ns)


def _parsed(parse: Callable[[], _T], what: str) -> _T:
    try:
        return parse()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"not a readable {what}: {error}"
        raise TrustError(message) from error


def _check_profile(found: x509.Certificate, purpose: Purpose) -> None:
    said = {
        extension.oid: (extension.value, extension.critical)
        for extension in _parsed(lambda: found.extensions, "certificate")
    }
    for value, critical in extensions(purpose, "a", "a")[:3]:
        if said.get(value.oid) != (value, critical):
            message = (
                f"no {purpose.value} certificate: its {type(value).__name__} is not exactly what"
                f" the {purpose.value} profile says"
            )
            raise TrustError(message)


def _names(name: x509.Name, found: x509.Extensions) -> tuple[str, str]:
    parts = [(item.oid, item.value) for item in name]
    text = str(parts[0][1]) if len(parts) == 1 and parts[0][0] == NameOID.COMMON_NAME else ""
    site, _, agent = text.partition("/")
    if not topics.NAME.match(site) or not topics.NAME.match(agent):
        message = (
            f"the subject must be one common name site/agent, each {topics.NAME_RULE};"
            f" found {name.rfc4514_string()!a}"
        )
        raise TrustError(message)
    try:
        alternative = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        alternative = None
    if alternative != x509.SubjectAlternativeName([uri(site, agent)]):
        message = f"the only alternative name must be urn:carbon:{site}:{agent}"
        raise TrustError(message)
    return site, agent


def _public(found: Any) -> PublicKey:
    try:
        return public_key(
            _parsed(found.public_key, "key").public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    except KeyFileError as error:
        raise TrustError(str(error)) from error
