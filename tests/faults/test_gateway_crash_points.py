"""The gateway killed before and after every SQL statement: nothing lost, nothing doubled."""

import hashlib
import random
import sqlite3

import pytest

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import public_key
from edge_agent.wire.messages import verify_ack
from gateway import audit, ledger_audit
from gateway.checkpoints import Checkpointer
from gateway.ingest import Intake, Message, Policy
from gateway.ingest.recorder import Recorder
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore
from tests.faults.crashing import Bomb, Crash, connect_with, memory_folder, survivors

SITE, AGENT, ORIGIN = "al-001", "gw-01", "carbon-log/test"
T0 = 1_767_196_800_000_000_000
MINUTE = 60_000_000_000
CONFIG = cbor.encode({"site": SITE, "timezone": "Asia/Shanghai"})
COUNT, STRIDE = 24, 1


class StillClock:
    def utc_ns(self):
        return T0 + 10 * MINUTE

    def monotonic_ns(self):
        return T0


@pytest.fixture(scope="module")
def plant(signer):
    """Configuration and batches as topic and payload, in order."""
    raws, prev = [], bytes(32)
    for seq in range(1, COUNT + 1):
        first_ns = T0 + seq * MINUTE
        columns = Columns(("pot.v", "kwh"), [0, 1], [first_ns] * 2, [4 + seq / 8, seq], [0, 0])
        batch = Batch(
            SITE, AGENT, seq, prev, bytes(16), first_ns, first_ns + MINUTE,
            (seq * MINUTE, (seq + 1) * MINUTE), ClockState("ntp", sync=True),
            hashlib.sha256(CONFIG).digest(), "edge-agent/0.1.0", columns,
            ({"t": first_ns, "type": "resumed"},),
        )  # fmt: skip
        raws.append(wire_batch.sign(batch, signer))
        prev = hashlib.sha256(raws[-1]).digest()
    topic = f"carbon/v1/{SITE}/{AGENT}/"
    config = cose.sign(MessageType.CONFIG, CONFIG, signer)
    return [(topic + "config", config), *((topic + "batch", raw) for raw in raws)]


class Run:
    """One gateway life: takes messages in seeded groups and remembers what it acked."""

    def __init__(self, folder, ring, signer, plant):
        self.folder, self.ring, self.signer, self.plant = folder, ring, signer, plant
        self.acked = 0
        self.key = public_key(signer.public_spki())

    def live(self):
        """From start to the last ack, as the service does it."""
        ledger = Ledger(self.folder / "ledger.sqlite")
        store = SqliteStore(self.folder / "store.sqlite")
        intake = Intake(ledger, self.ring, Policy(), StillClock())
        recorder = Recorder(intake, ledger, store, self.signer, StillClock())
        recorder.start()
        head = ledger.head(SITE, AGENT).seq
        assert head >= self.acked, "acked, but not in the ledger after the crash"
        dice = random.Random(head)
        waiting = [self.plant[0], *self.plant[1 + self.acked :]]
        while waiting:
            group, waiting = waiting[: (size := dice.randrange(1, 4))], waiting[size:]
            recorder.put(Message(topic, raw, T0 + 10 * MINUTE) for topic, raw in group)
            done = recorder.commit()
            for _, raw in recorder.acks(sorted(done.progressed | done.repeat)):
                ack = verify_ack(raw, lambda _: self.key)
                assert ack.seq >= self.acked
                self.acked = ack.seq
        self.checked(ledger, store)
        recorder.close()

    def checked(self, ledger, store):
        rows = [row.raw for row in ledger.batches(SITE, AGENT)]
        assert rows == [raw for _, raw in self.plant[1:]]
        assert self.acked == COUNT
        assert audit.compare(ledger, store, SITE) == []
        key = Checkpointer(ledger, self.signer, ORIGIN, 3_600).key
        found = ledger_audit.check(ledger, key)
        assert (found.findings, found.leaves) == ([], COUNT + 1)


def statements(monkeypatch, ring, signer, plant):
    bomb = Bomb()
    with memory_folder() as folder, monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_with(bomb))
        run = Run(folder, ring, signer, plant)
        run.checked = lambda *_: None
        run.live()
    return bomb.count


@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_gateway_killed_at_any_statement_loses_and_doubles_nothing(
    monkeypatch, ring, gateway_signer, plant, after
):
    total = statements(monkeypatch, ring, gateway_signer, plant)
    assert total > 200
    for at in range(1, total + 1, STRIDE):
        with memory_folder() as folder:
            first = folder / "first"
            first.mkdir()
            run = Run(first, ring, gateway_signer, plant)
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", connect_with(Bomb(at, after=after)))
                with pytest.raises(Crash):
                    run.live()
            run.folder = survivors(first, folder / "second")
            run.live()
