"""The keys in force: the listed ones, and what decisions in the ledger made of them.

Folded in the order in which the documents arrived, each checked again:

    enrol      the agent's first key speaks at once (after a revocation: from the batch after the
               last good one); while another key is active the new one waits for its keychange
    keychange  the batch with the change, signed by the old key; from the next one on only the new
               key speaks
    revoke     good up to the last good batch; a waiting successor then speaks from the next one
    release    batches that came too long after the key's end are let in up to a number
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from edge_agent.errors import CarbonError, TrustError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, PublicKey, public_key
from gateway.config import GatewayConfig, key_ring
from gateway.ledger.documents import Document, Documents
from gateway.trust import statements
from gateway.trust.people import People, load_people
from gateway.trust.statements import Statement

log = logging.getLogger(__name__)
_KINDS = {
    "enrol": MessageType.ENROLMENT,
    "revoke": MessageType.REVOCATION,
    "release": MessageType.RELEASE,
}


class KeyBook(KeyRing):
    """A key ring that follows the ledger."""

    def __init__(self, listed: Sequence[Enrolment], people: People, documents: Documents) -> None:
        super().__init__(list(listed))
        self._people = people
        self._documents = documents
        self._number = 0
        self.refresh()

    def refresh(self) -> bool:
        """Take up documents that were added since the last call.

        Returns:
            Whether there were any.
        """
        if self._documents.last_number() == self._number:
            return False
        for document in self._documents.all(after=self._number):
            self._number = document.number
            try:
                self._take(document)
            except CarbonError as error:
                # Who writes into the file without a person's key changes nothing but this line.
                log.error("document_ignored number=%d kind=%s: %s",  # noqa: TRY400  no traceback
                          document.number, document.kind, error)  # fmt: skip
        return True

    def _take(self, document: Document) -> None:
        if document.kind == "keychange":
            self._keychange(document)
        elif document.kind in _KINDS:
            kind = _KINDS[document.kind]
            found = statements.open_(document.raw, kind, self._people, document.received_ns)
            if kind is MessageType.ENROLMENT:
                self._enrol(found)
            elif kind is MessageType.REVOCATION:
                self._revoke(found)
            else:
                one = self._known(found)
                self._put(replace(one, released_seq=found.fields["last_seq"]))

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

    def _keychange(self, document: Document) -> None:
        verified = wire_batch.verify(document.raw, document.site, document.id, self)
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


def open_keybook(config: GatewayConfig, documents: Documents) -> KeyBook:
    """The keys in force by the gateway's file and the ledger.

    Raises:
        ConfigError: a key file is unusable.
    """
    return KeyBook(key_ring(config).enrolments(), load_people(config), documents)
