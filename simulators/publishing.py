"""Brings measured blocks to the OPC UA server, as single samples or as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from simulators.measuring_faults import Fault, FaultKind, Published

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulators.opcua_server import PotlineServer
    from simulators.physics.potline import PotlineBlock
    from simulators.truth import Period, TruthWriter


class Publisher(Protocol):
    """Publishes one block after another, without gaps."""

    async def publish(self, block: PotlineBlock, measured: Published) -> None:
        """Publish this block; ``measured`` is the same block as it was measured."""


class StatusPublisher:
    """Writes a pot's status when it changes, with the time of the change."""

    def __init__(self, server: PotlineServer, period: Period) -> None:
        self._server = server
        self._period = period
        self._last: NDArray[np.int8] | None = None

    async def publish(self, block: PotlineBlock) -> None:
        """Write all changes in this block; in the first block, the status at its start as well."""
        known = np.full(len(block.status), -1, np.int8) if self._last is None else self._last
        before = np.concatenate([known[:, None], block.status[:, :-1]], axis=1)
        for pot, second in np.argwhere(before != block.status):
            time_ns = self._period.at(block.start + int(second))
            await self._server.write_status(int(pot), time_ns, int(block.status[pot, second]))
        self._last = block.status[:, -1].copy()


class ScalarPublisher:
    """One write a pot and second; doubled samples are written twice, shuffled ones after their successor."""

    def __init__(self, server: PotlineServer, period: Period, truth: TruthWriter) -> None:
        self._server = server
        self._period = period
        self._truth = truth
        self._status = StatusPublisher(server, period)
        self._held: dict[int, tuple[int, float]] = {}

    async def publish(self, block: PotlineBlock, measured: Published) -> None:
        """Publish all seconds of the block in order."""
        await self._status.publish(block)
        deliveries = {(fault.start, fault.pot): fault for fault in measured.deliveries}
        for fault in measured.deliveries:
            self._truth.add_fault(fault.pot, fault.kind.value, fault.start, fault.end)
        for index in range(block.seconds):
            second = block.start + index
            time_ns = self._period.at(second)
            await self._server.write_current(time_ns, float(block.current_ka[index]))
            bad = measured.bad[:, index]
            for pot, volts in enumerate(measured.voltage[:, index].tolist()):
                if bad[pot]:
                    await self._server.write_bad_voltage(pot, time_ns)
                elif volts == volts:  # noqa: PLR0124 - false for NaN, and fast
                    await self._sample(pot, time_ns, volts, deliveries.get((second, pot)))

    async def _sample(self, pot: int, time_ns: int, volts: float, fault: Fault | None) -> None:
        """Write one sample, or hold it back until the next one of the pot."""
        if fault is not None and fault.kind is FaultKind.SHUFFLE and pot not in self._held:
            self._held[pot] = (time_ns, volts)
            return
        await self._server.write_voltage(pot, time_ns, volts)
        if fault is not None and fault.kind is FaultKind.DUPLICATE:
            await self._server.write_voltage(pot, time_ns, volts)
        if pot in self._held:
            await self._server.write_voltage(pot, *self._held.pop(pot))


class BlockPublisher:
    """One array a pot and block.

    A shuffled block comes in two halves, the later one first. Doubled data comes either as the whole last
    block again before the new one (``resend``), or as its last seconds in front of the new one (``overlap``).
    """

    def __init__(self, server: PotlineServer, period: Period, truth: TruthWriter) -> None:
        self._server = server
        self._period = period
        self._truth = truth
        self._status = StatusPublisher(server, period)
        self._last: Published | None = None

    async def publish(self, block: PotlineBlock, measured: Published) -> None:
        """Publish status changes, line current, then every pot."""
        await self._status.publish(block)
        first_ns = self._period.at(block.start)
        await self._server.write_current_block(first_ns, block.current_ka.tolist())
        deliveries = {fault.pot: fault for fault in measured.deliveries}
        for pot, volts in enumerate(measured.voltage):
            fault = deliveries.get(pot)
            if fault is None:
                await self._write(pot, block.start, volts)
            elif fault.kind is FaultKind.SHUFFLE:
                await self._shuffled(pot, block.start, volts)
            else:
                await self._doubled(fault, block.start, volts)
        self._last = measured

    async def _write(self, pot: int, start: int, volts: NDArray[np.float32]) -> None:
        await self._server.write_voltage_block(pot, self._period.at(start), volts.tolist())

    async def _shuffled(self, pot: int, start: int, volts: NDArray[np.float32]) -> None:
        middle = len(volts) // 2
        if middle:
            await self._write(pot, start + middle, volts[middle:])
            await self._write(pot, start, volts[:middle])
            self._truth.add_fault(pot, "shuffle", start, start + len(volts))
        else:
            await self._write(pot, start, volts)

    async def _doubled(self, fault: Fault, start: int, volts: NDArray[np.float32]) -> None:
        if self._last is None:
            await self._write(fault.pot, start, volts)
            return
        earlier = self._last.voltage[fault.pot]
        if fault.repeat_s:
            again = earlier[-fault.repeat_s :]
            await self._write(fault.pot, start - len(again), np.concatenate([again, volts]))
            self._truth.add_fault(fault.pot, "overlap", start - len(again), start)
        else:
            await self._write(fault.pot, self._last.start, earlier)
            await self._write(fault.pot, start, volts)
            self._truth.add_fault(fault.pot, "resend", self._last.start, start)
