"""The readings on their way from the devices to the pipeline: bounded, handed over by event."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.drivers.base import Poll
from edge_agent.readings import Sample, Waveform

_VALUES_A_READING = 64  # an array takes the room of one reading for so many values


@dataclass(slots=True)
class ReadingQueue:
    """Readings that nobody took yet; ``limit`` bounds them."""

    limit: int
    size: int = 0
    waiting: list[Sequence[Poll]] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    takes: int = 0

    @property
    def has_room(self) -> bool:
        """False while the consumer is behind."""
        return self.size < self.limit

    def put(self, readings: Sequence[Poll]) -> None:
        """Add what one poll or delivery brought."""
        if readings:
            self.waiting.append(readings)
            self.size += sum(map(_room, readings))
            self.filled.set()

    async def wait_for_room(self) -> None:
        """Return when there is room."""
        while not self.has_room:
            self.emptied.clear()
            await self.emptied.wait()

    async def wait_until_taken(self) -> None:
        """Return when all that waits now was taken."""
        takes = self.takes
        while self.waiting and self.takes == takes:
            self.emptied.clear()
            await self.emptied.wait()

    async def take_all(self) -> Sequence[Poll]:
        """Everything that waits, at least one reading."""
        await self.filled.wait()
        self.filled.clear()
        waiting, self.waiting, self.size = self.waiting, [], 0
        self.takes += 1
        self.emptied.set()
        if len(waiting) == 1:
            return waiting[0]
        return [reading for readings in waiting for reading in readings]


def _room(reading: Poll) -> int:
    if isinstance(reading, Sample):
        return 1
    if isinstance(reading, Waveform):
        return 1 + len(reading) // _VALUES_A_READING
    return len(reading)
