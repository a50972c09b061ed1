"""What a month rests on: the batches' rows as a reader, their range, root and configuration."""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent import factor_sets
from edge_agent.calc.factors import FactorSet
from edge_agent.calc.windows import HOUR_NS, to_local
from edge_agent.errors import CarbonError
from edge_agent.readings import Columns, Event
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, clock_rules, cose, merkle
from edge_agent.wire.batch import Batch, VerifiedBatch
from edge_agent.wire.chain import ChainHead, extend
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import KeyRing, PublicKey, check_place
from gateway.month import LOOKBACK_NS, Points

_BAD = 2
_DRIFT_PPM = 500
_MOST_SPANS = 24
_UTC = ZoneInfo("UTC")


class EvidenceGap(CarbonError):
    """Evidence that the month needs is missing or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """A batch that carries rows of a series."""

    agent: str
    seq: int
    sha256: bytes


@dataclass(slots=True)
class Carried:
    """First and last batch, in the order of reading, that carry a series, and how many do."""

    first: Place
    last: Place
    count: int = 1


@dataclass(slots=True)
class _Column:
    times: list[int] = field(default_factory=list)
    values: list[int | float] = field(default_factory=list)
    ordered: bool = True
    carried: Carried | None = None


@dataclass(slots=True)
class Made:
    """First and last batch that a piece of software made, and how many."""

    first_seq: int
    last_seq: int
    count: int = 1


@dataclass(slots=True)
class ConfigUse:
    """A run of an agent's batches under one configuration, and their earliest time [ns UTC]."""

    agent: str
    config: bytes
    first_seq: int
    last_seq: int
    first_ns: int

    def extend(self, batch: Batch) -> bool:
        """Take up the agent's next batch; False when it begins another run."""
        if (batch.agent, batch.config_sha256) != (self.agent, self.config):
            return False
        self.last_seq, self.first_ns = batch.seq, min(self.first_ns, batch.first_ns)
        return True


@dataclass(slots=True)
class KeyUse:
    """A run of an agent's batches signed by one key."""

    agent: str
    kid: bytes
    first_seq: int
    last_seq: int

    def extend(self, verified: VerifiedBatch) -> bool:
        """Take up the agent's next batch; False when it begins another run."""
        if (verified.batch.agent, verified.key_id) != (self.agent, self.kid):
            return False
        self.last_seq = verified.batch.seq
        return True


@dataclass(slots=True)
class BatchMarks:
    """What batches say of themselves beside their rows: clock state and software.

    ``software`` is by agent, name with version, and digest of the legally relevant files.
    """

    unsynced: set[int] = field(default_factory=set)
    inconsistent: set[int] = field(default_factory=set)
    software: dict[tuple[str, str, bytes | None], Made] = field(default_factory=dict)
    uses: list["ConfigUse"] = field(default_factory=list)
    keys: list["KeyUse"] = field(default_factory=list)

    def add(self, verified: VerifiedBatch) -> None:
        """Note a batch; an hour is named by its start in ns."""
        batch = verified.batch
        if not (self.keys and self.keys[-1].extend(verified)):
            self.keys.append(KeyUse(batch.agent, verified.key_id, batch.seq, batch.seq))
        self._add_software(batch)
        if not (self.uses and self.uses[-1].extend(batch)):
            self.uses.append(
                ConfigUse(batch.agent, batch.config_sha256, batch.seq, batch.seq, batch.first_ns)
            )
        flags = clock_rules.own_flags(batch, None if batch.clock.src == "none" else _DRIFT_PPM)
        hour_ns = batch.last_ns // HOUR_NS * HOUR_NS
        if clock_rules.UNSYNCED in flags:
            self.unsynced.add(hour_ns)
        if clock_rules.INCONSISTENT in flags:
            self.inconsistent.add(hour_ns)

    def _add_software(self, batch: Batch) -> None:
        key = (batch.agent, batch.software, batch.legal_sha256)
        made = self.software.setdefault(key, Made(batch.seq, batch.seq, 0))
        made.last_seq, made.count = batch.seq, made.count + 1

    def reservations(self) -> list[str]:
        """What a reader of the report must know of the clocks, hours in UTC."""
        return [
            f"{len(hours)} hours with batches {text}: {_spans(hours)}"
            for hours, text in (
                (self.unsynced, "from an unsynchronised clock 时钟未同步"),
                (self.inconsistent, "whose two clocks disagree 时钟不一致"),
            )
            if hours
        ]


def _spans(hours: Iterable[int]) -> str:
    """Hours as spans, ``2026-10-01T00 - 2026-10-02T05``."""
    spans: list[list[int]] = []
    for hour in sorted(hours):
        if spans and hour - spans[-1][1] == HOUR_NS:
            spans[-1][1] = hour
        else:
            spans.append([hour, hour])
    shown = [
        " - ".join(dict.fromkeys(f"{to_local(ns, _UTC):%Y-%m-%dT%H}" for ns in span))
        for span in spans[:_MOST_SPANS]
    ]
    more = len(spans) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


class BatchReader:
    """Usable rows of verified batches, by series. A repeated (series, time) is refused."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self.events: list[Event] = []
        self.marks = BatchMarks()
        self.flags: dict[str, int] = {}

    def add(self, verified: VerifiedBatch) -> None:
        """Take up a batch's rows and events."""
        columns = verified.batch.columns
        slots = [self._columns.setdefault(name, _Column()) for name in columns.series]
        place = Place(verified.batch.agent, verified.batch.seq, verified.sha256)
        for column in slots:
            if column.carried is None:
                column.carried = Carried(place, place)
            else:
                column.carried.last, column.carried.count = place, column.carried.count + 1
        for index, time_ns, value, quality in zip(
            columns.index, columns.time_ns, columns.value, columns.quality, strict=True
        ):
            if value is None or quality >> 4 == _BAD:
                continue
            column = slots[index]
            if column.times and time_ns <= column.times[-1]:
                column.ordered = False
            column.times.append(time_ns)
            column.values.append(value)
        self.events.extend(verified.batch.events)
        self.marks.add(verified)
        for flag in verified.flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1

    def carried(self, series: str) -> Carried | None:
        """The batches that carry a series."""
        column = self._columns.get(series)
        return column.carried if column else None

    def points(self, series: str, start_ns: int, end_ns: int) -> Points:
        """Rows of a series in [start, end), by time.

        Raises:
            EvidenceGap: a time stands twice.
        """
        column = self._columns.get(series)
        if column is None:
            return Points((), ())
        if not column.ordered:
            _sort(series, column)
        low = bisect_left(column.times, start_ns)
        high = bisect_left(column.times, end_ns)
        return Points(column.times[low:high], column.values[low:high])


def _sort(series: str, column: _Column) -> None:
    order = sorted(range(len(column.times)), key=column.times.__getitem__)
    column.times = [column.times[place] for place in order]
    column.values = [column.values[place] for place in order]
    for before, after in zip(column.times, column.times[1:], strict=False):
        if before == after:
            message = f"series {series} has two rows at {after}"
            raise EvidenceGap(message)
    column.ordered = True


@dataclass(frozen=True, slots=True)
class BatchRange:
    """An agent's batches behind a month: first and last number, Merkle root, configuration.

    ``config_sha256`` is the one of the last batch; ``configs`` all that the batches name; ``hashes``,
    ``starts_ns`` and ``ends_ns`` [ns UTC] those of the batches, in order; ``bad`` those with a bad body.
    """

    agent: str
    first_seq: int
    last_seq: int
    root: bytes
    config_sha256: bytes
    configs: tuple[bytes, ...]
    hashes: tuple[bytes, ...] = field(repr=False)
    starts_ns: tuple[int, ...] = field(default=(), repr=False)
    first_end_ns: int = 0
    last_start_ns: int = 0
    ends_ns: tuple[int, ...] = field(default=(), repr=False)
    bad: frozenset[int] = frozenset()

    @property
    def count(self) -> int:
        """How many batches; no holes."""
        return self.last_seq - self.first_seq + 1


def batch_range(
    site: str, agent: str, hashes: Sequence[tuple[int, bytes]], configs: Sequence[bytes]
) -> BatchRange:
    """The range and RFC 6962 root over batches given as (seq, SHA-256) in order.

    Args:
        site: the plant.
        agent: the agent.
        hashes: number and hash of each batch, without a hole.
        configs: configuration digest of each batch, in the same order.
    """
    leaves = [
        merkle.leaf_hash(merkle.batch_leaf(site, agent, seq, sha256)) for seq, sha256 in hashes
    ]
    return BatchRange(
        agent,
        hashes[0][0],
        hashes[-1][0],
        merkle.root(leaves),
        configs[-1],
        tuple(dict.fromkeys(configs)),
        tuple(sha256 for _, sha256 in hashes),
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration document that batches name, with its factor set."""

    sha256: bytes
    plain: Mapping[str, Any]
    factors: FactorSet


def open_config(raw: bytes, keys: Iterable[PublicKey]) -> Configuration:
    """Check and read a signed configuration message.

    Raises:
        EvidenceError: not authentic.
    """
    by_kid = {key.kid: key for key in keys}

    def find(kid: bytes) -> PublicKey:
        if kid not in by_kid:
            message = f"configuration signed by unknown key {kid.hex()[:16]}"
            raise EvidenceGap(message)
        return by_kid[kid]

    payload = cose.verify(raw, MessageType.CONFIG, find).payload
    plain = cbor.decode(payload)
    return Configuration(
        hashlib.sha256(payload).digest(), plain, factor_sets.from_plain(plain["factor_set"])
    )


def replay(
    site: str,
    agent: str,
    batches: Iterable[tuple[int, bytes]],
    ring: KeyRing,
    reader: BatchReader,
    is_aside: Callable[[str, int], bool] = lambda _agent, _seq: False,
) -> BatchRange:
    """Check an agent's batches one after the other and fill the reader with their rows.

    Of batches that ``is_aside`` names, by agent and number, rows and events are left out.

    Every signature, profile, place in the chain and key's right to that place is checked by the
    same code that accepted the batches in the first place.

    Raises:
        EvidenceError: a batch is not authentic or does not follow the one before.
        EvidenceGap: there is no batch, or one is not what its number says.
    """
    hashes: dict[int, bytes] = {}
    configs: list[bytes] = []
    head: ChainHead | None = None
    starts_ns, ends_ns, bad = list[int](), list[int](), list[int]()
    for seq, raw in batches:
        verified = wire_batch.verify(raw, site, agent, ring)
        if verified.batch.seq != seq:
            message = f"{agent}: entry {seq} holds batch {verified.batch.seq}"
            raise EvidenceGap(message)
        if head is None:
            head = ChainHead(seq - 1, verified.batch.prev)
        check_place(ring.find(verified.key_id, site, agent), seq)
        head = extend(head, verified, hashes.get)
        hashes[seq] = verified.sha256
        configs.append(verified.batch.config_sha256)
        starts_ns.append(verified.batch.first_ns)
        ends_ns.append(verified.batch.last_ns)
        bad += [seq] if any(flag.startswith("body_") for flag in verified.flags) else []
        reader.add(_bare(verified) if is_aside(agent, seq) else verified)
    if not starts_ns:
        message = f"{agent}: there is no batch"
        raise EvidenceGap(message)
    found = batch_range(site, agent, list(hashes.items()), configs)
    return replace(
        found,
        starts_ns=tuple(starts_ns),
        first_end_ns=ends_ns[0],
        last_start_ns=starts_ns[-1],
        ends_ns=tuple(ends_ns),
        bad=frozenset(bad),
    )


def in_force(
    ranges: Sequence[BatchRange], uses: Sequence[ConfigUse], end_ns: int
) -> list[BatchRange]:
    """The ranges with the configuration in force at a month's end, not that of a much later batch."""
    last = {one.agent: one.config for one in uses if one.first_ns < end_ns + LOOKBACK_NS}
    return [replace(one, config_sha256=last.get(one.agent, one.config_sha256)) for one in ranges]


def _bare(verified: VerifiedBatch) -> VerifiedBatch:
    """The batch without rows and events."""
    return replace(verified, batch=replace(verified.batch, columns=Columns(()), events=()))


def merge(configurations: Sequence[Configuration]) -> Configuration:
    """One view of a site whose lines and meters are spread over several agents.

    Raises:
        EvidenceGap: the agents disagree on time zone, sector, factor set, control plan or works.
    """
    first = configurations[0]
    for other in configurations[1:]:
        for key in ("site", "timezone", "factor_set", "sector", "control_plan", "control_lines"):
            if other.plain.get(key) != first.plain.get(key):
                message = f"the configurations of the site's agents disagree on {key}"
                raise EvidenceGap(message)
    plain = dict(first.plain)
    for key in ("potlines", "carbonates", "kilns", "meters", "series"):
        plain[key] = [item for part in configurations for item in part.plain.get(key, ())]
    works = [part.plain["steel"] for part in configurations if part.plain.get("steel")]
    if any(other != works[0] for other in works):
        message = "the configurations of the site's agents disagree on steel"
        raise EvidenceGap(message)
    plain["steel"] = works[0] if works else None
    return Configuration(first.sha256, plain, first.factors)
