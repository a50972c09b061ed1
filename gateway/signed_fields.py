"""What all signed documents of the gateway's side have in common: whose key, and exactly which fields. Pure."""

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey

Types = type | tuple[type, ...]


def of_gateway(raw: bytes, kind: MessageType, gateway: Mapping[bytes, PublicKey], what: str) -> Any:
    """Check a message's signature by the gateway's keys, by id; gives its payload, decoded.

    Raises:
        TrustError: another key's; ``what`` names the message.
        EvidenceError: it is not authentic.
    """

    def find(kid: bytes) -> PublicKey:
        if kid not in gateway:
            message = (
                f"the {what} is not signed by the gateway, but by key {kid.hex()}; a key that was the "
                "gateway's stands in its keys.former and in the trust file"
            )
            raise TrustError(message)
        return gateway[kid]

    return cbor.decode(cose.verify(raw, kind, find).payload)


def check(fields: Any, wanted: Mapping[str, Types], what: str) -> None:
    """Refuse what has not exactly these fields of these types.

    Raises:
        TrustError: names the field; ``what`` names the message.
    """
    if type(fields) is not dict or fields.keys() != wanted.keys():
        message = f"a {what} has exactly the fields {', '.join(sorted(wanted))}"
        raise TrustError(message)
    for name, types in wanted.items():
        if type(fields[name]) not in (types if isinstance(types, tuple) else (types,)):
            message = f"field {name!r} of the {what} has the wrong type"
            raise TrustError(message)
