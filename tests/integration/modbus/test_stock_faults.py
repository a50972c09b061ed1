"""libmodbus and pymodbus that answer late, out of order, wrongly, torn or not at all: whatever they do,
a value is right or there is none, and right ones come again."""

import asyncio
import contextlib
from collections import Counter

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.clock import SystemClock
from edge_agent.drivers import ModbusConfig, ModbusDriver
from edge_agent.errors import BadAnswer, NoAnswer

CLOCK = SystemClock()
ROUNDS = 24


def device(port, *, tags, **fields):
    base = {"driver": "modbus", "id": "d", "host": "127.0.0.1", "unit": 1, "interval_s": 1}
    return ModbusConfig.model_validate({**base, "port": port, "tags": tags, **fields})


TAGS = [{"id": f"r{n}", "address": n, "type": "uint16"} for n in range(8)]
RIGHT = {f"r{n}": 1_000 + n for n in range(8)}


async def polls(driver, rounds):
    """Reads so often; gives how often what happened, and every value that came."""
    happened, values = Counter(), []
    for _ in range(rounds):
        try:
            got = {sample.tag: sample.value for sample in await driver.read()}
        except (NoAnswer, BadAnswer) as error:
            happened[type(error).__name__] += 1
        else:
            happened["answered"] += 1
            values.append(got)
    return happened, values


@pytest.mark.timeout(120)
async def test_libmodbus_that_fails_in_every_way_never_gives_a_wrong_value(libmodbus):
    registers = {f"holding {n}": 1_000 + n for n in range(8)}
    async with libmodbus("tcp", 0, 1, "faults", registers=registers) as port:
        config = device(port, tags=TAGS, timeout_s=0.25)
        async with ModbusDriver(config, CLOCK) as driver:
            happened, values = await polls(driver, ROUNDS)
            stats = driver.stats
    right = {tag: {RIGHT[tag], None} for tag in RIGHT}
    assert all(got[tag] in right[tag] for got in values for tag in got)
    assert sum(got == RIGHT for got in values) >= ROUNDS / 3
    assert happened["NoAnswer"] >= 2
    assert happened["BadAnswer"] >= 1
    assert stats.time_outs >= 2
    assert stats.connections >= 4


@pytest.mark.parametrize(
    "fault",
    [
        lambda packet: bytes([packet[0], packet[1] ^ 0x55]) + packet[2:],
        lambda packet: packet[:-3],
        lambda packet: packet[:4] + bytes([packet[4], packet[5] - 2]) + packet[6:],
        lambda packet: packet + packet[:9],
        lambda _: b"",
    ],
    ids=("other_transaction", "truncated", "length_too_small", "bytes_behind", "silence"),
)
async def test_a_frame_of_pymodbus_that_was_spoiled_is_no_value(free_port, fault):
    port, sent = free_port(), Counter()

    def spoil(is_sending, packet):
        if not is_sending or not packet:
            return packet
        sent["answers"] += 1
        return fault(packet) if sent["answers"] % 2 else packet

    words = [SimData(0, values=[1_000 + n for n in range(8)], datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    simulated = SimDevice(1, simdata=(bits, bits, words, words))
    server = ModbusTcpServer([simulated], address=("127.0.0.1", port), trace_packet=spoil)
    await server.serve_forever(background=True)
    try:
        async with ModbusDriver(device(port, tags=TAGS, timeout_s=0.5), CLOCK) as driver:
            happened, values = await polls(driver, 8)
    finally:
        await server.shutdown()
    assert all(got == RIGHT for got in values)
    assert len(values) >= 3
    assert happened["NoAnswer"] + happened["BadAnswer"] >= 3


async def test_registers_that_change_between_two_requests_are_never_mixed_in_one_value(libmodbus):
    """Every answer holds its own number in all registers; words of two would not be equal."""
    tags = [{"id": f"t{n}", "address": n, "type": "uint64"} for n in range(0, 320, 4)]
    async with libmodbus("tcp", 0, 1, "counts", registers={}) as port:
        config = device(port, tags=tags, max_registers=10, max_gap=0, timeout_s=20)
        async with ModbusDriver(config, CLOCK) as driver:
            values = [sample.value for _ in range(3) for sample in await driver.read()]
    assert len(values) == 3 * 80
    assert all(value % 0x0001_0001_0001_0001 == 0 for value in values)
    assert len(set(values)) >= 3 * 40  # it did change all the time


async def test_values_return_after_libmodbus_was_killed_and_started_again(libmodbus, free_port):
    port, registers = free_port(), {f"holding {n}": 1_000 + n for n in range(8)}
    config = device(port, tags=TAGS, timeout_s=2)
    async with ModbusDriver(config, CLOCK) as driver:
        async with libmodbus("tcp", port, 1, registers=registers):
            assert (await polls(driver, 1))[1] == [RIGHT]
        assert (await polls(driver, 2))[0]["NoAnswer"] == 2
        async with libmodbus("tcp", port, 1, registers=registers), asyncio.timeout(30):
            got = []
            while not got:
                with contextlib.suppress(NoAnswer):
                    got = (await polls(driver, 1))[1]
            assert got == [RIGHT]
