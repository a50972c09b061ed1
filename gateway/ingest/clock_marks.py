"""Signs the marks of batches that are ahead of the gateway's clock (``trust.clocks``, rule M1)."""

from collections.abc import Sequence
from dataclasses import replace

from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.keys import Signer
from gateway.ledger import Draft, Evidence
from gateway.ledger.documents import Documents
from gateway.trust import clocks, statements

Source = tuple[str, str]


class ClockMarker:
    """Knows of each agent whether its batches are ahead; used by the ledger's thread."""

    def __init__(self, documents: Documents, signer: Signer) -> None:
        self._documents = documents
        self._signer = signer
        self._ahead: dict[Source, bool] = {}
        self._next: dict[Source, bool] = {}

    def with_marks(self, evidence: Evidence) -> Evidence:
        """The evidence with the marks that belong into the same transaction."""
        return replace(evidence, documents=[*evidence.documents, *self._drafts(evidence.batches)])

    def written(self) -> None:
        """What ``with_marks`` gave last is durable."""
        self._ahead |= self._next
        self._next = {}

    def _drafts(self, batches: Sequence[tuple[VerifiedBatch, int]]) -> list[Draft]:
        drafts: list[Draft] = []
        self._next = {}
        for verified, received_ns in batches:
            if any(flag.startswith("body_") for flag in verified.flags):
                continue  # it has no rows, and nobody looked at its times
            source = (verified.batch.site, verified.batch.agent)
            ahead = clocks.FUTURE in verified.flags
            if ahead != self._next.get(source, self._stands(source)):
                raw = clocks.sign_mark(verified, received_ns, self._signer, ahead=ahead)
                drafts.append(Draft(clocks.MARK, *source, raw, received_ns))
            self._next[source] = ahead
        return drafts

    def _stands(self, source: Source) -> bool:
        """Whether the agent's last mark says that it is ahead."""
        if source not in self._ahead:
            newest = self._documents.newest(clocks.MARK, *source)
            said = statements.unchecked(newest.raw)["ahead"] if newest else False
            self._ahead[source] = bool(said)
        return self._ahead[source]
