"""Readings come faster than they can be kept: what is left out is counted, memory stays bounded.

A whole agent reads five lines every hundredth of a second, as fast as it can, with room for one
MiB of waiting readings. Its clock runs twenty times as fast, so that minutes pass.

Takes twenty seconds; ``SOAK_SECONDS=600 make test K=overload`` soaks for ten minutes (three hours
of the agent's).
"""

import asyncio
import contextlib
import json
import os
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
SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
SPEED, LINES, TAGS, LIMIT_MB, QUEUE = 20, 5, 100, 1, 10_000
NS = 10**9


class FastClock:
    def __init__(self):
        self._start = time.monotonic_ns()

    def monotonic_ns(self):
        return (time.monotonic_ns() - self._start) * SPEED

    def utc_ns(self):
        return 1_790_784_000 * NS + self.monotonic_ns()

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / SPEED)


@pytest.fixture
def ports():
    command = [sys.executable, "-m", "simulators.fast_modbus", "--moving", "--lines", str(LINES)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield json.loads(server.stdout.readline())["ports"]
        server.stdin.close()
        server.wait(20)


def agent(folder, ports):
    keys.create_signer(folder / "k.pem")
    devices = [
        {
            "id": f"l{line}",
            "driver": "modbus",
            "host": "127.0.0.1",
            "port": port,
            "unit": 1,
            "interval_s": 0.01,
            "timeout_s": 20 * SPEED,
            "tags": [{"id": f"l{line}.r{n}", "address": n, "type": "uint16"} for n in range(TAGS)],
        }
        for line, port in enumerate(ports)
    ]
    config = AgentConfig.model_validate(
        {
            "site": "s",
            "agent": "a",
            "state_dir": folder / "state",
            "keys": {"signing": folder / "k.pem", "gateway": [folder / "k.pub.pem"]},
            "mqtt": {"port": 1},
            "factor_set": "cets-ag-04.01-v01-2024",
            "limits": {"waiting_mb": LIMIT_MB},
            "time": {"status_s": 5},
            "devices": devices,
        }
    )
    return Agent(config, FastClock())


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.timeout(SECONDS + 120)
async def test_overload_is_counted_and_told_and_its_memory_stays_within_the_limit(tmp_path, ports):
    running = agent(tmp_path, ports)
    task = asyncio.create_task(running.run())
    held, queued, unsaved, resident = [], [], [], []
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(0.05)
            held.append(running._pipeline.held_bytes)
            queued.append(running._acquisition._queue.size)
            unsaved.append(len(running._unsaved.readings))
            resident.append(resident_mb())
        status = running._acquisition.status()
        written = json.loads((tmp_path / "state" / "status.json").read_text())
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    polls, missed = sum(one.polls for one in status), sum(one.overruns for one in status)
    half = resident[len(resident) // 2 :]
    growth_mb = sum(half[-20:]) / 20 - sum(half[:20]) / 20
    print(
        f"{polls} polls, {missed} left out, waiting at most {max(held) / 2**20:.2f} MiB, queue "
        f"{max(queued)}, {resident[0]:.0f} -> {resident[-1]:.0f} MB, second half {growth_mb:+.1f}"
    )
    values = 8 * (TAGS + 1) * (QUEUE // TAGS + LINES)  # what one hand-over can bring at most
    assert max(held) <= LIMIT_MB * 2**20 + values
    assert max(held) > LIMIT_MB * 2**20 / 2  # it was an overload
    assert max(queued) < QUEUE + LINES * TAGS
    assert max(unsaved) <= 2 * (QUEUE // TAGS + LINES) + max(held) // (8 * TAGS)
    assert growth_mb < 10
    assert missed > polls > 0
    slots = SECONDS * SPEED / 0.01 * LINES
    assert polls + missed == pytest.approx(slots, rel=0.2)
    assert {str(one.state) for one in status} == {"up"}  # their fault it is not
    assert {one.renewals for one in status} == {0}
    assert written["state"] == "overload"
    assert written["health"]["held_s"] > 0
    outbox = Outbox(tmp_path / "state" / "outbox.sqlite", 2**30)
    waiting = outbox.after(0, 10_000)
    outbox.close()
    assert len(waiting) >= SECONDS * SPEED / 60 - 3  # minutes ended all the same
