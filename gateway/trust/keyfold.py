"""What signed decisions make of the keys in force, one decision after the other. Pure.

enrol      the agent's first key speaks at once (after a revocation: from the batch after the
last good one); while another key is active the new one waits for its keychange
keychange  the batch with the change, signed by the old key; from the next one on only the new
key speaks
revoke     good up to the last good batch; a waiting successor then speaks from the next one
release    batches that came too long after the key's end are let in up to a number
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_agent.errors import TrustError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, PublicKey, public_key
from gateway.trust import statements
from gateway.trust.persons import People
from gateway.trust.statements import Statement

KINDS = {
    "enrol": MessageType.ENROLMENT,
    "revoke": MessageType.REVOCATION,
    "release": MessageType.RELEASE,
}
KEYCHANGE = "keychange"


@dataclass(frozen=True, slots=True)
class Decision:
    """A document about keys as it arrived: ``kind`` as the ledger calls it, ``id`` its agent."""

    kind: str
    site: str
    id: str
    raw: bytes
    received_ns: int


class KeyFold(KeyRing):
    """A key ring that decisions change."""

    def __init__(self, listed: Sequence[Enrolment], people: People) -> None:
        super().__init__(list(listed))
        self._people = people

    def take(self, decision: Decision) -> Statement | None:
        """Take up the next decision; gives what a person said, None for a document of no person.

        Raises:
            TrustError, EvidenceError: it is not authentic, or changes nothing that is there.
        """
        if decision.kind == KEYCHANGE:
            self._keychange(decision)
            return None
        if decision.kind not in KINDS:
            return None
        kind = KINDS[decision.kind]
        found = statements.open_(decision.raw, kind, self._people, decision.received_ns)
        if kind is MessageType.ENROLMENT:
            self._enrol(found)
        elif kind is MessageType.REVOCATION:
            self._revoke(found)
        else:
            one = self._known(found)
            self._put(replace(one, released_seq=found.fields["last_seq"]))
        return found

    def _enrol(self, found: Statement) -> None:
        public = public_key(found.fields["spki"])
        if self.get(public.kid) is not None:
            message = f"key {public.kid.hex()[:16]} is enrolled already"
            raise TrustError(message)
        earlier = self.of(*found.source)
        revoked = [one.revoked_after for one in earlier if one.revoked_after is not None]
        first = None if any(one.active for one in earlier) else max(revoked, default=0) + 1
        self._put(
            Enrolment(
                *found.source,
                public,
                found.fields["not_before"],
                found.fields["not_after"],
                first,
            )
        )

    def _revoke(self, found: Statement) -> None:
        one, last_good = self._known(found), found.fields["last_good_seq"]
        was_active = one.active
        self._put(replace(one, revoked_after=last_good))
        waiting = [other for other in self.of(*found.source) if other.pending]
        if was_active and waiting:
            self._put(replace(waiting[0], first_seq=last_good + 1))

    def _keychange(self, decision: Decision) -> None:
        verified = wire_batch.verify(decision.raw, decision.site, decision.id, self)
        batch = verified.batch
        new = announced(batch)
        old = self.get(verified.key_id)
        successor = self.get(new.kid) if new else None
        if old and successor and (old.last_seq, successor.first_seq) == (batch.seq, batch.seq + 1):
            return
        if old is None or successor is None or not (old.active and successor.pending):
            message = f"batch {batch.seq} changes no key that is in force for an approved one"
            raise TrustError(message)
        self.succeed(verified.key_id, successor.public.kid, batch.seq)

    def _known(self, found: Statement) -> Enrolment:
        one = self.get(found.fields["kid"])
        if one is None or one.source != found.source:
            message = f"no key {found.fields['kid'].hex()[:16]} of {'/'.join(found.source)}"
            raise TrustError(message)
        return one

    def _put(self, enrolment: Enrolment) -> None:
        self._by_kid[enrolment.public.kid] = enrolment


def announced(batch: wire_batch.Batch) -> PublicKey | None:
    """The key that a batch's ``keychange`` announces; None when it has none.

    Raises:
        TrustError: more than one, or without the new key's proof for this place.
    """
    events = [event for event in batch.events if event["type"] == "keychange"]
    if not events:
        return None
    if len(events) > 1:
        message = "more than one keychange in one batch"
        raise TrustError(message)
    before = ChainHead(batch.seq - 1, batch.prev)
    return wire_enrolment.check_keychange(events[0], batch.site, batch.agent, before)
