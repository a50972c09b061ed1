"""Every transport against somebody else's server: libmodbus over TCP, RTU and RTU over TCP."""

import asyncio
import contextlib
import ssl
import struct

import pytest
from pymodbus.server import ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.clock import SystemClock
from edge_agent.drivers import ModbusConfig, ModbusDriver
from edge_agent.errors import NoAnswer
from edge_agent.readings import GOOD

CLOCK = SystemClock()
TOTAL, PRESSURE = 5_123_456_789, -1234.5


def words(layout, value):
    raw = struct.pack(layout, value)
    return struct.unpack(f">{len(raw) // 2}H", raw)


def registers():
    found = {f"holding {100 + n}": word for n, word in enumerate(words(">Q", TOTAL))}
    found |= {f"input {104 + n}": word for n, word in enumerate(words(">f", PRESSURE))}
    return found | {"holding 300": 0x0A30, "coil 17": 1, "discrete 1999": 1, "discrete 3": 1}


TAGS = (
    {"id": "total", "address": 100, "type": "uint64", "totaliser": {}},
    {"id": "pressure", "table": "input", "address": 104, "type": "float32"},
    {"id": "mode", "address": 300, "type": "uint16", "mask": 0x0F00},
    {"id": "step", "address": 300, "type": "uint16", "mask": 0x00F0},
    {"id": "alarm", "address": 300, "type": "bool", "mask": 0x0020},
    {"id": "digits", "address": 300, "type": "bcd16"},
    {"id": "open", "table": "coil", "address": 17, "type": "bool"},
    {"id": "last", "table": "discrete", "address": 1999, "type": "bool"},
    {"id": "shut", "table": "discrete", "address": 4, "type": "bool"},
)
EXPECTED = {
    "total": TOTAL,
    "pressure": PRESSURE,
    "mode": 10,
    "step": 3,
    "alarm": 1,
    "digits": None,  # 0x0A30 has a digit above 9
    "open": 1,
    "last": 1,
    "shut": 0,
}


def device(**fields):
    plain = {"driver": "modbus", "id": "d", "unit": 7, "interval_s": 1, "tags": TAGS}
    return ModbusConfig.model_validate(plain | {"timeout_s": 5} | fields)


async def values(config):
    async with ModbusDriver(config, CLOCK) as driver, asyncio.timeout(20):
        samples = await driver.read()
        assert driver.stats.mismatched == driver.stats.late == 0
        return {sample.tag: sample.value for sample in samples}


async def test_libmodbus_over_tcp(libmodbus):
    async with libmodbus("tcp", 0, 7, registers=registers()) as port:
        assert await values(device(host="127.0.0.1", port=port)) == EXPECTED


@pytest.mark.parametrize(("parity", "letter"), [("none", "N"), ("even", "E"), ("odd", "O")])
async def test_libmodbus_over_a_serial_line(libmodbus, serial_line, parity, letter):
    async with (
        serial_line() as (ours, theirs),
        libmodbus("rtu", theirs, 115200, letter, 7, registers=registers()),
    ):
        serial = {"port": str(ours), "baud": 115200, "parity": parity}
        assert await values(device(transport="rtu", serial=serial)) == EXPECTED


@contextlib.asynccontextmanager
async def serial_gateway(port, end):
    """Passes bytes between a TCP port and a serial port, knowing nothing of Modbus."""
    process = await asyncio.create_subprocess_exec(
        "socat", "-d", "-d", f"tcp-listen:{port},bind=127.0.0.1,reuseaddr", f"{end},raw,echo=0",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while b"listening" not in await process.stderr.readline():
                pass
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_libmodbus_behind_a_raw_serial_gateway(libmodbus, serial_line, free_port):
    port = free_port()
    async with (
        serial_line() as (ours, theirs),
        libmodbus("rtu", theirs, 115200, "N", 7, registers=registers()),
        serial_gateway(port, ours),
    ):
        fields = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "port": port}
        assert await values(device(**fields)) == EXPECTED


async def test_a_serial_port_that_another_program_has_is_no_answer(serial_line):
    async with serial_line() as (ours, _):
        serial = {"port": str(ours)}
        config = device(transport="rtu", serial=serial, timeout_s=0.2)
        async with ModbusDriver(config, CLOCK) as first:
            with pytest.raises(NoAnswer, match="no answer in"):
                await first.read()
            async with ModbusDriver(config, CLOCK) as second:
                with pytest.raises(NoAnswer, match="another program has this serial port"):
                    await second.read()


async def test_a_serial_port_that_is_not_there_is_no_answer(tmp_path):
    config = device(transport="rtu", serial={"port": str(tmp_path / "ttyUSB9")})
    async with ModbusDriver(config, CLOCK) as driver:
        with pytest.raises(NoAnswer, match="ttyUSB9 cannot be connected"):
            await driver.read()


async def test_values_return_after_a_serial_port_was_unplugged(libmodbus, serial_line):
    arguments = (115200, "N", 7)
    async with contextlib.AsyncExitStack() as stack:
        async with serial_line() as (ours, theirs):
            serial = {"port": str(ours), "baud": 115200}
            config = device(transport="rtu", serial=serial, timeout_s=0.5, late_s=0.05)
            driver = await stack.enter_async_context(ModbusDriver(config, CLOCK))
            async with libmodbus("rtu", theirs, *arguments, registers=registers()):
                assert len(await driver.read()) == len(TAGS)
        with pytest.raises(NoAnswer):
            await driver.read()
        async with (
            serial_line() as (_, theirs),
            libmodbus("rtu", theirs, *arguments, registers=registers()),
            asyncio.timeout(20),
        ):
            got = await driver.read()
        assert {s.tag: s.value for s in got} == EXPECTED
        assert driver.stats.connections == 2


# --- TLS and UDP, against pymodbus's servers ------------------------------------------------------


def sim_device():
    bits = [SimData(0, values=[False, True, False, True] * 501, datatype=DataType.BITS)]
    holding = [SimData(100, values=list(words(">Q", TOTAL)), datatype=DataType.REGISTERS)]
    inputs = [SimData(104, values=list(words(">f", PRESSURE)), datatype=DataType.REGISTERS)]
    return SimDevice(7, simdata=(bits, bits, holding, inputs))


SIM_TAGS = TAGS[:2]


@contextlib.asynccontextmanager
async def tls_meter(folder, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "meter.pem", folder / "meter.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = ModbusTlsServer([sim_device()], address=("127.0.0.1", port), sslctx=context)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()


def tls_device(folder, port, *, ca="ca", own="agent", **fields):
    files = {name: folder / f"{stem}" for name, stem in (("ca", f"{ca}.pem"),)}
    files |= {"cert": folder / f"{own}.pem", "key": folder / f"{own}.key"}
    tls = files | {"server_name": fields.pop("server_name", "meter.plant")}
    return device(
        transport="tls", host="127.0.0.1", port=port, tls=tls, tags=SIM_TAGS, timeout_s=5, **fields
    )


async def test_a_meter_that_speaks_modbus_security(certificates, free_port):
    port = free_port()
    async with tls_meter(certificates, port):
        got = await values(tls_device(certificates, port))
    assert got == {"total": TOTAL, "pressure": PRESSURE}


@pytest.mark.parametrize(
    "wrong",
    [{"ca": "other"}, {"server_name": "another.plant"}, {"own": "stranger"}],
    ids=("server_of_another_ca", "server_of_another_name", "client_of_another_ca"),
)
async def test_a_certificate_that_does_not_fit_gives_no_value(certificates, free_port, wrong):
    port = free_port()
    config = tls_device(certificates, port, **wrong)
    async with tls_meter(certificates, port), ModbusDriver(config, CLOCK) as driver:
        with pytest.raises(NoAnswer):
            await driver.read()


async def test_a_meter_over_udp(free_port):
    port = free_port()
    server = ModbusUdpServer([sim_device()], address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        config = device(transport="udp", host="127.0.0.1", port=port, tags=SIM_TAGS)
        async with ModbusDriver(config, CLOCK) as driver:
            samples = await driver.read()
        assert {s.tag: s.value for s in samples} == {"total": TOTAL, "pressure": PRESSURE}
        assert {s.quality for s in samples} == {GOOD}
    finally:
        await server.shutdown()
