"""A signed chain made by hand, a ledger and a clock that stands still."""

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass

import pytest

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, topics
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MessageType
from gateway.ingest import Intake, Message, Policy
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore

T0 = 1_767_196_800_000_000_000
MINUTE = 60_000_000_000
CONFIG = cbor.encode({"site": "al-001", "scale": "0.1"})


class StillClock:
    """Time moves only when told."""

    def __init__(self):
        self.now_ns = T0 + 10 * MINUTE

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns

    async def sleep(self, seconds):
        await asyncio.sleep(0)


@dataclass
class Chain:
    """Signs batches of one agent, each following the one before unless told otherwise."""

    signer: object
    site: str = "al-001"
    agent: str = "gw-01"

    def batch(self, seq, prev=bytes(32), value=None, config=CONFIG, **changes):
        first_ns = T0 + seq * MINUTE
        fields = {
            "site": self.site,
            "agent": self.agent,
            "seq": seq,
            "prev": prev,
            "boot": bytes(16),
            "first_ns": first_ns,
            "last_ns": first_ns + MINUTE,
            "mono": (seq * MINUTE, (seq + 1) * MINUTE),
            "clock": ClockState("ntp", sync=True),
            "config_sha256": hashlib.sha256(config).digest(),
            "software": "edge-agent/0.1.0",
            "columns": Columns(
                ("pot.001.v", "line.kwh"),
                [0, 1],
                [first_ns, first_ns],
                [4.0 + seq / 8 if value is None else value, 2**60 + seq],
                [0, 0],
            ),
            "events": [{"t": first_ns, "type": "resumed", "boot": bytes([seq % 256])}],
        }
        return wire_batch.sign(Batch(**(fields | changes)), self.signer)

    def batches(self, count, prev=bytes(32), first=1, **changes):
        made = []
        for seq in range(first, first + count):
            made.append(self.batch(seq, prev, **changes))
            prev = hashlib.sha256(made[-1]).digest()
        return made

    def config(self, content=CONFIG):
        return cose.sign(MessageType.CONFIG, content, self.signer)


class Desk:
    """Offers messages to an intake and writes what it decided, as the recorder does."""

    def __init__(self, ledger, keys, clock, **policy):
        self.ledger = ledger
        self.clock = clock
        self.intake = Intake(ledger, keys, Policy(**policy), clock)

    def offer(self, raw, kind="batch", site="al-001", agent="gw-01"):
        topic = topics.topic(site, agent, kind)
        return self.intake.offer(Message(topic, raw, self.clock.utc_ns()))

    def settle(self):
        self.ledger.write(self.intake.undurable())
        return self.intake.take()

    def reasons(self):
        counts = Counter()
        for one in self.ledger.quarantine_counts():
            counts[one.reason] += one.messages
        return counts


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def chain(signer):
    return Chain(signer)


@pytest.fixture
def neighbour_chain(neighbour):
    return Chain(neighbour, agent="gw-02")


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path):
    opened = SqliteStore(tmp_path / "store.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def make_desk(ledger, ring, clock):
    return lambda **policy: Desk(ledger, ring, clock, **policy)


@pytest.fixture
def desk(make_desk, chain):
    """An intake that knows the configuration already."""
    ready = make_desk()
    ready.offer(chain.config(), "config")
    ready.settle()
    return ready
