"""``Batch`` and its payload: deterministic CBOR with text keys and columns.

Chain fields (v, site, agent, seq, prev, boot, t0, t1, config) must be right, or the message is
refused. Everything else is the body: an authentic batch with a bad body is still evidence, so
it is kept with flags and without rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from edge_agent.errors import BadIdentity, BadProfile
from edge_agent.readings import Columns, Event
from edge_agent.wire import batch_rules, cbor, cose
from edge_agent.wire.batch_rules import NS_PER_MS, Fields
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import KeyRing, PublicKey, Signer, check_time


@dataclass(frozen=True, slots=True)
class ClockState:
    """State of the agent's clock: source, synchronised, offset and maximum error [ns], steps."""

    src: str = "none"
    sync: bool = False
    off: int = 0
    err: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Signed unit of transport and evidence.

    Times are ns since 1970 UTC; ``mono`` is the boot-time clock [ns] at ``first_ns`` and
    ``last_ns``; ``config_sha256`` names the effective configuration; ``legal_sha256`` the
    legally relevant file set of the software; ``log`` is the newest head (size, root) of the
    gateway's log that this agent has verified.
    """

    site: str
    agent: str
    seq: int
    prev: bytes
    boot: bytes
    first_ns: int
    last_ns: int
    mono: tuple[int, int]
    clock: ClockState
    config_sha256: bytes
    software: str
    columns: Columns
    events: Sequence[Event] = field(default_factory=tuple)
    legal_sha256: bytes | None = None
    log: tuple[int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class VerifiedBatch:
    """A batch whose signature was checked; made by ``verify`` only. Keeps the received bytes.

    ``flags`` name what is wrong with the body; with any ``body_`` flag the batch has no rows.
    """

    batch: Batch
    raw: bytes
    sha256: bytes
    key_id: bytes
    flags: tuple[str, ...] = ()


def payload(batch: Batch) -> bytes:
    """The batch's payload bytes. Row times keep millisecond resolution from ``first_ns``.

    Raises:
        BadProfile: an event is not of the closed list; a batch must never be made of it.
    """
    columns = batch.columns
    if not batch_rules.known_events(batch.events):
        message = "an event of the batch has no time or no known type"
        raise BadProfile(message)
    offsets = [(time_ns - batch.first_ns) // NS_PER_MS for time_ns in columns.time_ns]
    steps = [offset - before for before, offset in zip([0, *offsets], offsets, strict=False)]
    fields: dict[str, Any] = {
        "v": 1,
        "site": batch.site,
        "agent": batch.agent,
        "seq": batch.seq,
        "prev": batch.prev,
        "boot": batch.boot,
        "t0": batch.first_ns,
        "t1": batch.last_ns,
        "mono": list(batch.mono),
        "clock": {
            "src": batch.clock.src,
            "sync": batch.clock.sync,
            "off": batch.clock.off,
            "err": batch.clock.err,
            "steps": batch.clock.steps,
        },
        "config": batch.config_sha256,
        "sw": batch.software,
        "series": list(columns.series),
        "s": columns.index,
        "dt": steps,
        "x": [0.0 if value == 0 and type(value) is float else value for value in columns.value],
        "q": columns.quality,
        "events": [cbor.clean(event, cbor.MAX_DEPTH - 2) for event in batch.events],
    }
    if batch.legal_sha256 is not None:
        fields["lrs"] = batch.legal_sha256
        fields["log"] = None
    if batch.log is not None:
        fields["log"] = list(batch.log)
    return cbor.encode(fields)


def sign(batch: Batch, signer: Signer) -> bytes:
    """The signed batch message."""
    return cose.sign(MessageType.BATCH, payload(batch), signer)


Read = Callable[[bytes], tuple[Batch, tuple[str, ...]]]
"""Reads a payload: the batch and its flags; raises ``BadProfile`` when it is none."""


def read(encoded: bytes) -> tuple[Batch, tuple[str, ...]]:
    """The batch of a payload and the flags of its body; with a flag it has no rows.

    Raises:
        BadProfile: the bytes are not deterministic CBOR of the profile, or a chain field is wrong.
    """
    fields = cbor.decode(encoded, finite=False)
    batch_rules.check_chain(fields)
    flag = batch_rules.body_flag(fields)
    if flag:
        return _bare(fields), (flag,)
    first_ns = fields["t0"]
    times = [first_ns + offset * NS_PER_MS for offset in accumulate(fields["dt"])]
    if times and not (first_ns <= min(times) and max(times) <= fields["t1"]):
        return _bare(fields), ("body_time",)
    columns = Columns(tuple(fields["series"]), fields["s"], times, fields["x"], fields["q"])
    return whole(fields, columns), ()


def verify(
    raw: bytes,
    site: str,
    agent: str,
    keys: KeyRing,
    *,
    check: cose.Check = PublicKey.verify,
    read: Read = read,
) -> VerifiedBatch:
    """Check everything about a batch but its place in the chain.

    Args:
        raw: the message as received.
        site: site named by the topic.
        agent: agent named by the topic.
        keys: enrolled keys.
        check: how a signature is checked.
        read: how the payload is read; must find what ``read`` of this module finds.

    Raises:
        EvidenceError: the subclass of the first rule the message breaks.
    """

    def find(kid: bytes) -> PublicKey:
        return keys.find(kid, site, agent).public

    message = cose.verify(raw, MessageType.BATCH, find, check)
    batch, flags = read(message.payload)
    if (batch.site, batch.agent) != (site, agent):
        text = f"the batch says {batch.site}/{batch.agent}, the topic {site}/{agent}"
        raise BadIdentity(text)
    check_time(keys.find(message.kid, site, agent), batch.last_ns)
    return VerifiedBatch(batch, raw, message.sha256, message.kid, flags)


def _chain(fields: Fields) -> dict[str, Any]:
    return {
        "site": fields["site"],
        "agent": fields["agent"],
        "seq": fields["seq"],
        "prev": fields["prev"],
        "boot": fields["boot"],
        "first_ns": fields["t0"],
        "last_ns": fields["t1"],
        "config_sha256": fields["config"],
    }


def _bare(fields: Fields) -> Batch:
    """The batch by its chain fields alone."""
    return Batch(
        **_chain(fields), mono=(0, 0), clock=ClockState(), software="", columns=Columns(())
    )


def whole(fields: Fields, columns: Columns) -> Batch:
    """The batch of fields that keep all rules, with its rows."""
    first_mono, last_mono = fields["mono"]
    log = fields.get("log")
    return Batch(
        **_chain(fields),
        mono=(first_mono, last_mono),
        clock=ClockState(**fields["clock"]),
        software=fields["sw"],
        columns=columns,
        events=tuple(fields["events"]),
        legal_sha256=fields.get("lrs"),
        log=None if log is None else (log[0], log[1]),
    )
