"""The closed days' part of a bundle: what came in when, and that later days brought nothing of the month.

    log/days.cbor   a list of [record, checkpoint, hashes], from the day of the bundle's first batch to
                    the last one that its log/checkpoint covers: the signed record (``day_records``),
                    the checkpoint that it names, with cosignatures, and the proof that the log
                    grew from there to log/checkpoint

``pack`` reads the ledger, ``read`` the bundle; ``day_check`` judges it offline.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.errors import CarbonError
from edge_agent.wire import cbor
from gateway import day_records
from gateway.bundle import Bundle, BundleError
from gateway.day_records import DayRecord
from gateway.evidence import BatchRange

FILE = "log/days.cbor"


class Stated(Protocol):
    """A checkpoint of the ledger."""

    @property
    def size(self) -> int:
        """How many leaves it covers."""
        ...

    @property
    def note(self) -> str:
        """As it was signed."""
        ...


class Log(Protocol):
    """What is needed of the ledger's tree."""

    def index_of(self, leaf: bytes) -> int | None:
        """Where a leaf's data stands."""
        ...

    def checkpoint(self, at_most: int | None = None) -> Stated | None:
        """The newest checkpoint of at most a size."""
        ...

    def cosignatures(self, size: int) -> list[str]:
        """Signature lines of the witnesses of a checkpoint."""
        ...

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of ``new`` leaves grew out of the one of ``old``."""
        ...


@dataclass(frozen=True, slots=True)
class Day:
    """A record in a bundle with the checkpoint that it names and the proof of that."""

    record: DayRecord
    note: str
    hashes: Sequence[bytes]


def of_month(
    days: Sequence[Day], ranges: Sequence[BatchRange], indexes: Mapping[str, int], end_ns: int
) -> list[dict[str, Any]]:
    """The days of a report: those up to the month's end, later ones with batches of it, and the last."""
    if not days:
        return []
    places = sorted(
        indexes[f"{one.agent}/{seq}"]
        for one in ranges
        for seq in range(one.first_seq, one.last_seq + 1)
    )
    found = []
    for one in (day.record for day in days):
        count = bisect_right(places, one.last) - bisect_left(places, one.first)
        if count or one.end_ns <= end_ns or one is days[-1].record:
            found.append(
                {
                    "day": one.day,
                    "first": one.first,
                    "last": one.last,
                    "size": one.size,
                    "closed": one.at_ns,
                    "batches": max(count, 0),
                }
            )
    return found


def run(records: Iterable[DayRecord], log: Log, lowest: int, size: int) -> list[DayRecord]:
    """The records of a bundle: from that of its lowest batch's leaf to the last one under a size."""
    found = []
    for one in records:
        index = log.index_of(one.leaf)
        if one.last >= lowest and index is not None and index < size:
            found.append(one)
    return found


def pack(records: Sequence[DayRecord], log: Log, size: int) -> dict[str, bytes]:
    """The file with these records, under a checkpoint of this size.

    Raises:
        BundleError: the checkpoint that a record names is missing.
    """
    items = []
    for one in records:
        made = log.checkpoint(one.size)
        if made is None or made.size != one.size:
            message = f"the checkpoint of {one.size} leaves, which closed {one.day}, is missing"
            raise BundleError(message)
        note = made.note + "".join(log.cosignatures(one.size))
        items.append([one.raw, note.encode(), log.consistency(one.size, size) if one.size else []])
    return {FILE: cbor.encode(items)} if items else {}


def read(bundle: Bundle) -> list[Day]:
    """The records of a bundle; what they say is not judged here.

    Raises:
        BundleError: the file is malformed.
    """
    if FILE not in bundle.files:
        return []
    items = cbor.decode(bundle.files[FILE])
    return [_day(item) for item in (items if type(items) is list else [None])]


def _day(item: Any) -> Day:
    types = [type(part) for part in item] if type(item) is list else []
    if types != [bytes, bytes, list]:
        message = f"{FILE}: a list of [record, checkpoint, hashes] is right"
        raise BundleError(message)
    try:
        return Day(day_records.unchecked(item[0]), item[1].decode("utf-8"), item[2])
    except (CarbonError, UnicodeDecodeError) as error:
        message = f"{FILE}: {error}"
        raise BundleError(message) from error


def leaves(days: Iterable[Day]) -> dict[str, bytes]:
    """Leaf data of the records by a name that is unique in a bundle."""
    return {one.record.leaf_name: one.record.leaf for one in days}
