"""What real clients read from the simulated servers."""

from __future__ import annotations

import asyncio
import math
import struct
from datetime import UTC, datetime

import numpy as np
import pytest
from asyncua import Client, ua
from pymodbus.client import AsyncModbusTcpClient

from simulators.faults import FaultyLink
from simulators.modbus_server import MeterServer
from simulators.opcua_server import NAMESPACE, PotlineServer
from simulators.physics.meter import PlantMeters
from simulators.physics.potline import Potline
from simulators.physics.settings import PotlineSettings
from simulators.registers import plant_registers

NOW_NS = 1_767_196_800_000_000_000
SETTINGS = PotlineSettings(pots=2, period_s=90_000, horizon_s=90_000)


def run_meters():
    line_rng, meter_rng = np.random.default_rng(6).spawn(2)
    line, meters = Potline(SETTINGS, line_rng), PlantMeters(SETTINGS, meter_rng)
    meters.advance(line.advance(SETTINGS.period_s))
    return meters


def from_words(words, order, code):
    """Decode independently of the simulator: bytes as they came, permuted by hand."""
    octets = [octet for word in words for octet in (word >> 8, word & 0xFF)]
    if order == "DCBA":
        octets.reverse()
    elif order == "CDAB":
        octets = [o for at in range(len(octets) - 2, -1, -2) for o in octets[at : at + 2]]
    elif order == "BADC":
        octets = [o for at in range(0, len(octets), 2) for o in (octets[at + 1], octets[at])]
    return struct.unpack(f">{code}", bytes(octets))[0]


async def test_all_units_read_back_in_their_word_order():
    meters = run_meters()
    counters, shown = meters.counters, meters.readings
    async with MeterServer() as server:
        server.update(plant_registers(NOW_NS, meters))
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
        assert await client.connect()
        words = {}
        for unit in (1, 2, 3, 4):
            answer = await client.read_holding_registers(0, count=20, device_id=unit)
            assert not answer.isError()
            words[unit] = answer.registers
        client.close()
    orders = {1: "ABCD", 2: "CDAB", 3: "DCBA", 4: "BADC"}

    def value(unit, first, count, code):
        return from_words(words[unit][first : first + count], orders[unit], code)

    assert [value(unit, 0, 4, "q") for unit in orders] == [NOW_NS] * 4
    assert value(1, 10, 2, "I") == counters["R1.energy"].count % 100_000_000
    assert value(1, 12, 2, "f") == pytest.approx(shown.power_kw[0], rel=1e-6)
    assert struct.unpack(">h", struct.pack(">H", words[1][14]))[0] == round(10 * shown.hall_c)
    assert value(2, 10, 2, "I") == counters["R2.energy"].count % 2**32
    assert counters["R2.energy"].count >= 2**32
    assert value(2, 12, 2, "f") == pytest.approx(shown.power_kw[1], rel=1e-6)
    assert value(3, 10, 2, "I") == counters["gas.total"].count
    assert value(3, 12, 2, "f") == pytest.approx(shown.gas_flow_nm3_h, rel=1e-6)
    assert value(3, 14, 2, "f") == pytest.approx(shown.gas_c, rel=1e-6)
    assert value(4, 10, 4, "q") == counters["scale.total"].count
    assert value(4, 14, 2, "I") == counters["scale.tickets"].count > 65_500
    assert value(4, 16, 2, "f") == shown.last_net_kg
    assert words[4][18] == round(shown.crucible_c)


async def test_pacing_waits_until_every_unit_was_read():
    meters = run_meters()
    async with MeterServer() as server:
        server.update(plant_registers(NOW_NS, meters))
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
        await client.connect()
        for unit in (1, 2, 3):
            await client.read_holding_registers(0, count=20, device_id=unit)
        await client.read_holding_registers(0, count=4, device_id=4)
        assert not await server.wait_all_read(0.0)
        await client.read_holding_registers(10, count=4, device_id=4)
        assert await server.wait_all_read(5.0)
        server.update(plant_registers(NOW_NS, meters))
        assert not await server.wait_all_read(0.0)
        client.close()


async def test_registers_are_read_only_and_bounded():
    async with MeterServer() as server:
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
        await client.connect()
        assert (await client.write_register(10, 5, device_id=1)).isError()
        assert (await client.read_holding_registers(20, count=30, device_id=1)).isError()
        assert (await client.read_holding_registers(0, count=4, device_id=9)).isError()
        client.close()


async def test_arrays_scalars_and_bad_samples_read_back_over_opcua():
    first_ns = NOW_NS
    async with PotlineServer(pots=2) as server:
        await server.write_current_block(first_ns, [300.0, 301.5])
        await server.write_voltage_block(0, first_ns, [4.25, math.nan, 30.5])
        await server.write_voltage(1, first_ns + 1_000_000_000, 4.125)
        await server.write_status(1, first_ns, 2)
        async with Client(server.url) as client:
            index = await client.get_namespace_index(NAMESPACE)

            async def read(path):
                node = client.get_node(f"ns={index};s=Line1.{path}")
                return await node.read_data_value(raise_on_bad_status=False)

            block = await read("Pot001.VoltageBlock")
            assert block.Value.VariantType is ua.VariantType.Float
            assert block.Value.Value[::2] == [4.25, 30.5]
            assert math.isnan(block.Value.Value[1])
            assert block.SourceTimestamp == datetime(2025, 12, 31, 16, tzinfo=UTC)
            assert (await read("CurrentBlock")).Value.Value == [300.0, 301.5]
            sample = await read("Pot002.Voltage")
            assert sample.Value.VariantType is ua.VariantType.Double
            assert sample.Value.Value == 4.125
            assert sample.SourceTimestamp == datetime(2025, 12, 31, 16, 0, 1, tzinfo=UTC)
            status = await read("Pot002.Status")
            assert (status.Value.Value, status.Value.VariantType) == (2, ua.VariantType.Int32)
            assert (await read("Current")).StatusCode.is_bad()
            await server.write_bad_voltage(1, first_ns + 2_000_000_000)
            assert (await read("Pot002.Voltage")).StatusCode.is_bad()
            await server.write_voltage(1, first_ns + 3_000_000_000, 4.5)
            assert (await read("Pot002.Voltage")).Value.Value == 4.5


async def echo(reader, writer):
    while piece := await reader.read(1_024):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def is_closed(reader):
    """Whether the peer ended the connection, by reset or by end of file."""
    try:
        return await asyncio.wait_for(reader.read(1), 5) == b""
    except ConnectionError:
        return True


async def test_faulty_link_forwards_swallows_and_cuts():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()
    async with server, FaultyLink(0, target) as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        link.bytes_per_s = 1e6
        writer.write(b"x" * 100)
        assert await asyncio.wait_for(reader.readexactly(100), 5) == b"x" * 100
        link.bytes_per_s = None

        link.swallow = True
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        link.restore()
        writer.write(b"back")
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"back"

        link.cut()
        assert await is_closed(reader)
        writer.close()
        again, again_writer = await asyncio.open_connection("127.0.0.1", link.port)
        assert await is_closed(again)
        again_writer.close()

        link.restore()
        last, last_writer = await asyncio.open_connection("127.0.0.1", link.port)
        last_writer.write(b"ok")
        assert await asyncio.wait_for(last.readexactly(2), 5) == b"ok"
        last_writer.close()
