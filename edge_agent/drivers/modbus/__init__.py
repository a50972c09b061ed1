"""Modbus, polled: TCP, RTU on a serial line, RTU over TCP, TLS (Modbus/TCP Security), UDP.

1. One line (host and port, or serial port) carries one request at a time, whatever units share
   it; all who share it must agree on its settings.
2. An answer counts only with the transaction id (RTU: checksum), unit, function and length of
   its question. Everything else is counted in ``LineStats`` and never becomes a value.
3. After a time-out, a cancelled question or an answer that does not match, a network connection
   is dropped, and transaction ids go on where they were. RTU has no transaction id: the unit
   that kept silent is left alone until its late answer can no longer come; its neighbours on the
   line go on.
4. An exception answer costs the block it answers, nothing else. A merged block that the device
   calls illegal is cut in two, each half asked once more at once, and the cut is remembered.
5. A question holds the line for at most the ``timeout_s`` of its device, connecting included.
   A block that was not answered goes last in the next poll, so that it cannot hide the others.

``config`` (models), ``planning`` (requests), ``frames`` (bytes) and ``values`` are pure; ``links`` opens things; ``line`` owns one
connection; ``driver`` polls one unit.
"""

from edge_agent.drivers.modbus.config import (
    ClientTls,
    ClockRegister,
    Forbidden,
    ModbusConfig,
    ModbusTag,
    SerialPort,
    TemplateRef,
)
from edge_agent.drivers.modbus.driver import ModbusDriver
from edge_agent.drivers.modbus.line import Line, LineStats
from edge_agent.drivers.modbus.planning import check_lines

__all__ = [
    "ClientTls",
    "ClockRegister",
    "Forbidden",
    "Line",
    "LineStats",
    "ModbusConfig",
    "ModbusDriver",
    "ModbusTag",
    "SerialPort",
    "TemplateRef",
    "check_lines",
]
