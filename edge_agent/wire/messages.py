"""The small messages beside batches: the gateway's ack and the agent's status."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import BadProfile
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer

_HASH_BYTES = 32
_MAX_PATH = 128


@dataclass(frozen=True, slots=True)
class Ack:
    """What the gateway promises: everything up to ``seq`` is durably in ledger and store.

    ``sha256`` is the hash of that batch (zeros before the first); ``held`` the range of batches
    waiting for a missing one; ``want_config`` asks for the configuration document. ``log`` is
    the newest checkpoint and ``proof`` its consistency with the head in batch ``seq``. The
    checkpoint travels as bytes: text with line ends is outside the wire's profile.
    """

    site: str
    agent: str
    seq: int
    sha256: bytes
    at_ns: int
    held: tuple[int, int] | None = None
    want_config: bool = False
    log: str | None = None
    proof: tuple[bytes, ...] | None = None


def sign_ack(ack: Ack, signer: Signer) -> bytes:
    """The signed ack message."""
    payload = {
        "v": 1,
        "site": ack.site,
        "agent": ack.agent,
        "seq": ack.seq,
        "hash": ack.sha256,
        "at": ack.at_ns,
        "held": list(ack.held) if ack.held else None,
        "want_config": ack.want_config,
        "log": None if ack.log is None else ack.log.encode(),
        "proof": None if ack.proof is None else list(ack.proof),
    }
    return cose.sign(MessageType.ACK, cbor.encode(payload), signer)


def verify_ack(raw: bytes, find_key: Callable[[bytes], PublicKey]) -> Ack:
    """Check and read an ack.

    Raises:
        EvidenceError: not an authentic, well-formed ack.
    """
    value = cbor.decode(cose.verify(raw, MessageType.ACK, find_key).payload)
    fields = _fields(value, {"v", "site", "agent", "seq", "hash", "at", "held", "want_config"})
    ints = (fields["v"], fields["seq"], fields["at"])
    sha256, held = fields["hash"], fields["held"]
    log, proof = fields.get("log"), fields.get("proof")
    if not (
        all(type(item) is int and item >= 0 for item in ints)
        and type(sha256) is bytes
        and len(sha256) == _HASH_BYTES
        and type(fields["want_config"]) is bool
        and (held is None or (type(held) is list and [type(item) for item in held] == [int, int]))
        and (log is None or (type(log) is bytes and _is_utf8(log)))
        and (proof is None or _is_path(proof))
    ):
        message = "a field of the ack has the wrong type"
        raise BadProfile(message)
    return Ack(
        site=_text(fields["site"]),
        agent=_text(fields["agent"]),
        seq=fields["seq"],
        sha256=sha256,
        at_ns=fields["at"],
        held=(held[0], held[1]) if held else None,
        want_config=fields["want_config"],
        log=None if log is None else log.decode(),
        proof=None if proof is None else tuple(proof),
    )


@dataclass(frozen=True, slots=True)
class Status:
    """What an agent says of itself; retained, signed."""

    site: str
    agent: str
    boot: bytes
    at_ns: int
    state: str
    last_seq: int
    acked_seq: int
    detail: dict[str, Any]


def sign_status(status: Status, signer: Signer) -> bytes:
    """The signed status message."""
    payload = {
        "v": 1,
        "site": status.site,
        "agent": status.agent,
        "boot": status.boot,
        "at": status.at_ns,
        "state": status.state,
        "last_seq": status.last_seq,
        "acked_seq": status.acked_seq,
        "detail": status.detail,
    }
    return cose.sign(MessageType.STATUS, cbor.encode(payload), signer)


def verify_status(raw: bytes, find_key: Callable[[bytes], PublicKey]) -> Status:
    """Check and read a status message.

    Raises:
        EvidenceError: not an authentic, well-formed status.
    """
    value = cbor.decode(cose.verify(raw, MessageType.STATUS, find_key).payload)
    fields = _fields(
        value, {"v", "site", "agent", "boot", "at", "state", "last_seq", "acked_seq", "detail"}
    )
    if (
        any(type(fields[key]) is not int for key in ("v", "at", "last_seq", "acked_seq"))
        or type(fields["boot"]) is not bytes
        or type(fields["detail"]) is not dict
    ):
        message = "a field of the status has the wrong type"
        raise BadProfile(message)
    return Status(
        site=_text(fields["site"]),
        agent=_text(fields["agent"]),
        boot=fields["boot"],
        at_ns=fields["at"],
        state=_text(fields["state"]),
        last_seq=fields["last_seq"],
        acked_seq=fields["acked_seq"],
        detail=fields["detail"],
    )


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_path(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) <= _MAX_PATH
        and all(type(item) is bytes and len(item) == _HASH_BYTES for item in value)
    )


def _fields(value: Any, required: set[str]) -> dict[str, Any]:
    if type(value) is not dict or not required <= value.keys():
        message = f"the message needs the keys {', '.join(sorted(required))}"
        raise BadProfile(message)
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        message = "a name is not text"
        raise BadProfile(message)
    return value
