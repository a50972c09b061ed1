"""Where time comes from: the one place that reads a clock.

``SystemClock`` is the production clock. ``DeviceClock`` takes its UTC from the newest source
timestamp the devices delivered: for simulations that run faster than real time, and replays.
``ClockTable`` remembers which monotonic time belonged to which UTC, so that a step of the wall
clock shows in every batch made across it.
"""

import asyncio
import ctypes
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class Synchronisation:
    """What is known of a clock's agreement with its reference.

    ``offset_ns`` is the remaining offset that is being worked off, ``error_ns`` the maximum
    error as the system estimates it; both are 0 where nothing is known.
    """

    is_synchronised: bool = False
    offset_ns: int = 0
    error_ns: int = 0


class Clock(Protocol):
    """UTC and monotonic time, and a way to wait; injected wherever time matters."""

    def utc_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never steps and counts suspend."""
        ...

    def synchronisation(self) -> Synchronisation:
        """How far UTC agrees with its reference."""
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

    def synchronisation(self) -> Synchronisation:
        """The kernel's own state, which chrony, ntpd and systemd-timesyncd keep up."""
        return kernel_synchronisation()

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

    def synchronisation(self) -> Synchronisation:
        """Nothing is known of the devices' clocks."""
        return Synchronisation()


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2) up to the fields that are read, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_STA_UNSYNC = 0x0040
_STA_NANO = 0x2000


def kernel_synchronisation() -> Synchronisation:
    """The kernel's clock state by adjtimex(2), read only; unknown where there is no such call."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return Synchronisation()
    state = _Timex()
    code = adjtimex(ctypes.byref(state))
    if code < 0:
        return Synchronisation()
    return synchronisation_of(code, state.status, state.offset, state.maxerror)


def synchronisation_of(code: int, status: int, offset: int, max_error_us: int) -> Synchronisation:
    """What adjtimex's answer means.

    Args:
        code: return value; 5 (TIME_ERROR) is a clock that nobody keeps.
        status: status bits; STA_NANO says that the offset is in ns, else in microseconds.
        offset: remaining offset.
        max_error_us: maximum error [us].
    """
    unit = 1 if status & _STA_NANO else NS_PER_US
    is_synchronised = code != _TIME_ERROR and not status & _STA_UNSYNC
    return Synchronisation(is_synchronised, offset * unit, max_error_us * NS_PER_US)


_TABLE_SPACING_NS = 10 * NS_PER_S
_TABLE_SPAN_NS = 26 * 3600 * NS_PER_S


@dataclass(slots=True)
class ClockTable:
    """Pairs of UTC and monotonic time as they stood together, for the last 26 hours of UTC.

    After a step back the older pairs from the new time on are dropped: a time that happened
    twice means its second occurrence.
    """

    utc_ns: list[int] = field(default_factory=list)
    mono_ns: list[int] = field(default_factory=list)

    def note(self, utc_ns: int, mono_ns: int) -> None:
        """What both clocks say now; kept about every ten seconds, and always across a step."""
        if self.utc_ns and self._is_expected(utc_ns, mono_ns):
            return
        keep = bisect_left(self.utc_ns, utc_ns)
        first = bisect_left(self.utc_ns, utc_ns - _TABLE_SPAN_NS, hi=keep)
        self.utc_ns[:] = [*self.utc_ns[first:keep], utc_ns]
        self.mono_ns[:] = [*self.mono_ns[first:keep], mono_ns]

    def mono_at(self, utc_ns: int) -> int:
        """Monotonic time when UTC was this, by the pair nearest in UTC.

        For a minute that a step fell into that is the pair of the time it belongs to.

        Raises:
            LookupError: nothing was noted yet.
        """
        if not self.utc_ns:
            message = "no pair of clocks was noted yet"
            raise LookupError(message)
        behind = bisect_right(self.utc_ns, utc_ns)
        pairs = range(max(behind - 1, 0), min(behind + 1, len(self.utc_ns)))
        place = min(pairs, key=lambda one: abs(utc_ns - self.utc_ns[one]))
        return self.mono_ns[place] + utc_ns - self.utc_ns[place]

    def _is_expected(self, utc_ns: int, mono_ns: int) -> bool:
        since_ns = utc_ns - self.utc_ns[-1]
        drift_ns = since_ns - (mono_ns - self.mono_ns[-1])
        return 0 <= since_ns < _TABLE_SPACING_NS and abs(drift_ns) < NS_PER_S // 1000


class StepWatch:
    """Sees the wall clock move against the monotonic one; ``steps`` counts since the start."""

    def __init__(self, limit_ns: float | None) -> None:
        """Moves of more than this are steps; None switches the watch off."""
        self.steps = 0
        self._limit_ns = limit_ns
        self._offset_ns: int | None = None

    def step_ns(self, utc_ns: int, mono_ns: int) -> int:
        """How far UTC stepped since the last call; 0 when it did not."""
        offset_ns = utc_ns - mono_ns
        before, self._offset_ns = self._offset_ns, offset_ns
        if self._limit_ns is None or before is None or abs(offset_ns - before) <= self._limit_ns:
            return 0
        self.steps += 1
        return offset_ns - before
