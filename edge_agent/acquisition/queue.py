"""The readings on their way from the devices to the pipeline: bounded, handed over by event."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.drivers.base import Poll
from edge_agent.readings import Sample, Waveform

_VALUES_A_READING = 64  # an array takes the room of one reading for so many values
Mark = tuple[str, bytes]
"""A device, and by what something that it sent is known, should it send it again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How far the queue was taken: the number of the last ``put``, and the marks since before."""

    place: int = 0
    marks: Sequence[Mark] = ()


@dataclass(slots=True)
class ReadingQueue:
    """Readings that nobody took yet; ``limit`` bounds them."""

    limit: int
    size: int = 0
    waiting: list[Sequence[Poll]] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    marks: list[Mark] = field(default_factory=list)
    puts: int = 0
    taken: Taken = field(default_factory=Taken)

    @property
    def has_room(self) -> bool:
        """False while the consumer is behind."""
        return self.size < self.limit

    def put(self, readings: Sequence[Poll], marks: Sequence[Mark] = ()) -> int:
        """Add what one poll or delivery brought; gives its place in the order of all."""
        if readings:
            self.puts += 1
            self.waiting.append(readings)
            self.marks += marks
            self.size += sum(map(_room, readings))
            self.filled.set()
        return self.puts

    async def wait_for_room(self) -> None:
        """Return when there is room."""
        while not self.has_room:
            self.emptied.clear()
            await self.emptied.wait()

    async def take_all(self) -> Sequence[Poll]:
        """Everything that waits, at least one reading; ``taken`` says how far that is."""
        await self.filled.wait()
        self.filled.clear()
        waiting, self.waiting, self.size = self.waiting, [], 0
        self.taken, self.marks = Taken(self.puts, self.marks), []
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
