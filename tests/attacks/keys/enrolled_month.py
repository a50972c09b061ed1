"""A small smelter's month with everything a verifier judges: an enrolled key that was rotated and then
revoked, two approved configurations, a corrected lab document with its file; all in one log."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from enrolled_plant import AGENT, SITE, Plant, key

from edge_agent import config as config_
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.parts import cut
from edge_agent.pipeline.series import to_plain
from edge_agent.readings import Columns, Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, notes
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import public_key
from gateway import lab, trust_file
from gateway.checkpoints import Checkpointer
from gateway.day_closing import DayCloser
from gateway.ingest import Verdict
from gateway.month import Entry
from gateway.reports import run as reports
from gateway.store.base import Projection
from gateway.store.sqlite import SqliteStore
from gateway.trust import approvals
from gateway.trust.approvals import Wish
from gateway.trust.persons import People, Person

NS = 10**9
T0 = 1_790_784_000 * NS  # 2026-10-01 00:00 in Shanghai
DAY = 86_400 * NS
HOUR = 3_600 * NS
NOVEMBER = T0 + 31 * DAY
ORIGIN, WITNESS = "carbon-log/test", "witness.example"
PLANTS = Path(__file__).resolve().parents[3] / "configs/plants"
FIRST_KEY, SECOND_KEY, ANALYST, GATEWAY, LOG, SEEN = (key(n) for n in range(20, 26))
CERTIFICATE = b"%PDF certificate of analysis 1042"
CHANGE_AT, CONFIG_AT = 6, 10


def _config(folder):
    plain = yaml.safe_load((PLANTS / "aluminium.yaml").read_text(encoding="utf-8"))
    for tag in plain["devices"][0]["tags"][1:]:
        tag["repeat"]["to"] = 2
    plain["potlines"][0]["pots"]["count"] = 2
    plain["time"] = {"source": "device", "lateness_s": 5}
    plain["control_plan"] = str(PLANTS / "aluminium.plan.yaml")
    plain["author"] = "chen"
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    return config_.load(path)


def _readings():
    for second in range(7_500):
        now = T0 + second * NS
        high = 900 <= second < 960
        yield Sample("line1.current", now, 300.0 + second % 7 / 10)
        yield Sample("line1.pot001.voltage", now, 25.5 if high else 4.2 + second % 9 / 90)
        yield Sample("line1.pot002.voltage", now, 4.1 + second % 11 / 90)
        if second % 60 == 0:
            yield Sample("r1.energy", now, (99_999_980 + second) % 100_000_000)
            yield Sample("r2.energy", now, 4_294_960_000 + second)
            yield Sample("gas.total", now, 123_000 + 3 * second)
            yield Sample("scale.total", now, 2**53 + 1 + second // 600)


class EnrolledMonth:
    """The plant, its ledger, store and configurations; ``make`` writes report and bundle."""

    def __init__(self, folder):
        self.folder = folder
        self.plant = Plant(folder, approval=True)
        analyst = Person("zhou", public_key(ANALYST.public_spki()), frozenset({"analyst"}))
        self.people = People([*self.plant.people, analyst])
        self.ledger, self.plant.clock.now_ns = self.plant.ledger, T0 - DAY
        self.store = SqliteStore(folder / "store.sqlite")
        self.plant.enrol(FIRST_KEY)
        config = _config(folder)
        self.documents = self._configurations(config)
        self._send(config)
        self.plant.revoke(FIRST_KEY, CHANGE_AT)
        self._enter()
        self.state()

    def close(self):
        self.ledger.close()
        self.store.close()

    def _configurations(self, config):
        """The file's configuration, and the same with a smaller range: both approved."""
        factors = config_.factors_of(config)
        first = config_.effective(config, factors, to_plain(config))
        plain = cbor.decode(first)
        plain["devices"][0]["tags"][0]["range"] = [0, 499]
        found = [first, cbor.encode(plain)]
        for document in found:
            self.plant.configure(FIRST_KEY, document)
            self.approve(document)
        return found

    def approve(self, document, signer=None, author=""):
        now_ns = self.plant.clock.now_ns
        wish = Wish(SITE, AGENT, hashlib.sha256(document).digest(), author, "checked", "3.2", 0)
        signer = signer or self.plant.approver
        raw = approvals.make(self.ledger, self.plant.people, wish, signer, now_ns)
        approvals.take(self.ledger, self.plant.people, raw, now_ns)

    def _send(self, config):
        pipeline, head = Pipeline(config, config_.factors_of(config)), ChainHead()
        pipeline.feed(list(_readings()), 2**62)
        for minute in range(1, 125, 7):
            produce = pipeline.advance(T0 + minute * 60 * NS)
            for columns, made in cut(produce.pieces, produce.events):
                events = list(made)
                times = [*columns.time_ns, *(event["t"] for event in events)]
                seq = head.seq + 1
                self.plant.clock.now_ns = self.received_ns(seq, max(times))
                if seq == CHANGE_AT:
                    self.plant.enrol(SECOND_KEY)
                    events.append(self._keychange(head, max(times)))
                batch = Batch(
                    SITE, AGENT, seq, head.sha256, bytes(16), min(times), max(times),
                    (min(times) - T0 + DAY, max(times) - T0 + DAY), ClockState("ntp", sync=True),
                    config_.digest(self.documents[seq >= CONFIG_AT]), "edge-agent/test",
                    columns, events,
                )  # fmt: skip
                raw = wire_batch.sign(batch, FIRST_KEY if seq <= CHANGE_AT else SECOND_KEY)
                assert self.plant.offer(raw) is Verdict.ACCEPTED, (seq, self.plant.reasons())
                self.keep(Projection(SITE, AGENT, seq, columns, events))
                head = ChainHead(seq, hashlib.sha256(raw).digest())
        self.head = head

    def received_ns(self, _seq, last_ns):
        """When the gateway gets a batch that ends at this time."""
        return last_ns + 60 * NS

    def keep(self, projection):
        """Make the batch that was just accepted durable, and project it."""
        self.plant.settle()
        self.store.write_many([projection])

    @staticmethod
    def _keychange(head, at_ns):
        fields = wire_enrolment.keychange(SITE, AGENT, head, SECOND_KEY, b"certificate")
        return {"t": at_ns, "type": "keychange", **fields}

    def _enter(self):
        self.ledger.add_attachment(CERTIFICATE, T0)
        for version, value in enumerate(("1.52", "1.55"), start=1):
            entry = Entry("analysis", "coke", "sulphur", Decimal(value), "%", T0 + NS)
            paper = lab.LabDocument(
                SITE, "october", version, T0 + version * NS, "zhou", (entry,),
                "typing error" if version > 1 else "", (hashlib.sha256(CERTIFICATE).digest(),),
            )  # fmt: skip
            raw = lab.sign(paper, ANALYST)
            self.ledger.add_lab((SITE, "october", version), raw, ANALYST.public_spki(), T0)

    def state(self):
        """A checkpoint of the log as it is, with a witness's signature."""
        made = Checkpointer(self.ledger, LOG, ORIGIN, 3_600).now(self.plant.clock.now_ns)
        head, _ = notes.parse(made.note)
        self.ledger.tree.add_cosignature(made.size, WITNESS, notes.cosign(head, WITNESS, SEEN, 7))

    def make(self, out="out"):
        return reports.make(
            self.ledger, self.store, SITE, "2026-10", GATEWAY, self.folder / out
        ).files[2]

    def trust_text(self, *, ca=None, approval="required", persons=None, trusted=None, without=()):
        """A complete trust file, or one with parts changed."""
        ca = ca or self.plant.ca.certificate
        log = notes.note_key(ORIGIN, LOG.public_spki())
        seen = notes.note_key(WITNESS, SEEN.public_spki())
        parts = {
            "trusted": f"trusted = {json.dumps(trusted or [GATEWAY.kid.hex()])}",
            "quorum": "quorum = 1",
            "approval": f'approval = "{approval}"',
            "log": f'[log]\norigin = "{ORIGIN}"\nkey = "{log.public.hex()}"',
            "witness": f'[[witness]]\nname = "{WITNESS}"\nkey = "{seen.public.hex()}"',
            "ca": f"[[ca]]\ncertificate = '''\n{ca.public_bytes(Encoding.PEM).decode()}'''",
            "person": "\n".join(map(_person, persons or self.people)),
        }
        return "\n".join(text for name, text in parts.items() if name not in without) + "\n"

    def trust(self, **changes):
        path = self.folder / "trust.toml"
        path.write_text(self.trust_text(**changes), encoding="utf-8")
        return trust_file.load(path)


class LaterMonth(EnrolledMonth):
    """The same month; the agent is silent for its rest and comes back in November."""

    def state(self):
        if not hasattr(self, "later"):
            self.later = [self.send(NOVEMBER + days * DAY, days) for days in (9, 10)]
        super().state()

    def send(self, first_ns, value, received_ns=None):
        columns = Columns(("line1.current",), [0], [first_ns], [float(value)], [0])
        seq = self.head.seq + 1
        effect = next(iter(self.store.read_events(SITE, 0, 2**62, ["effect_ended"])))
        events = [effect | {"t": first_ns, "end": first_ns, "start": T0 + HOUR}]
        made = Batch(
            SITE, AGENT, seq, self.head.sha256, bytes(16), first_ns, first_ns + 60 * NS,
            (first_ns - T0 + DAY, first_ns - T0 + DAY + 60 * NS), ClockState("ntp", sync=True),
            config_.digest(self.documents[1]), "edge-agent/test", columns, events,
        )  # fmt: skip
        raw = wire_batch.sign(made, SECOND_KEY)
        self.plant.clock.now_ns = received_ns or first_ns + 120 * NS
        assert self.plant.offer(raw) is Verdict.ACCEPTED, self.plant.reasons()
        self.keep(Projection(SITE, AGENT, seq, columns, events))
        self.head = ChainHead(seq, hashlib.sha256(raw).digest())
        return seq


class ClosedMonth(LaterMonth):
    """The later month whose days are closed; the last batch holds times of October, on November 12."""

    def state(self):
        self.maker = Checkpointer(
            self.ledger, LOG, ORIGIN, 3_600, DayCloser(self.ledger, GATEWAY, 300)
        )
        self.close_until(9)
        self.later = [self.send(NOVEMBER + 8 * DAY, 1)]
        self.close_until(10)
        self.later.append(self.send(NOVEMBER + 9 * DAY, 2))
        self.close_until(12)
        self.late = self.send(T0 + 4 * DAY, 3, NOVEMBER + 11 * DAY + 7 * HOUR)
        self.close_until(14)
        made = self.maker.now(self.plant.clock.now_ns)
        head, _ = notes.parse(made.note)
        self.ledger.tree.add_cosignature(made.size, WITNESS, notes.cosign(head, WITNESS, SEEN, 7))

    def close_until(self, day):
        """Five seconds into each day until that of November: what is over is closed."""
        while self.plant.clock.now_ns < NOVEMBER + (day - 1) * DAY:
            since = (self.plant.clock.now_ns - T0) // DAY + 1
            self.plant.clock.now_ns = T0 + since * DAY + 5 * NS
            self.maker.tick(self.plant.clock.now_ns)


def _person(one):
    text = f'[[person]]\nname = "{one.name}"\nkey = "{one.public.spki.hex()}"\n'
    text += f"roles = {json.dumps(sorted(one.roles))}\n"
    if one.revoked_ns < 2**63 - 1:
        text += f"revoked = {datetime.fromtimestamp(one.revoked_ns // NS, UTC).isoformat()}\n"
    return text
