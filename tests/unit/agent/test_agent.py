"""The agent's own promises at its edges: a full outbox, a damaged journal, clocks, configurations."""

import asyncio
import sqlite3
from types import SimpleNamespace

import numpy as np
import pytest

from edge_agent.agent import Agent
from edge_agent.clock import DeviceClock, Synchronisation
from edge_agent.config import AgentConfig
from edge_agent.errors import SignerUnavailable
from edge_agent.outbox import Outbox
from edge_agent.readings import Sample, Scan, Waveform
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import keys
from edge_agent.wire.keys import Enrolment, KeyRing, public_key

S = 10**9
T0 = 1_790_784_000 * S


class Clock:
    def __init__(self):
        self.utc, self.mono = T0, 5 * S

    def utc_ns(self):
        return self.utc

    def monotonic_ns(self):
        return self.mono

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)

    def pass_time(self, seconds):
        self.utc += round(seconds * S)
        self.mono += round(seconds * S)


@pytest.fixture
def make(tmp_path):
    keys.create_signer(tmp_path / "k.pem")
    made = []

    def build(clock, *, max_mb=1, tags=3, **fields):
        config = AgentConfig.model_validate(
            {
                "site": "s",
                "agent": "a",
                "state_dir": tmp_path / "state",
                "keys": {"signing": tmp_path / "k.pem", "gateway": [tmp_path / "k.pub.pem"]},
                "factor_set": "cets-ag-04.01-v01-2024",
                "time": {"lateness_s": 0, "journal_s": 1},
                "outbox": {"max_mb": max_mb},
                "devices": [
                    {
                        "id": "d",
                        "driver": "modbus",
                        "host": "127.0.0.1",
                        "unit": 1,
                        "interval_s": 1,
                        "tags": [
                            {"id": f"x{n}", "address": n, "type": "uint16"} for n in range(tags)
                        ],
                    }
                ],
            }
            | fields
        )
        agent = Agent(config, clock)
        agent._restore()
        made.append(agent)
        return agent

    yield build
    for agent in made:
        agent._worker.shutdown()
        agent._outbox.close()


def run(agent, clock, minutes):
    for _ in range(minutes * 6):
        clock.pass_time(10)
        agent._take([Sample(f"x{n}", clock.utc, n + 1) for n in range(3)])


def batches(tmp_path):
    ring = KeyRing([Enrolment("s", "a", public_key((tmp_path / "k.pub.pem").read_bytes()))])
    outbox = Outbox(tmp_path / "state" / "outbox.sqlite", 2**30)
    raws = [item.raw for item in outbox.after(0, 10_000)]
    outbox.close()
    return [wire_batch.verify(raw, "s", "a", ring).batch for raw in raws]


def events(tmp_path, kind):
    return [e for batch in batches(tmp_path) for e in batch.events if e["type"] == kind]


def test_a_full_outbox_is_an_alarm_and_the_loss_stands_in_the_next_batch_without_a_hole_in_seq(
    make, tmp_path
):
    clock = Clock()
    agent = make(clock)
    run(agent, clock, 5)
    agent._outbox._max_bytes = agent._outbox.unacked_bytes  # as full as it may get
    kept = [batch.seq for batch in batches(tmp_path)]
    first_lost = clock.utc
    run(agent, clock, 4)
    assert agent.health.alarm == "outbox_full"
    assert agent.health.lost_records >= 9
    assert [batch.seq for batch in batches(tmp_path)] == kept
    agent._outbox._max_bytes = 2**20
    run(agent, clock, 2)
    assert agent.health.alarm == ""
    numbers = [batch.seq for batch in batches(tmp_path)]
    assert numbers == list(range(1, len(numbers) + 1))
    (told,) = events(tmp_path, "lost_records")
    assert told["count"] == agent.health.lost_records
    assert told["from"] <= first_lost
    assert told["to"] >= first_lost + 3 * 60 * S


def grown(outbox):
    """How many pages the outbox takes."""
    return outbox._db.execute("PRAGMA page_count").fetchone()[0]


def stop(agent):
    """End an agent as a kill does: nothing more is written."""
    agent._outbox.close()
    agent._outbox = SimpleNamespace(close=lambda: None)


def test_while_the_outbox_is_full_the_journal_stays_as_small_as_ever(make):
    clock = Clock()
    agent = make(clock)
    run(agent, clock, 5)
    agent._outbox._max_bytes = agent._outbox.unacked_bytes
    run(agent, clock, 5)
    before, longest = grown(agent._outbox), 0
    for _ in range(60):
        run(agent, clock, 1)
        longest = max(longest, journal_length(agent))
    assert longest <= 6  # one minute of entries
    assert grown(agent._outbox) <= before + 2


def test_a_loss_is_told_once_although_the_agent_was_stopped_before_it_could(make, tmp_path):
    clock = Clock()
    agent = make(clock)
    run(agent, clock, 5)
    agent._outbox._max_bytes = agent._outbox.unacked_bytes
    first_lost = clock.utc
    run(agent, clock, 4)
    lost = agent.health.lost_records
    stop(agent)
    again = make(clock)
    again._outbox._max_bytes = again._outbox.unacked_bytes
    run(again, clock, 3)
    lost += again.health.lost_records
    stop(again)
    last = make(clock)
    run(last, clock, 2)
    stop(last)
    run(make(clock), clock, 2)
    (told,) = events(tmp_path, "lost_records")
    assert told["count"] == lost >= 18
    assert told["from"] <= first_lost
    assert told["to"] >= first_lost + 6 * 60 * S


def test_what_waited_for_a_signature_and_was_then_refused_is_lost_and_not_sent_too(make, tmp_path):
    clock = Clock()
    agent = make(clock)
    run(agent, clock, 3)
    sign, agent._scribe.sign = agent._scribe.sign, unavailable
    run(agent, clock, 2)
    agent._scribe.sign = sign
    agent._outbox._max_bytes = agent._outbox.unacked_bytes
    run(agent, clock, 2)
    agent._outbox._max_bytes = 2**20
    run(agent, clock, 2)
    (told,) = events(tmp_path, "lost_records")
    times = [row.time_ns for batch in batches(tmp_path) for row in batch.columns.records()]
    assert told["count"] == agent.health.lost_records > 0
    assert len(times) + told["count"] == 3 * len({*range(T0, clock.utc, 60 * S)})


def unavailable(*_):
    message = "the token is out"
    raise SignerUnavailable(message)


def test_a_damaged_journal_entry_is_told_and_the_rest_is_restored(make, tmp_path):
    clock = Clock()
    agent = make(clock)
    run(agent, clock, 1)
    for _ in range(3):
        clock.pass_time(10)
        agent._take([Sample(f"x{n}", clock.utc, 5) for n in range(3)])
    agent._outbox.close()
    with sqlite3.connect(tmp_path / "state" / "outbox.sqlite") as file:
        ids = [row[0] for row in file.execute("SELECT id FROM journal ORDER BY id")]
        assert len(ids) >= 2
        file.execute("UPDATE journal SET readings = x'ff00' WHERE id = ?", (ids[0],))
    file.close()
    agent._outbox = SimpleNamespace(close=lambda: None)
    again = make(clock)
    assert again._pipeline.memory.newest_ns == clock.utc
    run(again, clock, 2)
    (told,) = events(tmp_path, "lost_records")
    assert (told["count"], told["reason"]) == (1, "journal")


def test_a_changed_configuration_leaves_the_outbox_and_its_batches_alone(make, tmp_path):
    clock = Clock()
    agent = make(clock)
    run(agent, clock, 3)
    before = [batch.seq for batch in batches(tmp_path)]
    agent._outbox.close()
    agent._outbox = SimpleNamespace(close=lambda: None)
    changed = make(clock, tags=4)
    assert changed._config_sha256 != agent._config_sha256
    run(changed, clock, 2)
    after = batches(tmp_path)
    assert [batch.seq for batch in after][: len(before)] == before
    assert len(after) > len(before)
    assert {batch.config_sha256 for batch in after} == {
        agent._config_sha256,
        changed._config_sha256,
    }


def test_an_unchanged_configuration_has_the_same_digest_after_a_restart(make):
    clock = Clock()
    agent = make(clock)
    agent._outbox.close()
    agent._outbox = SimpleNamespace(close=lambda: None)
    assert make(clock)._config_sha256 == agent._config_sha256


def test_a_clock_that_was_wrong_at_boot_is_a_told_step_with_boot_and_monotonic_time(make, tmp_path):
    clock = Clock()
    clock.utc = 1_000 * S  # 1970: no network, no time
    agent = make(clock)
    run(agent, clock, 1)
    clock.utc = T0
    run(agent, clock, 2)
    (step,) = events(tmp_path, "clock_step")
    assert step["step_ns"] == T0 - (1_000 + 60) * S
    made = batches(tmp_path)
    assert {batch.boot for batch in made} == {agent._identity.boot}
    assert made[-1].clock.steps == 1
    offsets = {batch.last_ns - batch.mono[1] for batch in made}
    assert max(offsets) - min(offsets) == step["step_ns"]


@pytest.mark.parametrize("restart", [False, True])
def test_readings_keep_the_time_they_were_read_at_however_late_they_leave(make, tmp_path, restart):
    clock = Clock()
    agent = make(clock)
    clock.pass_time(59)
    read = [Sample("x0", T0 + n * S, 5 + n % 2) for n in range(60)]
    agent._take(read)
    clock.pass_time(1_800)  # half an hour in which nobody accounts for anything
    if restart:
        agent._outbox.close()
        agent._outbox = SimpleNamespace(close=lambda: None)
        agent = make(clock)
    agent._take(())
    rows = [row for batch in batches(tmp_path) for row in batch.columns.records()]
    (row,) = [row for row in rows if row.series == "x0"]
    assert (row.time_ns, row.value) == (T0, 5.5)


def test_the_uplink_hands_paho_no_more_than_its_window(make):
    clock = Clock()
    agent = make(clock, mqtt={"window": 4})
    run(agent, clock, 9)
    published = []
    agent._uplink._client = SimpleNamespace(publish=lambda topic, *_, **__: published.append(topic))

    async def in_thread(call, *args):
        return call(*args)

    agent._uplink._in_thread = in_thread
    for _ in range(3):
        asyncio.run(agent._uplink._send_window())
    assert len(published) == 4
    agent._outbox.ack(2, agent._outbox.hash_at(2))
    asyncio.run(agent._uplink._send_window())
    assert len(published) == 6


MODBUS = {"id": "d", "driver": "modbus", "host": "127.0.0.1", "unit": 1, "interval_s": 1}
TAGS = [{"id": f"x{n}", "address": n, "type": "uint16"} for n in range(1_000)]
SILENT = {
    "id": "u",
    "driver": "opcua",
    "url": "opc.tcp://h:4840",
    "insecure": True,
    "history": {"hold_s": 86_400},
    "tags": [{"id": "u", "node": "i=1"}],
}


def test_full_memory_is_accounted_for_although_a_device_with_history_is_away(make, tmp_path):
    """The wait for its history would never end: nothing is taken, so that no minute is over."""
    clock, names = Clock(), tuple(tag["id"] for tag in TAGS)
    agent = make(
        clock, devices=[MODBUS | {"tags": TAGS}, SILENT], limits={"waiting_mb": 1}, max_mb=100
    )
    acquired, pipeline = agent._acquisition, agent._pipeline
    acquired.resume(T0)  # what a device with history told ends here
    assert acquired.settled_ns() == T0
    longest_ns, held = 0, []
    for _ in range(900):
        clock.pass_time(1)
        if acquired._queue.has_room:
            acquired._queue.put([Scan(names, clock.utc, (1,) * 1_000)])
        if acquired._queue.size and agent._pace.wait_s(pipeline.held_bytes) == 0:
            readings = asyncio.run(acquired._queue.take_all())
            agent._take(readings, acquired.settled_ns())
        agent._take((), acquired.settled_ns())
        longest_ns = max(longest_ns, clock.utc - max(pipeline.memory.done_ns, T0))
        held.append(pipeline.held_bytes)
    assert max(held) < 1.2 * 2**20
    assert longest_ns < 300 * S
    told = events(tmp_path, "device_overrun")
    assert {(event["device"], event["reason"]) for event in told} == {("*", "history")}
    assert told[0]["from"] == T0 < told[0]["to"]
    assert len(told) >= 2


@pytest.mark.parametrize("restart", [False, True])
def test_what_waits_for_days_leaves_the_live_devices_the_rest_of_the_memory(make, restart):
    clock = Clock()
    slow = MODBUS | {"id": "e", "unit": 2, "lateness_s": 172_800}
    devices = [MODBUS | {"tags": TAGS[:1]}, slow | {"tags": TAGS[1:]}]
    agent = make(clock, devices=devices, limits={"waiting_mb": 1})
    agent._take([Waveform("x1", clock.utc - 50_000 * S, S, np.ones(50_000))])
    for _ in range(12):
        clock.pass_time(10)
        agent._take([Sample("x0", clock.utc, 1)])
    if restart:
        agent._outbox.close()
        agent._outbox = SimpleNamespace(close=lambda: None)
        agent = make(clock, devices=devices, limits={"waiting_mb": 1})
    held = agent._pipeline.held_bytes
    assert 800_000 <= held < 2**20
    assert agent._pace.wait_s(held) == 0


def test_a_replay_is_never_held_back(make):
    agent = make(DeviceClock(), time={"source": "device"}, limits={"waiting_mb": 1})
    assert agent._pace.wait_s(2**40) == 0
    assert not agent._pace.is_full(2**40)


def test_readings_are_written_together_and_not_one_by_one(make):
    clock = Clock()
    agent = make(clock)
    for _ in range(300):
        clock.pass_time(0.1)
        agent._take([Sample("x0", clock.utc, 1)])
    assert 20 <= journal_length(agent) <= 31


def journal_length(agent):
    return len(journal(agent._outbox))


def journal(outbox):
    """The journal's entries."""
    place, found = 0, []
    while (entry := outbox.journaled(place)) is not None:
        place = entry[0]
        found.append(entry[1])
    return found
