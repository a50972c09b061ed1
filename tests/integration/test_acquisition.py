"""Acquisition and drivers against other people's servers, on the loopback."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from asyncua import Server, ua
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.clock import SystemClock
from edge_agent.drivers import ModbusConfig, ModbusDriver
from edge_agent.drivers.base import UNCERTAIN_CLOCK, Lines
from edge_agent.drivers.opcua import OpcUaConfig
from edge_agent.drivers.opcua.subscriber import OpcUaSubscriber
from edge_agent.errors import BadAnswer, NoAnswer
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Sample, Waveform

CLOCK = SystemClock()
LIMIT_S = 20
PRESSURE = -1234.5
COUNTS = 2**63 + 12_345
DEVICE_MS = 1_772_366_400_250


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def registers(layout, value):
    raw = struct.pack(layout, value)
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


# --- Modbus -------------------------------------------------------------------------------------


def unit(number, *, extra=()):
    """A device with a totaliser at 100, a float at 104, its clock at 110, a lone value at 400."""
    holding = [
        SimData(100, values=registers(">Q", COUNTS + number), datatype=DataType.REGISTERS),
        SimData(104, values=registers(">f", PRESSURE), datatype=DataType.REGISTERS),
        SimData(106, values=[0xFFFF - number, 0, 0, 7], datatype=DataType.REGISTERS),
        SimData(110, values=registers(">q", DEVICE_MS + number), datatype=DataType.REGISTERS),
        SimData(400, values=[40_000 + number], datatype=DataType.REGISTERS),
        *extra,
    ]
    bits = [SimData(0, values=[False, True, False, True] * 5, datatype=DataType.BITS)]
    inputs = [SimData(9, values=registers(">h", -number), datatype=DataType.REGISTERS)]
    return SimDevice(number, simdata=(bits, bits, holding, inputs))


@contextlib.asynccontextmanager
async def modbus_server(port, *units):
    """A server that hears every unit id and answers for these units only."""
    known = {device.id for device in units}

    def trace(is_sending, packet):
        return packet if is_sending or packet[6] in known else b""

    server = ModbusTcpServer(list(units), address=("127.0.0.1", port), trace_packet=trace)
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()


TAGS = (
    {"id": "total", "address": 100, "type": "uint64", "totaliser": {}, "scale": "0.1"},
    {"id": "pressure", "address": 104, "type": "float32"},
    {"id": "count", "address": 106, "type": "int16", "scale": "0.5"},
    {"id": "lone", "address": 400, "type": "uint16"},
    {"id": "level", "table": "input", "address": 9, "type": "int16"},
    {"id": "open", "table": "coil", "address": 1, "type": "bool"},
    {"id": "shut", "table": "discrete", "address": 18, "type": "bool"},
)


def modbus(port, number=1, *, tags=TAGS, **fields):
    fields = {"interval_s": 0.05, "timeout_s": 0.3, **fields}
    tags = [{**tag, "id": f"u{number}.{tag['id']}"} for tag in tags]
    return ModbusConfig(
        driver="modbus",
        id=f"u{number}",
        host="127.0.0.1",
        port=port,
        unit=number,
        tags=tags,
        **fields,
    )


async def poll(config):
    async with ModbusDriver(config, CLOCK) as driver:
        return {sample.tag: sample for sample in await driver.read()}


async def test_a_unit_delivers_every_table_and_type():
    port = free_port()
    async with modbus_server(port, unit(1)):
        before_ns = CLOCK.utc_ns()
        got = await poll(modbus(port))
        assert {tag: sample.value for tag, sample in got.items()} == {
            "u1.total": COUNTS + 1,
            "u1.pressure": PRESSURE,
            "u1.count": -1.0,
            "u1.lone": 40_001,
            "u1.level": -1,
            "u1.open": 1,
            "u1.shut": 0,
        }
        assert isinstance(got["u1.total"].value, int)
        assert all(sample.quality == GOOD for sample in got.values())
        assert all(before_ns <= s.time_ns <= CLOCK.utc_ns() for s in got.values())


async def test_the_devices_own_clock_stamps_all_samples_of_a_poll():
    port = free_port()
    async with modbus_server(port, unit(1)):
        got = await poll(modbus(port, clock_register={"address": 110, "unit": "ms"}))
        assert {s.time_ns for s in got.values()} == {(DEVICE_MS + 1) * 1_000_000}
        assert set(got) == {f"u1.{tag['id']}" for tag in TAGS}
        odd = await poll(modbus(port, clock_register={"address": 110, "unit": "s"}))
        assert {s.quality for s in odd.values()} == {UNCERTAIN_CLOCK}
        assert all(CLOCK.utc_ns() - s.time_ns < 5e9 for s in odd.values())


async def test_a_refused_block_is_cut_at_once_until_only_the_hole_is_bad():
    port = free_port()
    hole = {"id": "hole", "address": 114, "type": "uint16"}
    async with modbus_server(port, unit(1)):
        async with ModbusDriver(modbus(port, tags=(*TAGS, hole)), CLOCK) as driver:
            first = {s.tag: s for s in await driver.read()}
            assert first["u1.total"].value == COUNTS + 1
            assert first["u1.lone"].value == 40_001
            for _ in range(3):
                last = {s.tag: s for s in await driver.read()}
        bad = {tag for tag, sample in last.items() if sample.quality != GOOD}
        assert bad == {"u1.hole"}
        assert last["u1.total"].value == COUNTS + 1


@contextlib.asynccontextmanager
async def running(*devices, **options):
    acquired = Acquisition(devices, CLOCK, jitter=lambda: 0.0, **options)
    task = asyncio.create_task(acquired.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            yield acquired
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def collect(acquired, is_enough):
    """All readings until ``is_enough`` says so of them."""
    found = []
    async with contextlib.aclosing(acquired.batches()) as batches:
        async for readings in batches:
            found += readings
            if is_enough(found):
                return found
    raise AssertionError


def polls(found):
    return Counter(r.tag.partition(".")[0] for r in found if r.tag.endswith(".total"))


async def test_a_dead_unit_costs_its_neighbours_on_the_line_only_its_time_outs():
    port = free_port()
    devices = [modbus(port, number) for number in (1, 2, 3)]
    async with modbus_server(port, unit(1), unit(3)), running(*devices) as acquired:
        began_ns = CLOCK.monotonic_ns()
        found = await collect(acquired, lambda f: min(polls(f)["u1"], polls(f)["u3"]) >= 40)
        took_s = (CLOCK.monotonic_ns() - began_ns) / 1e9
        assert took_s < 40 * 0.05 + 4 * 0.3 + 1  # tries at about 0, 0.55, 1.35, 2.65 s
        values = {(r.tag, r.value) for r in found if r.value is not None}
        assert {("u1.total", COUNTS + 1), ("u3.total", COUNTS + 3)} <= values
        assert not any(tag.startswith("u2") for tag, _ in values)
        states = {s.device: s for s in acquired.status()}
        assert states["u1"].state is states["u3"].state is DeviceState.UP
        assert states["u2"].state is DeviceState.DOWN
        assert states["u2"].last_error.startswith("NoAnswer")
        assert states["u1"].errors == states["u3"].errors == 0


async def test_data_resume_after_the_server_was_killed_and_restarted():
    port = free_port()
    async with running(modbus(port)) as acquired:
        async with modbus_server(port, unit(1)):
            await collect(acquired, lambda f: polls(f)["u1"] >= 3)
        changed = unit(1, extra=[SimData(500, values=[1], datatype=DataType.REGISTERS)])
        while acquired.status()[0].state is not DeviceState.DOWN:
            await CLOCK.sleep(0.01)
        async with modbus_server(port, changed):
            await collect(acquired, lambda f: polls(f)["u1"] >= 3)
        states = [e["state"] for e in acquired.drain_events() if e["type"] == "device_state"]
        first_up = states.index("up")  # a poll may have come before the server
        assert states[first_up : first_up + 3] == ["up", "down", "up"]
        assert acquired.status()[0].reconnects >= 1


async def closed(writer):
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Scripted:
    """A TCP server that answers each request with what ``answers`` makes of it."""

    def __init__(self):
        self.answers = []
        self.connections = self.requests = 0
        self.port = free_port()
        self._tasks = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        await asyncio.gather(*self._tasks)  # the client has closed its side

    async def _serve(self, reader, writer):
        self.connections += 1
        self._tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while request := await reader.readexactly(12):
                self.requests += 1
                make = self.answers.pop(0) if self.answers else right_answer
                answer = make(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        await closed(writer)


def right_answer(request, value=0x1234):
    transaction, unit_id, function = request[:2], request[6], request[7]
    count = int.from_bytes(request[10:12], "big")
    body = bytes([unit_id, function, 2 * count]) + value.to_bytes(2, "big") * count
    return transaction + b"\0\0" + len(body).to_bytes(2, "big") + body


def changed(place, byte):
    def make(request):
        answer = bytearray(right_answer(request, 0xDEAD))
        answer[place] = byte
        return bytes(answer)

    return make


def shorter(request):
    body = bytes([request[6], request[7], 0])
    return request[:4] + len(body).to_bytes(2, "big") + body


ONE = ({"id": "v", "address": 3, "type": "uint16"},)


@pytest.mark.parametrize(
    "wrong",
    [
        changed(1, 77),
        lambda request: b"\0\0" + right_answer(request, 0xDEAD)[2:],
        changed(2, 1),
        changed(6, 9),
        changed(7, 4),
        changed(7, 0x84),
        changed(7, 0x55),
        shorter,
        lambda request: right_answer(request, 0xDEAD)[:5],
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
        lambda _: b"",
        lambda _: None,
    ],
    ids=(
        "transaction",
        "transaction_0",
        "protocol",
        "unit",
        "function",
        "exception_of_other",
        "unknown_function",
        "too_few_values",
        "torn",
        "http",
        "silence",
        "closed",
    ),
)
async def test_an_answer_that_does_not_match_is_never_a_value(wrong):
    async with Scripted() as server:
        server.answers = [wrong]
        config = modbus(server.port, tags=ONE, timeout_s=0.25)
        async with ModbusDriver(config, CLOCK) as driver, asyncio.timeout(LIMIT_S):
            with pytest.raises((NoAnswer, BadAnswer)):
                await driver.read()
            assert [s.value for s in await driver.read()] == [0x1234]
        assert server.connections == 2


async def test_a_late_answer_is_not_taken_for_the_next_question():
    late = []

    def hold(request):
        late.append(right_answer(request, 0xDEAD))
        return b""

    async with Scripted() as server:
        server.answers = [hold, lambda request: late[0] + right_answer(request)]
        config = modbus(server.port, tags=ONE, timeout_s=0.2)
        async with ModbusDriver(config, CLOCK) as driver:
            with pytest.raises(NoAnswer):
                await driver.read()
            try:
                values = [s.value for s in await driver.read()]
            except NoAnswer:
                values = [s.value for s in await driver.read()]
            assert values == [0x1234]


async def test_a_cancelled_question_does_not_leave_its_answer_behind():
    async with Scripted() as server:
        server.answers = [lambda _: b""]
        async with ModbusDriver(modbus(server.port, tags=ONE, timeout_s=5), CLOCK) as driver:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await driver.read()
            assert [s.value for s in await driver.read()] == [0x1234]
        assert server.connections == 2


async def test_a_connection_closed_by_the_peer_is_noticed_at_once():
    async with Scripted() as server:
        server.answers = [lambda _: None]
        async with ModbusDriver(modbus(server.port, tags=ONE, timeout_s=15), CLOCK) as driver:
            async with asyncio.timeout(3):
                with pytest.raises(NoAnswer):
                    await driver.read()


async def test_what_was_answered_before_a_unit_fell_silent_is_delivered():
    tags = (
        {"id": "a", "address": 3, "type": "uint16"},
        {"id": "b", "address": 90, "type": "int16"},
    )
    async with Scripted() as server:
        server.answers = [right_answer, lambda _: b""]
        async with ModbusDriver(modbus(server.port, tags=tags, timeout_s=0.2), CLOCK) as driver:
            first, second = await driver.read()
            assert (first.value, first.quality) == (0x1234, GOOD)
            assert (second.value, second.quality) == (None, BAD_COMMS)


async def test_a_gateway_that_speaks_for_a_silent_unit_keeps_the_connection():
    def unreachable(request):
        return request[:4] + b"\0\3" + bytes([request[6], request[7] | 0x80, 11])

    async with Scripted() as server:
        server.answers = [unreachable]
        async with ModbusDriver(modbus(server.port, tags=ONE), CLOCK) as driver:
            with pytest.raises(NoAnswer, match="gateway"):
                await driver.read()
            assert [s.value for s in await driver.read()] == [0x1234]
        assert server.connections == 1


async def test_units_of_a_line_share_one_connection_and_take_turns():
    async with Scripted() as server:
        lines = Lines()
        drivers = [ModbusDriver(modbus(server.port, n, tags=ONE), CLOCK) for n in range(1, 9)]
        async with contextlib.AsyncExitStack() as stack:
            for driver in drivers:
                driver.share(lines)
                await stack.enter_async_context(driver)
            results = await asyncio.gather(*(driver.read() for driver in drivers))
        assert [len(result) for result in results] == [1] * 8
        assert (server.connections, server.requests) == (1, 8)


# --- OPC UA -------------------------------------------------------------------------------------

URI = "urn:test:potline"


class PotLine:
    """An asyncua server with a scalar, an array and a status-carrying variable."""

    def __init__(self, port, *, other_spaces=()):
        self.url = f"opc.tcp://127.0.0.1:{port}/"
        self._other_spaces = other_spaces
        self.variables = {}

    async def __aenter__(self):
        self._server = Server()
        await self._server.init()
        self._server.set_endpoint(self.url)
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for uri in self._other_spaces:
            await self._server.register_namespace(uri)
        index = await self._server.register_namespace(URI)
        objects = self._server.nodes.objects
        for name, value in (("v", 4.25), ("n", 7), ("wave", [0.0]), ("text", "running")):
            node = ua.NodeId(name, index)
            self.variables[name] = await objects.add_variable(node, f"{index}:{name}", value)
        await self._server.start()
        return self

    async def __aexit__(self, *exc):
        await self._server.stop()

    async def write(self, name, value, kind=ua.VariantType.Double, *, status=0, stamp=None):
        answer = ua.DataValue(
            Value=ua.Variant(value, kind),
            StatusCode=ua.StatusCode(status),
            SourceTimestamp=stamp or datetime.fromtimestamp(CLOCK.utc_ns() / 1e9, UTC),
        )
        await self.variables[name].write_value(answer)


def opcua(url, *names, **fields):
    tags = [{"id": name, "node": f"nsu={URI};s={name}"} for name in names]
    for tag in tags:
        if tag["id"] == "wave":
            tag["period_s"] = 0.1
    fields = {"publishing_ms": 20, "timeout_s": 2, "stale_s": 5, "insecure": True, **fields}
    return OpcUaConfig(driver="opcua", id="pots", url=url, tags=tags, **fields)


def values(found, tag):
    return [r.value for r in found if isinstance(r, Sample) and r.tag == tag]


async def test_variables_arrays_and_missing_nodes_arrive():
    stamp = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    async with PotLine(free_port()) as line:
        device = opcua(line.url, "v", "n", "wave", "text", "nowhere")
        async with running(device) as acquired:
            await collect(acquired, lambda f: len({r.tag for r in f}) == 5)
            await line.write("v", 4.5, stamp=stamp)
            await line.write("n", 2**53 + 1, ua.VariantType.Int64, status=0x40000000)
            await line.write("wave", [1.5, float("nan"), 2.5], stamp=stamp)
            found = await collect(acquired, lambda f: {r.tag for r in f} == {"v", "n", "wave"})
            time_ns = 1_772_366_400_250_000_000
            assert Sample("v", time_ns, 4.5, GOOD) in found
            assert values(found, "n") == [2**53 + 1]
            (wave,) = (r for r in found if isinstance(r, Waveform))
            assert (wave.time_ns, wave.period_ns) == (time_ns, 100_000_000)
            np.testing.assert_array_equal(wave.values, [1.5, np.nan, 2.5])
            await line.write("v", 4.75, status=0x808A0000)
            found = await collect(acquired, lambda f: values(f, "v"))
            assert [(r.value, r.quality) for r in found] == [(None, BAD_COMMS)]


async def test_a_missing_node_and_text_are_one_bad_sample_each(caplog):
    async with PotLine(free_port()) as line:
        async with OpcUaSubscriber(opcua(line.url, "v", "text", "nowhere"), CLOCK) as driver:
            found = []
            async for readings in driver.samples():
                found += readings
                if len(found) >= 3:
                    break
        assert sorted((r.tag, r.value, r.quality) for r in found if r.tag != "v") == [
            ("nowhere", None, BAD_DEVICE),
            ("text", None, BAD_DEVICE),
        ]
        assert values(found, "v") == [4.25]
        assert sum("node_missing" in message for message in caplog.messages) == 1


async def test_values_resume_after_a_restart_although_the_namespace_index_changed():
    port = free_port()
    async with PotLine(port) as line:
        device = opcua(line.url, "v")
        async with running(device) as acquired:
            await collect(acquired, lambda f: 4.25 in values(f, "v"))
            await line.__aexit__()
            async with asyncio.timeout(LIMIT_S):
                while acquired.status()[0].state is not DeviceState.DOWN:
                    await CLOCK.sleep(0.01)
            async with PotLine(port, other_spaces=["urn:a", "urn:b"]) as again:
                await again.write("v", 8.5)
                await collect(acquired, lambda f: 8.5 in values(f, "v"))
                await again.write("v", 9.5)
                await collect(acquired, lambda f: 9.5 in values(f, "v"))
                states = [e["state"] for e in acquired.drain_events()]
                assert states == ["up", "down", "up"]
    # the first server is already stopped; leaving its context a second time is harmless


async def test_every_value_of_a_burst_arrives_in_order():
    async with (
        PotLine(free_port()) as line,
        running(opcua(line.url, "v", publishing_ms=100)) as acquired,
    ):
        await collect(acquired, lambda f: values(f, "v"))
        for number in range(80):
            await line.write("v", 100.0 + number)
        found = await collect(acquired, lambda f: 179.0 in values(f, "v"))
        assert values(found, "v") == [100.0 + number for number in range(80)]


async def test_keep_alives_hold_a_connection_on_which_nothing_changes():
    async with (
        PotLine(free_port()) as line,
        running(opcua(line.url, "v", stale_s=0.4)) as acquired,
    ):
        await collect(acquired, lambda f: values(f, "v"))
        while acquired.status()[0].state is not DeviceState.DEGRADED:
            await CLOCK.sleep(0.01)
        assert acquired.status()[0].errors == 0
        await line.write("v", 6.5)
        await collect(acquired, lambda f: values(f, "v"))
        assert (acquired.status()[0].state, acquired.status()[0].errors) == (DeviceState.UP, 0)


async def test_a_server_that_is_not_there_is_no_answer_and_leaves_no_task():
    before = asyncio.all_tasks()
    with pytest.raises(NoAnswer):
        async with OpcUaSubscriber(opcua(f"opc.tcp://127.0.0.1:{free_port()}", "v"), CLOCK):
            pass
    assert asyncio.all_tasks() == before


async def test_a_server_that_accepts_and_never_speaks_is_no_answer_in_time():
    async def swallow(reader, writer):
        await reader.read()
        await closed(writer)

    port = free_port()
    async with await asyncio.start_server(swallow, "127.0.0.1", port):
        async with asyncio.timeout(5):
            with pytest.raises(NoAnswer):
                async with OpcUaSubscriber(
                    opcua(f"opc.tcp://127.0.0.1:{port}", "v", timeout_s=0.3), CLOCK
                ):
                    pass


async def test_a_black_hole_behind_a_subscription_is_noticed():
    server_port, port = free_port(), free_port()
    is_open = asyncio.Event()
    is_open.set()

    async def pipe(reader, writer):
        while chunk := await reader.read(65_536):
            if is_open.is_set():
                writer.write(chunk)
        await closed(writer)

    async def relay(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", server_port)
        with contextlib.suppress(OSError):
            await asyncio.gather(pipe(reader, back), pipe(there, writer))

    async with PotLine(server_port), await asyncio.start_server(relay, "127.0.0.1", port):
        device = opcua(f"opc.tcp://127.0.0.1:{port}/", "v", timeout_s=0.5, stale_s=0.6)
        async with running(device) as acquired:
            await collect(acquired, lambda f: values(f, "v"))
            is_open.clear()
            while acquired.status()[0].state is not DeviceState.DOWN:
                await CLOCK.sleep(0.01)
            is_open.set()
            await collect(acquired, lambda f: values(f, "v"))
            assert acquired.status()[0].state is DeviceState.UP
