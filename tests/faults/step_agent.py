"""An agent whose devices speak step by step, under a clock that advances with the steps."""

import hashlib

from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation
from edge_agent.readings import Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.chain import ChainHead, extend

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


def open_agent(config, clock):
    """An agent that has taken up what it left."""
    agent = Agent(config, clock)
    agent._restore()
    return agent


def live_steps(agent, clock, steps):
    """Let the agent take these steps; gives each step after it was taken."""
    for step in steps:
        clock.now_ns = T0 + step * STEP_S * S
        agent._take(list(readings(step)))
        yield step


def finish(agent, clock):
    """End the agent's last minutes; gives the batches that are kept."""
    clock.now_ns += 600 * S
    agent._take([])
    found = agent._outbox.after(0, 1_000)
    agent._outbox.close()
    agent._worker.shutdown()
    return found


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
    """The totaliser's readings in order of time; a lost step may move one by one count."""
    found = [(time_ns, value) for (name, time_ns), value in rows.items() if name == "energy.count"]
    return [value for _, value in sorted(found)]


def told(events, kind):
    return [event for event in events if event["type"] == kind]
