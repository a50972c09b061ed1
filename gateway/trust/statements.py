"""Signed decisions of people: one COSE message each, kept in the ledger for ever.

``at`` is when the person signed; what counts is when the gateway took the statement in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import BadSignature, EvidenceError, TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer
from gateway import signed_fields
from gateway.trust.persons import People, Person, Role

_OPTIONAL_BYTES = (bytes, type(None))
COMMON: dict[str, type] = {
    "v": int,
    "site": str,
    "agent": str,
    "at": int,
    "by": str,
    "reason": str,
}
"""What every statement says: version, of what, when, by whom and why."""
_FIELDS: dict[MessageType, dict[str, type | tuple[type, ...]]] = {
    MessageType.ENROLMENT: {
        "spki": bytes,
        "cert": bytes,
        "not_before": int,
        "not_after": int,
        "request": bytes,
    },
    MessageType.REVOCATION: {"kid": bytes, "last_good_seq": int, "last_good_hash": bytes},
    MessageType.RELABEL: {"kid": bytes, "first_seq": int, "last_seq": int, "label": str},
    MessageType.RELEASE: {"kid": bytes, "last_seq": int},
    MessageType.APPROVAL: {
        "config": bytes,
        "previous": _OPTIONAL_BYTES,
        "valid_from": int,
        "clause": str,
        "author": str,
    },
    MessageType.CLOCK_VERDICT: {"first_seq": int, "last_seq": int, "counts": bool},
}
ROLES: dict[MessageType, Role] = {
    MessageType.ENROLMENT: "operator",
    MessageType.REVOCATION: "operator",
    MessageType.RELABEL: "operator",
    MessageType.RELEASE: "operator",
    MessageType.APPROVAL: "approver",
    MessageType.CLOCK_VERDICT: "operator",
}
LEDGER_KINDS = {
    MessageType.ENROLMENT: "enrol",
    MessageType.REVOCATION: "revoke",
    MessageType.RELABEL: "relabel",
    MessageType.RELEASE: "release",
    MessageType.APPROVAL: "approval",
    MessageType.CLOCK_VERDICT: "clock_verdict",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A checked decision: what, by whom, and what it says."""

    type: MessageType
    person: Person
    fields: Mapping[str, Any]

    @property
    def source(self) -> tuple[str, str]:
        """Site and agent it is about."""
        return self.fields["site"], self.fields["agent"]


def sign(kind: MessageType, fields: Mapping[str, Any], signer: Signer) -> bytes:
    """The signed statement.

    Raises:
        TrustError: a field is missing or of the wrong type.
    """
    plain = {"v": 1, **fields}
    _check(kind, plain)
    return cose.sign(kind, cbor.encode(plain), signer)


def open_(raw: bytes, kind: MessageType, people: People, received_ns: int) -> Statement:
    """Check and read a statement.

    Args:
        raw: the signed bytes.
        kind: the only kind accepted here.
        people: who may sign it.
        received_ns: when the gateway took it in.

    Raises:
        TrustError: not authentic, not by somebody who may say this, or malformed.
    """
    persons: list[Person] = []

    def find(kid: bytes) -> PublicKey:
        persons.append(people.find(kid, ROLES[kind], received_ns))
        return persons[0].public

    try:
        fields = cbor.decode(cose.verify(raw, kind, find).payload)
    except BadSignature as error:
        message = f"the {kind.value} is not signed by {persons[0].name}"
        raise TrustError(message) from error
    except EvidenceError as error:
        message = f"not a {kind.value}: {error}"
        raise TrustError(message) from error
    _check(kind, fields)
    if fields["by"] != persons[0].name:
        message = f"the {kind.value} says {fields['by']!a}, its key is {persons[0].name}'s"
        raise TrustError(message)
    return Statement(kind, persons[0], fields)


def unchecked(raw: bytes) -> Mapping[str, Any]:
    """What a statement says, believed by nobody yet: ``open_`` is what believes it.

    Raises:
        EvidenceError: it is not a message of the wire's shape.
    """
    fields = cbor.decode(cose.parse(raw).payload)
    return fields if isinstance(fields, dict) else {}


def _check(kind: MessageType, fields: Any) -> None:
    signed_fields.check(fields, COMMON | _FIELDS[kind], kind.value)
    if not fields["reason"].strip():
        message = f"the {kind.value} gives no reason"
        raise TrustError(message)
