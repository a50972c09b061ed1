"""Makes decisions durable: ledger, then store; only then may an ack be signed.

Every step can be repeated: a failed ledger transaction left nothing behind, and writing a batch
into the store twice changes nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from edge_agent.clock import Clock
from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import messages, topics
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.keys import KeyRing, Signer
from gateway.ingest.chains import Source
from gateway.ingest.clock_marks import ClockMarker
from gateway.ingest.intake import Decisions, Intake, Message
from gateway.ingest.journal import Journal
from gateway.ledger import Ledger, LedgerRow, Overflow
from gateway.ledger.reader import Reader
from gateway.store import Conflict, PointStore, Projection
from gateway.trust import clocks
from gateway.trust.clocks import Aside

_BATCHES_A_WRITE = 64


class Recorder:
    """Takes messages through intake, ledger and store; used by one thread."""

    def __init__(
        self, intake: Intake, ledger: Ledger, store: PointStore, signer: Signer, clock: Clock
    ) -> None:
        self._intake = intake
        self._ledger = ledger
        self._store = store
        self._signer = signer
        self._marker = ClockMarker(ledger.documents, signer)
        self._clock = clock
        self._journal = Journal(__name__, clock)
        self._waiting: deque[Message] = deque()
        self._overflows: deque[Overflow] = deque()
        self._done = Decisions()
        self._unprojected: list[Projection] = []
        self._before_writing: Callable[[int], object] = lambda _now_ns: None

    def before_writing(self, act: Callable[[int], object]) -> None:
        """Do this, given the time [ns UTC], each time before new evidence is written."""
        self._before_writing = act

    def put(self, arrived: Iterable[Message], overflows: Iterable[Overflow] = ()) -> None:
        """Take messages in, and counts of dropped ones; ``commit`` works on them."""
        self._waiting.extend(arrived)
        self._overflows.extend(overflows)

    def commit(self) -> Decisions:
        """Decide on all messages put and make the decisions durable.

        Returns:
            What was done since the last call that returned; its agents may be acked now.

        Raises:
            StoreError: ledger or store failed; call again, nothing is lost or done twice.
            Fork, Gap: the ledger holds another history than this process saw; start again.
        """
        self._intake.refresh()
        while self._waiting:
            self._intake.offer(self._waiting[0])
            self._waiting.popleft()
        while self._overflows:
            self._intake.count(self._overflows.popleft())
        evidence = self._intake.undurable()
        if evidence:
            self._before_writing(self._clock.utc_ns())
            self._ledger.write(self._marker.with_marks(evidence))
        decisions = self._intake.take()
        self._marker.written()
        self._unprojected += [
            _projection(verified, is_aside=self._marker.is_aside(verified))
            for verified, _ in evidence.batches
        ]
        self._done.progressed |= decisions.progressed
        self._done.repeat |= decisions.repeat
        if self._unprojected:
            self._report(self._store.write_many(self._unprojected))
            self._unprojected = []
        done, self._done = self._done, Decisions()
        return done

    def acks(self, sources: Iterable[Source]) -> list[tuple[str, bytes]]:
        """Topic and signed ack for each agent."""
        at_ns = self._clock.utc_ns()
        signed = []
        for source in sources:
            ack = messages.sign_ack(self._intake.ack(source, at_ns), self._signer)
            signed.append((topics.topic(*source, "ack"), ack))
        return signed

    def start(self) -> None:
        """Bring the store up to the ledger after a stop between the two."""
        for site in self._ledger.sites():
            count = catch_up(self._ledger, self._store, site)
            self._journal.event(logging.INFO, "store_caught_up", site=site, batches=count)

    @property
    def intake(self) -> Intake:
        """The intake, for who asks what may be asked from any thread."""
        return self._intake

    @property
    def ledger(self) -> Ledger:
        """The ledger, for who works in the same thread."""
        return self._ledger

    def close(self) -> None:
        """Close ledger and store."""
        self._ledger.close()
        self._store.close()

    def _report(self, conflicts: Sequence[Conflict]) -> None:
        for conflict in conflicts:
            name = f"{conflict.site}/{conflict.agent}"
            self._journal.limited(
                logging.ERROR, "conflicting_values", name, agent=name, detail=conflict
            )


def catch_up(ledger: Ledger, store: PointStore, site: str) -> int:
    """Write into the store what it misses of the ledger, in order of arrival.

    Returns:
        Number of batches written.
    """
    projected = {agent: store.projected(site, agent) for agent in ledger.agents(site)}
    places = [ledger.number(site, agent, seq + 1) for agent, seq in projected.items()]
    missing = [place for place in places if place is not None]
    if not missing:
        return 0
    keys, aside = ledger.key_ring(), set_aside(ledger, site)
    rows = ledger.arrivals(site, min(missing))
    wanted = (contents(row, keys, aside) for row in rows if row.seq > projected[row.agent])
    count = 0
    for group in _groups(wanted):
        store.write_many(group)
        count += len(group)
    return count


def set_aside(ledger: Reader, site: str) -> Aside:
    """Which batches of a site are in no sum."""
    return clocks.fold(ledger.documents.all(clocks.MARK, clocks.VERDICT, site=site))


def contents(row: LedgerRow, keys: KeyRing, aside: Aside) -> Projection:
    """Verify a stored batch again and read it; one that is set aside has nothing to project.

    Raises:
        EvidenceError: the row is not what was accepted.
    """
    verified = wire_batch.verify(row.raw, row.site, row.agent, keys)
    return _projection(verified, is_aside=aside.covers(row.agent, row.seq))


def _projection(verified: VerifiedBatch, *, is_aside: bool) -> Projection:
    batch = verified.batch
    if is_aside:
        return Projection(batch.site, batch.agent, batch.seq, Columns(()))
    return Projection(batch.site, batch.agent, batch.seq, batch.columns, batch.events)


def _groups(items: Iterator[Projection]) -> Iterator[list[Projection]]:
    while group := list(islice(items, _BATCHES_A_WRITE)):
        yield group
