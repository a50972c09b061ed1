"""What a signed ack may do (trust.md 3.9 of the design). Used by the outbox's thread.

U1  signed by a pinned gateway key, for this site and agent
U2  never below the highest ack seen, never above what was made. A lower one that is newer
than any before (``at``) and names a batch of ours comes from a gateway that lost its
newest evidence: nothing is deleted, what it lacks is sent again from the retained batches
U3  the hash must be this agent's own hash of that batch, else the history there is foreign:
nothing is deleted any more, measuring goes on, somebody must look
U4  a checkpoint in it must follow from the head of the log seen before, else as U3
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.errors import BadIdentity, EvidenceError, UnknownKey
from edge_agent.health import FOREIGN, LOST, Health
from edge_agent.outbox import Outbox
from edge_agent.wire import topics
from edge_agent.wire.keys import PublicKey, Signer
from edge_agent.wire.log_head import LogHead, LogTrust, follow
from edge_agent.wire.messages import Ack, verify_ack

log = logging.getLogger(__name__)
LOG_HEAD = "log_head"
ACK_AT = "ack_at"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is, on the wire."""

    site: str
    agent: str
    boot: bytes
    signer: Signer
    gateways: tuple[PublicKey, ...]
    log: LogTrust = field(default_factory=lambda: LogTrust("carbon-log/local"))

    def topic(self, kind: str) -> str:
        """This agent's topic of a kind."""
        return topics.topic(self.site, self.agent, kind)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ack asks of the sender: the configuration, batches again, or new ones."""

    is_progress: bool = False
    want_config: bool = False
    resend_after: int | None = None


def authentic(payload: bytes, gateways: Iterable[PublicKey], site: str, agent: str) -> Ack:
    """The ack, when it is a pinned gateway's for this agent (U1).

    Raises:
        EvidenceError: it is not.
    """
    pinned = {key.kid: key for key in gateways}

    def find(kid: bytes) -> PublicKey:
        if kid not in pinned:
            message = "the ack's key is no pinned gateway key"
            raise UnknownKey(message)
        return pinned[kid]

    ack = verify_ack(payload, find)
    if (ack.site, ack.agent) != (site, agent):
        message = f"an ack for {ack.site}/{ack.agent}"
        raise BadIdentity(message)
    return ack


class AckDesk:
    """Judges acks and lets the outbox know; ``gateway_at`` is where a gateway fell back to."""

    def __init__(self, identity: Identity, outbox: Outbox, health: Health) -> None:
        self._identity = identity
        self._outbox = outbox
        self._health = health
        self.gateway_at: int | None = None
        self._is_foreign = False  # until the next start: whoever looked into it restarts the agent

    def obey(self, payload: bytes) -> Outcome:
        """Do what an ack may do; a refused one is counted and logged."""
        try:
            source = self._identity.site, self._identity.agent
            ack = authentic(payload, self._identity.gateways, *source)
            if ack.log is not None:
                self._follow_log(ack, ack.log)
        except EvidenceError as error:
            self._health.acks_refused += 1
            log.warning("ack refused reason=%s: %s", error.reason, error)
            return Outcome()
        return self._place(ack)

    def _follow_log(self, ack: Ack, note: str) -> None:
        """Take the log's news (U4)."""
        trust = self._identity.log
        known = LogHead.load(self._outbox.get(LOG_HEAD), trust.origin)
        try:
            found = follow(known, ack.seq, note, ack.proof, trust)
        except EvidenceError as error:
            self._foreign(f"the gateway's log: {error}")
            raise
        if found is not None and found != known:
            self._outbox.put(LOG_HEAD, found.dump())

    def _place(self, ack: Ack) -> Outcome:
        acked = self._outbox.acked
        is_newest = self._is_newest(ack.at_ns)
        if ack.seq < acked:  # U2
            before = self.gateway_at
            resend = self._fall_back(ack) if is_newest else None
            return Outcome(self.gateway_at != before, ack.want_config, resend)
        self.gateway_at = None
        if ack.seq == acked:
            return Outcome(want_config=ack.want_config)
        if self._outbox.hash_at(ack.seq) != ack.sha256:  # U2, U3
            self._health.acks_refused += 1
            self._foreign(f"the gateway acked batch {ack.seq}, which is not ours")
        if self._is_foreign:
            return Outcome()
        self._outbox.ack(ack.seq, ack.sha256)
        self._health.acks += 1
        return Outcome(is_progress=True, want_config=ack.want_config)

    def _fall_back(self, ack: Ack) -> int | None:
        """The gateway stands at an earlier batch than it did: from there it is sent again."""
        own = self._outbox.hash_at(ack.seq)
        if ack.seq > 0 and own is None:
            self._health.alarm = LOST
            log.error("evidence_lost gateway=%d: older than what is retained here", ack.seq)
            return None
        if ack.seq > 0 and own != ack.sha256:
            self._foreign(f"the gateway stands at another batch {ack.seq}")
            return None
        if self.gateway_at is not None and ack.seq <= self.gateway_at:
            return None
        if self.gateway_at is None:
            self._health.fallbacks += 1
            log.warning("gateway_fell_back seq=%d acked=%d", ack.seq, self._outbox.acked)
            self.gateway_at = ack.seq
            return ack.seq
        self.gateway_at = ack.seq
        return None

    def _is_newest(self, at_ns: int) -> bool:
        """Whether no ack seen before was signed later; remembers its time."""
        stored = self._outbox.get(ACK_AT)
        if stored is not None and at_ns <= int.from_bytes(stored, "big"):
            return False
        self._outbox.put(ACK_AT, at_ns.to_bytes(8, "big"))
        return True

    def _foreign(self, why: str) -> None:
        self._is_foreign = True
        self._health.alarm = FOREIGN
        log.error("foreign_history %s", why)
