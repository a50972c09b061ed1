"""The meters behind a real Modbus TCP server: one port, four units, read only.

Unit ids, word orders and addresses stand in ``registers``. All registers of all units change at once with
respect to reads: everything happens in one event loop, and neither the update nor a read waits inside.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from simulators.registers import FIRST_VALUE_REGISTER, REGISTER_COUNT, UNIT_ORDERS, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pymodbus.constants import ExcCodes

HOST = "127.0.0.1"


class _Unit:
    """Registers of one unit, handed to the server when they are read."""

    def __init__(self, unit: int, on_read: Callable[[int], None]) -> None:
        self.words: Words = [0] * REGISTER_COUNT
        self._unit = unit
        self._on_read = on_read

    async def action(  # noqa: PLR0913, RUF100 - the signature is pymodbus's
        self,
        _function_code: int,
        _start_address: int,
        address: int,
        count: int,
        registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called by pymodbus right before it copies registers into the answer."""
        registers[:REGISTER_COUNT] = self.words
        if set_values is None and address + count > FIRST_VALUE_REGISTER:
            self._on_read(self._unit)
        return None

    def device(self) -> SimDevice:
        """The pymodbus device for this unit."""
        block = SimData(
            0, count=REGISTER_COUNT, values=0, datatype=DataType.REGISTERS, readonly=True
        )
        return SimDevice(id=self._unit, simdata=[block], action=self.action)


class MeterServer:
    """Modbus TCP server on 127.0.0.1, as an async context manager.

    Args:
        port: TCP port; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._units = {unit: _Unit(unit, self._note_read) for unit in UNIT_ORDERS}
        self._unread = set(UNIT_ORDERS)
        self._all_read = asyncio.Event()
        self._server: ModbusTcpServer | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        devices = [unit.device() for unit in self._units.values()]
        self._server = ModbusTcpServer(devices, address=(HOST, self.port))
        await self._server.serve_forever(background=True)
        listener = self._server.transport
        if not isinstance(listener, asyncio.Server):
            raise OSError(f"cannot listen on Modbus port {self.port}")
        self.port = int(listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close all connections."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]

    def update(self, registers: Mapping[int, Words]) -> None:
        """Set all registers of all units at once, and forget who was read."""
        for unit, words in registers.items():
            self._units[unit].words = list(words)
        self._unread = set(UNIT_ORDERS)
        self._all_read.clear()

    async def wait_all_read(self, timeout_s: float) -> bool:
        """Wait until values of every unit were read since the last update; False after the time-out.

        Only a read that reaches register 10 counts: reading the device time alone does not.
        """
        try:
            await asyncio.wait_for(self._all_read.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _note_read(self, unit: int) -> None:
        self._unread.discard(unit)
        if not self._unread:
            self._all_read.set()
