"""An agent that reads hourly files beside a live device, stopped and started in between."""

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
import yaml

from edge_agent import config as config_
from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation, SystemClock
from edge_agent.outbox import Outbox
from edge_agent.readings import Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import keys
from edge_agent.wire.keys import Enrolment, KeyRing

NS = 10**9
MINUTE, HOUR = 60 * NS, 3_600 * NS
T0 = 1_790_784_000 * NS  # a full hour, also in Shanghai
LIMIT_S = 60


class SteppedClock:
    """Plant time moves when told; waiting is real and short."""

    def __init__(self):
        self._real = SystemClock()
        self.now_ns = T0

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return 10 * 86_400 * NS + self.now_ns - T0

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.01))


class Plant:
    """A folder that gets a file each hour, a live tag, and an agent that can be stopped."""

    def __init__(self, folder):
        self.folder, self.clock, self.live = folder, SteppedClock(), 0
        (folder / "in").mkdir()
        for name in ("agent.pem", "gateway.pem"):
            keys.create_signer(folder / name)
        files = {
            "id": "scada", "driver": "file_drop", "folder": "in", "time": "t",
            "timezone": "UTC", "ready": "renamed", "scan_s": 0.01, "lateness_s": 7200,
            "tags": [
                {"id": "feed", "column": "feed", "unit": "t/h"},
                {"id": "total", "column": "total", "unit": "kg", "totaliser": {}},
                {"id": "temperature", "column": "temperature", "unit": "degC"},
            ],
        }  # fmt: skip
        live = {
            "id": "plc", "driver": "modbus", "enabled": False, "host": "127.0.0.1", "port": 9, "unit": 1,
            "interval_s": 60, "tags": [{"id": "hall", "address": 1, "type": "float32"}],
        }  # fmt: skip
        plain = {
            "site": "cm-001", "agent": "gw-01", "state_dir": "state", "sector": "cement",
            "keys": {"signing": "agent.pem", "gateway": ["gateway.pub.pem"]},
            "mqtt": {"port": 1}, "time": {"lateness_s": 5, "max_clock_step_s": 10**9},
            "devices": [files, live], "factor_set": "cets-ag-02.01-v01-2024",
            "meters": [
                {"id": "belt", "tag": "feed", "role": "material", "max_gap_s": 120},
                {"id": "scale", "tag": "total", "role": "material"},
            ],
        }  # fmt: skip
        (folder / "agent.yaml").write_text(yaml.safe_dump(plain))
        self.config = config_.load(folder / "agent.yaml")

    @contextlib.asynccontextmanager
    async def running(self):
        agent, restored, restore = Agent(self.config, self.clock), [], Agent._restore
        agent._restore = lambda: restored.append(restore(agent))
        task = asyncio.create_task(agent.run())
        try:
            await until(lambda: restored)
            yield agent
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def pass_time(self, agent, minutes):
        """Minutes go by, with one live reading in each."""

        def step():
            reading = Sample("hall", self.clock.now_ns, self.live / 4)
            self.live += 1
            self.clock.now_ns += MINUTE
            agent._take([reading], None)

        for _ in range(minutes):
            await asyncio.get_running_loop().run_in_executor(agent._worker, step)

    def file(self, first, last, name):
        """Rows of the minutes [first, last), as another system writes them."""
        lines = ["t,feed,total,temperature"]
        for minute in range(first, last):
            at = datetime.fromtimestamp((T0 + minute * MINUTE) // NS, UTC)
            lines.append(f"{at:%Y-%m-%d %H:%M:%S},{feed(minute)},{total(minute)},{minute / 2}")
        part = self.folder / "in" / f".{name}.part"
        part.write_text("\n".join(lines) + "\n")
        part.rename(self.folder / "in" / f"{name}.csv")

    async def taken(self, agent, minute):
        """The agent holds a file's reading of this minute."""
        await until(
            lambda: T0 + minute * MINUTE in agent._pipeline._meters["scale"].buffer.readings
        )

    def signed(self):
        """Rows by series and minute with their batch, and all events."""
        pem = (self.folder / "agent.pub.pem").read_bytes()
        ring = KeyRing([Enrolment("cm-001", "gw-01", keys.public_key(pem))])
        outbox = Outbox(self.config.state_dir / "outbox.sqlite", 2**30)
        rows, events = {}, []
        for stored in outbox.after(0, 10_000):
            batch = wire_batch.verify(stored.raw, "cm-001", "gw-01", ring).batch
            assert batch.last_ns - batch.first_ns < 24 * HOUR
            events += batch.events
            for record in batch.columns.records():
                key = record.series, (record.time_ns - T0) // MINUTE
                assert key not in rows, "one row twice"
                rows[key] = (record.value, batch.seq)
        outbox.close()
        return rows, events


def feed(minute):
    return 120 + minute % 7


def total(minute):
    return 5_000 + 2 * minute


async def until(condition):
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path)


async def test_an_hourly_file_is_not_late_and_a_restart_in_between_loses_nothing(plant):
    async with plant.running() as agent:
        await plant.pass_time(agent, 65)
        plant.file(0, 60, "hour0")
        await plant.taken(agent, 59)
        await plant.pass_time(agent, 30)
    async with plant.running() as agent:  # the first hour is still waiting to be accounted
        await plant.pass_time(agent, 30)
        plant.file(60, 120, "hour1")
        await plant.taken(agent, 119)
    async with plant.running() as agent:  # stopped as soon as the second was read
        await plant.pass_time(agent, 60)
        plant.file(120, 180, "hour2")
        await plant.taken(agent, 179)
        await plant.pass_time(agent, 150)
    rows, events = plant.signed()
    assert not [event for event in events if event["type"] == "late_samples"]

    def of(series):
        return {minute: row[0] for (name, minute), row in rows.items() if name == series}

    assert of("temperature") == {minute: minute / 2 for minute in range(180)}
    assert of("scale.count") == {minute: total(minute) for minute in range(180)}
    assert of("hall") == {minute: minute / 4 for minute in range(334)}
    # What a month takes of these: last count less first, and the hours' amounts.
    counts = of("scale.count")
    assert counts[179] - counts[0] == 2 * 179
    for hour in (0, 1):
        minutes = range(60 * hour, 60 * hour + 60)
        trapezes = sum((feed(m) + feed(m + 1)) / 2 for m in minutes) / 60
        assert of("belt.amount")[60 * hour] == pytest.approx(trapezes, rel=1e-9)
        assert of("belt.covered_s")[60 * hour] == 3600
    # The live tag's minutes were signed long before the file's of the same time.
    assert all(rows["hall", m][1] < rows["temperature", m][1] for m in range(180))


async def test_a_file_older_than_its_lateness_is_told_and_the_next_one_counts(plant):
    async with plant.running() as agent:
        await plant.pass_time(agent, 65)
        plant.file(0, 60, "hour0")
        await plant.taken(agent, 59)
        await plant.pass_time(agent, 190)
        plant.file(60, 120, "hour1")  # at minute 255: accounted up to minute 135
        await plant.taken(agent, 119)
        plant.file(180, 240, "hour3")
        await plant.taken(agent, 239)
        await plant.pass_time(agent, 130)
    rows, events = plant.signed()
    late = {event["tag"]: event["count"] for event in events if event["type"] == "late_samples"}
    assert late == {"temperature": 60, "belt": 60, "scale": 60}
    minutes = {minute for name, minute in rows if name == "temperature"}
    assert minutes == {*range(60), *range(180, 240)}
