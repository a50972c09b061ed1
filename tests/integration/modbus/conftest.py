"""Other people's Modbus servers and lines, started as programs: libmodbus, socat."""

import asyncio
import contextlib
import datetime as dt
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


def certificate(name, issuer=None, *, is_ca=False):
    """A certificate and its key: self-signed, or signed by ``issuer``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer_name, signer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 (X.509 takes no other)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return built, key


def write(folder, name, pair):
    pem = serialization.Encoding.PEM
    folder.joinpath(f"{name}.pem").write_bytes(pair[0].public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    none = serialization.NoEncryption()
    folder.joinpath(f"{name}.key").write_bytes(pair[1].private_bytes(pem, form, none))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder of certificates: of the plant's authority, its meter and agent, and of another one."""
    folder = tmp_path_factory.mktemp("tls")
    ca, other = certificate("plant ca", is_ca=True), certificate("other ca", is_ca=True)
    for name, pair in {
        "ca": ca,
        "other": other,
        "meter": certificate("meter.plant", ca),
        "agent": certificate("agent.plant", ca),
        "stranger": certificate("agent.plant", other),
    }.items():
        write(folder, name, pair)
    return folder
