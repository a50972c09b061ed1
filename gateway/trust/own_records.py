"""What the gateway itself states for the record, signed by its key, one leaf of the log each. Pure.

month           a month's report was made without an objection: its figures' digest, and up to which
                batch of each agent it counts. What comes later with times of the month needs a new version
person_revoke   the gateway's file calls a person's key revoked: from this leaf on the key says nothing,
                whatever time stands in what it signed
"""

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer
from gateway import signed_fields

MONTH, PERSON = "month", "person_revoke"
_COMMON: dict[str, type] = {"v": int, "site": str, "at": int, "by": str, "reason": str}
_TYPES = {MONTH: MessageType.MONTH_CLOSE, PERSON: MessageType.PERSON_REVOCATION}
_FIELDS: dict[str, dict[str, type]] = {
    MONTH: {
        "month": str,
        "start": int,
        "end": int,
        "figures": bytes,
        "manifest": bytes,
        "agents": dict,
    },
    PERSON: {"name": str, "kid": bytes, "revoked": int},
}


def sign(kind: str, fields: Mapping[str, Any], signer: Signer) -> bytes:
    """The signed record; ``v`` and ``by`` are added.

    Raises:
        TrustError: a field is missing or of the wrong type.
    """
    plain = {"v": 1, "by": "gateway", **fields}
    _check(kind, plain)
    return cose.sign(_TYPES[kind], cbor.encode(plain), signer)


def open_(raw: bytes, kind: str, gateway: Mapping[bytes, PublicKey]) -> Mapping[str, Any]:
    """Check a record's signature by the gateway's keys, by id; gives its fields.

    Raises:
        TrustError: it is not this gateway's, or malformed.
    """
    fields = signed_fields.of_gateway(raw, _TYPES[kind], gateway, f"{kind} record")
    _check(kind, fields)
    return dict(fields)


def unchecked(raw: bytes, kind: str) -> Mapping[str, Any]:
    """What a record says, whose signature is checked elsewhere.

    Raises:
        TrustError: malformed.
    """
    fields = cbor.decode(cose.parse(raw).payload)
    _check(kind, fields)
    return dict(fields)


def _check(kind: str, fields: Any) -> None:
    signed_fields.check(fields, _COMMON | _FIELDS[kind], f"{kind} record")
    if kind == MONTH and any(type(seq) is not int for seq in fields["agents"].values()):
        message = "agents of the month record: the last batch of each is right"
        raise TrustError(message)
