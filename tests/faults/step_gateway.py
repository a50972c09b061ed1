"""A gateway without its network: takes a plant's messages in seeded groups, as the service does."""

import hashlib
import random

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, public_key
from edge_agent.wire.messages import verify_ack
from gateway import audit, ledger_audit
from gateway.checkpoints import Checkpointer
from gateway.ingest import Intake, Message, Policy
from gateway.ingest.recorder import Recorder
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore
from tests.conftest import seeded_signer

SITE, AGENT, ORIGIN = "al-001", "gw-01", "carbon-log/test"
T0 = 1_767_196_800_000_000_000
MINUTE = 60_000_000_000
CONFIG = cbor.encode({"site": SITE, "timezone": "Asia/Shanghai"})
COUNT = 24
JUNK_KEPT = 5
AGENT_KEY, GATEWAY_KEY = seeded_signer(0), seeded_signer(200)
RING = KeyRing([Enrolment(SITE, AGENT, public_key(AGENT_KEY.public_spki()))])


class StillClock:
    def utc_ns(self):
        return T0 + 10 * MINUTE

    def monotonic_ns(self):
        return T0


def messages():
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
        raws.append(wire_batch.sign(batch, AGENT_KEY))
        prev = hashlib.sha256(raws[-1]).digest()
    topic = f"carbon/v1/{SITE}/{AGENT}/"
    config = cose.sign(MessageType.CONFIG, CONFIG, AGENT_KEY)
    return [(topic + "config", config), *((topic + "batch", raw) for raw in raws)]


class GatewayRun:
    """One gateway over its lives: remembers what it acked, and tells it."""

    def __init__(self, folder, told=lambda _seq: None, *, junk=False):
        self.folder, self.plant, self.acked, self._told = folder, messages(), 0, told
        self.key, self._junk = public_key(GATEWAY_KEY.public_spki()), junk

    def commit(self, recorder):
        """Make what was put durable."""
        return recorder.commit()

    def live(self, *, check=True):
        """From start to the last ack; with ``check`` the end is held against the truth."""
        ledger = Ledger(self.folder / "ledger.sqlite", quarantine_messages=JUNK_KEPT)
        store = SqliteStore(self.folder / "store.sqlite")
        intake = Intake(ledger, RING, Policy(), StillClock())
        recorder = Recorder(intake, ledger, store, GATEWAY_KEY, StillClock())
        recorder.start()
        head = ledger.head(SITE, AGENT).seq
        assert head >= self.acked, "acked, but not in the ledger after the crash"
        dice = random.Random(head)
        waiting = [self.plant[0], *self.plant[1 + self.acked :]]
        while waiting:
            group, waiting = waiting[: (size := dice.randrange(1, 4))], waiting[size:]
            if self._junk:  # more of it than the quarantine keeps
                group = [("carbon/v1/nobody/x/batch", dice.randbytes(900)), *group]
            recorder.put(Message(topic, raw, T0 + 10 * MINUTE) for topic, raw in group)
            done = self.commit(recorder)
            for _, raw in recorder.acks(sorted(done.progressed | done.repeat)):
                ack = verify_ack(raw, lambda _: self.key)
                assert ack.seq >= self.acked
                self.acked = ack.seq
                self._told(ack.seq)
        if check:
            self.check(ledger, store)
        recorder.close()

    def check(self, ledger, store):
        """Ledger, store and log are what the plant sent; one leaf more says that its clock is ahead."""
        rows = [row.raw for row in ledger.batches(SITE, AGENT)]
        assert rows == [raw for _, raw in self.plant[1:]]
        assert self.acked == COUNT
        assert audit.compare(ledger, store, SITE) == []
        key = Checkpointer(ledger, GATEWAY_KEY, ORIGIN, 3_600).key
        found = ledger_audit.check(ledger, key)
        assert (found.findings, found.leaves) == ([], COUNT + 2)
        if self._junk:
            (count,) = ledger.quarantine_counts()
            assert count.messages - count.not_kept == JUNK_KEPT < count.messages
