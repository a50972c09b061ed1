"""A gateway with a plant CA, people, a ledger, and an agent whose key an operator approved."""

import asyncio
import hashlib
from collections import Counter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, topics
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.certificates import Purpose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import FileSigner, public_key
from gateway.ingest import Intake, Message, Policy
from gateway.ledger import Ledger
from gateway.trust import authority, enrolment
from gateway.trust.approvals import approved
from gateway.trust.enrolment import Decision, Registrar
from gateway.trust.keybook import KeyBook
from gateway.trust.people import People, Person

SITE, AGENT = "al-001", "gw-01"
MINUTE = 60 * 10**9
DAY = 1_440 * MINUTE
NOW = 1_767_196_800 * 10**9
CONFIG = cbor.encode({"v": 1, "site": SITE, "author": "chen", "devices": []})


class StillClock:
    """Time moves only when told."""

    def __init__(self):
        self.now_ns = NOW

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns

    async def sleep(self, seconds):
        await asyncio.sleep(0)


def key(first):
    return FileSigner(Ed25519PrivateKey.from_private_bytes(bytes([first]) * 32))


class Plant:
    """One gateway: people, CA, ledger, intake. Agents sign by hand."""

    operator, approver, former, stranger = key(1), key(2), key(3), key(4)

    def __init__(self, folder, *, approval=False):
        persons = [
            self._person("li", self.operator, "operator"),
            self._person("wang", self.approver, "approver"),
            self._person("zhao", self.former, "approver", NOW),
        ]
        self.people = People(persons)
        self.clock = StillClock()
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.ca = authority.init(folder / "ca", "plant-ca", NOW)
        self.keys = KeyBook([], self.people, self.ledger.documents)
        # The operator's command is another process with a view of its own.
        desk = KeyBook([], self.people, self.ledger.documents)
        self.registrar = Registrar(self.ledger, desk, self.people, (self.ca.certificate,))
        approvals = (lambda *of: approved(self.ledger, self.people, *of)) if approval else None
        self.intake = Intake(self.ledger, self.keys, Policy(), self.clock, approvals)

    @staticmethod
    def _person(name, signer, role, revoked_ns=2**63 - 1):
        return Person(name, public_key(signer.public_spki()), frozenset({role}), revoked_ns)

    def decided(self, reason="as told"):
        return Decision(self.operator, self.clock.now_ns, reason)

    def enrol(self, signer, agent=AGENT):
        nonce = enrolment.invite(self.ledger, SITE, agent, self.clock.now_ns)
        raw = wire_enrolment.make_request(signer, SITE, agent, Purpose.SIGNING, nonce)
        request = wire_enrolment.open_request(raw)
        issued = authority.to_pem(authority.issue(self.ca, request, self.clock.now_ns))
        return enrolment.approve(self.registrar, raw, issued, request.fingerprint, self.decided())

    def revoke(self, signer, last_good):
        return enrolment.revoke(self.registrar, signer.kid, last_good, self.decided("stolen"))

    def offer(self, raw, kind="batch", agent=AGENT):
        self.intake.refresh()
        topic = topics.topic(SITE, agent, kind)
        return self.intake.offer(Message(topic, raw, self.clock.now_ns))

    def settle(self):
        self.ledger.write(self.intake.undurable())
        self.intake.take()

    def configure(self, signer, content=CONFIG):
        self.offer(cose.sign(MessageType.CONFIG, content, signer), "config")
        self.settle()

    def reasons(self):
        self.settle()
        counts = Counter()
        for one in self.ledger.quarantine_counts():
            counts[one.reason] += one.messages
        return counts

    def head(self):
        return self.ledger.head(SITE, AGENT)

    def rows(self):
        return list(self.ledger.batches(SITE, AGENT))


def batch(signer, head=None, config=CONFIG, first_ns=None, **changes):
    """The batch after ``head``, signed."""
    head = head or ChainHead()
    first_ns = NOW + head.seq * MINUTE if first_ns is None else first_ns
    fields = {
        "site": SITE,
        "agent": AGENT,
        "seq": head.seq + 1,
        "prev": head.sha256,
        "boot": bytes(16),
        "first_ns": first_ns,
        "last_ns": first_ns + MINUTE,
        "mono": (first_ns - NOW + 90 * DAY, first_ns - NOW + 90 * DAY + MINUTE),
        "clock": ClockState("ntp", sync=True),
        "config_sha256": hashlib.sha256(config).digest(),
        "software": "edge-agent/0.1.0",
        "columns": Columns(("line.kwh",), [0], [first_ns], [head.seq], [0]),
    }
    return wire_batch.sign(Batch(**(fields | changes)), signer)


def after(head, raw):
    """The chain's head once this batch stands in it."""
    return ChainHead(head.seq + 1, hashlib.sha256(raw).digest())


def keychange(head, new, **changes):
    """The event that announces a key in the batch after ``head``."""
    fields = wire_enrolment.keychange(SITE, AGENT, head, new, b"certificate")
    return {"t": NOW + head.seq * MINUTE, "type": "keychange", **fields, **changes}
