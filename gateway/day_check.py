"""The verifier's rules for records of closed days; pure, offline.

D1  a record is signed by the gateway, names the site, and stands in the log once
D2  days, and their ranges of leaves, follow one another without a hole or an overlap
D3  a record stands behind the checkpoint that it names, which the log's key signed, and of which the
bundle's one is a continuation; what that says of the day is the same
D4  no day was closed before it was over: not by its own time, by that of a batch in its range,
or by a time-stamp token over it
D5  the batches that a record counts by agent and month are those that are here, and those of the
log's leaves in its range; no batch with times of the month is left out
D6  every day that is over, by a batch that is here, has a record
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import HOUR_NS, NS_PER_S, to_local, to_ns
from edge_agent.errors import CarbonError
from edge_agent.wire import merkle, notes
from edge_agent.wire.keys import PublicKey
from edge_agent.wire.notes import Head, NoteKey
from gateway import day_records
from gateway.bundle import BundleError
from gateway.day_evidence import FILE, Day
from gateway.day_records import KIND, Came, DayRecord
from gateway.evidence import BatchRange
from gateway.leaf_list import Complete, IsAside

_DAY_NS = 24 * HOUR_NS
_MOST_BATCHES = 1_000_000
"""An agent brings in fewer in a day; a record that counts more shall not keep a verifier busy."""


@dataclass(frozen=True, slots=True)
class Context:
    """What records are held against.

    ``name`` and ``month`` are the month's name and its bounds [ns UTC], ``indexes`` the places of
    leaves in the log by name; ``leaves`` is None where the log's leaves are not inside; ``tokens`` are
    sizes that existed before a time.
    """

    site: str
    gateway: Mapping[bytes, PublicKey]
    name: str
    month: tuple[int, int]
    timezone: str
    log: tuple[Head, NoteKey]
    indexes: Mapping[str, int]
    ranges: Sequence[BatchRange]
    is_aside: IsAside
    leaves: Complete | None
    tokens: Sequence[tuple[int, datetime]] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    agent: str
    seq: int
    index: int
    start_ns: int
    end_ns: int
    is_bad: bool


@dataclass(slots=True)
class Found:
    """What the records show: batches that came on a later day than they end, and what is unproven."""

    late: int = 0
    reservations: list[str] = field(default_factory=list)


def check(days: Sequence[Day], context: Context) -> Found:
    """Hold the records against everything else in the bundle, by D1 to D6.

    Raises:
        BundleError: names the day and what contradicts it.
    """
    found, batches = Found(), list(_batches(context))
    before: DayRecord | None = None
    for day in days:
        try:
            _check_record(before, day, context)
        except (CarbonError, merkle.ProofError) as error:
            message = f"{FILE}: the record of {day.record.day}: {error}"
            raise BundleError(message) from error
        before = day.record
    records = [day.record for day in days]
    _check_leaves(records, batches, context, found)
    by_day = _placed(records, batches, context, found)
    for record, here in zip(records, by_day, strict=True):
        _check_counts(record, here, context)
        zone = ZoneInfo(record.timezone)
        found.late += sum(
            to_local(one.end_ns, zone).date().isoformat() < record.day for one in here
        )
    _check_end(records, batches, context, found)
    return found


def _batches(context: Context) -> Iterator[_Batch]:
    for one in context.ranges:
        for place, (start_ns, end_ns) in enumerate(zip(one.starts_ns, one.ends_ns, strict=True)):
            seq = one.first_seq + place
            index = context.indexes[f"{one.agent}/{seq}"]
            yield _Batch(one.agent, seq, index, start_ns, end_ns, seq in one.bad)


def _check_record(before: DayRecord | None, day: Day, context: Context) -> None:
    """D1 to D4 for one record, without the batches."""
    head, key = context.log
    one = day_records.open_(day.record.raw, context.gateway)  # D1
    if one.site != context.site:
        message = f"it is of {one.site}"
        raise BundleError(message)
    index = context.indexes[one.leaf_name]
    for text in day_records.contradictions(before, one, index):  # D2, D4
        raise BundleError(text)
    stated = notes.verify_checkpoint(day.note, key)  # D3
    if (stated.size, stated.root) != (one.size, one.root):
        message = f"the checkpoint beside it states {stated.size} leaves, or another root"
        raise BundleError(message)
    merkle.check_consistency((stated.size, stated.root), (head.size, head.root), day.hashes)
    said = [line for line in stated.extension if line.startswith(f"day {one.site} {one.day} ")]
    if said not in ([], [one.note_line]):
        message = f"the checkpoint beside it says {said[0]!a}, the record {one.note_line!a}"
        raise BundleError(message)
    for size, existed in context.tokens:  # D4
        if size > index and to_ns(existed) < one.end_ns:
            message = f"by an outside time stamp it existed at {existed}, before the day was over"
            raise BundleError(message)


def _check_leaves(
    records: Sequence[DayRecord], batches: Sequence[_Batch], context: Context, found: Found
) -> None:
    """That no record was left out, and that the ranges hold the batches that they count."""
    every = context.leaves
    lowest = min((one.index for one in batches), default=0)
    begin = context.indexes[records[0].leaf_name] if records else lowest
    if every is not None:
        ours = {context.indexes[one.leaf_name] for one in records}
        for place, day in every.days:
            if place > begin and place not in ours:
                message = f"the log holds {KIND} of {day} (leaf {place}), left out here"
                raise BundleError(message)
        for one in records:
            _check_sequence(one, every)
    if records and records[0].first > lowest:
        if every is not None and any(place < begin for place, _ in every.days):
            message = (
                f"{FILE}: begins with {records[0].day}; the log holds records of days before, of the "
                "first batches here"
            )
            raise BundleError(message)
        found.reservations.append(
            f"batches before leaf {records[0].first} came in before days were recorded 日结记录之前"
        )


def _check_sequence(one: DayRecord, every: Complete) -> None:
    """D5: by the log's leaves, the range holds the batches that the record counts."""
    came: dict[str, list[int]] = {}
    low = bisect_left(every.sequence, (one.first, "", 0))
    for place, agent, seq in every.sequence[low:]:
        if place > one.last:
            break
        came.setdefault(agent, []).append(seq)
    said = {agent: (some.first_seq, some.last_seq) for agent, some in one.agents.items()}
    for agent in sorted(came.keys() | said.keys()):
        seqs = came.get(agent, [])
        if not seqs or (seqs[0], seqs[-1]) != said.get(agent):
            held = f"{seqs[0]}-{seqs[-1]}" if seqs else "none"
            counted = "{}-{}".format(*said[agent]) if agent in said else "none"
            message = (
                f"{FILE}: the record of {one.day} counts batches {counted} of {agent}, the log "
                f"holds {held} in its leaves {one.first}-{one.last}"
            )
            raise BundleError(message)


def _placed(
    records: Sequence[DayRecord], batches: Iterable[_Batch], context: Context, found: Found
) -> list[list[_Batch]]:
    """The batches that are here by the record in whose range they lie; D4 for each."""
    starts = [one.first for one in records]
    by_day: list[list[_Batch]] = [[] for _ in records]
    for batch in batches:
        # of several records that begin with one leaf all but the last are empty
        place = bisect_right(starts, batch.index) - 1
        if place < 0 or batch.index > records[place].last:
            continue
        by_day[place].append(batch)
        one = records[place]
        if one.ahead_s is None or batch.is_bad or context.is_aside(batch.agent, batch.seq):
            continue
        if batch.end_ns > one.at_ns + one.ahead_s * NS_PER_S + HOUR_NS:
            message = (
                f"{FILE}: batch {batch.seq} of {batch.agent} lies in the range of {one.day}, which "
                "was closed before the batch ends"
            )
            raise BundleError(message)
    if any(one.ahead_s is None for one in records):
        found.reservations.append(
            "the gateway's clock is not compared with the plant's: its days are not held against "
            "batches 未比对时钟"
        )
    return by_day


def _check_counts(one: DayRecord, here: Sequence[_Batch], context: Context) -> None:
    """D5: what a record counts of each agent is what is here; nothing of the month is elsewhere."""
    zone = ZoneInfo(one.timezone)
    ours: dict[str, list[_Batch]] = {agent: [] for agent in one.agents}
    for batch in here:
        ours.setdefault(batch.agent, []).append(batch)
    for agent, some in sorted(ours.items()):
        said = one.agents.get(agent)
        if said is None or any(not said.first_seq <= b.seq <= said.last_seq for b in some):
            message = f"{FILE}: the record of {one.day} does not count the batches of {agent} here"
            raise BundleError(message)
        spans = [(b.start_ns, b.end_ns) for b in some if not b.is_bad]
        _compare(one, agent, (said, len(some), day_records.months_of(spans, zone)), context)


def _compare(
    one: DayRecord, agent: str, counted: tuple[Came, int, Mapping[str, int]], context: Context
) -> None:
    said, here, months = counted
    away = said.last_seq - said.first_seq + 1 - here
    for name in sorted(said.months.keys() | months.keys()):
        more = said.months.get(name, 0) - months.get(name, 0)
        if more < 0 or (more and not away):
            message = (
                f"{FILE}: the record of {one.day} counts {said.months.get(name, 0)} batches of "
                f"{agent} with times of {name}, here are {months.get(name, 0)}"
            )
            raise BundleError(message)
        if name != context.name or not more or one.timezone != context.timezone:
            continue
        if more > _set_aside(agent, said, context):
            message = (
                f"{FILE}: on {one.day} came {more} batches of {agent} with times of {name}, of "
                f"{said.first_seq}-{said.last_seq}, which are left out here"
            )
            raise BundleError(message)


def _set_aside(agent: str, said: Came, context: Context) -> int:
    """How many of the batches that a record counts, and that are not here, are in no sum."""
    if said.last_seq - said.first_seq > _MOST_BATCHES:
        return 0
    spans = [(one.first_seq, one.last_seq) for one in context.ranges if one.agent == agent]
    return sum(
        context.is_aside(agent, seq)
        for seq in range(said.first_seq, said.last_seq + 1)
        if not any(low <= seq <= high for low, high in spans)
    )


def _check_end(
    records: Sequence[DayRecord], batches: Sequence[_Batch], context: Context, found: Found
) -> None:
    """D6, and up to which day what came in is known."""
    if not records:
        found.reservations.append("no day of this month is closed in the log 无日结记录")
        return
    last = records[-1]
    if any(one.timezone != context.timezone for one in records):
        found.reservations.append(
            "days are recorded by another time zone than the configuration's 日结时区不同"
        )
    if last.end_ns < context.month[1]:
        found.reservations.append(
            f"days of this month after {last.day} are not closed in the log 之后尚未日结"
        )
    if last.ahead_s is None:
        return
    over_ns = last.following_end_ns + last.ahead_s * NS_PER_S + HOUR_NS
    for batch in batches:
        if batch.is_bad or context.is_aside(batch.agent, batch.seq):
            continue
        if over_ns < batch.start_ns < over_ns + day_records.MOST_DAYS * _DAY_NS:
            message = (
                f"{FILE}: {last.following} was over when batch {batch.seq} of {batch.agent} was "
                "made, and no record of it is here"
            )
            raise BundleError(message)
