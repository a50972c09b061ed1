"""DL/T 645 over sockets and serial lines: somebody else's meter, and a line with every fault."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.clock import SystemClock
from edge_agent.drivers.base import Lines
from edge_agent.drivers.dlt645 import Dlt645Config, Dlt645Driver
from edge_agent.errors import NoAnswer
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD
from simulators.dlt645_meter import MeterLine, pack

CLOCK = SystemClock()
ENERGY, VOLTAGE = 0x00010000, 0x02010100
TAGS = (
    {"id": "energy", "quantity": "forward_active_energy"},
    {"id": "voltage", "quantity": "voltage.a"},
)


def values(energy, voltage):
    return {ENERGY: bytes.fromhex(energy)[::-1], VOLTAGE: bytes.fromhex(voltage)[::-1]}


def meter(address, *, tags=TAGS, **fields):
    base = {"interval_s": 0.05, "timeout_s": 20, "settle_s": 0.15, "gap_s": 0.001}
    return Dlt645Config(
        driver="dlt645",
        id=f"m{address[-3:].lower()}",
        address=address,
        tags=[{**tag, "id": f"m{address[-3:].lower()}.{tag['id']}"} for tag in tags],
        **{**base, **fields},
    )


def over_tcp(line, address, **fields):
    return meter(address, host="127.0.0.1", port=line.port, **fields)


async def poll(driver):
    return {sample.tag.split(".")[1]: sample for sample in await driver.read()}


@contextlib.asynccontextmanager
async def cable(ends):
    """A serial line with two ends, until it is pulled out."""
    process = await asyncio.create_subprocess_exec(
        "socat", *(f"pty,raw,echo=0,link={end}" for end in ends)
    )
    try:
        async with asyncio.timeout(20):
            while not all(Path(end).exists() for end in ends):
                await asyncio.sleep(0.01)
        yield
    finally:
        process.terminate()  # it removes its links
        await process.wait()


@pytest.fixture
async def pty(tmp_path):
    """Two ends of one serial line."""
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed")
    ends = [str(tmp_path / name) for name in ("ours", "theirs")]
    async with cable(ends):
        yield ends


# --- somebody else's meter ------------------------------------------------------------------

OTHER = """
import sys
from dlt645 import MeterServerService
if sys.argv[1].isdigit():
    server = MeterServerService.new_tcp_server("127.0.0.1", int(sys.argv[1]), 30)
else:
    server = MeterServerService.new_rtu_server(sys.argv[1], 8, 1, 2400, "E", 1)
server.set_address("070024112620")  # takes the bytes in the order of the line
server.set_00(0x00010000, 123456.78)
server.set_00(0x00010200, 4711.08)
server.set_00(0x00020000, 9.31)
server.set_02(0x02010100, 231.4)
server.set_02(0x02020200, -12.345)
server.set_02(0x02030000, -7.6543)
server.set_02(0x02060000, 0.987)
server.set_02(0x02800002, 49.98)
server.server.start()
print("started", flush=True)
import threading; threading.Event().wait()
"""


async def listening(port):
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("over", ["tcp", "serial"])
async def test_the_meter_of_another_implementation_is_read_with_signs_decimals_and_refusals(
    over, pty
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    end = {"host": "127.0.0.1", "port": port} if over == "tcp" else {"serial": pty[0]}
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(port) if over == "tcp" else pty[1]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    tags = [
        {"id": "total", "quantity": "forward_active_energy", "totaliser": {}},
        {"id": "peak", "quantity": "forward_active_energy.t2"},
        {"id": "reverse", "quantity": "reverse_active_energy"},
        {"id": "voltage", "quantity": "voltage.a"},
        {"id": "current", "quantity": "current.b"},
        {"id": "power", "quantity": "active_power"},
        {"id": "factor", "quantity": "power_factor"},
        {"id": "frequency", "quantity": "frequency"},
        {"id": "nothing", "data_id": "04FFFFFF", "length": 2, "decimals": 0},
    ]
    config = meter("202611240007", **end, tags=tags, timeout_s=10)
    try:
        while b"started" not in await asyncio.to_thread(process.stdout.readline):
            assert process.poll() is None
        if over == "tcp":
            await listening(port)
        async with Dlt645Driver(config, CLOCK) as driver:
            got = await poll(driver)
    finally:
        process.kill()
        process.communicate()
    assert {tag: sample.value for tag, sample in got.items()} == {
        "total": 12345678,
        "peak": 4711.08,
        "reverse": 9.31,
        "voltage": 231.4,
        "current": -12.345,
        "power": -7.6543,
        "factor": 0.987,
        "frequency": 49.98,
        "nothing": None,
    }
    assert got["nothing"].quality == BAD_DEVICE


# --- a serial line --------------------------------------------------------------------------


async def test_two_meters_on_a_serial_line_are_asked_one_at_a_time(pty):
    ours, theirs = pty
    line = MeterLine(
        {"000000000061": values("00123456", "2314"), "000000000062": values("00654321", "2299")}
    )
    line.delay_s = {"000000000061": 0.03, "000000000062": 0.02}
    configs = [meter(address, serial=ours) for address in line.meters]
    shared = Lines()
    drivers = [Dlt645Driver(config, CLOCK) for config in configs]
    for driver in drivers:
        driver.share(shared)
    async with line.serial(theirs), drivers[0], drivers[1]:
        polls = await asyncio.gather(*(poll(driver) for driver in drivers for _ in range(3)))
    assert [one["energy"].value for one in polls] == [1234.56] * 3 + [6543.21] * 3
    assert [one["voltage"].value for one in polls] == [231.4] * 3 + [229.9] * 3
    assert not line.clash


async def test_the_only_meter_of_a_serial_line_is_asked_for_its_address(pty):
    ours, theirs = pty
    line = MeterLine({"202611240007": values("00000815", "2314")})
    async with line.serial(theirs), Dlt645Driver(meter("A" * 12, serial=ours), CLOCK) as driver:
        assert (await poll(driver))["energy"].value == 8.15
        assert (await poll(driver))["voltage"].value == 231.4
    assert [address for address, control, _ in line.asked if control == 0x11] == [
        "202611240007"
    ] * 4
    assert line.asked[0] == ("AAAAAAAAAAAA", 0x13, b"")


async def test_a_port_that_is_open_elsewhere_is_no_answer(pty):
    ours, theirs = pty
    line = MeterLine({"000000000061": values("00123456", "2314")})
    first = Dlt645Driver(meter("000000000061", serial=ours), CLOCK)
    second = Dlt645Driver(meter("000000000061", serial=ours), CLOCK)
    async with line.serial(theirs), first, second:
        await first.read()
        with pytest.raises(NoAnswer, match="cannot be opened"):
            await second.read()


async def test_a_port_that_is_pulled_out_is_no_answer_and_works_when_it_is_back(tmp_path):
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed")
    ends = [str(tmp_path / name) for name in ("ours", "theirs")]
    line = MeterLine({"000000000061": values("00123456", "2314")})
    async with Dlt645Driver(meter("000000000061", serial=ends[0]), CLOCK) as driver:
        async with cable(ends), line.serial(ends[1]):
            assert (await poll(driver))["energy"].value == 1234.56
        with pytest.raises(NoAnswer):
            await driver.read()
        with pytest.raises(NoAnswer, match="cannot be opened"):
            await driver.read()
        async with cable(ends), line.serial(ends[1]):
            assert (await poll(driver))["voltage"].value == 231.4


async def test_a_gateway_that_closes_the_connection_is_connected_again():
    line = MeterLine({"000000000061": values("00123456", "2314")})
    async with line.tcp():
        port = line.port
        driver = Dlt645Driver(over_tcp(line, "000000000061"), CLOCK)
        await driver.__aenter__()
        assert (await poll(driver))["energy"].value == 1234.56
    with pytest.raises(NoAnswer):
        await driver.read()
    async with line.tcp(port):
        assert (await poll(driver))["energy"].value == 1234.56
        await driver.__aexit__()


# --- faults -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def faulty(**fields):
    """A meter on a faulty line; ``be_patient`` ends short time-outs, which a busy machine misses."""
    line = MeterLine({"000000000061": values("00123456", "2314")})
    async with line.tcp(), Dlt645Driver(over_tcp(line, "000000000061", **fields), CLOCK) as driver:
        yield line, driver


def be_patient(driver):
    driver._config = driver._config.model_copy(update={"timeout_s": 20.0})


WRONG = {
    "another meter": lambda raw: pack("000000000099", 0x91, raw and bytes(8)),
    "another data id": lambda _: pack("000000000061", 0x91, bytes.fromhex("0000020056341200")),
    "another function": lambda _: pack("000000000061", 0x94, b""),
    "a question": lambda _: pack("000000000061", 0x11, bytes.fromhex("00000100")),
    "half a frame": lambda raw: raw[: len(raw) // 2],
    "a wrong checksum": lambda raw: raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:],
    "noise": lambda _: bytes(range(256)) * 3,
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_does_not_answer_the_question_is_never_taken(what):
    async with faulty(timeout_s=0.15, settle_s=0.02) as (line, driver):
        line.mangle = WRONG[what]
        with pytest.raises(NoAnswer):
            await driver.read()
        line.mangle = lambda raw: raw
        be_patient(driver)
        assert (await poll(driver))["energy"].value == 1234.56


async def test_the_answer_behind_noise_an_echo_and_another_meters_frame_is_taken():
    async with faulty(timeout_s=10) as (line, driver):
        echo = pack("000000000061", 0x11, bytes.fromhex("00000100"))
        other = pack("000000000099", 0x91, bytes.fromhex("0000010011111111"))
        line.mangle = lambda raw: b"\x00\x68\xff" + echo + other + b"\xfe\xfe" + raw
        assert (await poll(driver))["energy"].value == 1234.56


async def test_a_late_answer_is_not_taken_for_the_next_question():
    async with faulty(timeout_s=0.1, settle_s=1.0) as (line, driver):
        line.delay_s["000000000061"] = 0.25
        with pytest.raises(NoAnswer):
            await driver.read()
        line.meters["000000000061"] = values("00999999", "2222")
        line.delay_s["000000000061"] = 0.3  # the late answer is there before the right one
        be_patient(driver)
        got = await poll(driver)
        assert (got["energy"].value, got["voltage"].value) == (9999.99, 222.2)
        assert len(line.asked) == 3


async def test_a_meter_that_falls_silent_half_way_keeps_what_it_said():
    async with faulty(timeout_s=0.6, settle_s=0.01) as (line, driver):
        line.mangle = lambda raw: raw if raw[9] == 8 else None
        got = await poll(driver)
    assert (got["energy"].value, got["energy"].quality) == (1234.56, GOOD)
    assert (got["voltage"].value, got["voltage"].quality) == (None, BAD_COMMS)


async def test_an_answer_in_four_frames_is_joined_though_every_frame_comes_twice():
    demand = bytes.fromhex("2603010930034567")[::-1]  # 3.4567 kW, and when: minute first
    line = MeterLine({"000000000061": {0x01010000: demand}}, max_answer=2)
    before = [b""]

    def again(raw):
        both, before[0] = before[0] + raw, raw
        return both

    line.mangle = again
    tags = [
        {"id": "demand", "quantity": "forward_active_max_demand"},
        {"id": "year_month", "data_id": "01010000", "at": 6, "length": 2, "decimals": 0},
    ]
    config = {"tags": tags}
    async with line.tcp(), Dlt645Driver(over_tcp(line, "000000000061", **config), CLOCK) as driver:
        got = await poll(driver)
    assert (got["demand"].value, got["year_month"].value) == (3.4567, 2603)
    assert [(control, data[4:]) for _, control, data in line.asked] == [
        (0x11, b""), (0x12, b"\x01"), (0x12, b"\x02"), (0x12, b"\x03"),
    ]  # fmt: skip


async def test_only_the_due_tags_are_asked_for():
    async with faulty(timeout_s=10) as (line, driver):
        (only,) = await driver.read({"m061.voltage"})
        assert only.value == 231.4
        assert len(line.asked) == 1


async def test_a_dead_meter_does_not_stop_its_neighbour_on_the_line():
    line = MeterLine(
        {"000000000061": values("00123456", "2314"), "000000000062": values("00654321", "2299")}
    )
    line.silent.add("000000000062")
    async with line.tcp():
        configs = [over_tcp(line, address, timeout_s=0.2) for address in line.meters]
        acquired = Acquisition(configs, CLOCK, jitter=lambda: 0.0)
        task = asyncio.create_task(acquired.run())
        try:
            live = 0
            async with asyncio.timeout(30):
                async for readings in acquired.batches():
                    live += sum(reading.tag == "m061.energy" for reading in readings)
                    if live >= 10 and acquired.status()[1].errors:
                        break
            assert [status.state for status in acquired.status()] == [
                DeviceState.UP,
                DeviceState.DOWN,
            ]
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_meters_clock_is_told_as_seconds_ahead_of_ours():
    tags = [{"id": "clock", "quantity": "clock_offset"}]

    class At(SystemClock):
        def utc_ns(self):
            return round(datetime(2026, 3, 1, 4, 30, 10, tzinfo=UTC).timestamp()) * 10**9

    line = MeterLine(
        {
            "000000000061": {
                0x04000101: bytes.fromhex("26030107")[::-1],  # Sunday 1 March 2026
                0x04000102: bytes.fromhex("123022")[::-1],  # 12:30:22 in Shanghai
            }
        }
    )
    async with line.tcp():
        config = over_tcp(line, "000000000061", tags=tags, timeout_s=10)
        async with Dlt645Driver(config, At()) as driver:
            (sample,) = await driver.read()
    assert sample.value == 12.0
