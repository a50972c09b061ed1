"""Signs batches in order; keeps what cannot be signed now; changes keys.

While the key store does not answer, rows and events wait in memory, within a limit; the readings
behind them stay in the outbox's journal, so that a stop loses nothing. When it answers again
everything is signed in order.

A change of keys: once an operator's certificate lies beside the next key, the last batch of the
next signing carries the ``keychange`` under the old key. Which key signs after it is committed
in one transaction with that batch.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_agent.clock import NS_PER_S
from edge_agent.errors import CarbonError, KeyFileError, SignerUnavailable
from edge_agent.keystore import AgentSigner, Keystore, Successor
from edge_agent.later import Later
from edge_agent.readings import Columns, Event
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.batch import Batch
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import key_id

log = logging.getLogger(__name__)
_KEY_WARNING = Later("edge_agent.wire.certificates", "key_warning")
_KEYCHANGE = Later("edge_agent.wire.enrolment", "keychange")
SIGNING_KID = "signing_kid"
MAX_WAITING_ROWS = 2_000_000
MAX_WAITING_EVENTS = 100_000
_RETRY_NS = 5 * NS_PER_S
Part = tuple[Columns, Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Signed:
    """Signed batches, the chain after them, and what has to be stored with them."""

    raws: list[bytes]
    head: ChainHead
    keep: dict[str, bytes] = field(default_factory=dict)
    successor: Successor | None = None


class Scribe:
    """Holds the agent's pen; used by the worker thread."""

    def __init__(self, source: tuple[str, str], signer: AgentSigner, keystore: Keystore) -> None:
        self._source = source
        self._signer = signer
        self._keystore = keystore
        self._pieces: list[Columns] = []
        self._events: list[Event] = []
        self._failed_ns = 0

    def due(self, now_ns: int) -> bool:
        """Whether something waits and signing it is worth another try (monotonic ns)."""
        return bool(self._pieces or self._events) and now_ns - self._failed_ns >= _RETRY_NS

    def with_waiting(
        self, pieces: Sequence[Columns], events: Sequence[Event]
    ) -> tuple[list[Columns], list[Event]]:
        """What waited, and then this."""
        return [*self._pieces, *pieces], [*self._events, *events]

    def wait(self, pieces: list[Columns], events: list[Event], now_ns: int) -> bool:
        """Keep everything that could not be signed; False when that is too much."""
        self._failed_ns = now_ns
        rows = sum(map(len, pieces))
        if rows > MAX_WAITING_ROWS or len(events) > MAX_WAITING_EVENTS:
            self.forget()
            return False
        self._pieces, self._events = pieces, events
        return True

    def forget(self) -> None:
        """What waited is in a batch, or given up."""
        self._pieces, self._events = [], []

    def sign(
        self,
        parts: Sequence[Part],
        head: ChainHead,
        make: Callable[[Columns, Sequence[Event], ChainHead], Batch],
    ) -> Signed:
        """Sign batches one after the other, with the change of keys in the last if one is due.

        Raises:
            SignerUnavailable: the key store does not answer now; nothing was signed that counts.
        """
        successor = self._successor()
        raws: list[bytes] = []
        for place, (columns, some) in enumerate(parts, 1):
            events = some
            if successor is not None and place == len(parts):
                events = [*some, self._keychange(columns, some, head, successor)]
            raw = wire_batch.sign(make(columns, events, head), self._signer)
            raws.append(raw)
            head = ChainHead(head.seq + 1, hashlib.sha256(raw).digest())
        if successor is None:
            return Signed(raws, head)
        kid = key_id(successor.signer.public_spki())
        return Signed(raws, head, {SIGNING_KID: kid}, successor)

    def committed(self, signed: Signed) -> None:
        """The batches are durable: forget what waited, and take up the new key."""
        self.forget()
        if signed.successor is None:
            return
        self._signer.switch(signed.successor.signer)
        try:
            self._signer.switch(self._keystore.current(signed.keep[SIGNING_KID]))
        except (OSError, KeyFileError, SignerUnavailable) as error:
            log.warning("key files not renamed: %s", error)
        log.info("key changed after batch=%d kid=%s", signed.head.seq, self._signer.kid.hex())

    def warning(self, now_ns: int) -> str:
        """What to say of the signing certificate's end: nothing until 30 days before it."""
        path = self._keystore.certificate()
        return str(_KEY_WARNING(path, now_ns)) if path.exists() else ""

    def _keychange(
        self, columns: Columns, events: Sequence[Event], head: ChainHead, successor: Successor
    ) -> Event:
        """The event for the batch after ``head``; at the batch's last time, so it widens nothing."""
        times = [*columns.time_ns, *(int(event["t"]) for event in events)]
        fields = _KEYCHANGE(*self._source, head, successor.signer, successor.certificate)
        return {"t": max(times), "type": "keychange", **fields}

    def _successor(self) -> Successor | None:
        try:
            found = self._keystore.successor()
        except CarbonError as error:
            log.warning("next key not usable: %s", error)
            return None
        if found is None or found.signer.kid == self._signer.kid:
            return None
        return found
