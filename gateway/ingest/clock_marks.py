"""Signs the marks of batches that are ahead of the gateway's clock (``trust.clocks``, rule M1).

A stretch that is set aside ends after as many batches in a row that are not ahead as the agent has
marks, at most ``MOST_CALM``: a clock that was wrong once is believed with its next batch, one that hovers
around the limit, or a stolen key that plays with it, cannot fill the log with marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.keys import Signer
from gateway.ledger import Draft, Evidence
from gateway.ledger.documents import Documents
from gateway.trust import clocks, statements

MOST_CALM = 60
"""Batches in a row, not ahead, that end a stretch of any agent."""
Source = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _State:
    """Whether the agent's batches are set aside, its marks so far, batches not ahead since."""

    aside: bool = False
    marks: int = 0
    calm: int = 0

    def after(self, *, ahead: bool) -> "_State":
        """The state with the agent's next batch; one mark more when ``aside`` changes.

        The count of batches not ahead begins anew when the gateway starts: a stretch gets longer by it.
        """
        if ahead == self.aside:
            return replace(self, calm=0)
        calm = self.calm + 1
        if not ahead and calm < min(self.marks, MOST_CALM):
            return replace(self, calm=calm)
        return _State(ahead, self.marks + 1)


class ClockMarker:
    """Knows of each agent whether its batches are ahead; used by the ledger's thread."""

    def __init__(self, documents: Documents, signer: Signer) -> None:
        self._documents = documents
        self._signer = signer
        self._states: dict[Source, _State] = {}
        self._next: dict[Source, _State] = {}
        self._aside: set[tuple[str, str, int]] = set()

    def with_marks(self, evidence: Evidence) -> Evidence:
        """The evidence with the marks that belong into the same transaction."""
        return replace(evidence, documents=[*evidence.documents, *self._drafts(evidence.batches)])

    def written(self) -> None:
        """What ``with_marks`` gave last is durable."""
        self._states |= self._next
        self._next = {}

    def is_aside(self, verified: VerifiedBatch) -> bool:
        """Whether a batch of the evidence that ``with_marks`` saw last is in no sum."""
        batch = verified.batch
        return (batch.site, batch.agent, batch.seq) in self._aside

    def _drafts(self, batches: Sequence[tuple[VerifiedBatch, int]]) -> list[Draft]:
        drafts: list[Draft] = []
        self._next, self._aside = {}, set()
        for verified, received_ns in batches:
            source = (verified.batch.site, verified.batch.agent)
            before = state = self._next.get(source) or self._state(source)
            # a bad body has no rows, and nobody looked at its times
            if not any(flag.startswith("body_") for flag in verified.flags):
                state = before.after(ahead=clocks.FUTURE in verified.flags)
            if state.aside != before.aside:
                raw = clocks.sign_mark(verified, received_ns, self._signer, ahead=state.aside)
                drafts.append(Draft(clocks.MARK, *source, raw, received_ns))
            if state.aside:
                self._aside.add((*source, verified.batch.seq))
            self._next[source] = state
        return drafts

    def _state(self, source: Source) -> _State:
        """What the agent's last mark says."""
        if source not in self._states:
            newest = self._documents.newest(clocks.MARK, *source)
            said = statements.unchecked(newest.raw)["ahead"] if newest else False
            self._states[source] = _State(bool(said), newest.version if newest else 0)
        return self._states[source]
