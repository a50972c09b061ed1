"""``probe`` and ``scan`` over Modbus/TCP Security: socat's TLS in front of libmodbus, as a gateway."""

import asyncio
import contextlib
import shutil
import textwrap

import pytest

from edge_agent import cli
from edge_agent.wire import keys

REGISTERS = {"holding 0": 230, "holding 1": 0xFFFF}


@pytest.fixture
def tls_gateway(libmodbus, certificates, free_port):
    """A meter with unit id 1 that lets in whom the plant's authority knows; gives its port."""
    if not shutil.which("socat"):
        pytest.skip("socat is not installed")

    @contextlib.asynccontextmanager
    async def make():
        port = free_port()
        async with libmodbus("tcp", 0, 1, registers=REGISTERS) as inner:
            own = f"cert={certificates}/meter.pem,key={certificates}/meter.key"
            process = await asyncio.create_subprocess_exec(
                "socat",
                f"OPENSSL-LISTEN:{port},{own},cafile={certificates}/ca.pem,verify=1,"
                "fork,reuseaddr,bind=127.0.0.1",
                f"TCP:127.0.0.1:{inner}",
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(20):
                    while True:
                        with contextlib.suppress(OSError):
                            (await asyncio.open_connection("127.0.0.1", port))[1].close()
                            break
                        await asyncio.sleep(0.02)
                yield port
            finally:
                process.kill()
                await process.wait()

    return make


def files(certificates, *, own="agent", ca="ca"):
    return {
        "--ca": certificates / f"{ca}.pem",
        "--cert": certificates / f"{own}.pem",
        "--key": certificates / f"{own}.key",
        "--server-name": "meter.plant",
    }


async def run(capsys, *arguments):
    code = await asyncio.to_thread(cli.main, list(map(str, arguments)))
    said = capsys.readouterr()
    return code, said.out, said.err


async def scan(capsys, target, options):
    flat = [part for option in options.items() for part in option]
    limits = ("--units", "1", "--pause", 0, "--timeout", 5)
    return await run(capsys, "scan", "modbus", target, "--transport", "tls", *limits, *flat)


async def test_a_scan_finds_a_unit_behind_tls(tls_gateway, certificates, capsys):
    async with tls_gateway() as port:
        code, out, _ = await scan(capsys, f"127.0.0.1:{port}", files(certificates))
    assert code == 0
    assert out.splitlines()[1].split()[:4] == ["1", "a", "value", "unknown"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"ca": "other"}, "certificate verify failed"), ({"own": "stranger"}, "")],
    ids=("server_of_another_ca", "client_of_another_ca"),
)
async def test_a_scan_with_a_wrong_certificate_finds_nothing(
    tls_gateway, certificates, capsys, wrong, told
):
    async with tls_gateway() as port:
        code, out, err = await scan(capsys, f"127.0.0.1:{port}", files(certificates, **wrong))
    assert code == 1
    assert told in err
    assert "a value" not in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"--cert": None}, "--cert: is missing (--transport tls --ca CA.pem --cert"),
        ({"--key": "gone.key"}, "--key: there is no file 'gone.key'"),
        ({"--transport": "tcp"}, "--ca: belongs to tls, not to tcp"),
    ],
)
async def test_a_scan_says_which_option_is_wrong(certificates, capsys, options, told):
    given = {"--transport": "tls", **files(certificates), **options}
    flat = [part for name, value in given.items() if value for part in (name, value)]
    code, _, err = await run(capsys, "scan", "modbus", "127.0.0.1:1", *flat)
    assert code == 2
    assert told in err


@pytest.fixture
def write(tmp_path, certificates):
    keys.create_signer(tmp_path / "k.pem")

    def make(port, **changes):
        names = {"ca": "ca.pem", "cert": "agent.pem", "key": "agent.key", **changes}
        tls = ", ".join(f"{key}: {certificates / name}" for key, name in names.items())
        path = tmp_path / "agent.yaml"
        path.write_text(
            textwrap.dedent(f"""\
            site: s
            agent: a
            state_dir: state
            keys: {{signing: k.pem, gateway: [k.pub.pem]}}
            factor_set: cets-ag-04.01-v01-2024
            mqtt: {{port: 1}}
            devices:
              - id: d
                driver: modbus
                transport: tls
                host: 127.0.0.1
                port: {port}
                tls: {{{tls}, server_name: meter.plant}}
                unit: 1
                interval_s: 1
                timeout_s: 5
                tags: [{{id: d.volt, address: 0, type: uint16, unit: V, range: [200, 260]}}]
            """)
        )
        return path

    return make


async def test_a_probe_reads_a_meter_behind_tls(tls_gateway, write, capsys):
    async with tls_gateway() as port:
        _, out, _ = await run(capsys, "probe", write(port))
    (row,) = [line for line in out.splitlines() if line.startswith("d ")]
    assert " ok " in row
    assert "d.volt=230" in row


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ca": "other.pem"}, "certificate verify failed"),
        ({"key": "gone.key"}, "tls.key: there is no file"),
        ({"ca": "agent.key"}, "tls.ca: "),
        ({"key": "meter.key"}, "are no certificate and its key"),
    ],
)
async def test_a_probe_says_which_certificate_is_wrong(tls_gateway, write, capsys, changes, told):
    async with tls_gateway() as port:
        code, out, _ = await run(capsys, "probe", write(port, **changes))
    (row,) = [line for line in out.splitlines() if line.startswith("d ")]
    assert code == 1
    assert " down " in row
    assert told in row
