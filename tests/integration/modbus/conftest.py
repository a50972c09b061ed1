"""Other people's Modbus servers and lines, started as programs: libmodbus, socat."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "stacks" / "libmodbus_server.c"
HEADERS = (Path("/usr/include/modbus/modbus.h"), Path("/usr/local/include/modbus/modbus.h"))
TABLES = {"coil": "c", "discrete": "d", "holding": "h", "input": "i"}


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The libmodbus server, compiled; skips where its Debian packages are not installed."""
    header = next((path for path in HEADERS if path.exists()), None)
    if header is None or not shutil.which("gcc"):
        pytest.skip("libmodbus-dev or gcc is not installed")
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    subprocess.run(
        ["gcc", "-O1", "-o", program, SOURCE, f"-I{header.parent}", "-lmodbus"], check=True
    )
    return program


@pytest.fixture
def libmodbus(program):
    """Starts the server: ``async with libmodbus("tcp", 0, unit, registers=...) as port``."""
    return lambda *arguments, registers: _server(program, arguments, registers)


@pytest.fixture
def free_port():
    """A TCP or UDP port that was free a moment ago."""

    def find():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture
def serial_line(tmp_path):
    """Makes a serial line: ``async with serial_line() as (one_end, other_end)``."""
    return lambda: _line(tmp_path)


@contextlib.asynccontextmanager
async def _server(program, arguments, registers):
    """The server with these registers (``{"holding 10": 258}``); gives its TCP port, or 0."""
    process = await asyncio.create_subprocess_exec(
        program,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        for name, value in registers.items():
            table, address = name.split()
            process.stdin.write(f"{TABLES[table]} {address} {int(value)}\n".encode())
        process.stdin.write(b"\n")
        await process.stdin.drain()
        ready, port = (await asyncio.wait_for(process.stdout.readline(), 20)).split()
        assert ready == b"ready"
        yield int(port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _line(folder):
    """Two ends of a serial line made by socat; what is written to one is read from the other."""
    if not shutil.which("socat"):
        pytest.skip("socat is not installed")
    ends = [folder / "end-a", folder / "end-b"]
    process = await asyncio.create_subprocess_exec(
        "socat", *(f"pty,raw,echo=0,link={end}" for end in ends)
    )
    try:
        async with asyncio.timeout(20):
            while not all(end.exists() for end in ends):
                await asyncio.sleep(0.005)
        yield ends
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
