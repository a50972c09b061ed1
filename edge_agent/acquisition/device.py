"""One device: its sessions, schedule, state and counters."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from edge_agent.acquisition.breaker import Bus
from edge_agent.acquisition.queue import Mark, ReadingQueue
from edge_agent.acquisition.receipts import Receipts
from edge_agent.acquisition.schedule import Schedule
from edge_agent.acquisition.status import DeviceState, DeviceStatus
from edge_agent.clock import NS_PER_S, Clock, DeviceClock
from edge_agent.drivers.base import (
    DeviceConfig,
    Driver,
    Lossy,
    Poll,
    Polled,
    Receipted,
    Scanner,
)
from edge_agent.drivers.history import Backfill
from edge_agent.errors import ConfigError, DeviceError, NoAnswer
from edge_agent.readings import BAD_COMMS, Event, Sample
from edge_agent.supervision import Backoff, finished

_SPREAD_S = 10.0  # devices with long intervals begin within this time
_GRID_NS = 100_000_000
_LEAVE_NS = 10 * NS_PER_S
_TELL_LOSS_NS = 60 * NS_PER_S  # from one event of a reason to the next
Read = Callable[[frozenset[str] | None], Awaitable[Sequence[Poll]]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the devices of one supervisor share."""

    clock: Clock
    jitter: Callable[[], float]
    queue: ReadingQueue
    emit: Callable[[Event], None]
    takes_scans: bool = False


@dataclass(slots=True)
class _Loss:
    """Slots and readings lost for one reason since they were last reported."""

    count: int = 0
    first_ns: int = 0
    last_ns: int = 0


class Device:
    """Holds sessions with one device for ever; nothing that happens in them ends it.

    ``make`` builds the driver, once, and again only if a session cannot even be cancelled.
    """

    def __init__(
        self,
        config: DeviceConfig,
        make: Callable[[], Driver | Polled],
        bus: Bus | None,
        around: Surroundings,
    ) -> None:
        """Build the driver; nothing is opened yet."""
        self.name = config.id
        self._make, self._bus, self._around = make, bus, around
        self._clock = around.clock
        self._driver = make()
        self._tags = [tag.id for tag in config.tags]
        self._schedule = Schedule(config.tags, getattr(config, "interval_s", 1.0))
        self._stale_ns = round(config.degraded_s * NS_PER_S)
        self._renew_ns = config.renewed_s * NS_PER_S
        self._status = DeviceStatus(config.id, since_ns=self._clock.utc_ns())
        self._backoff = Backoff(around.jitter)
        self._fresh_ns = self._clock.monotonic_ns()
        self._is_open = self._is_queued = False
        self._losses: dict[str, _Loss] = {}
        self._told_loss_ns: dict[str, int] = {}
        self._told_dropped = 0
        self._session_task: asyncio.Task[None] | None = None
        self._renewed_ns: int | None = None
        self._gave_up = asyncio.Event()
        self._hung: set[asyncio.Task[None]] = set()
        self.receipts = Receipts(self._driver)
        self.backfill = Backfill(config, around.clock, around.emit)

    async def supervise(self) -> None:
        """Hold sessions for ever; the one place where a driver's crash ends."""
        while True:
            await self._hold_session()
            await self._clock.sleep(self._backoff.next_s())
            self._status.reconnects += 1

    def snapshot(self) -> DeviceStatus:
        """The status with the driver's own losses counted in."""
        return replace(self._status, overruns=self._status.overruns + self._dropped())

    def review(self) -> None:
        """Look at the age of the data, end a session that brings none, report losses."""
        now_ns = self._clock.monotonic_ns()
        if not self._around.queue.has_room:
            self._fresh_ns = now_ns  # it is not asked because of us: that is no silence of its own
        age_ns = now_ns - self._fresh_ns
        if self._is_open and not self._is_queued and age_ns > self._stale_ns:
            self._become(DeviceState.DEGRADED, f"no usable data for {age_ns / NS_PER_S:.0f} s")
        if self._session_task is not None and not self._is_queued:
            self._renew(now_ns, age_ns)
        if new := self._dropped() - self._told_dropped:
            self._told_dropped += new
            self._lose("dropped", new)
        for reason, loss in list(self._losses.items()):
            if now_ns - self._told_loss_ns.get(reason, -_TELL_LOSS_NS) < _TELL_LOSS_NS:
                continue
            self._told_loss_ns[reason] = now_ns
            span = {"from": loss.first_ns, "to": loss.last_ns}
            self._tell("device_overrun", count=loss.count, reason=reason, **span)
            del self._losses[reason]

    def _renew(self, now_ns: int, age_ns: int) -> None:
        """The watchdog's action: cancel the session, and leave it behind if that does nothing."""
        if self._renewed_ns is not None:
            if now_ns - self._renewed_ns > _LEAVE_NS:
                self._gave_up.set()
        elif age_ns > self._renew_ns and self._session_task is not None:
            self._renewed_ns = now_ns
            self._status.renewals += 1
            self._tell("device_renewed", age_s=round(age_ns / NS_PER_S))
            self._session_task.cancel()

    async def _hold_session(self) -> None:
        self._renewed_ns = None
        self._gave_up.clear()
        self._fresh_ns = self._clock.monotonic_ns()
        self._session_task = task = asyncio.create_task(
            self._session(), name=f"session:{self.name}"
        )
        hopeless = asyncio.create_task(self._gave_up.wait(), name=f"hopeless:{self.name}")
        try:
            await finished(task, hopeless)
        finally:
            hopeless.cancel()
            self._session_task = None
        if task.done():
            self._failed(self._reason(task))
            self._tell_tags()
            return
        self._hung.add(task)
        task.add_done_callback(self._hung.discard)
        self._failed("crash: the driver does not let go of its session")
        self._driver = self._make()
        self.receipts.succeed(self._driver)

    def _reason(self, task: asyncio.Task[None]) -> str:
        if self._renewed_ns is not None:
            return f"no usable data for {self._renew_ns / NS_PER_S:.0f} s: session made again"
        if task.cancelled():
            return "crash: CancelledError()"  # a library's own cancellation, not ours
        error = task.exception()
        if isinstance(error, DeviceError | ConfigError):  # a password file that is not there
            return f"{type(error).__name__}: {error}"
        _log.error("driver_crashed %s", {"device": self.name}, exc_info=error)
        return f"crash: {error!r}"

    async def _session(self) -> None:
        async with self._driver as session:
            self._is_open = True
            self._fresh_ns = max(self._fresh_ns, self._clock.monotonic_ns())
            try:
                async with contextlib.aclosing(self.backfill.fill(session)) as told:
                    async for readings in told:
                        self._deliver(readings)
                        await self._around.queue.wait_for_room()
                if isinstance(session, Polled):
                    await self._poll(session)
                else:
                    await self._listen(session)
            finally:
                self._is_open = False
                self.backfill.lost()

    async def _poll(self, session: Polled) -> None:
        schedule = self._schedule
        read: Read = session.read
        if self._around.takes_scans and isinstance(session, Scanner):
            read = session.scan
        if self._status.state is DeviceState.DOWN and self._bus is not None:
            await self._try_alone(read, self._bus)
        else:
            schedule.start(first_ns := self._first_slot_ns())
            await self._clock.sleep((first_ns - self._clock.monotonic_ns()) / NS_PER_S)
        while True:
            now_ns = self._clock.monotonic_ns()
            if (wait_ns := schedule.next_ns() - now_ns) > 0:
                await self._clock.sleep(wait_ns / NS_PER_S)
                now_ns = self._clock.monotonic_ns()
            due, missed = schedule.take(now_ns)
            if missed:
                self._lose("slow", missed)
            if self._around.queue.has_room:
                self._deliver(await read(schedule.due_tags(due)))
                ended_ns = self._clock.monotonic_ns()
                self._status.latency_s = (ended_ns - now_ns) / NS_PER_S
            else:
                self._lose("queue", len(due))
                ended_ns = self._clock.monotonic_ns()
            if missed := schedule.done(due, ended_ns):
                self._lose("slow", missed)

    def _first_slot_ns(self) -> int:
        """Staggered at the first session; on a grid, so that devices share the loop's wake-ups."""
        base_ns, fastest_s = self._clock.monotonic_ns(), self._schedule.fastest_s
        if not self._status.reconnects:
            base_ns += round(self._around.jitter() * min(fastest_s, _SPREAD_S) * NS_PER_S)
        grid_ns = _GRID_NS if fastest_s * NS_PER_S >= 4 * _GRID_NS else 1
        return -(-base_ns // grid_ns) * grid_ns

    async def _try_alone(self, read: Read, bus: Bus) -> None:
        """The first poll after a failure, when the line's breaker lets this device try."""
        self._is_queued = True
        try:
            async with bus.turn(self.name) as attempt:
                self._is_queued = False
                self._fresh_ns = began_ns = self._clock.monotonic_ns()
                self._schedule.start(began_ns)
                due, _ = self._schedule.take(began_ns)
                self._deliver(await read(None))
                attempt.is_answered = True
        finally:
            self._is_queued = False
        self._schedule.done(due, self._clock.monotonic_ns())

    async def _listen(self, session: Driver) -> None:
        receipted = session if isinstance(session, Receipted) else None
        async with contextlib.aclosing(session.samples()) as deliveries:
            async for readings in deliveries:
                marks = receipted.marks() if receipted else ()
                place = self._deliver(readings, [(self.name, mark) for mark in marks])
                if receipted:
                    self.receipts.delivered(place, session, marks)
                await self._around.queue.wait_for_room()
        raise NoAnswer("the driver ended by itself")

    def _deliver(self, readings: Sequence[Poll], marks: Sequence[Mark] = ()) -> int:
        place = self._around.queue.put(readings, marks)
        self.backfill.observe(readings)
        self._status.polls += 1
        if any(_is_usable(reading) for reading in readings):
            self._tell_fresh(readings)
        return place

    def _tell_fresh(self, readings: Sequence[Poll]) -> None:
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

    def _tell_tags(self) -> None:
        """One reading without a value for each tag that was to be polled: no communication."""
        now_ns = self._clock.utc_ns()
        if isinstance(self._driver, Polled) and self._around.queue.has_room and now_ns > 0:
            self._around.queue.put([Sample(tag, now_ns, None, BAD_COMMS) for tag in self._tags])

    def _become(self, state: DeviceState, reason: str) -> None:
        if state is self._status.state:
            return
        self._status.state = state
        self._status.since_ns = self._clock.utc_ns()
        if self._bus is not None:
            self._bus.note(self.name, is_up=state is DeviceState.UP)
        _log.info("device_state %s", {"device": self.name, "state": state, "reason": reason})
        self._tell("device_state", state=str(state), reason=reason)

    def _lose(self, reason: str, count: int) -> None:
        """Slots left out (``slow``, ``queue``) or readings lost by the driver (``dropped``)."""
        now_ns = self._clock.utc_ns()
        loss = self._losses.setdefault(reason, _Loss(first_ns=now_ns))
        loss.count += count
        loss.last_ns = now_ns
        if reason != "dropped":
            self._status.overruns += count

    def _tell(self, kind: str, **fields: object) -> None:
        self._around.emit({"t": self._clock.utc_ns(), "type": kind, "device": self.name, **fields})

    def _dropped(self) -> int:
        return self._driver.dropped if isinstance(self._driver, Lossy) else 0


def _is_usable(reading: Poll) -> bool:
    return not isinstance(reading, Sample) or reading.value is not None
