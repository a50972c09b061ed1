"""The agent killed before and after every SQL statement: the chain goes on, nothing doubles.

What a crash may cost is the readings that were in memory: those of one step. Everything else
must be as if nothing had happened: each series' minutes, the totaliser, the one anode effect.
"""

import hashlib
import sqlite3

import pytest

from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation
from edge_agent.readings import Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.chain import ChainHead, extend
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from tests.faults.crashing import Bomb, Crash, connect_with, memory_folder, survivors

SITE, AGENT = "al-001", "gw-01"
S = 10**9
T0 = 1_790_784_000 * S
STEP_S, STEPS = 2, 90
EFFECT = range(70, 112)
"""Seconds with pot 1 above 8 V."""


class StepClock:
    """Both clocks advance with the steps of the test."""

    def __init__(self):
        self.now_ns = T0

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns - T0 + 5_000 * S

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)


def readings(step):
    """What the devices say at a step."""
    second = step * STEP_S
    now = T0 + second * S
    yield Sample("line.ka", now, 300.0 + step % 7)
    yield Sample("pot1.v", now, 25.5 if second in EFFECT else 4.2 + step % 5 / 64)
    yield Sample("pot2.v", now, 4.1 + step % 3 / 64)
    yield Sample("kwh", now, 999_950 + step if step < 50 else step - 50)
    yield Sample("hall.temperature", now, 21.5 + step % 4)


class Plant:
    """One agent over its lives: the same steps, wherever it was killed."""

    def __init__(self, make_config, keys):
        self.clock = StepClock()
        self.step = 0
        self._make, self._keys = make_config, keys

    def live(self, folder):
        """From start to the last step; goes on with the step after the one it died in."""
        config = self._make(
            state_dir=folder / "state",
            keys={"signing": self._keys / "agent.pem", "gateway": [self._keys / "gw.pub.pem"]},
        )
        agent = Agent(config, self.clock)
        agent._restore()
        while self.step < STEPS:
            step, self.step = self.step, self.step + 1
            self.clock.now_ns = T0 + step * STEP_S * S
            agent._take(list(readings(step)))
        self.clock.now_ns += 600 * S
        agent._take([])
        found = agent._outbox.after(0, 1_000)
        agent._outbox.close()
        agent._worker.shutdown()
        return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "k"
    create_signer(folder / "agent.pem")
    create_signer(folder / "gw.pem")
    return folder


@pytest.fixture(scope="module")
def ring(keys):
    return KeyRing([Enrolment(SITE, AGENT, public_key((keys / "agent.pub.pem").read_bytes()))])


def content(stored, ring):
    """Rows by (series, time) and events, of a chain that must be whole."""
    head, rows, events, hashes = ChainHead(), {}, [], {}
    for item in stored:
        verified = wire_batch.verify(item.raw, SITE, AGENT, ring)
        assert verified.flags == ()
        head = extend(head, verified, hashes.get)
        hashes[head.seq] = hashlib.sha256(item.raw).digest()
        for record in verified.batch.columns.records():
            assert (record.series, record.time_ns) not in rows, "a row stands twice"
            rows[record.series, record.time_ns] = record.value
        events += verified.batch.events
    return rows, events


def totaliser(rows):
    """The totaliser's readings in order of time; the lost step may move one by one count."""
    found = [(time_ns, value) for (name, time_ns), value in rows.items() if name == "energy.count"]
    return [value for _, value in sorted(found)]


def told(events, kind):
    return [event for event in events if event["type"] == kind]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_agent_killed_at_any_statement_goes_on_from_there(
    monkeypatch, make_config, keys, ring, after
):
    with memory_folder() as folder, monkeypatch.context() as patch:
        bomb = Bomb()
        patch.setattr(sqlite3, "connect", connect_with(bomb))
        whole, events = content(Plant(make_config, keys).live(folder), ring)
    (effect,) = told(events, "effect_ended")
    assert bomb.count > 110
    for at in range(1, bomb.count + 1):
        with memory_folder() as folder:
            plant = Plant(make_config, keys)
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", connect_with(Bomb(at, after=after)))
                with pytest.raises(Crash):
                    plant.live(folder / "first")
            target = folder / "second"
            (folder / "first").mkdir(exist_ok=True)
            rows, events = content(plant.live(survivors(folder / "first", target)), ring)
        minutes = {key for key in whole if not key[0].endswith("count")}
        assert {key for key in rows if not key[0].endswith("count")} == minutes, at
        counts, expected = totaliser(rows), totaliser(whole)
        assert all(abs(x - y) <= 1 for x, y in zip(counts, expected, strict=True)), at
        (again,) = told(events, "effect_ended")
        assert abs(again["net_s"] - effect["net_s"]) <= STEP_S, at
        assert len(told(events, "totaliser_rollover")) == 1
