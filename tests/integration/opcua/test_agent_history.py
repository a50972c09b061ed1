"""The whole agent over an outage of its server, and over one of its own: signed minutes have no hole."""

import asyncio
import contextlib

import yaml

from edge_agent import config as config_
from edge_agent.agent import Agent
from edge_agent.clock import SystemClock
from edge_agent.outbox import Outbox
from edge_agent.readings import Reason, Severity
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import keys
from edge_agent.wire.keys import Enrolment, KeyRing

FASTER = 30
STEP_S = 5
MINUTE_NS = 60 * 10**9


class Fast:
    """A clock that runs faster, from a whole minute on."""

    def __init__(self):
        self._system = SystemClock()
        self._began_ns = self._system.monotonic_ns()
        self.start_ns = self._system.utc_ns() // MINUTE_NS * MINUTE_NS - 3600 * 10**9

    def monotonic_ns(self):
        return (self._system.monotonic_ns() - self._began_ns) * FASTER

    def utc_ns(self):
        return self.start_ns + self.monotonic_ns()

    def synchronisation(self):
        return self._system.synchronisation()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / FASTER)


def settings(tmp_path, url):
    for name in ("agent.pem", "gateway.pem"):
        keys.create_signer(tmp_path / name)
    device = {
        "id": "hall", "driver": "opcua", "url": url, "insecure": True, "publishing_ms": 50,
        "interval_s": STEP_S, "timeout_s": 5, "stale_s": 900, "history": {"hold_s": 1200},
        "tags": [{"id": "hall.temperature", "node": "nsu=urn:test:potline;s=v", "unit": "degC"}],
    }  # fmt: skip
    plain = {
        "site": "al-001", "agent": "gw-01", "state_dir": str(tmp_path),
        "keys": {"signing": "agent.pem", "gateway": ["gateway.pub.pem"]},
        "mqtt": {"port": 1}, "time": {"lateness_s": 90}, "devices": [device],
        "factor_set": "cets-ag-04.01-v01-2024",
    }  # fmt: skip
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(plain))
    return config_.load(tmp_path / "agent.yaml")


@contextlib.asynccontextmanager
async def running(config, clock):
    task = asyncio.create_task(Agent(config, clock).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def signed(tmp_path, config):
    """Rows and events of all batches in the outbox."""
    ring = KeyRing(
        [Enrolment("al-001", "gw-01", keys.public_key((tmp_path / "agent.pub.pem").read_bytes()))]
    )
    outbox = Outbox(config.state_dir / "outbox.sqlite", 2**30)
    batches = [
        wire_batch.verify(stored.raw, "al-001", "gw-01", ring).batch
        for stored in outbox.after(0, 10_000)
    ]
    outbox.close()
    rows = [record for batch in batches for record in batch.columns.records()]
    return rows, [event for batch in batches for event in batch.events]


async def test_minutes_of_an_outage_are_signed_as_if_it_had_not_been(node_server, cable, tmp_path):
    clock = Fast()

    async def plant(minutes, start):
        """Every step one value, the second of its minute, whoever listens."""
        first = start * 60 // STEP_S
        for number in range(first, first + minutes * 60 // STEP_S):
            at_ns = clock.start_ns + number * STEP_S * 10**9
            await clock.sleep(max(0.0, (at_ns - clock.utc_ns()) / 1e9))
            await server.send(set="v", value=number * STEP_S % 60 + 0.25, ms=at_ns // 10**6)

    async with node_server(history=True, nodes=["v"]) as server, cable(server.port) as wire:
        config = settings(tmp_path, wire.url)
        clock.start_ns = SystemClock().utc_ns() // MINUTE_NS * MINUTE_NS - clock.monotonic_ns()
        clock.start_ns -= clock.start_ns % MINUTE_NS
        begin = clock.monotonic_ns() // MINUTE_NS + 2
        async with running(config, clock):
            await plant(2, begin)
            await wire.cut()  # the network is away for two minutes
            await plant(2, begin + 2)
            wire.plug()
            await plant(2, begin + 4)
        await plant(2, begin + 6)  # the agent is away for two minutes
        async with running(config, clock):
            await plant(4, begin + 8)
    rows, events = signed(tmp_path, config)
    minutes = [row for row in rows if row.series == "hall.temperature"]
    first_ns = clock.start_ns + (begin + 1) * MINUTE_NS
    seen = {row.time_ns: row for row in minutes if row.time_ns >= first_ns}
    wanted = [first_ns + n * MINUTE_NS for n in range(8)]
    assert set(wanted) <= set(seen)
    assert [seen[t].value for t in wanted] == [27.75] * 8
    assert {seen[t].quality.severity for t in wanted} == {Severity.GOOD}
    assert sum(seen[t].quality.reason is Reason.HISTORY for t in wanted) >= 4
    assert len(seen) == len([row for row in minutes if row.time_ns >= first_ns])
    told = [event for event in events if event["type"] == "history"]
    assert len(told) >= 2
    assert all(event["count"] >= 24 for event in told[-2:])
    assert not [event for event in events if event["type"] == "late_samples"]
