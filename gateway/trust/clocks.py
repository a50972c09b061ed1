"""Batches from a clock ahead of the gateway's: kept, but in no sum until somebody decides. Pure.

    M1  the gateway signs a mark with the first batch that is ahead of its own clock, and one when it
        believes the clock again: with the first batch that is not ahead any more, or later where that
        happened often (``ingest.clock_marks``); the batches from the one to before the other are set
        aside
    M2  rows and events of what is set aside stand in no store and in no sum
    M3  an operator's signed verdict over batches set aside says whether they count after all; of two
        over one batch the later one holds. Without any the month does not close

Marks and verdicts are documents of the ledger's log and travel in the bundle (``decisions``), so store,
audit, report and verifier set the same batches aside. Who signed is judged by ``closing`` and by
the verifier.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from edge_agent.errors import CarbonError, TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer
from gateway import signed_fields
from gateway.decisions import Kept
from gateway.trust import statements

FUTURE = "clock_future"
"""Flag in the ledger of a batch whose last time is ahead of its receipt by more than allowed."""
MARK, VERDICT = "clock_mark", "clock_verdict"
_OPEN = 2**63
_MARK_FIELDS = statements.COMMON | {"seq": int, "hash": bytes, "t1": int, "ahead": bool}
Range = tuple[str, int, int]
"""Agent, first and last number of its batches."""


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring batches of an agent that were set aside, and what was decided of all of them.

    ``counts`` is None while nobody decided; ``by`` and ``reason`` are the verdict's.
    """

    agent: str
    first_seq: int
    last_seq: int
    counts: bool | None = None
    by: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"batches {self.first_seq}-{self.last_seq} of {self.agent}"


@dataclass(slots=True)
class Aside:
    """What is set aside by the marks and verdicts taken up so far."""

    _marked: dict[str, list[list[int]]] = field(default_factory=dict)
    _verdicts: dict[str, list[Run]] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def take(self, document: Kept) -> None:
        """Take up the next document; other kinds change nothing.

        Raises:
            TrustError: it says nothing that is understood, or a mark does not follow the one before.
        """
        if document.kind == MARK:
            fields = _read(document, _MARK_FIELDS)
            last = self._last.get(document.id, 0)
            if fields["seq"] <= last:
                message = (
                    f"mark {document.version} of {document.id} is of batch {fields['seq']}, "
                    f"the one before it of batch {last}"
                )
                raise TrustError(message)
            self._last[document.id] = fields["seq"]
            spans = self._marked.setdefault(document.id, [])
            is_open = bool(spans) and spans[-1][1] == _OPEN
            if fields["ahead"] and not is_open:
                spans.append([fields["seq"], _OPEN])
            elif not fields["ahead"] and is_open:
                spans[-1][1] = fields["seq"] - 1
        elif document.kind == VERDICT:
            wanted = {"first_seq": int, "last_seq": int, "counts": bool, "by": str, "reason": str}
            fields = _read(document, wanted)
            values = (fields[name] for name in ("first_seq", "last_seq", "counts", "by", "reason"))
            self._verdicts.setdefault(document.id, []).append(Run(document.id, *values))

    def covers(self, agent: str, seq: int) -> bool:
        """Whether a batch is in no sum."""
        return self._is_marked(agent, seq) and not self._verdict(agent, seq).counts

    def runs(self, agent: str, first: int, last: int) -> list[Run]:
        """The batches of a range that were set aside, as runs of one fate."""
        found: list[Run] = []
        spans = self._marked.get(agent, [])
        for low, high in spans[max(self._place(agent, first), 0) :]:
            if low > last:
                break
            for seq in range(max(low, first), min(high, last) + 1):
                one = self._verdict(agent, seq)
                before = found[-1] if found else None
                if before and before.last_seq == seq - 1 and _fate(before) == _fate(one):
                    found[-1] = Run(agent, before.first_seq, seq, *_fate(one))
                else:
                    found.append(Run(agent, seq, seq, *_fate(one)))
        return found

    def reservations(self, ranges: Sequence[Range]) -> list[str]:
        """What a reader of a month over these batches must know."""
        return [
            f"{one}, from a clock ahead of the gateway's, {_told(one)}"
            for given in ranges
            for one in self.runs(*given)
        ]

    def begin(self, agent: str, seq: int) -> int:
        """The first batch of the stretch that a batch lies in, whatever was decided; itself without one."""
        place = self._place(agent, seq)
        return self._marked[agent][place][0] if self._is_marked(agent, seq) else seq

    def _is_marked(self, agent: str, seq: int) -> bool:
        place = self._place(agent, seq)
        return place >= 0 and seq <= self._marked[agent][place][1]

    def _place(self, agent: str, seq: int) -> int:
        """Which stretch is the last that begins at or before a batch; -1 when none does."""
        return bisect_right(self._marked.get(agent, []), seq, key=itemgetter(0)) - 1

    def _verdict(self, agent: str, seq: int) -> Run:
        for one in reversed(self._verdicts.get(agent, [])):
            if one.first_seq <= seq <= one.last_seq:
                return one
        return Run(agent, seq, seq)


def _fate(run: Run) -> tuple[bool | None, str, str]:
    return run.counts, run.by, run.reason


def _told(run: Run) -> str:
    if run.counts is None:
        return "are left out until an operator decides 时钟超前，待裁定，未计入"
    done = "are counted 已裁定计入" if run.counts else "are left out 已裁定不计入"
    return f"{done}: {run.by}: {run.reason}"


def fold(documents: Iterable[Kept]) -> Aside:
    """What marks and verdicts, in order of arrival, set aside.

    Raises:
        TrustError: names the document that is not understood.
    """
    aside = Aside()
    for document in documents:
        aside.take(document)
    return aside


def sign_mark(verified: VerifiedBatch, received_ns: int, signer: Signer, *, ahead: bool) -> bytes:
    """The gateway's mark that an agent's batches are ahead from this one on, or no longer."""
    batch = verified.batch
    fields = {
        "v": 1,
        "site": batch.site,
        "agent": batch.agent,
        "at": received_ns,
        "by": "gateway",
        "reason": FUTURE,
        "seq": batch.seq,
        "hash": verified.sha256,
        "t1": batch.last_ns,
        "ahead": ahead,
    }
    return cose.sign(MessageType.CLOCK_MARK, cbor.encode(fields), signer)


def open_mark(raw: bytes, gateway: Mapping[bytes, PublicKey]) -> dict[str, Any]:
    """Check a mark's signature by the gateway's keys, by id; gives its fields.

    Raises:
        TrustError: it is not this gateway's.
    """
    fields: dict[str, Any] = signed_fields.of_gateway(raw, MessageType.CLOCK_MARK, gateway, "mark")
    return fields


def _read(document: Kept, wanted: Mapping[str, type]) -> dict[str, Any]:
    try:
        fields = dict(statements.unchecked(document.raw))
    except CarbonError as error:
        message = f"{document.kind} of {document.id}: {error}"
        raise TrustError(message) from error
    for name, kind in wanted.items():
        if type(fields.get(name)) is not kind:
            message = (
                f"{document.kind} of {document.id}: field {name!r} is missing or no {kind.__name__}"
            )
            raise TrustError(message)
    return fields
