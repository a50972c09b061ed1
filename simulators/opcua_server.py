"""The potline behind a real OPC UA server: 127.0.0.1, no security, anonymous.

Nodes are strings in the namespace ``urn:simulated:potline``: ``Line1.Current`` [kA], ``Line1.Pot001.Voltage`` [V]
and ``Line1.Pot001.Status`` as scalars; ``Line1.CurrentBlock`` and ``Line1.Pot001.VoltageBlock`` as Float arrays
whose SourceTimestamp is the time of the first value, the values being one second apart.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, cast

from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua.common.node import Node

HOST = "127.0.0.1"
NAMESPACE = "urn:simulated:potline"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WAITING = ua.StatusCode(ua.UInt32(StatusCodes.BadWaitingForInitialData))
BAD_SENSOR = ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))


def utc(time_ns: int) -> ua.DateTime:
    """A time in nanoseconds since 1970 as UTC datetime, to the microsecond."""
    moment = EPOCH + timedelta(microseconds=time_ns // 1_000)
    return cast("ua.DateTime", moment)


@dataclass(frozen=True, slots=True)
class _PotNodes:
    """Node ids of one pot."""

    voltage: ua.NodeId
    voltage_block: ua.NodeId
    status: ua.NodeId


class PotlineServer:
    """OPC UA server, as an async context manager.

    Args:
        pots: number of pots.
        port: TCP port; 0 takes a free one.
    """

    def __init__(self, pots: int, port: int = 0) -> None:
        self.port = port or free_port()
        self._server = Server()
        self._pots = pots
        self._nodes: list[_PotNodes] = []
        self._namespace = 0
        self._current = ua.NodeId()
        self._current_block = ua.NodeId()

    @property
    def url(self) -> str:
        """Endpoint."""
        return f"opc.tcp://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        """Build the address space and listen."""
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        await self._server.init()
        self._server.set_endpoint(self.url)
        self._server.set_server_name("Simulated potline")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._namespace = await self._server.register_namespace(NAMESPACE)
        await self._build()
        await self._server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close."""
        await self._server.stop()

    async def write_current(self, time_ns: int, current_ka: float) -> None:
        """Line current at this time [kA]."""
        await self._write(self._current, time_ns, ua.Variant(current_ka, ua.VariantType.Double))

    async def write_voltage(self, pot: int, time_ns: int, volts: float) -> None:
        """Voltage of one pot at this time [V]."""
        variant = ua.Variant(volts, ua.VariantType.Double)
        await self._write(self._nodes[pot].voltage, time_ns, variant)

    async def write_bad_voltage(self, pot: int, time_ns: int) -> None:
        """A sample whose sensor failed: no value, bad status."""
        bad = ua.DataValue(Value=ua.Variant(), StatusCode=BAD_SENSOR, SourceTimestamp=utc(time_ns))
        await self._server.write_attribute_value(self._nodes[pot].voltage, bad)

    async def write_status(self, pot: int, time_ns: int, status: int) -> None:
        """Status of one pot from this time on."""
        variant = ua.Variant(status, ua.VariantType.Int32)
        await self._write(self._nodes[pot].status, time_ns, variant)

    async def write_current_block(self, first_ns: int, current_ka: Sequence[float]) -> None:
        """Line current, one value a second from this time on [kA]."""
        await self._write(self._current_block, first_ns, _floats(current_ka))

    async def write_voltage_block(self, pot: int, first_ns: int, volts: Sequence[float]) -> None:
        """Voltage of one pot, one value a second from this time on [V]."""
        await self._write(self._nodes[pot].voltage_block, first_ns, _floats(volts))

    async def _write(self, node: ua.NodeId, time_ns: int, variant: ua.Variant) -> None:
        value = ua.DataValue(Value=variant, SourceTimestamp=utc(time_ns))
        await self._server.write_attribute_value(node, value)

    async def _build(self) -> None:
        """Create all nodes, waiting for their first value."""
        line = await self._server.nodes.objects.add_object(self._id("Line1"), self._name("Line1"))
        double, float32 = ua.VariantType.Double, ua.VariantType.Float
        self._current = await self._add(line, "Line1.Current", double)
        self._current_block = await self._add(line, "Line1.CurrentBlock", float32, array=True)
        for number in range(1, self._pots + 1):
            path = f"Line1.Pot{number:03d}"
            pot = await line.add_object(self._id(path), self._name(path))
            self._nodes.append(
                _PotNodes(
                    voltage=await self._add(pot, f"{path}.Voltage", double),
                    voltage_block=await self._add(pot, f"{path}.VoltageBlock", float32, array=True),
                    status=await self._add(pot, f"{path}.Status", ua.VariantType.Int32),
                )
            )

    async def _add(
        self, parent: Node, path: str, kind: ua.VariantType, *, array: bool = False
    ) -> ua.NodeId:
        """One variable, its value not yet known."""
        first = ua.Variant([] if array else 0, kind, is_array=array)
        name = self._name(path.rsplit(".", 1)[-1])
        node = await parent.add_variable(self._id(path), name, first)
        if array:
            await node.write_value_rank(ua.ValueRank.OneDimension)
        waiting = ua.DataValue(Value=ua.Variant(), StatusCode=WAITING)
        await self._server.write_attribute_value(node.nodeid, waiting)
        return node.nodeid

    def _id(self, path: str) -> ua.NodeId:
        return ua.NodeId(ua.String(path), ua.Int16(self._namespace))

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, ua.UInt16(self._namespace))


def _floats(values: Sequence[float]) -> ua.Variant:
    return ua.Variant(list(values), ua.VariantType.Float, is_array=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
