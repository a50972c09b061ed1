"""Everything between drivers and pipeline: who is read when, and what happens when it fails.

1. Every device has its own named task, back-off and state; none can end or delay another.
2. A poll keeps its phase: slot n is due n intervals after the first. A slot that is over before
   it could begin is counted and left out, never made up for.
3. Back-off doubles up to 30 s, with jitter, and never gives up.
4. A device is up only while data flows: a connection that brings nothing is degraded.
5. The queue to the consumer is bounded. While it is full, polls leave out their slots and
   subscriptions are not taken from (their driver drops its oldest and counts them).
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

from edge_agent.clock import NS_PER_S, Clock, DeviceClock
from edge_agent.drivers import DRIVERS
from edge_agent.drivers.base import (
    DeviceConfig,
    Driver,
    Lines,
    Lossy,
    Polled,
    Reading,
    SharesLine,
)
from edge_agent.drivers.history import Backfill
from edge_agent.errors import DeviceError, NoAnswer
from edge_agent.readings import Event, Waveform

_BACKOFF_FIRST_S = 0.5
_BACKOFF_CAP_S = 30.0
_WATCH_S = 1.0
_MAX_EVENTS = 10_000
_VALUES_A_READING = 64  # an array takes the room of one reading for so many values
_log = logging.getLogger(__name__)


class DeviceState(StrEnum):
    """What the data of a device say about it."""

    CONNECTING = "connecting"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(slots=True)
class DeviceStatus:
    """One device as seen from here; times are UTC [ns].

    Args:
        since_ns: when ``state`` began.
        last_data_ns: when the newest usable reading was received, None before the first.
        polls: polls that were answered, or deliveries of a subscription.
        overruns: poll slots left out and readings dropped because somebody was too slow.
        errors: sessions that ended with an error, crashes of the driver included.
        last_error: what ended the last of them.
        reconnects: sessions after the first.
    """

    device: str
    state: DeviceState = DeviceState.CONNECTING
    since_ns: int = 0
    last_data_ns: int | None = None
    polls: int = 0
    overruns: int = 0
    errors: int = 0
    last_error: str = ""
    reconnects: int = 0


class Backoff:
    """Growing waits, 3 in the module's rules; ``jitter`` gives numbers in [0, 1)."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Begin with the shortest wait."""
        self._jitter = jitter
        self._limit_s = _BACKOFF_FIRST_S

    def next_s(self) -> float:
        """The next wait: between half of the current limit and all of it [s]."""
        wait_s = self._limit_s * (1 + self._jitter()) / 2
        self._limit_s = min(2 * self._limit_s, _BACKOFF_CAP_S)
        return wait_s

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._limit_s = _BACKOFF_FIRST_S


class Acquisition:
    """Runs all devices and hands their readings over.

    One task runs ``run``, another takes from ``batches``; both end by cancellation only.
    """

    def __init__(
        self,
        devices: Sequence[DeviceConfig],
        clock: Clock,
        *,
        jitter: Callable[[], float],
        queue_limit: int = 10_000,
    ) -> None:
        """Build the drivers of all enabled devices; nothing is opened yet.

        ``queue_limit`` bounds the readings waiting for ``batches``. Raises ConfigError when a
        device's tags cannot be planned.
        """
        self._clock = clock
        self._queue = _Queue(queue_limit)
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._settled_ns: int | None = None
        lines = Lines()
        self._devices = [
            _Device(config, _build(config, clock, lines), clock, jitter, self._events.append)
            for config in devices
            if config.enabled
        ]

    async def run(self) -> None:
        """Run every device until cancelled."""
        async with asyncio.TaskGroup() as group:
            for device in self._devices:
                group.create_task(device.supervise(self._queue), name=f"device:{device.name}")
            group.create_task(self._watch(), name="acquisition:watch")

    async def batches(self) -> AsyncIterator[Sequence[Reading]]:
        """Everything collected since the last step, at least one reading each time."""
        while True:
            yield await self._queue.take_all()

    def resume(self, since_ns: int) -> None:
        """Before ``run``: what devices recorded after this time [ns] was not received yet."""
        for device in self._devices:
            device.backfill.resume(since_ns)

    def settled_ns(self) -> int | None:
        """Time [ns] before which no device with history will tell more; None: nobody need wait.

        Called on the loop. It holds for what was taken from ``batches`` before the call.
        """
        if self._queue.size == 0:
            times = [device.backfill.settled_ns() for device in self._devices]
            self._settled_ns = min((time for time in times if time is not None), default=None)
        return self._settled_ns

    def status(self) -> Sequence[DeviceStatus]:
        """A snapshot of every enabled device, in the order of the configuration."""
        return [device.snapshot() for device in self._devices]

    def drain_events(self) -> list[Event]:
        """The events since the last call: ``device_state`` and ``device_overrun``."""
        events = list(self._events)
        self._events.clear()
        return events

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(_WATCH_S)
            for device in self._devices:
                device.review()


@dataclass(slots=True)
class _Queue:
    """The readings on their way to the consumer, bounded by ``limit``."""

    limit: int
    size: int = 0
    waiting: list[Sequence[Reading]] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_room(self) -> bool:
        return self.size < self.limit

    def put(self, readings: Sequence[Reading]) -> None:
        if readings:
            self.waiting.append(readings)
            self.size += sum(map(_room, readings))
            self.filled.set()

    async def wait_for_room(self) -> None:
        while not self.has_room:
            self.emptied.clear()
            await self.emptied.wait()

    async def take_all(self) -> Sequence[Reading]:
        await self.filled.wait()
        self.filled.clear()
        waiting, self.waiting, self.size = self.waiting, [], 0
        self.emptied.set()
        if len(waiting) == 1:
            return waiting[0]
        return [reading for readings in waiting for reading in readings]


class _Device:
    """One device: its driver, schedule, state and counters."""

    def __init__(
        self,
        config: DeviceConfig,
        driver: Driver | Polled,
        clock: Clock,
        jitter: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        self.name = config.id
        self._driver, self._clock, self._jitter, self._emit = driver, clock, jitter, emit
        self._interval_s: float = getattr(config, "interval_s", 0.0)
        self._stale_ns = round(max(3 * self._interval_s, config.stale_s) * NS_PER_S)
        self._status = DeviceStatus(config.id, since_ns=clock.utc_ns())
        self._backoff = Backoff(jitter)
        self._fresh_ns = clock.monotonic_ns()
        self._is_open = False
        self._told_overruns = 0
        self.backfill = Backfill(config, clock, emit)

    async def supervise(self, queue: _Queue) -> None:
        """Hold sessions for ever; the one place where a driver's crash ends."""
        while True:
            try:
                await self._session(queue)
            except DeviceError as error:
                self._failed(f"{type(error).__name__}: {error}")
            except asyncio.CancelledError as error:
                if _is_stopping():
                    raise
                self._failed(f"crash: {error!r}")  # a library's own cancellation, not ours
            except Exception as error:  # noqa: BLE001 (task edge: becomes a visible state)
                _log.error("driver_crashed %s", {"device": self.name}, exc_info=True)
                self._failed(f"crash: {error!r}")
            await self._clock.sleep(self._backoff.next_s())
            self._status.reconnects += 1

    def snapshot(self) -> DeviceStatus:
        """The status with the driver's own losses counted in."""
        return replace(self._status, overruns=self._overruns())

    def review(self) -> None:
        """Look at the age of the data, and report new overruns."""
        age_ns = self._clock.monotonic_ns() - self._fresh_ns
        if self._is_open and age_ns > self._stale_ns:
            self._become(DeviceState.DEGRADED, f"no usable data for {age_ns / NS_PER_S:.0f} s")
        count = self._overruns() - self._told_overruns
        if count:
            self._told_overruns += count
            self._tell("device_overrun", count=count)

    async def _session(self, queue: _Queue) -> None:
        async with self._driver as session:
            self._is_open = True
            self._fresh_ns = max(self._fresh_ns, self._clock.monotonic_ns())
            try:
                async with contextlib.aclosing(self.backfill.fill(session)) as told:
                    async for readings in told:
                        self._deliver(readings, queue)
                        await queue.wait_for_room()
                if isinstance(session, Polled):
                    await self._poll(session, queue)
                else:
                    await self._listen(session, queue)
            finally:
                self._is_open = False
                self.backfill.lost()

    async def _poll(self, session: Polled, queue: _Queue) -> None:
        interval_ns = max(1, round(self._interval_s * NS_PER_S))
        await self._clock.sleep(self._jitter() * min(self._interval_s, 1.0))  # spreads devices
        first_ns = self._clock.monotonic_ns()
        slot = 0
        while True:
            if queue.has_room:
                self._deliver(await session.read(), queue)
            else:
                self._status.overruns += 1
            now_ns = self._clock.monotonic_ns()
            following = max(slot + 1, -((first_ns - now_ns) // interval_ns))
            self._status.overruns += following - slot - 1
            slot = following
            await self._clock.sleep((first_ns + slot * interval_ns - now_ns) / NS_PER_S)

    async def _listen(self, session: Driver, queue: _Queue) -> None:
        async with contextlib.aclosing(session.samples()) as deliveries:
            async for readings in deliveries:
                self._deliver(readings, queue)
                await queue.wait_for_room()
        raise NoAnswer("the driver ended by itself")

    def _deliver(self, readings: Sequence[Reading], queue: _Queue) -> None:
        queue.put(readings)
        self.backfill.observe(readings)
        self._status.polls += 1
        if not any(_is_usable(reading) for reading in readings):
            return
        if isinstance(self._clock, DeviceClock):
            self._clock.observe(max(reading.time_ns for reading in readings))
        self._fresh_ns = self._clock.monotonic_ns()
        self._status.last_data_ns = self._clock.utc_ns()
        self._backoff.reset()
        self._become(DeviceState.UP, "data")

    def _failed(self, reason: str) -> None:
        self._status.errors += 1
        self._status.last_error = reason
        self._become(DeviceState.DOWN, reason)

    def _become(self, state: DeviceState, reason: str) -> None:
        if state is self._status.state:
            return
        self._status.state = state
        self._status.since_ns = self._clock.utc_ns()
        _log.info("device_state %s", {"device": self.name, "state": state, "reason": reason})
        self._tell("device_state", state=str(state), reason=reason)

    def _tell(self, kind: str, **fields: object) -> None:
        self._emit({"t": self._clock.utc_ns(), "type": kind, "device": self.name, **fields})

    def _overruns(self) -> int:
        lost = self._driver.dropped if isinstance(self._driver, Lossy) else 0
        return self._status.overruns + lost


def _build(config: DeviceConfig, clock: Clock, lines: Lines) -> Driver | Polled:
    make = cast("Callable[[DeviceConfig, Clock], Driver | Polled]", DRIVERS[config.driver])
    driver = make(config, clock)
    if isinstance(driver, SharesLine):
        driver.share(lines)
    return driver


def _is_stopping() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _is_usable(reading: Reading) -> bool:
    return isinstance(reading, Waveform) or reading.value is not None


def _room(reading: Reading) -> int:
    return 1 + len(reading) // _VALUES_A_READING if isinstance(reading, Waveform) else 1
