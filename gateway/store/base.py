"""``PointStore``: where readings can be looked up by series and time.

A store is a projection of the ledger: it may be thrown away and rebuilt. One value stands under
one (site, series, time). Writing a batch again changes nothing; the same agent and seq with other
values overwrites its own. When another batch already holds a different value there, the first one
stays, and the contradiction is reported.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.errors import StoreError
from edge_agent.readings import Columns, Event, Record

_LAST_NS = 2**63 - 2


@dataclass(frozen=True, slots=True)
class Projection:
    """The contents of one accepted batch, on their way into the store."""

    site: str
    agent: str
    seq: int
    columns: Columns
    events: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two batches say different things about one series at one time; ``kept`` stands."""

    site: str
    series: str
    time_ns: int
    kept: int | float | None
    refused: int | float | None
    agent: str
    seq: int

    def __str__(self) -> str:
        return (
            f"{self.series} at {self.time_ns}: {self.refused!r} from {self.agent} batch"
            f" {self.seq}, but another batch said {self.kept!r}"
        )


class PointStore(Protocol):
    """The contract every adapter passes (tests/contracts/test_point_store.py).

    Every method raises ``StoreError`` when the store cannot be reached now; then nothing is
    lost, and the caller repeats the call. One object serves one thread.
    """

    def write(
        self, site: str, agent: str, seq: int, columns: Columns, events: Sequence[Event]
    ) -> None:
        """Write one batch.

        Raises:
            StoreError: also when another batch holds another value; names series and time.
                The batch's other rows are written then.
        """
        ...

    def write_many(self, batches: Sequence[Projection]) -> list[Conflict]:
        """Write batches in the order of the ledger, all or none where the store can.

        Returns:
            The rows that contradict another batch. A store that cannot look returns none and
            the last value written stands.
        """
        ...

    def projected(self, site: str, agent: str) -> int:
        """The last seq up to which every batch of the agent was written."""
        ...

    def read(self, site: str, series: str, start_ns: int, end_ns: int) -> Iterator[Record]:
        """The series' records of start <= time < end, in order of time."""
        ...

    def read_events(
        self, site: str, start_ns: int, end_ns: int, types: Collection[str] | None = None
    ) -> Iterator[Event]:
        """The events of start <= t < end, in order of time; all types unless named."""
        ...

    def series(self, site: str) -> list[str]:
        """Names of all series of the site, sorted."""
        ...

    def points(self, site: str) -> int:
        """How many values the site has."""
        ...

    def clear(self, site: str) -> None:
        """Forget everything of the site, also how far it was written."""
        ...

    def close(self) -> None:
        """Release what the store holds open."""
        ...


def refuse_conflicts(conflicts: Sequence[Conflict]) -> None:
    """Turn reported contradictions into the error that ``write`` promises.

    Raises:
        StoreError: there is one; names the first and how many more.
    """
    if conflicts:
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        raise StoreError(f"{conflicts[0]}{more}")


def event_time(event: Event) -> int:
    """The event's time within what stores can hold; the event itself keeps what it said."""
    return max(-_LAST_NS, min(int(event["t"]), _LAST_NS))


def advance(projected: int, seqs: Sequence[int]) -> int:
    """The end of the unbroken run that these seqs make from ``projected`` on."""
    for seq in sorted(seqs):
        if seq == projected + 1:
            projected = seq
    return projected
