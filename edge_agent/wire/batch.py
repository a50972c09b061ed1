"""``Batch`` and its payload: deterministic CBOR with text keys and columns.

Chain fields (v, site, agent, seq, prev, boot, t0, t1, config) must be right, or the message is
refused. Everything else is the body: an authentic batch with a bad body is still evidence, so
it is kept with flags and without rows.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

from edge_agent.errors import BadIdentity, BadProfile
from edge_agent.readings import Columns, Event
from edge_agent.wire import cbor, cose, topics
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import KeyRing, PublicKey, Signer, check_time

MAX_SEQ = 2**53 - 1
MAX_SERIES = 4_096
MAX_ROWS = 65_536
MAX_EVENTS = 1_024
MAX_SPAN_NS = 24 * 3600 * 10**9
NS_PER_MS = 1_000_000
_SERIES_NAME = re.compile(r"[a-z0-9_.-]{1,64}(/[a-z0-9_.-]{1,64})*\Z")
_SERIES_CHARACTERS = 200
_INT64 = 2**63
EVENT_TYPES = frozenset(
    {
        "started",
        "device_state",
        "device_overrun",
        "device_renewed",
        "tag_quality",
        "task_restarted",
        "effect_started",
        "effect_ended",
        "gap",
        "history",
        "hj212_damaged",
        "hj212_lost",
        "hj212_refused",
        "hj212_silent",
        "hj212_unreadable",
        "late_samples",
        "totaliser_rollover",
        "totaliser_reset",
        "clock_step",
        "config_changed",
        "keychange",
        "lost_records",
        "resumed",
    }
)


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


@lru_cache(maxsize=65_536)
def valid_series_name(name: str) -> bool:
    """Whether a series may have this name (no separators of any store's language)."""
    return len(name) <= _SERIES_CHARACTERS and _SERIES_NAME.match(name) is not None


def payload(batch: Batch) -> bytes:
    """The batch's payload bytes. Row times keep millisecond resolution from ``first_ns``.

    Raises:
        BadProfile: an event is not of the closed list; a batch must never be made of it.
    """
    columns = batch.columns
    if not _check_events(list(batch.events)):
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


def verify(raw: bytes, site: str, agent: str, keys: KeyRing) -> VerifiedBatch:
    """Check everything about a batch but its place in the chain.

    Args:
        raw: the message as received.
        site: site named by the topic.
        agent: agent named by the topic.
        keys: enrolled keys.

    Raises:
        EvidenceError: the subclass of the first rule the message breaks.
    """

    def find(kid: bytes) -> PublicKey:
        return keys.find(kid, site, agent).public

    message = cose.verify(raw, MessageType.BATCH, find)
    fields = cbor.decode(message.payload, finite=False)
    batch = _chain_fields(fields)
    if (batch.site, batch.agent) != (site, agent):
        text = f"the batch says {batch.site}/{batch.agent}, the topic {site}/{agent}"
        raise BadIdentity(text)
    check_time(keys.find(message.kid, site, agent), batch.last_ns)
    batch, flags = _with_body(batch, fields)
    return VerifiedBatch(batch, raw, message.sha256, message.kid, flags)


def _is_bytes(length: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is bytes and len(value) == length


def _is_int(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_name(value: Any) -> bool:
    return type(value) is str and topics.NAME.match(value) is not None


_CHAIN_RULES: dict[str, Callable[[Any], bool]] = {
    "v": _is_int(1, 1),
    "site": _is_name,
    "agent": _is_name,
    "seq": _is_int(1, MAX_SEQ),
    "prev": _is_bytes(32),
    "boot": _is_bytes(16),
    "t0": _is_int(0, _INT64 - 1),
    "t1": _is_int(0, _INT64 - 1),
    "config": _is_bytes(32),
}


def _chain_fields(fields: Any) -> Batch:
    if type(fields) is not dict:
        message = "the payload is not a map"
        raise BadProfile(message)
    for key, rule in _CHAIN_RULES.items():
        if not rule(fields.get(key)):
            message = f"field {key!r} is missing or out of its range"
            raise BadProfile(message)
    if not 0 <= fields["t1"] - fields["t0"] <= MAX_SPAN_NS:
        message = "t0 and t1 are out of order or more than 24 h apart"
        raise BadProfile(message)
    return Batch(
        site=fields["site"],
        agent=fields["agent"],
        seq=fields["seq"],
        prev=fields["prev"],
        boot=fields["boot"],
        first_ns=fields["t0"],
        last_ns=fields["t1"],
        mono=(0, 0),
        clock=ClockState(),
        config_sha256=fields["config"],
        software="",
        columns=Columns(()),
    )


_BODY_KEYS = frozenset({"mono", "clock", "sw", "series", "s", "dt", "x", "q", "events"})
_OPTIONAL_KEYS = frozenset({"lrs", "log", "r"})


def _with_body(batch: Batch, fields: dict[str, Any]) -> tuple[Batch, tuple[str, ...]]:
    """The batch with its body, or without rows and with the flags that say why."""
    for check in (_check_schema, _check_names, _check_rows, _check_finite):
        flag = check(fields)
        if flag:
            return batch, (flag,)
    times = [batch.first_ns + offset * NS_PER_MS for offset in accumulate(fields["dt"])]
    if times and not (batch.first_ns <= min(times) and max(times) <= batch.last_ns):
        return batch, ("body_time",)
    clock = fields["clock"]
    whole = replace(
        batch,
        mono=(fields["mono"][0], fields["mono"][1]),
        clock=ClockState(**clock),
        software=fields["sw"],
        columns=Columns(tuple(fields["series"]), fields["s"], times, fields["x"], fields["q"]),
        events=tuple(fields["events"]),
        legal_sha256=fields.get("lrs"),
        log=None if fields.get("log") is None else (fields["log"][0], fields["log"][1]),
    )
    return whole, ()


def _check_schema(fields: dict[str, Any]) -> str:
    keys = fields.keys()
    known = _BODY_KEYS | _OPTIONAL_KEYS | _CHAIN_RULES.keys()
    if not keys >= _BODY_KEYS or not keys <= known:
        return "body_schema"
    if not _opt_log(fields.get("log")) or not _opt_bytes(fields.get("lrs")):
        return "body_schema"
    mono, clock = fields["mono"], fields["clock"]
    good = (
        type(mono) is list
        and [type(item) for item in mono] == [int, int]
        and type(fields["sw"]) is str
        and type(clock) is dict
        and {key: type(item) for key, item in clock.items()}
        == {"src": str, "sync": bool, "off": int, "err": int, "steps": int}
        and all(type(fields[key]) is list for key in ("series", "s", "dt", "x", "q", "events"))
        and _check_events(fields["events"])
    )
    return "" if good else "body_schema"


def _opt_log(value: Any) -> bool:
    return value is None or (
        type(value) is list
        and len(value) == 2
        and type(value[0]) is int
        and 0 < value[0] < _INT64
        and type(value[1]) is bytes
        and len(value[1]) == 32
    )


def _opt_bytes(value: Any) -> bool:
    return value is None or (type(value) is bytes and len(value) == 32)


def _check_events(events: list[Any]) -> bool:
    return len(events) <= MAX_EVENTS and all(
        type(event) is dict
        and type(event.get("t")) is int
        and type(event.get("type")) is str
        and event["type"] in EVENT_TYPES
        for event in events
    )


def _check_names(fields: dict[str, Any]) -> str:
    names = fields["series"]
    good = (
        len(names) <= MAX_SERIES
        and set(map(type, names)) <= {str}
        and all(map(valid_series_name, names))
        and len(set(names)) == len(names)
    )
    return "" if good else "body_names"


def _check_rows(fields: dict[str, Any]) -> str:
    index, steps, values, quality = (fields[key] for key in ("s", "dt", "x", "q"))
    count = len(index)
    if not count == len(steps) == len(values) == len(quality) <= MAX_ROWS:
        return "body_schema"
    if count == 0:
        return ""
    whole = all(set(map(type, column)) == {int} for column in (index, steps, quality))
    if not whole or not set(map(type, values)) <= {int, float, type(None)}:
        return "body_schema"
    good_index = min(index) >= 0 and max(index) < len(fields["series"])
    if not good_index or min(quality) < 0 or max(quality) > 0x3F:
        return "body_schema"
    if max(map(abs, steps)) > MAX_SPAN_NS // NS_PER_MS:
        return "body_time"
    return _check_values(values, quality)


def _check_finite(fields: dict[str, Any]) -> str:
    return "" if cbor.all_finite(fields["events"]) else "body_nonfinite"


def _check_values(values: list[Any], quality: list[int]) -> str:
    # Finite and in range together are so one by one; only what is not is looked at closely.
    is_plain = None not in values and math.isfinite(sum(values))
    if is_plain and min(values) >= -_INT64 and max(values) < _INT64:
        return ""
    for value, code in zip(values, quality, strict=True):
        if value is None:
            if code >> 4 != 2:
                return "body_schema"
        elif type(value) is float:
            if not math.isfinite(value):
                return "body_nonfinite"
        elif not -_INT64 <= value < _INT64:
            return "body_range"
    return ""
