"""Where time comes from: the one place that reads a clock.

``SystemClock`` is the production clock. ``DeviceClock`` takes its UTC from the newest source
timestamp the devices delivered: for simulations that run faster than real time, and replays.
"""

import asyncio
import time
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """UTC and monotonic time, and a way to wait; injected wherever time matters."""

    def utc_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never steps and counts suspend."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of the monotonic clock."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def utc_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return time.time_ns()  # noqa: TID251  the one place

    def monotonic_ns(self) -> int:
        """Boot-time clock where the system has one (it counts suspend), in ns."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        await asyncio.sleep(seconds)


class DeviceClock(SystemClock):
    """UTC is the newest source timestamp seen; waiting and monotonic time stay the system's."""

    def __init__(self) -> None:
        self._newest_ns = 0

    def observe(self, time_ns: int) -> None:
        """Take note of a device's timestamp; an older one changes nothing."""
        self._newest_ns = max(self._newest_ns, time_ns)

    def utc_ns(self) -> int:
        """Newest source timestamp seen, or 0 before the first."""
        return self._newest_ns
