"""The breaker of a shared line: units that are silent are tried alone and cost little.

A unit that does not answer holds its line for its whole time-out. The first try of every unit is
free. After a failure the breaker of that unit is open, and while any neighbour on the line is up,

    B1  one open unit of a line is tried at a time, in the order in which they became due;
    B2  after a try that failed the line rests from tries for so long that all failed tries
        together take at most a tenth of its time (the budget of the bus);
    B3  a try that is answered closes the unit's breaker and costs no rest.

When no neighbour is up nobody can be hurt, and only the unit's own back-off holds.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edge_agent.clock import NS_PER_S, Clock

_SHARE = 0.1


@dataclass(slots=True)
class Try:
    """One try of a unit; set ``is_answered`` when it was."""

    is_answered: bool = False


@dataclass(slots=True)
class Bus:
    """One line and its units: who is up, and when the next silent one may be tried."""

    clock: Clock
    up: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_ns: int = 0

    def note(self, device: str, *, is_up: bool) -> None:
        """A device of the line came up, or went down."""
        if is_up:
            self.up.add(device)
        else:
            self.up.discard(device)

    def has_living(self, besides: str) -> bool:
        """True when a device other than ``besides`` is up on the line."""
        return bool(self.up - {besides})

    @asynccontextmanager
    async def turn(self, device: str) -> AsyncIterator[Try]:
        """A turn to try a silent device; waits for it as the module's rules say."""
        attempt = Try()
        if not self.has_living(device):
            yield attempt
            return
        async with self.lock:  # B1
            while self.has_living(device) and (wait_ns := self._rest_ns()) > 0:
                await self.clock.sleep(wait_ns / NS_PER_S)
            began_ns = self.clock.monotonic_ns()
            try:
                yield attempt
            finally:
                ended_ns = self.clock.monotonic_ns()
                if not attempt.is_answered:  # B2
                    self.free_ns = ended_ns + round((ended_ns - began_ns) * (1 / _SHARE - 1))

    def _rest_ns(self) -> int:
        return self.free_ns - self.clock.monotonic_ns()


class Buses:
    """The buses of one supervisor by line."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock = clock
        self._buses: dict[Hashable, Bus] = {}

    def of(self, key: Hashable) -> Bus:
        """The bus of a line."""
        return self._buses.setdefault(key, Bus(self._clock))
