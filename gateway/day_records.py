"""The record of a closed plant day: which leaves of the log came in by then, under which checkpoint.

    day_close   {v site at by day timezone first last size root ahead_s agents}, signed by the gateway

The leaves [``first``, ``last``] of the one log came in after the day before was closed and before
this one was; a day in which nothing came in has ``last = first - 1``. ``size`` and ``root`` are those
of the checkpoint that covers the range; the record itself is a leaf behind it. Of every agent of
the site with batches in the range ``agents`` says ``[first seq, last seq, {month: batches}]``: how many of
them hold times of a plant-local month. So rows that come late for a month are told when they come.
``ahead_s`` is how far a batch may be ahead of the gateway's clock before it is set aside; null where
the clocks are not compared. Pure.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import to_local, to_ns
from edge_agent.errors import CarbonError, TrustError
from edge_agent.wire import cbor, cose, merkle
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer
from gateway import signed_fields
from gateway.signed_fields import Types

KIND = "day_close"
_WHAT = "day's record"
MOST_DAYS = 400
"""More days at once than this are no outage of the gateway but a wrong clock."""
_FIELDS: dict[str, Types] = {
    "v": int,
    "site": str,
    "at": int,
    "by": str,
    "day": str,
    "timezone": str,
    "first": int,
    "last": int,
    "size": int,
    "root": bytes,
    "ahead_s": (int, type(None)),
    "agents": dict,
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")


@dataclass(frozen=True, slots=True)
class Came:
    """Batches of one agent in a day's range: first and last number, and how many by month."""

    first_seq: int
    last_seq: int
    months: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A closed plant day; times in ns UTC, ``raw`` the signed bytes (empty before signing)."""

    site: str
    day: str
    timezone: str
    at_ns: int
    first: int
    last: int
    size: int
    root: bytes
    ahead_s: int | None
    agents: Mapping[str, Came]
    raw: bytes = b""

    @property
    def end_ns(self) -> int:
        """The day's end in plant local time [ns UTC]."""
        return start_of(date.fromisoformat(self.following), ZoneInfo(self.timezone))

    @property
    def leaf_name(self) -> str:
        """What it is called among a bundle's leaves."""
        return f"{KIND}/{self.day}/1"

    @property
    def leaf(self) -> bytes:
        """Its leaf's data in the log."""
        sha256 = hashlib.sha256(self.raw).digest()
        return merkle.document_leaf(KIND, self.site, self.day, 1, sha256)

    @property
    def following(self) -> str:
        """The day after it."""
        return (date.fromisoformat(self.day) + timedelta(days=1)).isoformat()

    @property
    def following_end_ns(self) -> int:
        """The end of the day after it [ns UTC]."""
        day = date.fromisoformat(self.day) + timedelta(days=2)
        return start_of(day, ZoneInfo(self.timezone))

    @property
    def note_line(self) -> str:
        """What the checkpoint that closed the day says of it."""
        return f"day {self.site} {self.day} {self.first}-{self.last}"


def sign(record: DayRecord, signer: Signer) -> bytes:
    """The signed record."""
    fields = {
        "v": 1,
        "site": record.site,
        "at": record.at_ns,
        "by": "gateway",
        "day": record.day,
        "timezone": record.timezone,
        "first": record.first,
        "last": record.last,
        "size": record.size,
        "root": record.root,
        "ahead_s": record.ahead_s,
        "agents": {
            agent: [one.first_seq, one.last_seq, dict(one.months)]
            for agent, one in record.agents.items()
        },
    }
    return cose.sign(MessageType.DAY_CLOSE, cbor.encode(fields), signer)


def open_(raw: bytes, gateway: Mapping[bytes, PublicKey]) -> DayRecord:
    """Check a record's signature by the gateway's keys, by id, and read it.

    Raises:
        TrustError: it is not this gateway's, or says nothing that is understood.
    """
    return _read(signed_fields.of_gateway(raw, MessageType.DAY_CLOSE, gateway, _WHAT), raw)


def unchecked(raw: bytes) -> DayRecord:
    """A record whose signature was, or will be, checked elsewhere.

    Raises:
        TrustError: it says nothing that is understood.
    """
    return _read(cbor.decode(cose.parse(raw).payload), raw)


def _read(fields: Any, raw: bytes) -> DayRecord:
    signed_fields.check(fields, _FIELDS, _WHAT)
    _check_day(fields["day"], fields["timezone"])
    return DayRecord(
        fields["site"],
        fields["day"],
        fields["timezone"],
        fields["at"],
        fields["first"],
        fields["last"],
        fields["size"],
        fields["root"],
        fields["ahead_s"],
        {agent: _came(agent, one) for agent, one in fields["agents"].items()},
        raw,
    )


def _check_day(day: str, timezone: str) -> None:
    try:
        if _DAY.match(day):
            date.fromisoformat(day)
            ZoneInfo(timezone)
            return
    except (ValueError, KeyError, OSError):
        pass
    message = f"the day's record is of {day!a} in {timezone!a}; a date and a time zone are right"
    raise TrustError(message)


def _came(agent: str, plain: Any) -> Came:
    types = [type(part) for part in plain] if type(plain) is list else []
    good = types == [int, int, dict] and all(type(n) is int for n in plain[2].values())
    if not good or plain[0] > plain[1]:
        message = f"the day's record says of {agent!a} no [first seq, last seq, batches by month]"
        raise TrustError(message)
    return Came(*plain)


def start_of(day: date, zone: ZoneInfo) -> int:
    """The first moment of a plant-local day [ns UTC]."""
    return to_ns(datetime.combine(day, time(), zone).astimezone(UTC))


def contradictions(before: DayRecord | None, one: DayRecord, index: int | None) -> list[str]:
    """What is wrong with a record behind the one before it.

    Args:
        before: of the day before; None for the first.
        one: the record.
        index: where it stands in the log; None where it does not.
    """
    found = []
    if before is not None and one.day != before.following:
        found.append(f"it follows that of {before.day}, a day is missing or stands twice")
    if before is not None and one.first != before.last + 1:
        found.append(
            f"its leaves begin with {one.first}, those of the day before end with {before.last}"
        )
    if not (0 <= one.first <= one.last + 1 <= one.size):
        found.append(f"leaves {one.first} to {one.last} under a checkpoint of {one.size}")
    if index is not None and index < one.size:
        found.append(f"it stands in the log at {index}, inside what its checkpoint covers")
    if one.at_ns < one.end_ns:
        found.append("it was made before the day was over")
    return found


def months_of(spans: Iterable[tuple[int, int]], zone: ZoneInfo) -> dict[str, int]:
    """How many of the spans (first and last time, ns UTC) hold times of each plant-local month."""
    found: dict[str, int] = {}
    for span in spans:
        for name in dict.fromkeys(f"{to_local(ns, zone):%Y-%m}" for ns in span):
            found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def zone_named(plain: object) -> ZoneInfo | None:
    """The time zone that a configuration names; None where it names none."""
    name = plain.get("timezone") if isinstance(plain, dict) else None
    try:
        return ZoneInfo(name) if isinstance(name, str) else None
    except (KeyError, ValueError, OSError):
        return None


class Kept(Protocol):
    """A document as the ledger keeps it."""

    @property
    def raw(self) -> bytes:
        """The signed bytes."""
        ...


def of_site(documents: Iterable[Kept]) -> list[DayRecord]:
    """The records that a ledger keeps.

    Raises:
        TrustError: one says nothing that is understood.
    """
    return [unchecked(one.raw) for one in documents]


def readable(raw: bytes) -> DayRecord | None:
    """A record as ``unchecked``; None where it is none."""
    try:
        return unchecked(raw)
    except (CarbonError, AttributeError):
        return None
