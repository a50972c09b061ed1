"""What to do with a message: the acceptance rules, without MQTT, threads or a clock.

    1  size and topic; 2 envelope, type, key, signature, identity (``edge_agent.wire``)
       else: quarantined under the error's reason
    3  a key that is revoked, superseded or not yet in force: quarantined
    4  already accepted, same bytes: the ack is repeated
    5  other bytes where a batch stands, or a successor with another ``prev``: a fork;
       both sides are kept, whatever the agent's account holds, and the agent is frozen until
       an operator releases it; further forks of a frozen agent are paid for
    6  a batch is missing before this one: held within limits, the lowest seqs first
    7  its configuration is not known yet: held, and the ack asks for it
    8  its key ended too long ago (``late_key``), or it announces a key that no operator approved:
       held until an operator decides
    9  more than the agent's account pays for (``cadence``): held, and tried again later
    10 accepted; then everything held that follows now

Held batches live in memory only: the agent keeps them until they are acked and sends them again.
What was decided is collected: the caller writes ``undurable`` into the ledger, then calls ``take``.
"""

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum

from edge_agent.clock import Clock
from edge_agent.errors import (
    BadIdentity,
    EvidenceError,
    Fork,
    Gap,
    Replay,
    WrongSize,
    WrongTopic,
)
from edge_agent.wire import cose, messages, topics
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.chain import ChainHead, extend
from edge_agent.wire.cose import MAX_MESSAGE, MessageType
from edge_agent.wire.keys import KeyRing, PublicKey
from edge_agent.wire.messages import Ack
from gateway.ingest.chains import Chain, Chains, Source
from gateway.ingest.gate import Approvals, Gate
from gateway.ingest.journal import Journal
from gateway.ingest.marks import Policy
from gateway.ledger import Draft, Evidence, ForkedBatch, Ledger, Overflow, Refusal
from gateway.opening import Opener
from gateway.trust.closed_months import FLAG

_CADENCE = "cadence"


class Verdict(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"
    REPLAY = "replay"
    HELD = "held"
    NO_ROOM = "no_room"
    FORK = "fork"
    FROZEN = "frozen"
    REFUSED = "refused"
    CONFIG = "config"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received, and when."""

    topic: str
    payload: bytes
    received_ns: int


@dataclass(slots=True)
class Decisions:
    """What has to become durable, and who then gets an ack: news, or the last one again."""

    evidence: Evidence = field(default_factory=Evidence)
    progressed: set[Source] = field(default_factory=set)
    repeat: set[Source] = field(default_factory=set)

    def freezes(self, source: Source) -> bool:
        """Whether there is a fork of this agent, which freezes it once it is written."""
        batches = (fork.batch.batch for fork in self.evidence.forks)
        return any((batch.site, batch.agent) == source for batch in batches)


class Intake:
    """Decides on every message; used by one thread, which also commits what was decided."""

    def __init__(
        self,
        ledger: Ledger,
        keys: KeyRing,
        policy: Policy,
        clock: Clock,
        approvals: Approvals | None = None,
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._policy = policy
        self._journal = Journal(__name__, clock)
        self._gate = Gate(keys, policy.key_grace_days, approvals)
        self._enrolled = {one.source for one in keys.enrolments()}
        self._chains = Chains(ledger, keys, policy, clock)
        self._clock = clock
        self._short: set[Source] = set()
        self._stale = False
        self._open = Decisions()
        self._opener = Opener()
        ledger.enrol(keys.enrolments())

    def offer(self, message: Message) -> Verdict:
        """Decide on one message.

        Raises:
            StoreError: the ledger cannot be read now; nothing was decided.
        """
        try:
            return self._decide(message)
        except EvidenceError as error:
            return self._refuse(message, error.reason, str(error))

    def refresh(self) -> None:
        """Take up decisions that operators added to the ledger, and what waited for them or time.

        Raises:
            StoreError: the ledger failed; the next call does all of it again.
        """
        for source in sorted(self._short):
            chain = self._chains.of(source)
            if chain.held.get(chain.head.seq + 1) is None:
                self._short.discard(source)
            self._place_held(chain)
        was_stale, self._stale = self._stale, True
        if self._keys.refresh() or was_stale:
            self._gate.refresh()
            self._enrolled = {one.source for one in self._keys.enrolments()}
            self._ledger.enrol(self._keys.enrolments())
            for chain in self._chains:
                self._place_held(chain)
        self._stale = False

    def knows(self, source: Source) -> bool:
        """Whether this agent has an enrolled key; may be asked from any thread."""
        return source in self._enrolled

    def is_waiting(self) -> bool:
        """Whether batches wait for nothing but time; then ``refresh`` should be called soon."""
        return bool(self._short)

    def count(self, overflow: Overflow) -> None:
        """Note messages that were dropped before anybody looked at them."""
        self._open.evidence.overflows.append(overflow)
        self._journal.alarm(overflow.reason, overflow.source, messages=overflow.messages)

    def undurable(self) -> Evidence:
        """What was decided and has to be written into the ledger before ``take``."""
        return self._open.evidence

    def take(self) -> Decisions:
        """Everything decided since the last call, after it became durable."""
        decisions, self._open = self._open, Decisions()
        self._chains.written()
        return decisions

    def ack(self, source: Source, at_ns: int) -> Ack:
        """The ack for an agent's present place; true once everything taken is durable."""
        chain = self._chains.of(source)
        waiting = chain.held.get(chain.head.seq + 1)
        note, proof = chain.marks.news_of_log()
        return Ack(
            site=source[0],
            agent=source[1],
            seq=chain.head.seq,
            sha256=chain.head.sha256,
            at_ns=at_ns,
            held=chain.held.span(),
            want_config=waiting is not None and not self._chains.knows_config(waiting[0]),
            log=note,
            proof=proof,
        )

    def _decide(self, message: Message) -> Verdict:
        if len(message.payload) > MAX_MESSAGE:
            raise WrongSize(f"{len(message.payload)} bytes; at most {MAX_MESSAGE} are allowed")
        site, agent, kind = topics.parse(message.topic)
        source = (site, agent)

        def find(kid: bytes) -> PublicKey:
            return self._keys.find(kid, site, agent).public

        match kind:
            case "batch":
                return self._batch(source, message)
            case "config":
                config = cose.verify(message.payload, MessageType.CONFIG, find)
                return self._config(source, config, message.received_ns)
            case "status":
                status = messages.verify_status(message.payload, find)
                if (status.site, status.agent) != source:
                    raise BadIdentity(f"a status of {status.site}/{status.agent}")
                self._open.repeat.add(source)
                return Verdict.STATUS
            case _:
                raise WrongTopic(f"nothing is accepted on {kind!r}")

    def _batch(self, source: Source, message: Message) -> Verdict:
        verified = self._opener.verify(message.payload, *source, self._keys)
        chain = self._chains.of(source)
        verdict = self._place(chain, verified, message.received_ns)
        if verdict in (Verdict.ACCEPTED, Verdict.REPLAY):  # a retry is a replay to this process
            self._place_held(chain)
        return verdict

    def _place(self, chain: Chain, verified: VerifiedBatch, received_ns: int) -> Verdict:
        self._open.repeat.add(chain.source)
        self._gate.check(verified, chain.head.seq)
        try:
            head = extend(chain.head, verified, chain.hash_at)
        except Replay:
            return Verdict.REPLAY
        except Fork as error:
            return self._fork(chain, [(verified, received_ns)], str(error))
        except Gap:
            if self._chains.follow(chain):
                return self._place(chain, verified, received_ns)
            return self._hold(chain, verified, received_ns)
        if (
            chain.held.contradicts(verified)
            or not self._chains.knows_config(verified)
            or self._frozen(chain.source)
        ):
            return self._hold(chain, verified, received_ns)
        return self._pass(chain, verified, received_ns, head)

    def _pass(
        self, chain: Chain, verified: VerifiedBatch, received_ns: int, head: ChainHead
    ) -> Verdict:
        """Let the next batch in, unless an operator decides first; what may fail stands before the payment."""
        passage = self._gate.judge(verified, received_ns)
        if passage.wait:
            self._journal.alarm("batch_waits", chain.source, passage.wait, seq=head.seq)
            return self._hold(chain, verified, received_ns)
        marks = chain.marks.flags(verified, received_ns)
        if not self._pays(chain, verified, received_ns):
            return self._hold(chain, verified, received_ns)
        chain.head = head
        chain.marks.follow(verified)
        chain.held.pop(head.seq)
        self._chains.fresh_hashes[chain.source, head.seq] = head.sha256
        flags = (*verified.flags, *marks, *passage.flags)
        verified = replace(verified, flags=flags)
        self._open.evidence.batches.append((verified, received_ns))
        self._open.progressed.add(chain.source)
        if passage.successor is not None:
            self._keys.succeed(verified.key_id, passage.successor, head.seq)
            draft = Draft("keychange", *chain.source, verified.raw, received_ns)
            self._open.evidence.documents.append(draft)
        if flags:
            event = "late_for_closed_month" if FLAG in flags else "batch_flagged"
            self._journal.alarm(event, chain.source, " ".join(flags), seq=head.seq)
        return Verdict.ACCEPTED

    def _pays(self, chain: Chain, verified: VerifiedBatch, received_ns: int) -> bool:
        """Take the price of a batch from the agent's account; alarm when there is not enough."""
        covers_ns = self._policy.paid_to_ns(verified.batch.last_ns, received_ns)
        if chain.cadence.pay(len(verified.raw), self._clock.monotonic_ns(), covers_ns):
            self._short.discard(chain.source)
            return True
        if chain.source not in self._short:
            self._beyond(chain, verified.raw, received_ns)
        self._short.add(chain.source)
        return False

    def _beyond(self, chain: Chain, raw: bytes, received_ns: int) -> None:
        sha256 = hashlib.sha256(raw).digest()
        self.count(Overflow(chain.source, _CADENCE, 1, len(raw), received_ns, sha256))

    def _place_held(self, chain: Chain) -> None:
        """Accept what waited for the head to come this far; it is held until that is decided."""
        while (entry := chain.held.get(chain.head.seq + 1)) is not None:
            try:
                verdict = self._place(chain, *entry)
            except EvidenceError as error:
                message = Message(topics.topic(*chain.source, "batch"), entry[0].raw, entry[1])
                verdict = self._refuse(message, error.reason, str(error))
            if verdict is not Verdict.HELD:
                chain.held.pop(entry[0].batch.seq)
            if verdict is not Verdict.ACCEPTED:
                return

    def _hold(self, chain: Chain, verified: VerifiedBatch, received_ns: int) -> Verdict:
        seq = verified.batch.seq
        if self._frozen(chain.source):
            self._journal.alarm("agent_frozen", chain.source, seq=seq)
            return Verdict.FROZEN
        waiting = chain.held.get(seq)
        if waiting is None:
            if chain.held.put(verified, received_ns):
                return Verdict.HELD
            self._journal.alarm("hold_full", chain.source, seq=seq)
            return Verdict.NO_ROOM
        if waiting[0].sha256 == verified.sha256:
            return Verdict.HELD
        both = [waiting, (verified, received_ns)]
        return self._fork(chain, both, f"two different batches {seq} arrived")

    def _fork(self, chain: Chain, entries: list[tuple[VerifiedBatch, int]], why: str) -> Verdict:
        """Keep the sides and freeze the agent; what comes while it is frozen has its price."""
        is_free = not self._frozen(chain.source)
        for verified, received_ns in entries:
            if is_free or chain.cadence.pay(len(verified.raw), self._clock.monotonic_ns()):
                self._open.evidence.forks.append(ForkedBatch(verified, received_ns, chain.head))
            else:
                self._beyond(chain, verified.raw, received_ns)
        chain.held.clear()
        self._journal.alarm("fork", chain.source, why=why)
        return Verdict.FORK

    def _config(self, source: Source, config: cose.Verified, received_ns: int) -> Verdict:
        digest = hashlib.sha256(config.payload).digest()
        chain = self._chains.of(source)
        is_paid = (source, digest) in self._chains.fresh_configs
        if is_paid:  # the ledger failed behind the payment, and this is the retry
            self._place_held(chain)
        elif self._ledger.config(*source, digest) is None:
            if not chain.cadence.pay(len(config.raw), self._clock.monotonic_ns()):
                self._beyond(chain, config.raw, received_ns)
                return Verdict.NO_ROOM
            self._open.evidence.configs.append((*source, config, received_ns))
            self._chains.fresh_configs.add((source, digest))
            self._open.repeat.add(source)
            self._place_held(chain)
        return Verdict.CONFIG

    def _refuse(self, message: Message, reason: str, why: str) -> Verdict:
        parts = tuple(message.topic.split("/")[2:4])
        source = (parts[0], parts[1]) if parts in self._enrolled else ("", "")
        self._open.evidence.refusals.append(
            Refusal(reason, message.topic, message.payload, message.received_ns, source)
        )
        self._journal.alarm("message_refused", source, reason, topic=message.topic, why=why)
        return Verdict.REFUSED

    def _frozen(self, source: Source) -> bool:
        return self._open.freezes(source) or self._ledger.is_frozen(*source)
