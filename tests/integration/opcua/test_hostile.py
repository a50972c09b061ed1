"""A server that means harm, or is broken enough to look like it."""

import asyncio
import contextlib
import resource
import struct
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from asyncua import Server, ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from asyncua.ua.uaerrors import UaError

from edge_agent.clock import SystemClock
from edge_agent.drivers.base import UNCERTAIN_CLOCK
from edge_agent.drivers.opcua import opcua_driver
from edge_agent.drivers.opcua.browse import Bounds, Walk
from edge_agent.drivers.opcua.history import read_history
from edge_agent.errors import DeviceError, NoAnswer
from edge_agent.readings import BAD_DEVICE, Waveform

URI = "urn:test:potline"
CLOCK = SystemClock()


@contextlib.asynccontextmanager
async def asyncua_server(port, *names):
    """asyncua's own server with these variables; gives a function that writes one."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    nodes = {}
    for name in names:
        nodes[name] = await server.nodes.objects.add_variable(ua.NodeId(name, index), name, 0.0)
    server.iserver.aspace._is_expected_variant_type = lambda *_: True  # it may lie about types
    await server.start()

    async def write(name, value, kind=ua.VariantType.Double, stamp=None):
        answer = ua.DataValue(
            Value=ua.Variant(value, kind),
            SourceTimestamp=stamp or datetime.fromtimestamp(CLOCK.utc_ns() / 1e9, UTC),
        )
        await server.write_attribute_value(nodes[name].nodeid, answer)

    try:
        yield write
    finally:
        await server.stop()


async def test_values_of_any_kind_spoil_only_their_own_tag(free_port, device, listen):
    port = free_port()
    async with (
        asyncua_server(port, "v", "odd", "wave") as write,
        listen(device(f"opc.tcp://127.0.0.1:{port}", "v", "odd", "wave")) as listener,
    ):
        await listener.until(lambda li: li.values("odd") == [0.0])
        odd = [
            ("x" * 1_000_000, ua.VariantType.String),
            (b"\0" * 1_000_000, ua.VariantType.ByteString),
            ([1.5] * 100_000, ua.VariantType.Double),
            (datetime(2026, 1, 1, tzinfo=UTC), ua.VariantType.DateTime),
            (ua.NodeId(7, 0), ua.VariantType.NodeId),
            (ua.LocalizedText("4.25"), ua.VariantType.LocalizedText),
            (float("nan"), ua.VariantType.Double),
            (float("-inf"), ua.VariantType.Float),
        ]
        for number, (value, kind) in enumerate(odd, 1):
            await write("odd", value, kind)
            await write("v", float(number))
            await listener.until(lambda li, n=number: n in li.values("v"))
            await listener.until(lambda li, n=number: len(li.samples("odd")) == 1 + n)
            last = listener.samples("odd")[-1]
            assert (last.value, last.quality) == (None, BAD_DEVICE)
        for value in ([1.0] * 86_401, [], 7.5, [[1.0, 2.0], [3.0, 4.0]]):
            await write("wave", value)
        await write("wave", [1.5, 2.5])
        await listener.until(lambda li: any(isinstance(r, Waveform) for r in li.found))
        waves = [r for r in listener.found if r.tag == "wave"]
        assert [w.quality for w in waves[1:-1]] == [BAD_DEVICE] * 4
        assert list(waves[-1].values) == [1.5, 2.5]
        assert listener.status.errors == 0


async def test_source_times_of_1601_and_9999_become_the_time_of_receipt_in_doubt(
    free_port, device, listen
):
    port = free_port()
    async with (
        asyncua_server(port, "v") as write,
        listen(device(f"opc.tcp://127.0.0.1:{port}", "v")) as listener,
    ):
        await listener.until(lambda li: li.values("v"))
        stamps = [
            datetime(1601, 1, 1, 0, 0, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 58, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=1),
        ]
        for number, stamp in enumerate(stamps, 1):
            before_ns = CLOCK.utc_ns()
            await write("v", float(number), stamp=stamp)
            await listener.until(lambda li, n=number: n in li.values("v"))
            last = listener.samples("v")[-1]
            assert last.quality == UNCERTAIN_CLOCK
            assert before_ns <= last.time_ns <= CLOCK.utc_ns()


async def test_a_message_beyond_the_limit_ends_the_connection_and_the_next_goes_on(
    free_port, device, listen
):
    port = free_port()
    async with (
        asyncua_server(port, "v", "text") as write,
        listen(device(f"opc.tcp://127.0.0.1:{port}", "v", "text", max_message_mb=1)) as listener,
    ):
        await listener.until(lambda li: li.values("v"))
        await write("text", "x" * 2_000_000, ua.VariantType.String)
        await listener.until(lambda li: li.status.errors)
        await write("text", "short", ua.VariantType.String)
        await write("v", 5.5)
        await listener.until(lambda li: 5.5 in li.values("v"))


async def test_a_subscription_that_stopped_reporting_is_left_although_the_server_lives(
    free_port, device, listen, monkeypatch
):
    port = free_port()
    url = f"opc.tcp://127.0.0.1:{port}"
    async with (
        asyncua_server(port, "v") as write,
        listen(device(url, "v", stale_s=0.3)) as listener,
    ):
        await write("v", 1.5)
        await listener.until(lambda li: 1.5 in li.values("v"))
        driver = listener.acquisition._devices[0]._driver
        first_monitor = driver._monitor
        first_monitor.tags.clear()  # from now on its notifications belong to no tag
        await write("v", 2.5)
        await listener.until(lambda li: "not reported any more" in li.status.last_error)
        await listener.until(lambda li: 2.5 in li.values("v"))
        assert driver._monitor is not first_monitor


@contextlib.asynccontextmanager
async def raw_server(serve):
    """A TCP server whose connections are gone when it is; gives its port."""
    tasks = set()

    async def guarded(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn


def frame(kind, size, body=b""):
    return kind + struct.pack("<I", size) + body


ACKNOWLEDGE = frame(b"ACKF", 28, struct.pack("<5I", 0, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1))


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"ACKF", 2**32 - 1),
        frame(b"ACKF", 0),
        frame(b"ACKF", 28, b"\xff" * 20),
        frame(b"HELF", 32, b"\0" * 24),
        ACKNOWLEDGE + frame(b"OPNF", 2**31),
        ACKNOWLEDGE + frame(b"OPNF", 64, b"\xff" * 56),
        ACKNOWLEDGE + frame(b"MSGF", 24, b"\0" * 16),
        frame(b"ERRF", 16, struct.pack("<Ii", 0x80070000, -1)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0" * 4_096,
    ],
    ids=(
        "4_gb_frame", "empty_frame", "wild_limits", "hello", "2_gb_open", "broken_open",
        "message_too_early", "error", "http", "zeros",
    ),
)  # fmt: skip
async def test_bytes_that_are_no_opc_ua_are_an_error_of_the_device_in_time(device, answer):
    async def serve(reader, writer):
        await reader.read(64)
        writer.write(answer)
        while await reader.read(65_536):
            writer.write(b"\xff" * 65_536)
            await writer.drain()

    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with raw_server(serve) as port, asyncio.timeout(20):
        with pytest.raises(DeviceError):
            async with opcua_driver(
                device(f"opc.tcp://127.0.0.1:{port}", "v", timeout_s=0.5), CLOCK
            ):
                pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 64_000


async def test_a_server_that_sends_for_ever_without_ending_a_frame_is_left(device):
    async def serve(reader, writer):
        await reader.read(64)
        writer.write(frame(b"ACKF", 65_535))
        while True:
            writer.write(b"\0")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(serve) as port, asyncio.timeout(20):
        with pytest.raises(NoAnswer):
            async with opcua_driver(
                device(f"opc.tcp://127.0.0.1:{port}", "v", timeout_s=0.4), CLOCK
            ):
                pass


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x80" + struct.pack("<i", 2**31 - 1),  # an array of two thousand million nothings
        b"\x97" + struct.pack("<i", 100_001) + b"\0" * 100_001,  # DataValues of one byte each
        b"\x98" + struct.pack("<i", 2_000_000) + b"\0" * 2_000_000,  # Variants of one byte each
        b"\xc6" + struct.pack("<2i", 1, 7) + struct.pack("<3i", 2, 2**30, 2**30),  # dimensions
    ],
    ids=("nothings", "data_values", "variants", "dimensions"),
)
def test_a_short_message_cannot_ask_for_much_memory(encoded):
    with pytest.raises(UaError):
        ua_binary.variant_from_binary(Buffer(encoded))


def test_a_value_inside_a_value_inside_a_value_is_an_error_and_not_a_crash():
    deep = b"\x98\x01\0\0\0" * 50_000
    with pytest.raises((UaError, RecursionError)):
        ua_binary.variant_from_binary(Buffer(deep))


class Endless:
    """A session whose lists never end."""

    def __init__(self, *, repeats):
        self.calls = 0
        self._repeats = repeats

    def _references(self):
        self.calls += 1
        name = 1 if self._repeats else self.calls
        return [
            ua.BrowseResult(
                ContinuationPoint=b"more",
                References=[
                    ua.ReferenceDescription(
                        NodeId=ua.ExpandedNodeId(name * 100 + place, 1),
                        BrowseName=ua.QualifiedName("n" * 500 + "\x1b[31m", 1),
                        NodeClass=ua.NodeClass.Object,
                    )
                    for place in range(10)
                ],
            )
        ]

    async def browse(self, parameters):
        return self._references()

    async def browse_next(self, parameters):
        return self._references()

    async def history_read(self, parameters):
        self.calls += 1
        start = parameters.HistoryReadDetails.StartTime
        stamp = start if not self._repeats else datetime(2026, 1, 1, tzinfo=UTC)
        value = ua.DataValue(Value=ua.Variant(float(self.calls)), SourceTimestamp=stamp)
        history = ua.HistoryData(DataValues=[value])
        return [ua.HistoryReadResult(ContinuationPoint=b"more", HistoryData=history)]


def client_of(session):
    async def namespaces():
        return ["", URI]

    return SimpleNamespace(
        uaclient=SimpleNamespace(session=session), get_namespace_array=namespaces
    )


@pytest.mark.parametrize("repeats", [True, False])
async def test_a_browse_that_never_ends_is_cut_and_says_so(repeats):
    session = Endless(repeats=repeats)
    walk = Walk(client_of(session), Bounds(nodes=50, depth=3, seconds=30))
    names = [entry.name async for entry in walk.entries()]
    assert 0 < len(names) <= 50
    assert session.calls <= 1_000
    assert walk.cut
    assert all(len(name) <= 80 and name.isprintable() for name in names)


@pytest.mark.parametrize(("repeats", "most"), [(True, 3), (False, 1_001)])
async def test_a_history_that_never_ends_is_left_and_its_place_given_back(repeats, most):
    session = Endless(repeats=repeats)
    start_ns = 1_700_000_000 * 10**9
    pages = [
        page
        async for page in read_history(
            client_of(session), {"v": ua.NodeId(1, 1)}, {"v": start_ns}, 2 * start_ns, 10
        )
    ]
    assert session.calls <= most
    assert len(pages) <= 1_000
