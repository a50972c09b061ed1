"""Decisions about keys: invite, approve, revoke, release; each ends as a document in the ledger.

Approving takes what only the operator can say: that the fingerprint read at the agent is the one
of this request. The CA's certificate must be of the signing profile, for the same key and names.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from edge_agent.errors import ConfigError, EvidenceError, TrustError
from edge_agent.wire import cbor, certificates
from edge_agent.wire.certificates import AgentCertificate, Purpose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.enrolment import NONCE_BYTES, Request, open_request
from edge_agent.wire.keys import Enrolment, Signer, key_id
from gateway.config import GatewayConfig
from gateway.ledger import Draft, Ledger
from gateway.ledger.reader import Reader
from gateway.trust import statements
from gateway.trust.keybook import KeyBook
from gateway.trust.people import People

_INVITED_NS = 7 * 24 * 3600 * 10**9
_DAY_NS = 24 * 3600 * 10**9
Randomness = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Registrar:
    """What a decision about keys needs."""

    ledger: Ledger
    keys: KeyBook
    people: People
    authorities: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides, when [ns UTC], and why."""

    signer: Signer
    at_ns: int
    reason: str


def invite(
    ledger: Ledger,
    site: str,
    agent: str,
    at_ns: int,
    randomness: Randomness = secrets.token_bytes,
) -> bytes:
    """A nonce that this agent's next enrolment request must name; good for seven days, once."""
    certificates.subject(site, agent)
    nonce = randomness(NONCE_BYTES)
    raw = cbor.encode({"v": 1, "site": site, "agent": agent, "nonce": nonce, "at": at_ns})
    ledger.documents.add(Draft("invite", site, agent, raw, at_ns))
    return nonce


def approve(
    registrar: Registrar, raw: bytes, certificate: bytes, fingerprint: str, decision: Decision
) -> Enrolment:
    """Enrol a key.

    Args:
        registrar: ledger, keys, people, pinned CAs.
        raw: the agent's request.
        certificate: what the plant CA issued for it.
        fingerprint: the key id as the operator read it at the agent.
        decision: the operator's.

    Raises:
        TrustError: names the rule that is broken; nothing was enrolled.
    """
    request = open_request(raw)
    if request.purpose is not Purpose.SIGNING:
        message = f"a {request.purpose.value} request cannot enrol a signing key"
        raise TrustError(message)
    if _plain(fingerprint) != request.fingerprint:
        # The id of the request is not shown: it has to come from the agent, not from here.
        message = "the request is for another key than the fingerprint read at the agent"
        raise TrustError(message)
    _check_nonce(registrar.ledger, request, decision.at_ns)
    issued = certificates.check(certificate, registrar.authorities, Purpose.SIGNING)
    _check_certificate(issued, request, decision.at_ns)
    _check_room(registrar.keys, request)
    fields = {
        "spki": request.public.spki,
        "cert": issued.der,
        "not_before": issued.not_before_ns,
        "not_after": issued.not_after_ns,
        "request": request.raw,
    }
    _add(registrar, MessageType.ENROLMENT, (request.site, request.agent), fields, decision)
    enrolled = registrar.keys.find(request.public.kid, request.site, request.agent)
    registrar.ledger.enrol([enrolled])
    return enrolled


def revoke(
    registrar: Registrar, kid: bytes, last_good_seq: int | None, decision: Decision
) -> tuple[Enrolment, tuple[int, int] | None]:
    """Revoke a key after a batch; later ones that are stored become suspect.

    Args:
        registrar: ledger, keys, people.
        kid: the key.
        last_good_seq: number of the last batch that is still trusted; None: the ledger's last.
        decision: the operator's.

    Returns:
        The key, and first and last number of the batches that became suspect.

    Raises:
        TrustError: no such key or batch.
    """
    registrar.keys.refresh()
    one = registrar.keys.get(kid)
    if one is None:
        message = f"no key {kid.hex()} is enrolled"
        raise TrustError(message)
    head = registrar.ledger.head(*one.source)
    good = head.seq if last_good_seq is None else last_good_seq
    sha256 = registrar.ledger.hash_at(*one.source, good) if good else bytes(32)
    if sha256 is None:
        message = f"{'/'.join(one.source)} has no batch {good}; its last is {head.seq}"
        raise TrustError(message)
    fields = {"kid": kid, "last_good_seq": good, "last_good_hash": sha256}
    _add(registrar, MessageType.REVOCATION, one.source, fields, decision)
    last = min(head.seq, one.last_seq)
    if last <= good:
        return one, None
    fields = {"kid": kid, "first_seq": good + 1, "last_seq": last, "label": "suspect"}
    _add(registrar, MessageType.RELABEL, one.source, fields, decision)
    return one, (good + 1, last)


def release(registrar: Registrar, kid: bytes, last_seq: int, decision: Decision) -> None:
    """Let batches in that came too long after their key's end, up to a number.

    Raises:
        TrustError: no such key.
    """
    one = registrar.keys.get(kid)
    if one is None:
        message = f"no key {kid.hex()} is enrolled"
        raise TrustError(message)
    fields = {"kid": kid, "last_seq": last_seq}
    _add(registrar, MessageType.RELEASE, one.source, fields, decision)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Stored batches of an agent that a revocation made suspect."""

    agent: str
    first_seq: int
    last_seq: int
    reason: str


def suspects(ledger: Reader, site: str, people: People) -> Iterator[Suspect]:
    """Batches of a site that were relabelled."""
    for document in ledger.documents.all("relabel", site=site):
        found = statements.open_(
            document.raw, MessageType.RELABEL, people, document.received_ns
        ).fields
        yield Suspect(found["agent"], found["first_seq"], found["last_seq"], found["reason"])


def key_states(book: KeyBook, site: str, agent: str, now_ns: int) -> dict[str, str]:
    """What each of an agent's keys is, by key id, with the warning before its end."""
    told = {}
    for one in book.of(site, agent):
        state = "in force" if one.active else "ended"
        if one.pending:
            state = "waits for its keychange"
        elif one.revoked_after is not None:
            state = f"revoked after {one.revoked_after}"
        warning = certificates.expiry_warning(one.not_after_ns - now_ns)
        told[one.public.kid.hex()] = f"{state}, {warning}" if warning else state
    return told


def pinned(config: GatewayConfig) -> tuple[x509.Certificate, ...]:
    """The plant CAs of the gateway's file, each with the fingerprint told out of band.

    Raises:
        ConfigError: unreadable, or another CA than the pinned one (perhaps of the same name).
    """
    found = []
    for place, one in enumerate(config.authorities):
        key = f"authorities[{place}]"
        try:
            certificate = certificates.load(one.certificate.read_bytes())
        except (OSError, TrustError) as error:
            raise ConfigError(f"cannot use {one.certificate}: {error}", key=key) from error
        actual = certificates.fingerprint(certificate)
        if actual != one.fingerprint:
            message = f"{one.certificate} has the fingerprint {actual}"
            right = f"{one.fingerprint} is pinned; compare it with the CA's owner"
            raise ConfigError(message, key=f"{key}.fingerprint", right=right)
        found.append(certificate)
    return tuple(found)


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").replace(" ", "").lower()


def _check_nonce(ledger: Ledger, request: Request, at_ns: int) -> None:
    source = (request.site, request.agent)
    invited = ledger.documents.newest("invite", *source)
    if invited is None:
        message = f"{'/'.join(source)} was never invited: `carbon-gateway agents invite` first"
        raise TrustError(message)
    if cbor.decode(invited.raw)["nonce"] != request.nonce:
        message = "the request names another nonce than the newest invitation"
        raise TrustError(message)
    if at_ns - invited.received_ns > _INVITED_NS:
        message = "the invitation is older than seven days; invite again"
        raise TrustError(message)
    later = ledger.documents.all("enrol", site=request.site, after=invited.number)
    if any(document.id == request.agent for document in later):
        message = "the invitation was used already; invite again"
        raise TrustError(message)


def _check_certificate(issued: AgentCertificate, request: Request, at_ns: int) -> None:
    if (issued.site, issued.agent) != (request.site, request.agent):
        message = (
            f"the certificate is {issued.site}/{issued.agent}'s, the request"
            f" {request.site}/{request.agent}'s"
        )
        raise TrustError(message)
    if issued.public.kid != request.public.kid:
        message = "the certificate is for another key than the request"
        raise TrustError(message)
    longest_ns = (certificates.VALID_DAYS[Purpose.SIGNING] + 1) * _DAY_NS
    if issued.not_after_ns - issued.not_before_ns > longest_ns or issued.not_after_ns <= at_ns:
        message = "the certificate has ended or lasts more than a year"
        raise TrustError(message)


def _check_room(keys: KeyBook, request: Request) -> None:
    known = keys.get(request.public.kid)
    if known is not None:
        message = f"this key is enrolled already, for {'/'.join(known.source)}"
        raise TrustError(message)
    waiting = [one for one in keys.of(request.site, request.agent) if one.pending]
    if waiting:
        message = f"key {waiting[0].public.kid.hex()[:16]} waits for its keychange already"
        raise TrustError(message)


def _add(
    registrar: Registrar,
    kind: MessageType,
    source: tuple[str, str],
    fields: dict[str, Any],
    decision: Decision,
) -> None:
    """Sign, check as anybody later will, and keep."""
    site, agent = source
    person = registrar.people.find(
        key_id(decision.signer.public_spki()), statements.ROLES[kind], decision.at_ns
    )
    whole = {
        **fields,
        "site": site,
        "agent": agent,
        "at": decision.at_ns,
        "by": person.name,
        "reason": decision.reason,
    }
    try:
        raw = statements.sign(kind, whole, decision.signer)
    except EvidenceError as error:
        raise TrustError(str(error)) from error
    statements.open_(raw, kind, registrar.people, decision.at_ns)
    draft = Draft(statements.LEDGER_KINDS[kind], site, agent, raw, decision.at_ns)
    registrar.ledger.documents.add(draft)
    registrar.keys.refresh()
