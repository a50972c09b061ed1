"""Approvals: a second person says that a configuration is right, before its tonnes count.

Rules:

    P1  an approval is signed by a person's key in the role of approver, not revoked on arrival
    P2  it names a configuration that the ledger holds for this agent, by digest
    P3  it names the configuration that was approved before it, so that what was compared is said
    P4  the approver is not the author; where the configuration names its author, it is that one
    P5  it holds for batches whose first time is not before ``valid_from``

Batches under a configuration that nobody approved are kept and flagged; a month with such batches
does not close.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.errors import EvidenceError, TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer, key_id
from gateway.ledger import Draft, Ledger
from gateway.ledger.reader import Reader
from gateway.trust import assent, statements
from gateway.trust.assent import Approved, Use, objections
from gateway.trust.changes import Change, changes
from gateway.trust.people import People
from gateway.trust.statements import Statement

__all__ = [
    "UNAPPROVED", "Approved", "Use", "Wish", "approved", "differences", "document", "make",
    "objections", "take",
]  # fmt: skip
UNAPPROVED = "config_unapproved"
"""Flag in the ledger of a batch under a configuration that nobody approved."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an approver wants to say about a configuration."""

    site: str
    agent: str
    config: bytes
    author: str
    reason: str
    clause: str
    valid_from_ns: int


def approved(ledger: Reader, people: People, site: str, agent: str) -> dict[bytes, int]:
    """The agent's approved configurations, in order of approval; what breaks a rule is none."""
    found: dict[bytes, int] = {}
    for document in ledger.documents.all("approval", site=site):
        if document.id != agent:
            continue
        try:
            statement = assent.open_approval(document.raw, people, document.received_ns)
        except TrustError:
            continue
        assent.add(found, statement)
    return found


def make(ledger: Reader, people: People, wish: Wish, signer: Signer, at_ns: int) -> bytes:
    """A signed approval of a configuration over the one approved before it."""
    person = people.find(key_id(signer.public_spki()), "approver", at_ns)
    before = list(approved(ledger, people, wish.site, wish.agent))
    named = document(ledger, wish.site, wish.agent, wish.config).get("author")
    fields = {
        "site": wish.site,
        "agent": wish.agent,
        "at": at_ns,
        "by": person.name,
        "reason": wish.reason,
        "config": wish.config,
        "previous": before[-1] if before else None,
        "valid_from": wish.valid_from_ns,
        "clause": wish.clause,
        "author": wish.author or str(named or ""),
    }
    return statements.sign(MessageType.APPROVAL, fields, signer)


def take(ledger: Ledger, people: People, raw: bytes, at_ns: int) -> Statement:
    """Check an approval by rules P1 to P4 and keep it.

    Raises:
        TrustError: names the rule that is broken; nothing was kept.
    """
    statement = assent.open_approval(raw, people, at_ns)  # P1
    site, agent = statement.source
    digest, previous = statement.fields["config"], statement.fields["previous"]
    plain = document(ledger, site, agent, digest)  # P2
    before = list(approved(ledger, people, site, agent))
    if previous != (before[-1] if before else None):  # P3
        told, last = (item.hex()[:16] if item else "none" for item in (previous, _last(before)))
        message = f"the approval compares with {told}, but approved last is {last}"
        raise TrustError(message)
    author = plain.get("author") or statement.fields["author"]
    if author != statement.fields["author"]:  # P4
        message = f"the configuration's author is {author!a}"
        raise TrustError(message)
    ledger.documents.add(Draft("approval", site, agent, raw, at_ns))
    return statement


def _last(before: Sequence[bytes]) -> bytes | None:
    return before[-1] if before else None


def document(ledger: Reader, site: str, agent: str, digest: bytes) -> Mapping[str, object]:
    """The content of a configuration that the ledger holds.

    Raises:
        TrustError: it holds none of this digest, or one that is not authentic.
    """
    raw = ledger.config(site, agent, digest)
    if raw is None:
        message = f"{site}/{agent} never sent a configuration {digest.hex()}"
        raise TrustError(message)
    ring = ledger.key_ring()

    def find(kid: bytes) -> PublicKey:
        return ring.find(kid, site, agent).public

    try:
        plain = cbor.decode(cose.verify(raw, MessageType.CONFIG, find).payload)
    except EvidenceError as error:
        message = f"configuration {digest.hex()}: {error}"
        raise TrustError(message) from error
    return plain if isinstance(plain, dict) else {}


def differences(
    ledger: Reader, site: str, agent: str, before: bytes | None, after: bytes
) -> list[Change]:
    """What a configuration changes against another; None: against nothing."""
    old = document(ledger, site, agent, before) if before else {}
    return changes(old, document(ledger, site, agent, after))
