"""The plant CA: a key in a folder of its owner, and the certificates it issues.

Agents get one of the two profiles of ``wire.certificates``; services (the broker, the ingest
process) a TLS certificate under a name without a slash, which no agent can have.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.errors import TrustError
from edge_agent.wire import certificates, topics
from edge_agent.wire.certificates import VALID_DAYS, Purpose
from edge_agent.wire.enrolment import Request
from edge_agent.wire.keys import ED25519, Signer, create_signer, load_signer, public_key
from edge_agent.wire.private import as_private

KEY, CERTIFICATE, REVOKED = "ca.pem", "ca.crt", "ca.crl"
_CA_DAYS = 3_650
_BACKDATE_S = 300


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can issue."""

    certificate: x509.Certificate
    signer: Signer


def init(folder: Path, name: str, now_ns: int, *, algorithm: int = ED25519) -> Authority:
    """Make a plant CA in a folder that has none.

    Raises:
        KeyFileError: there is a CA already.
        TrustError: the name is not allowed.
    """
    if not topics.NAME.match(name):
        message = f"{name!a} is no name for a CA: {topics.NAME_RULE}"
        raise TrustError(message)
    signer = create_signer(folder / KEY, algorithm=algorithm)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    said = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (certificates.digital_signature(authority=True), True),
    ]
    certificate = _sign(signer, subject, subject, signer.public_spki(), (said, now_ns, _CA_DAYS))
    (folder / CERTIFICATE).write_bytes(to_pem(certificate))
    return Authority(certificate, signer)


def open_(folder: Path) -> Authority:
    """The CA in a folder.

    Raises:
        KeyFileError, TrustError: its key or certificate cannot be used.
    """
    signer = load_signer(folder / KEY)
    try:
        certificate = certificates.load((folder / CERTIFICATE).read_bytes())
    except OSError as error:
        message = f"{folder / CERTIFICATE}: {error.strerror}"
        raise TrustError(message) from error
    return Authority(certificate, signer)


def issue(
    authority: Authority, request: Request, now_ns: int, days: float | None = None
) -> x509.Certificate:
    """A certificate of the profile that the request is for.

    Raises:
        TrustError: more days than the profile allows.
    """
    longest = VALID_DAYS[request.purpose]
    if days is not None and not 0 < days <= longest:
        message = f"{days} days: a {request.purpose.value} certificate lasts at most {longest}"
        raise TrustError(message)
    said = certificates.extensions(request.purpose, request.site, request.agent)
    name = certificates.subject(request.site, request.agent)
    return _sign(
        authority.signer,
        authority.certificate.subject,
        name,
        request.public.spki,
        (said, now_ns, days or longest),
    )


def check_service(name: str) -> None:
    """Refuse a name that no service may have; it is the name of files, too.

    Raises:
        TrustError: says what is right.
    """
    if not topics.NAME.match(name):
        message = f"{name!a} is no name for a service: {topics.NAME_RULE}"
        raise TrustError(message)


def issue_service(
    authority: Authority, name: str, spki: bytes, hosts: Sequence[str], now_ns: int
) -> x509.Certificate:
    """A TLS certificate for a service: a server when it has hosts, else a client.

    Raises:
        TrustError: the name is not allowed.
    """
    check_service(name)
    use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    said: list[tuple[Any, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (certificates.digital_signature(), True),
        (x509.ExtendedKeyUsage([use]), False),
    ]
    if hosts:
        said.append((x509.SubjectAlternativeName([_host(host) for host in hosts]), False))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _sign(
        authority.signer,
        authority.certificate.subject,
        subject,
        spki,
        (said, now_ns, VALID_DAYS[Purpose.TLS]),
    )


def revoke(
    authority: Authority, folder: Path, revoked: Sequence[x509.Certificate], now_ns: int
) -> x509.CertificateRevocationList:
    """Add certificates of this CA to its revocation list; gives the new list.

    Raises:
        TrustError: a certificate is another CA's, or the present list is not readable.
    """
    now = certificates.from_ns(now_ns)
    path = folder / REVOKED
    before = _parse_crl(path) if path.exists() else []
    known = {entry.serial_number for entry in before}
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - timedelta(seconds=_BACKDATE_S))
        .next_update(now + timedelta(days=_CA_DAYS))
    )
    for entry in before:
        builder = builder.add_revoked_certificate(entry)
    for certificate in revoked:
        if not certificates.issued_by(certificate, authority.certificate):
            name = certificate.subject.rfc4514_string()
            raise TrustError(f"the certificate {name!a} was not issued by this CA")
        if certificate.serial_number not in known:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(now)
                .build()
            )
            builder = builder.add_revoked_certificate(entry)
    signer = authority.signer
    made = builder.sign(as_private(signer), certificates.hash_for(signer.public_spki()))
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made


def _parse_crl(path: Path) -> list[x509.RevokedCertificate]:
    try:
        return list(x509.load_pem_x509_crl(path.read_bytes()))
    except (OSError, ValueError) as error:
        message = f"{path}: not a readable revocation list: {error}"
        raise TrustError(message) from error


def to_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _sign(
    signer: Signer,
    issuer: x509.Name,
    subject: x509.Name,
    spki: bytes,
    terms: tuple[Sequence[tuple[Any, bool]], int, float],
) -> x509.Certificate:
    """A certificate on terms: its extensions, the time now [ns], the days it lasts.

    Its validity begins a little earlier: the other side's clock may be behind.
    """
    said, now_ns, days = terms
    now = certificates.from_ns(now_ns)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key(spki).key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=_BACKDATE_S))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(public_key(spki).key), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                public_key(signer.public_spki()).key
            ),
            critical=False,
        )
    )
    for value, critical in said:
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(as_private(signer), certificates.hash_for(signer.public_spki()))
