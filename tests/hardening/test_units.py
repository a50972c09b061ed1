"""The shipped systemd units: their sandbox's score, and the program's side of readiness."""

import argparse
import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.service import ServiceManager, report_alive
from gateway.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROGRAMS = [FOLDER / name for name in ("carbon-gateway.service", "edge-agent.service")]
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1


def test_there_is_a_unit_for_each_program():
    assert set(PROGRAMS) <= set(UNITS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_sandbox_scores_under_two(unit):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=19", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_without_root_core_dumps_or_writable_system(unit):
    lines = set(unit.read_text().splitlines())
    needed = {
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "StateDirectoryMode=0700",
        "LimitCORE=0",
        "UMask=0077",
    }
    assert needed <= lines


@pytest.mark.parametrize("unit", PROGRAMS, ids=lambda unit: unit.name)
def test_a_program_tells_its_manager_and_is_started_again(unit):
    assert {"Type=notify", "Restart=always"} <= set(unit.read_text().splitlines())


def test_the_hourly_self_check_is_the_gateways_own_user_and_a_verb_that_exists():
    lines = (FOLDER / "carbon-gateway-audit.service").read_text().splitlines()
    assert {"Type=oneshot", "User=carbon-gateway"} <= set(lines)
    assert "User=carbon-gateway" in PROGRAMS[0].read_text().splitlines()
    (command,) = [line for line in lines if line.startswith("ExecStart=")]
    _, *words = command.split()
    verb = next(verb for verb in VERBS if verb.name == words[0])
    parser = argparse.ArgumentParser()
    for add in verb.arguments:
        add(parser)
    assert parser.parse_args(words[1:]).ledger_only
    timer = (FOLDER / "carbon-gateway-audit.timer").read_text()
    assert "OnCalendar=hourly" in timer


def test_the_libraries_load_under_the_units_memory_rule():
    """MemoryDenyWriteExecute=yes holds for every native library the programs use."""
    code = (
        f"import ctypes; refused = ctypes.CDLL(None).prctl({PR_SET_MDWE}, {REFUSE_EXEC_GAIN},"
        " 0, 0, 0)\n"
        "import edge_agent.cli, gateway.cli, numpy, cryptography, pydantic, cbor2\n"
        "from edge_agent.clock import kernel_synchronisation; kernel_synchronisation()\n"
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\n"
        "Ed25519PrivateKey.generate().sign(b'x'); print(numpy.ones(3).sum(), refused)"
    )
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel has no PR_SET_MDWE to try the rule with")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["3.0", "0"], done.stderr


class CountedClock:
    def __init__(self, sleeps):
        self.left = sleeps
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        if len(self.slept) > self.left:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


async def told(environ, path, sleeps):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(5)
        clock = CountedClock(sleeps)
        with contextlib.suppress(asyncio.CancelledError):
            await report_alive(ServiceManager(environ), clock)
        manager.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(manager.recv(64).decode())
            except BlockingIOError:
                return messages, clock.slept


async def test_readiness_is_told_and_the_watchdog_fed_three_times_a_period(tmp_path):
    path = str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"}
    messages, slept = await told(environ, path, 2)
    assert messages == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert slept == [10.0] * 3


async def test_an_abstract_address_is_understood():
    name = f"carbon-test-{os.getpid()}-{id(object())}"
    messages, _ = await told({"NOTIFY_SOCKET": f"@{name}"}, f"\0{name}", 0)
    assert messages == ["READY=1"]


async def test_without_a_manager_nothing_is_sent_and_nothing_waits():
    await asyncio.wait_for(report_alive(ServiceManager({}), CountedClock(0)), 5)


async def test_a_manager_that_went_away_is_no_error(tmp_path, caplog):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert "service_manager_unreachable" in caplog.text
