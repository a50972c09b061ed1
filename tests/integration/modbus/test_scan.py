"""``edge-agent scan modbus`` and ``devices`` as a user runs them, against libmodbus."""

import asyncio
import json
from pathlib import Path

import pytest

from edge_agent import cli

CASES = Path(__file__).parents[2] / "cases" / "devices"


def registers(name):
    return json.loads((CASES / name / "registers.json").read_text())


async def run(capsys, *arguments):
    """Exit code and what stands on standard output; the verb runs in a thread of its own."""
    code = await asyncio.to_thread(cli.main, list(map(str, arguments)))
    return code, capsys.readouterr().out


async def test_a_scan_names_the_device_behind_a_serial_line(libmodbus, serial_line, capsys):
    async with (
        serial_line() as (ours, theirs),
        libmodbus("rtu", theirs, 115200, "N", 5, registers=registers("janitza-umg96rm")),
    ):
        options = ("--units", "5", "--baud", 115200, "--pause", 0, "--timeout", 5)
        code, out = await run(capsys, "scan", "modbus", ours, *options)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["UNIT", "ANSWERS", "WITH", "MAY", "BE", "HOLDS"]
    assert lines[1].split() == ["5", "a", "value", "janitza-umg96rm"]
    assert len(lines) == 2


async def test_a_scan_finds_a_meter_by_the_text_it_holds(libmodbus, capsys):
    text = b"7KM4212-0BA00-3AA0  "
    words = {f"holding {64002 + n}": text[2 * n] * 256 + text[2 * n + 1] for n in range(10)}
    async with libmodbus("tcp", 0, 1, registers={"holding 64001": 42, **words}) as port:
        options = ("--units", "3", "--pause", 0, "--timeout", 5)
        code, out = await run(capsys, "scan", "modbus", f"127.0.0.1:{port}", *options)
    assert code == 0
    assert "siemens-pac3200, siemens-pac4200" in out
    assert "7KM4212-0BA00-3AA0" in out


async def test_a_scan_leaves_silent_units_out_and_ends_within_its_limit(
    libmodbus, serial_line, capsys
):
    async with (
        serial_line() as (ours, theirs),
        libmodbus("rtu", theirs, 115200, "N", 9, registers={"holding 0": 1}),
    ):
        options = ("--baud", 115200, "--pause", 0, "--timeout", 0.05, "--limit", 0.4)
        code, out = await run(capsys, "scan", "modbus", ours, "--units", "100-247", *options)
    assert code == 1
    assert "no unit answered" in out
    assert "--limit 0.4 s is over" in out


def test_a_scan_of_nobody_fails_and_says_so(free_port, capsys):
    assert cli.main(["scan", "modbus", f"127.0.0.1:{free_port()}", "--units", "1-3"]) == 1
    assert "cannot be connected" in capsys.readouterr().err
    assert cli.main(["scan", "modbus", "/dev/no-such-port", "--units", "1"]) == 1
    assert "/dev/no-such-port cannot be connected: [Errno 2]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("h", "--units", "0-3"), "goes beyond 1 to 247"),
        (("h", "--units", "a"), "names no units"),
        (("h", "--units", "9-3"), "goes beyond 1 to 247"),
        (("h:99999",), "port"),
        (("h:1:2",), "'h:1:2' is no line (HOST, HOST:PORT or /dev/ttyUSB0 is right)"),
        (("/dev/ttyUSB0", "--baud", "9601"), "serial.baud"),
        (("h", "--timeout", "0"), "timeout_s"),
    ],
)
def test_a_wrong_option_of_a_scan_is_named(capsys, arguments, said):
    assert cli.main(["scan", "modbus", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_templates_are_listed_and_shown_with_their_source(capsys):
    assert cli.main(["devices", "list"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) >= 13
    assert "siemens-pac4200" in out
    assert cli.main(["devices", "show", "acrel-dtsd1352"]) == 0
    out = capsys.readouterr().out
    assert "DTSD1352 Installation and operation instruction V2.0" in out
    assert "0.01 x ct x pt" in out
    assert "ratios: {ct: 1, pt: 1}" in out
    assert cli.main(["devices", "show", "acrel"]) == 2
    assert "known: abb-a43, abb-m2m, acrel-adw300" in capsys.readouterr().err
