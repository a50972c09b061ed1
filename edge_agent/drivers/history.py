"""Filling a gap from a device's own history: what a driver must offer, and when it is asked.

1. While a device with history is away, ``settled_ns`` stays at the newest time it delivered, so
   that accounting waits for it, at most ``hold_s``.
2. When the device is back, the stretch since then is asked slice by slice and handed over before
   the first live reading. ``settled_ns`` follows the slices.
3. A tag whose last reading was bad is asked for from its own last good reading on.
4. What comes from history carries the reason HISTORY; how much came is an event of the batch.
5. A history that cannot be read costs nothing but itself: the gap stays a gap.
"""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import DeviceConfig, Poll, Reading, Seconds, Tag
from edge_agent.readings import Event, Quality, Reason, Sample, Scan, Waveform

_OVERLAP_NS = 5 * NS_PER_S  # tags of one device do not arrive in step; repeats are harmless
_AHEAD_NS = 300 * NS_PER_S  # a server's clock may be ahead by as much as the pipeline accepts


class HistoryConfig(BaseModel):
    """How far and how long a device's history is used.

    Args:
        max_gap_s: longest stretch that is asked for, counted back from the reconnection [s].
        hold_s: how long accounting waits for a device that is away or still telling [s].
        slice_s: stretch asked for at a time [s].
        page: most values of a tag in one answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    max_gap_s: Seconds = 86_400.0
    hold_s: Seconds = 600.0
    slice_s: Seconds = 600.0
    page: int = Field(default=1_000, ge=1, le=10_000)


@runtime_checkable
class HistoryReader(Protocol):
    """A driver that can say what happened between two times."""

    def history(
        self, starts_ns: Mapping[str, int], end_ns: int
    ) -> AsyncGenerator[Sequence[Reading], None]:
        """Readings of each tag id from its start on, up to ``end_ns``, rising in time for a tag.

        A tag without history is left out. Raises DeviceError when the connection is lost.
        """
        ...

    @property
    def heard_ns(self) -> int:
        """UTC [ns] up to which all that happened was handed over."""
        ...


class Backfill:
    """One device's gaps; without a configuration it does nothing."""

    def __init__(
        self, device: DeviceConfig, clock: Clock, emit: Callable[[Event], None] | None = None
    ) -> None:
        """Begin with nothing known; the ``history`` of ``device`` says how far to go."""
        self._name = device.id
        self._tags: Sequence[Tag] = device.tags
        self._config: HistoryConfig | None = getattr(device, "history", None)
        self._clock = clock
        self._emit = emit
        self._good: dict[str, int] = {}
        self._bad: set[str] = set()
        self._newest_ns = 0
        self._settled_ns = 0
        self._waiting_since_ns: int | None = clock.monotonic_ns()
        self._reader: HistoryReader | None = None

    def resume(self, since_ns: int) -> None:
        """Nothing after this time [ns] was received yet: called once, before the first session."""
        if since_ns > 0:
            self._newest_ns = self._settled_ns = since_ns

    def observe(self, readings: Sequence[Poll]) -> None:
        """Take note of what was received."""
        if self._config is None:
            return
        limit_ns = self._clock.utc_ns() + _AHEAD_NS
        for reading in readings:
            if isinstance(reading, Scan):
                continue  # no driver with history reads scans
            end_ns = _end_ns(reading)
            if end_ns > limit_ns:
                continue
            if isinstance(reading, Sample) and reading.value is None:
                self._bad.add(reading.tag)
                continue
            self._bad.discard(reading.tag)
            self._good[reading.tag] = max(end_ns, self._good.get(reading.tag, 0))
            self._newest_ns = max(self._newest_ns, end_ns)

    def lost(self) -> None:
        """The session ended: a gap begins, or goes on."""
        self._reader = None
        if self._waiting_since_ns is None:
            self._settled_ns = self._newest_ns - _OVERLAP_NS
            self._waiting_since_ns = self._clock.monotonic_ns()

    def settled_ns(self) -> int | None:
        """Time before which nothing more will come [ns]; None when nobody need wait."""
        if self._config is None or not self._newest_ns:
            return None
        if self._waiting_since_ns is None:
            return self._reader.heard_ns if self._reader is not None else None
        waited_ns = self._clock.monotonic_ns() - self._waiting_since_ns
        return self._settled_ns if waited_ns <= self._config.hold_s * NS_PER_S else None

    async def fill(self, session: object) -> AsyncGenerator[Sequence[Reading], None]:
        """What the device says about the gap before this session; then the gap is closed.

        Raises DeviceError when the connection is lost meanwhile.
        """
        if self._config is None or not isinstance(session, HistoryReader):
            self._waiting_since_ns = None
            return
        self._reader = session
        if self._newest_ns:
            async with contextlib.aclosing(self._slices(session, self._config)) as slices:
                async for readings in slices:
                    yield readings
        self._waiting_since_ns = None

    async def _slices(
        self, reader: HistoryReader, config: HistoryConfig
    ) -> AsyncGenerator[Sequence[Reading], None]:
        now_ns = self._clock.utc_ns()
        earliest_ns = now_ns - round(config.max_gap_s * NS_PER_S)
        starts = {tag.id: self._start_ns(tag.id, earliest_ns) for tag in self._tags}
        begin_ns, slice_ns, count = min(starts.values()), round(config.slice_s * NS_PER_S), 0
        told: set[str] = set()
        at_ns = begin_ns
        while at_ns < (now_ns := self._clock.utc_ns()):  # telling takes time, too
            stop_ns = at_ns + slice_ns if at_ns + slice_ns < now_ns else now_ns + _AHEAD_NS
            due = {tag: max(at_ns, start) for tag, start in starts.items() if start < stop_ns}
            async with contextlib.aclosing(reader.history(due, stop_ns)) as pages:
                async for readings in pages:
                    count += len(readings)
                    told.update(reading.tag for reading in readings)
                    yield [_marked(reading) for reading in readings]
            at_ns = stop_ns
            self._settled_ns = max(self._settled_ns, min(at_ns, now_ns))
            self._waiting_since_ns = self._clock.monotonic_ns()  # it is telling: keep waiting
        self._tell(begin_ns, now_ns, count, sorted(told))

    def _start_ns(self, tag: str, earliest_ns: int) -> int:
        if tag in self._bad:
            last_ns = self._good.get(tag, self._newest_ns)
        else:
            last_ns = self._newest_ns - _OVERLAP_NS
        return max(last_ns + 1, earliest_ns)

    def _tell(self, begin_ns: int, end_ns: int, count: int, tags: list[str]) -> None:
        if self._emit is not None and end_ns > begin_ns:
            span = {"from": begin_ns, "to": end_ns, "count": count, "tags": len(tags)}
            self._emit({"t": self._clock.utc_ns(), "type": "history", "device": self._name, **span})


def _end_ns(reading: Reading) -> int:
    if isinstance(reading, Waveform):
        return reading.time_ns + (len(reading) - 1) * reading.period_ns
    return reading.time_ns


def _marked(reading: Reading) -> Reading:
    """The reading with the reason HISTORY; a bad one keeps its own reason, an array has none."""
    if isinstance(reading, Waveform) or reading.value is None:
        return reading
    quality = Quality.of(reading.quality.severity, Reason.HISTORY)
    return dataclasses.replace(reading, quality=quality)
