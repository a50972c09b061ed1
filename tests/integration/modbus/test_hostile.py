"""Devices that answer slowly, wrongly, late or not at all: no wrong value, no lost neighbour.

More of this, at the level of one wrong byte, stands in ``tests/integration/test_acquisition.py``.
"""

import asyncio
import contextlib
import os
import struct
import tty
from itertools import pairwise

import pytest

from edge_agent.clock import SystemClock
from edge_agent.drivers import ModbusConfig, ModbusDriver
from edge_agent.drivers.base import Lines
from edge_agent.errors import BadAnswer, NoAnswer
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD

CLOCK = SystemClock()
LIMIT_S = 20
WRONG = 0xDEAD


def crc(frame):
    """CRC-16 of the serial line guide, appendix B, bit by bit."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def tcp_answer(request, word=None):
    """The answer in which every register holds its own address, or ``word``."""
    transaction, unit, function = request[:2], request[6], request[7]
    address, count = struct.unpack(">HH", request[8:12])
    data = b"".join(struct.pack(">H", address + n if word is None else word) for n in range(count))
    body = bytes([unit, function, len(data)]) + data
    return transaction + b"\0\0" + struct.pack(">H", len(body)) + body


def tcp_exception(request, code):
    return request[:4] + b"\0\3" + bytes([request[6], request[7] | 0x80, code])


def rtu_answer(request, word=None):
    address, count = struct.unpack(">HH", request[2:6])
    data = b"".join(struct.pack(">H", address + n if word is None else word) for n in range(count))
    body = request[:2] + bytes([len(data)]) + data
    return body + crc(body)


class TcpDevice:
    """Answers each request with what ``script`` yields of it: bytes to send, seconds to wait."""

    def __init__(self, port, script):
        self.port, self.script = port, script
        self.requests = []
        self.connections = 0
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            ends = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
            with contextlib.suppress(*ends):
                while request := await reader.readexactly(12):
                    self.requests.append(request)
                    for step in self.script(request):
                        if step is None:
                            return
                        if isinstance(step, bytes):
                            writer.write(step)
                            await writer.drain()
                        else:
                            await asyncio.sleep(step)
        finally:
            writer.close()


class SerialSlaves:
    """All slaves of a serial line; ``script`` gives (delay, bytes) for each request."""

    def __init__(self, end, script):
        self.end, self.script = end, script
        self.requests = []
        self.overlaps = 0
        self._arrived = b""
        self._pending = 0
        self._timers = []

    async def __aenter__(self):
        self._descriptor = os.open(self.end, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._descriptor)
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
        return self

    async def __aexit__(self, *exc):
        for timer in self._timers:
            timer.cancel()
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _readable(self):
        self._arrived += os.read(self._descriptor, 4096)
        while len(self._arrived) >= 8:
            request, self._arrived = self._arrived[:8], self._arrived[8:]
            assert crc(request[:6]) == request[6:]
            self.requests.append(request)
            for delay_s, frame in self.script(request):
                self._pending += 1
                loop = asyncio.get_running_loop()
                self._timers.append(loop.call_later(delay_s, self._send, frame))

    def _send(self, frame):
        self._pending -= 1
        os.write(self._descriptor, frame)


def tags(*addresses, kind="uint16"):
    return [{"id": f"r{address}", "address": address, "type": kind} for address in addresses]


def device(port, unit=1, **fields):
    plain = {"driver": "modbus", "id": f"d{unit}", "unit": unit, "interval_s": 1, "port": port}
    plain |= {"host": "127.0.0.1", "timeout_s": 0.5, "tags": tags(3)}
    return ModbusConfig.model_validate(plain | fields)


def on_line(end, unit=1, **fields):
    plain = {"driver": "modbus", "id": f"d{unit}", "unit": unit, "interval_s": 1}
    plain |= {"transport": "rtu", "serial": {"port": str(end), "baud": 115200}}
    return ModbusConfig.model_validate(plain | {"timeout_s": 0.5, "tags": tags(3)} | fields)


def once(steps):
    """A script that misbehaves at the first request and is right afterwards."""
    pending = [steps]
    return lambda request: pending.pop()(request) if pending else [tcp_answer(request)]


@pytest.mark.parametrize(
    "steps",
    [
        lambda r: [bytes([byte]) if n % 2 else 0.15 for n, byte in enumerate(tcp_answer(r))],
        lambda r: [tcp_answer(r)[:4] + b"\xff\xff" + tcp_answer(r, WRONG)[6:]],
        lambda r: [tcp_answer(r)[:4] + b"\0\0" + tcp_answer(r, WRONG)[6:]],
        lambda _: [bytes(range(256)) * 32],
        lambda r: [tcp_answer(r, WRONG)[:-1]],
        lambda r: [tcp_answer(r[:11] + b"\2", WRONG)],
        lambda _: [],
        lambda _: [None],
        lambda r: [tcp_answer(r)[:9], None],
        lambda r: [tcp_exception(r, 2)[:8]],
    ],
    ids=(
        "a_byte_now_and_then",
        "length_65535",
        "length_0",
        "8_kB_of_garbage",
        "one_byte_short",
        "more_values_than_asked",
        "accepts_and_never_answers",
        "closes",
        "closes_half_way",
        "half_an_exception",
    ),
)
async def test_a_device_that_answers_wrongly_once_never_gives_a_wrong_value(free_port, steps):
    async with TcpDevice(free_port(), once(steps)) as server:
        config = device(server.port)
        async with ModbusDriver(config, CLOCK) as driver, asyncio.timeout(LIMIT_S):
            began_ns = CLOCK.monotonic_ns()
            with pytest.raises((NoAnswer, BadAnswer)):
                await driver.read()
            assert CLOCK.monotonic_ns() - began_ns < 2e9
            assert [sample.value for sample in await driver.read()] == [3]
        assert server.connections == 2


async def test_an_impossible_length_is_refused_at_once_and_not_waited_for(free_port):
    steps = once(lambda r: [tcp_answer(r)[:4] + b"\xff\xff" + b"\1\3"])
    async with (
        TcpDevice(free_port(), steps) as server,
        ModbusDriver(device(server.port, timeout_s=15), CLOCK) as driver,
    ):
        async with asyncio.timeout(5):
            with pytest.raises(BadAnswer, match="length 65535"):
                await driver.read()
        assert driver.stats.mismatched == 1


async def test_answers_in_the_wrong_order_are_told_apart_by_their_transaction(free_port):
    held = []

    def swap(request):
        """Keep the first answer back and send it before the second."""
        held.append(tcp_answer(request, WRONG))
        return [] if len(held) == 1 else [held[0], tcp_answer(request)]

    async with (
        TcpDevice(free_port(), swap) as server,
        ModbusDriver(device(server.port), CLOCK) as driver,
        asyncio.timeout(LIMIT_S),
    ):
        with pytest.raises(NoAnswer):
            await driver.read()
        assert [sample.value for sample in await driver.read()] == [3]
        assert (driver.stats.time_outs, driver.stats.late) == (1, 1)


async def test_a_late_answer_that_waits_in_a_new_connection_is_counted_as_stray(free_port):
    greeting = [b"\0\7\0\0\0\5\1\3\2\xde\xad"]

    async def serve(reader, writer):
        writer.write(greeting[0])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while request := await reader.readexactly(12):
                writer.write(tcp_answer(request))
        writer.close()

    port = free_port()
    async with (
        await asyncio.start_server(serve, "127.0.0.1", port),
        ModbusDriver(device(port), CLOCK) as driver,
        asyncio.timeout(LIMIT_S),
    ):
        seen = []
        for _ in range(3):
            with contextlib.suppress(BadAnswer):
                seen += [sample.value for sample in await driver.read()]
        assert set(seen) <= {3}
        assert driver.stats.strays + driver.stats.mismatched >= 1


async def test_a_value_of_four_registers_is_whole_while_the_device_counts(free_port):
    """Every answer is another count; words of two answers would make a number that never was."""
    count = [0]

    def counting(request):
        address, wanted = struct.unpack(">HH", request[8:12])
        count[0] += 0x0001_0001_0001_0001
        words = [0] * 200
        for start in range(0, 200, 4):
            words[start : start + 4] = struct.unpack(">4H", struct.pack(">Q", count[0]))
        data = struct.pack(f">{wanted}H", *words[address : address + wanted])
        body = request[6:8] + bytes([len(data)]) + data
        return [request[:4] + struct.pack(">H", len(body)) + body]

    async with TcpDevice(free_port(), counting) as server:
        wanted = tags(*range(0, 160, 4), kind="uint64")
        config = device(server.port, tags=wanted, max_registers=10, max_gap=0, timeout_s=5)
        async with ModbusDriver(config, CLOCK) as driver:
            for _ in range(3):
                for sample in await driver.read():
                    assert sample.value % 0x0001_0001_0001_0001 == 0
        assert {request[11] for request in server.requests} == {8}


async def test_a_hole_is_found_in_few_questions_and_remembered_across_connections(free_port):
    taboo = range(40, 44)

    def with_hole(request):
        address, count = struct.unpack(">HH", request[8:12])
        hit = any(address <= place < address + count for place in taboo)
        return [tcp_exception(request, 2) if hit else tcp_answer(request)]

    async with TcpDevice(free_port(), with_hole) as server:
        wanted = tags(*range(4, 40, 2), *range(44, 90, 2))
        config = device(server.port, tags=wanted, max_gap=20, timeout_s=5)
        driver = ModbusDriver(config, CLOCK)
        async with driver:
            first = await driver.read()
            assert {s.tag: s.value for s in first} == {t["id"]: t["address"] for t in wanted}
            assert len(server.requests) == 3  # the whole, and its two parts around the hole
            await driver.read()
        async with driver:
            await driver.read()
        assert len(server.requests) == 3 + 2 + 2


async def test_a_forbidden_register_is_never_asked_for(free_port):
    async with TcpDevice(free_port(), lambda r: [tcp_answer(r)]) as server:
        fields = {"tags": tags(*range(20)[:9], 12, 14), "max_gap": 20, "timeout_s": 5}
        config = device(server.port, forbidden=[{"first": 10, "last": 11}], **fields)
        async with ModbusDriver(config, CLOCK) as driver:
            assert len(await driver.read()) == 11
        for request in server.requests:
            address, count = struct.unpack(">HH", request[8:12])
            assert not set(range(address, address + count)) & {10, 11}
        assert len(server.requests) == 2


async def test_only_the_tags_that_are_due_are_asked_for(free_port):
    async with TcpDevice(free_port(), lambda r: [tcp_answer(r)]) as server:
        config = device(server.port, tags=tags(3, 4, 5, 90), timeout_s=5)
        async with ModbusDriver(config, CLOCK) as driver:
            assert [s.tag for s in await driver.read({"r5"})] == ["r5"]
            assert [s.tag for s in await driver.read({"r3", "r90"})] == ["r3", "r90"]
            assert len(await driver.read()) == 4
        spans = [struct.unpack(">HH", request[8:12]) for request in server.requests]
        assert spans == [(5, 1), (3, 1), (90, 1), (3, 3), (90, 1)]


async def test_a_block_that_is_never_answered_does_not_hide_the_others(free_port):
    """Some devices keep silent where others would refuse."""

    def silent_at_3(request):
        return [] if request[9] == 3 else [tcp_answer(request)]

    async with TcpDevice(free_port(), silent_at_3) as server:
        config = device(server.port, tags=tags(3, 90, 200))
        driver = ModbusDriver(config, CLOCK)
        async with driver:
            with pytest.raises(NoAnswer):
                await driver.read()
        async with driver:
            for _ in range(2):
                got = {s.tag: (s.value, s.quality) for s in await driver.read()}
                assert got == {"r90": (90, GOOD), "r200": (200, GOOD), "r3": (None, BAD_COMMS)}


async def test_a_refused_value_is_bad_alone_and_said_once(free_port, caplog):
    def refuse_90(request):
        return [tcp_exception(request, 2) if request[9] == 90 else tcp_answer(request)]

    async with (
        TcpDevice(free_port(), refuse_90) as server,
        ModbusDriver(device(server.port, tags=tags(3, 90)), CLOCK) as driver,
    ):
        for _ in range(3):
            got = {s.tag: (s.value, s.quality) for s in await driver.read()}
    assert got == {"r3": (3, GOOD), "r90": (None, BAD_DEVICE)}
    assert sum("block_refused" in message for message in caplog.messages) == 1
    assert "'registers': 'holding 90 to 90', 'why': 'unit 1: exception 2" in caplog.text


async def test_a_pause_is_kept_between_the_requests_to_a_device(free_port):
    times_ns = []

    def note(request):
        times_ns.append(CLOCK.monotonic_ns())
        return [tcp_answer(request)]

    async with TcpDevice(free_port(), note) as server:
        config = device(server.port, tags=tags(3, 90, 200), pause_s=0.05, timeout_s=5)
        async with ModbusDriver(config, CLOCK) as driver:
            await driver.read()
    assert all(b - a >= 0.045e9 for a, b in pairwise(times_ns))


# --- RTU -----------------------------------------------------------------------------------------


async def test_a_late_frame_is_not_taken_for_the_answer_to_the_next_question(serial_line):
    """Both questions ask one unit for one register: nothing in the frame tells them apart."""
    delays = [0.8]

    def late_once(request):
        is_late = bool(delays)
        return [(delays.pop() if is_late else 0, rtu_answer(request, WRONG if is_late else None))]

    async with serial_line() as (ours, theirs), SerialSlaves(theirs, late_once):
        config = on_line(ours, late_s=1.0)
        async with ModbusDriver(config, CLOCK) as driver, asyncio.timeout(LIMIT_S):
            with pytest.raises(NoAnswer):
                await driver.read()
            assert [sample.value for sample in await driver.read()] == [3]
            assert driver.stats.strays == len(rtu_answer(bytes(6)[:2] + b"\0\0\0\1"))


async def test_a_neighbour_goes_on_while_a_late_frame_may_still_come(serial_line):
    def unit_2_is_late(request):
        return [(0.7 if request[0] == 2 else 0.0, rtu_answer(request))]

    async with serial_line() as (ours, theirs), SerialSlaves(theirs, unit_2_is_late):
        lines = Lines()
        async with contextlib.AsyncExitStack() as stack:
            late, live = (ModbusDriver(on_line(ours, unit, late_s=30), CLOCK) for unit in (2, 1))
            for driver in (late, live):
                driver.share(lines)
                await stack.enter_async_context(driver)
            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(NoAnswer):
                    await late.read()
                while not live.stats.late + live.stats.strays:
                    assert [sample.value for sample in await live.read()] == [3]
            assert live.stats.time_outs == 1


@pytest.mark.parametrize(
    ("damage", "right"),
    [
        (lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]), False),
        (lambda frame: bytes([9]) + frame[1:-2] + crc(bytes([9]) + frame[1:-2]), False),
        (
            lambda frame: (
                frame[:1] + b"\x04" + frame[2:-2] + crc(frame[:1] + b"\x04" + frame[2:-2])
            ),
            False,
        ),
        (lambda frame: frame[:3], False),
        (lambda _: b"\x01\x03\xff" + bytes(40), False),
        (lambda frame: b"\0\xff" + frame, True),
    ],
    ids=("checksum", "unit", "function", "torn", "byte_count", "noise_before"),
)
async def test_a_damaged_frame_is_never_a_value(serial_line, damage, right):
    broken = [damage]

    def script(request):
        if broken:
            word = None if right else WRONG
            return [(0, broken.pop()(rtu_answer(request, word)))]
        return [(0, rtu_answer(request))]

    async with serial_line() as (ours, theirs), SerialSlaves(theirs, script):
        config = on_line(ours, late_s=0.01)
        async with ModbusDriver(config, CLOCK) as driver, asyncio.timeout(LIMIT_S):
            if not right:
                with pytest.raises((NoAnswer, BadAnswer)):
                    await driver.read()
            assert [sample.value for sample in await driver.read()] == [3]


async def test_requests_of_many_units_never_overlap_on_a_serial_line(serial_line):
    busy, overlaps = [], []

    def script(request):
        overlaps.extend(busy)
        busy.append(request[0])
        asyncio.get_running_loop().call_later(0.004, busy.clear)
        return [(0.005, rtu_answer(request))]

    async with serial_line() as (ours, theirs), SerialSlaves(theirs, script) as slaves:
        lines = Lines()
        drivers = [ModbusDriver(on_line(ours, unit, timeout_s=10), CLOCK) for unit in range(1, 9)]
        async with contextlib.AsyncExitStack() as stack:
            for driver in drivers:
                driver.share(lines)
                await stack.enter_async_context(driver)
            for _ in range(3):
                results = await asyncio.gather(*(driver.read() for driver in drivers))
                assert [len(result) for result in results] == [1] * 8
        assert len(slaves.requests) == 24
        assert not overlaps
