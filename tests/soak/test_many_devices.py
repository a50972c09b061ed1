"""200 Modbus devices of which 50 never answer: the others keep their rate, memory stays flat.

Takes fifteen seconds; ``SOAK_SECONDS=3600 make test K=many_devices`` soaks for an hour.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import factor_sets
from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.clock import SystemClock
from edge_agent.config import AgentConfig
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import encode_readings

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
LINES, UNITS, SILENT, TAGS = 10, 20, 5, 10
INTERVAL_S = 1.5
NS = 10**9


@pytest.fixture
def ports():
    command = [sys.executable, "-m", "simulators.fast_modbus"]
    command += ["--lines", str(LINES), "--units", str(UNITS), "--silent", str(SILENT)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield json.loads(server.stdout.readline())["ports"]
        server.stdin.close()
        server.wait(20)


def configuration(ports):
    devices = [
        {
            "id": f"l{line}u{unit}",
            "driver": "modbus",
            "host": "127.0.0.1",
            "port": port,
            "unit": unit,
            "interval_s": INTERVAL_S,
            "timeout_s": 0.3,
            "tags": [
                {"id": f"l{line}u{unit}.r{n}", "address": n, "type": "uint16"} for n in range(TAGS)
            ],
        }
        for line, port in enumerate(ports)
        for unit in range(1, UNITS + 1)
    ]
    return AgentConfig.model_validate(
        {
            "site": "s",
            "agent": "a",
            "state_dir": "state",
            "keys": {"signing": "k.pem", "gateway": ["g.pem"]},
            "factor_set": "cets-ag-04.01-v01-2024",
            "devices": devices,
        }
    )


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def consume(acquired, pipeline, clock, values):
    async for readings in acquired.batches():
        now_ns = clock.utc_ns()
        pipeline.feed(readings, now_ns)
        encode_readings(readings)
        values.update((reading.tag, reading.value) for reading in readings)
        if (due := pipeline.due_ns(now_ns)) is not None:
            pipeline.advance(due)
            pipeline.dump()


@pytest.mark.timeout(SECONDS + 120)
async def test_many_devices_of_which_a_quarter_is_dead_keep_their_rate_and_memory_stays_flat(ports):
    config, clock, values = configuration(ports), SystemClock(), {}
    random = iter(range(10**9))
    acquired = Acquisition(
        config.devices, clock, jitter=lambda: (next(random) * 0.618_034) % 1, queue_limit=20_000
    )
    pipeline = Pipeline(config, factor_sets.find(config.factor_set))
    tasks = [
        asyncio.create_task(acquired.run()),
        asyncio.create_task(consume(acquired, pipeline, clock, values)),
    ]
    try:
        await asyncio.sleep(SECONDS / 3)
        before_mb, began_ns = resident_mb(), clock.monotonic_ns()
        before = {item.device: item for item in acquired.status()}
        await asyncio.sleep(SECONDS * 2 / 3)
        after_mb, ended_ns = resident_mb(), clock.monotonic_ns()
        status = {item.device: item for item in acquired.status()}
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
    live = {name for name in status if int(name.partition("u")[2]) <= UNITS - SILENT}
    assert len(live) == 150
    assert {status[name].state for name in live} == {DeviceState.UP}
    assert {status[name].state for name in status.keys() - live} == {DeviceState.DOWN}
    assert {status[name].errors for name in live} == {0}
    polls = sum(status[name].polls for name in live)
    missed = sum(status[name].overruns for name in live)
    # Whole intervals that passed are slots that were due, wherever a device's slots lie in them.
    due = int((ended_ns - began_ns) / NS // INTERVAL_S)
    unseen = sum(max(0, due - (status[name].polls - before[name].polls)) for name in live)
    assert unseen <= 0.01 * due * len(live)
    print(f"{polls} polls, {missed} left out, {before_mb:.1f} -> {after_mb:.1f} MB")
    assert polls / (polls + missed) > 0.99
    assert after_mb - before_mb < 10
    assert values["l3u7.r4"] == (3 * 7919 + 7 * 257 + 4) % 65_536
