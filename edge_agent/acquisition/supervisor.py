"""Everything between drivers and pipeline: who is read when, and what happens when it fails.

1. Every device has its own named task, back-off and state; none can end or delay another.
2. A poll keeps its phase (``schedule``). What is left out is counted and told, never made up for.
3. Back-off doubles up to 30 s, with jitter, and never gives up; on a shared line the breaker of
   each unit keeps the tries of silent ones within a tenth of the line's time (``breaker``).
4. A device is up only while data flows: a connection that brings nothing is degraded, and after a
   longer while its session is ended and made again.
5. The queue to the consumer is bounded. While it is full, polls leave out their slots and
   subscriptions are not taken from (their driver drops its oldest and counts them).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import cast

from edge_agent.acquisition.breaker import Buses
from edge_agent.acquisition.device import Device, Surroundings
from edge_agent.acquisition.queue import ReadingQueue, Taken
from edge_agent.acquisition.status import DeviceStatus
from edge_agent.clock import Clock
from edge_agent.drivers import DRIVERS
from edge_agent.drivers.base import DeviceConfig, Driver, Lines, Poll, Polled, SharesLine
from edge_agent.readings import Event
from edge_agent.supervision import Keeper

_WATCH_S = 1.0
_MAX_EVENTS = 10_000


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
        scans: bool = False,
        gather_s: float = 0.0,
    ) -> None:
        """Build the drivers of all enabled devices; nothing is opened yet.

        ``queue_limit`` bounds the values waiting for ``batches``; with ``scans`` values that were
        read together come as ``Scan`` where the driver can. ``gather_s`` is how long the first of
        them waits for others that are about to come [s]. Raises ConfigError when a device's
        tags cannot be planned.
        """
        self._clock, self._gather_s = clock, gather_s
        self._queue = ReadingQueue(queue_limit)
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._settled_ns: int | None = None
        self._keeper = Keeper(clock, jitter, self._events.append)
        around = Surroundings(clock, jitter, self._queue, self._events.append, scans)
        lines, buses = Lines(), Buses(clock)
        self._devices = [
            _device(config, lines, buses, around) for config in devices if config.enabled
        ]

    async def run(self) -> None:
        """Run every device until cancelled."""
        async with asyncio.TaskGroup() as group:
            for device in self._devices:
                name = f"device:{device.name}"
                group.create_task(self._keeper.keep(name, device.supervise))
            watch = "acquisition:watch"
            group.create_task(self._keeper.keep(watch, self._watch))

    async def batches(self) -> AsyncIterator[Sequence[Poll]]:
        """Everything collected since the last step, at least one reading each time."""
        while True:
            if self._gather_s:
                await self._queue.filled.wait()
                await self._clock.sleep(self._gather_s)
            yield await self._queue.take_all()

    def resume(self, since_ns: int, seen: Mapping[str, Sequence[bytes]] | None = None) -> None:
        """Before ``run``: where the last life ended.

        Args:
            since_ns: what devices recorded after this time [ns] was not received yet.
            seen: marks of what was kept, by device, oldest first.
        """
        for device in self._devices:
            device.backfill.resume(since_ns)
            device.receipts.remember((seen or {}).get(device.name, ()))

    @property
    def taken(self) -> Taken:
        """How far ``batches`` has taken what the devices delivered."""
        return self._queue.taken

    def kept(self, place: int) -> None:
        """Everything up to a place of ``taken`` is durable: senders may be told. On the loop."""
        for device in self._devices:
            device.receipts.kept(place)

    def settled_ns(self) -> int | None:
        """Time [ns] before which no device with history will tell more; None: nobody need wait.

        Called on the loop. It holds for what was taken from ``batches`` before the call. It ends
        with the patience for the devices even while nobody takes anything.
        """
        told = [device.backfill.settled_ns() for device in self._devices]
        times = [time for time in told if time is not None]
        if self._queue.size == 0 or not times:
            self._settled_ns = min(times, default=None)
        return self._settled_ns

    def status(self) -> Sequence[DeviceStatus]:
        """A snapshot of every enabled device, in the order of the configuration."""
        return [device.snapshot() for device in self._devices]

    @property
    def restarts(self) -> int:
        """How often a task of the supervisor itself crashed and was started again."""
        return self._keeper.restarts.total()

    def drain_events(self) -> list[Event]:
        """The events since the last call.

        ``device_state``, ``device_overrun``, ``device_renewed`` and ``task_restarted``.
        """
        events: list[Event] = []
        while self._events:
            events.append(self._events.popleft())
        return events

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(_WATCH_S)
            for device in self._devices:
                device.review()


def _device(config: DeviceConfig, lines: Lines, buses: Buses, around: Surroundings) -> Device:
    """A device with its driver, on its bus when it shares a line."""
    kind = cast("Callable[[DeviceConfig, Clock], Driver | Polled]", DRIVERS[config.driver])
    keys: set[object] = set()

    def make() -> Driver | Polled:
        driver = kind(config, around.clock)
        if isinstance(driver, SharesLine):
            keys.update(lines.joined(driver))
        return driver

    driver = make()
    bus = buses.of(frozenset(keys)) if keys else None
    first = iter((driver,))
    return Device(config, lambda: next(first, None) or make(), bus, around)
