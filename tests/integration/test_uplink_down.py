"""Half an hour without a broker: polling does not notice, nothing is lost, crashes are survived."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation
from edge_agent.config import AgentConfig
from edge_agent.outbox import Outbox
from edge_agent.wire import keys

ROOT = Path(__file__).resolve().parents[2]
NS = 10**9
SPEED = 150
HALF_HOUR_S = 1_800
INTERVAL_S = 10


class FastClock:
    """Everything takes a hundred and fiftieth of its time."""

    def __init__(self):
        self._start = time.monotonic_ns()
        self._utc_ns = 1_790_784_000 * NS

    def monotonic_ns(self):
        return (time.monotonic_ns() - self._start) * SPEED

    def utc_ns(self):
        return self._utc_ns + self.monotonic_ns()

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / SPEED)


@pytest.fixture
def black_hole():
    """A port whose queue of connections is full: connecting to it hangs until the time-out."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def meter():
    command = [sys.executable, "-m", "simulators.fast_modbus", "--moving"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield json.loads(server.stdout.readline())["ports"][0]
        server.stdin.close()
        server.wait(20)


def agent(tmp_path, broker, meter):
    keys.create_signer(tmp_path / "k.pem")
    tags = [{"id": f"r{n}", "address": n, "type": "uint16"} for n in range(5)]
    config = AgentConfig.model_validate(
        {
            "site": "s",
            "agent": "a",
            "state_dir": tmp_path / "state",
            "keys": {"signing": tmp_path / "k.pem", "gateway": [tmp_path / "k.pub.pem"]},
            "mqtt": {"port": broker},
            "factor_set": "cets-ag-04.01-v01-2024",
            "devices": [
                {
                    "id": "meter",
                    "driver": "modbus",
                    "host": "127.0.0.1",
                    "port": meter,
                    "unit": 1,
                    "interval_s": INTERVAL_S,
                    "timeout_s": 5,
                    "tags": tags,
                }
            ],
        }
    )
    return Agent(config, FastClock())


async def run_for(running, seconds):
    task = asyncio.create_task(running.run())
    try:
        await asyncio.sleep(seconds / SPEED)
        return running._acquisition.status()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_half_an_hour_without_a_broker_leaves_polling_untouched_and_keeps_every_batch(
    tmp_path, black_hole, meter
):
    running = agent(tmp_path, black_hole, meter)
    (status,) = await run_for(running, HALF_HOUR_S)
    assert running.health.published == 0
    assert status.polls + status.overruns >= (HALF_HOUR_S - 60) / INTERVAL_S
    assert status.overruns <= 0.01 * status.polls
    assert status.errors == 0
    outbox = Outbox(tmp_path / "state" / "outbox.sqlite", 2**30)
    waiting = outbox.after(0, 1_000)
    outbox.close()
    assert [batch.seq for batch in waiting] == list(range(1, len(waiting) + 1))
    assert len(waiting) >= HALF_HOUR_S / 60 - 3
    written = json.loads((tmp_path / "state" / "status.json").read_text())
    assert written["devices"][0]["state"] == "up"


async def test_an_uplink_that_crashes_is_started_again_and_told(tmp_path, black_hole, meter):
    running = agent(tmp_path, black_hole, meter)
    crashes = 0

    async def crash():
        nonlocal crashes
        crashes += 1
        raise RuntimeError("a bug in the uplink")

    running._uplink.run = crash
    (status,) = await run_for(running, 300)
    assert crashes >= 3
    assert status.polls >= 20
    assert running.health.restarts >= 2
