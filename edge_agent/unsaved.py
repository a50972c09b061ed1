"""Readings between two batches: in memory until a transaction holds them.

J1  what arrived is written to the journal every ``journal_s``; at once when a sender waits for its
    acknowledgement, so that what comes meanwhile shares the next transaction
J2  a reading is durable when it is in the journal, or in a state that was stored; what belongs to a
    batch that was refused is durable once the loss is
J3  where not even the loss could be stored (a full disk), nothing is durable until a state is
"""

from collections.abc import Sequence

from edge_agent.acquisition.queue import Taken
from edge_agent.clock import NS_PER_S, Clock
from edge_agent.outbox import Outbox
from edge_agent.pipeline.journal import Reading, encode_readings


class Unsaved:
    """Used by the worker thread; ``durable`` may be read by any."""

    def __init__(self, outbox: Outbox, clock: Clock, journal_s: float) -> None:
        self._outbox, self._clock = outbox, clock
        self._every_ns = round(journal_s * NS_PER_S)
        self._written_ns = 0
        self._place = 0
        self._is_torn = False
        self.readings: list[Reading] = []
        self.durable = 0
        """Everything up to this place in the queue is durable."""

    def add(self, readings: Sequence[Reading], taken: Taken | None = None) -> None:
        """Readings that the pipeline took, and how far the queue was taken with them."""
        self.readings += readings
        if taken is not None and taken.place > self._place:
            self._place = taken.place
            self._outbox.seen.stage(taken.marks)

    def write(self) -> None:
        """Write the journal when it is time (J1).

        Raises:
            OutboxFull: the disk is full; tried again next time.
        """
        now_ns = self._clock.monotonic_ns()
        is_due = now_ns - self._written_ns >= self._every_ns
        is_awaited = self._outbox.seen.is_staged and not self._is_torn
        if not self.readings or not (is_due or is_awaited):
            return
        self._written_ns = now_ns
        self._outbox.journal(encode_readings(self.readings), marks=not self._is_torn)
        self.readings.clear()
        if not self._is_torn:
            self.durable = self._place

    def stored(self) -> None:
        """A state that has everything up to here was stored, or a batch with it."""
        self._is_torn = False
        self.readings.clear()
        self.durable = self._place
        self._written_ns = self._clock.monotonic_ns()

    def lost(self) -> None:
        """Rows were refused, and neither they nor their loss could be stored (J3)."""
        self._is_torn = True
        self.readings.clear()
