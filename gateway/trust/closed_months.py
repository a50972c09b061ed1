"""Months whose report was made without an objection, and what came for them later.

N1  ``report`` adds a signed record of the month, a leaf of the log (``own_records``), once the month
is over and nothing keeps it open; its version rises when figures change or late batches were counted
N2  a batch behind those that the newest version counts, with times of the month, is late: its ledger
row carries the flag ``month_closed``, the log says so, and ``status`` lists it until a new version
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import month_bounds
from edge_agent.wire import cbor
from edge_agent.wire.batch import Batch
from edge_agent.wire.keys import Signer
from gateway.ledger import Document, Draft, Ledger
from gateway.ledger.reader import Reader
from gateway.trust import clocks, own_records
from gateway.trust.own_records import MONTH

FLAG = "month_closed"
"""Flag in the ledger of a batch that came after a month was closed whose times it holds."""


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """The newest version of a closed month: bounds [ns UTC], and the last batch of each agent that counts."""

    site: str
    month: str
    version: int
    start_ns: int
    end_ns: int
    figures: bytes
    agents: Mapping[str, int]

    def misses(self, batch: tuple[str, int], span_ns: tuple[int, int]) -> bool:
        """Whether a batch (agent, number; first and last time) is late for it."""
        agent, seq = batch
        first_ns, last_ns = span_ns
        overlaps = first_ns < self.end_ns and last_ns >= self.start_ns
        return overlaps and seq > self.agents.get(agent, 0)


@dataclass(frozen=True, slots=True)
class Late:
    """Batches of one agent that came after a month was closed: how many, first and last."""

    agent: str
    count: int
    first_seq: int
    last_seq: int

    def __str__(self) -> str:
        return f"{self.count} of {self.agent} within {self.first_seq}-{self.last_seq}"


@dataclass(slots=True)
class ClosedMonths:
    """What the intake asks of each batch; looks into the ledger again only when a document came."""

    ledger: Reader
    _number: int = -1
    _by_site: dict[str, list[ClosedMonth]] = field(default_factory=dict)

    def late_for(self, batch: Batch) -> ClosedMonth | None:
        """The closed month that a new batch with a good body is late for.

        Raises:
            StoreError: the ledger cannot be read now.
        """
        number = self.ledger.documents.last_number()
        if number != self._number:
            self._number, self._by_site = number, {}
        if batch.site not in self._by_site:
            self._by_site[batch.site] = newest(self.ledger, batch.site)
        place, span_ns = (batch.agent, batch.seq), (batch.first_ns, batch.last_ns)
        found = (one for one in self._by_site[batch.site] if one.misses(place, span_ns))
        return next(found, None)


def newest(ledger: Reader, site: str) -> list[ClosedMonth]:
    """The newest version of each closed month of a site, in order."""
    found: dict[str, ClosedMonth] = {}
    for one in ledger.documents.of_kind(MONTH, site):
        found[one.id] = _closed(one)
    return list(found.values())


def _closed(one: Document) -> ClosedMonth:
    said = own_records.unchecked(one.raw, MONTH)
    return ClosedMonth(
        one.site, one.id, one.version, said["start"], said["end"], said["figures"], said["agents"]
    )


def late(ledger: Reader, one: ClosedMonth) -> list[Late]:
    """Batches in the ledger with times of a closed month that its newest version does not count."""
    aside = clocks.fold(ledger.documents.all(clocks.MARK, clocks.VERDICT, site=one.site))
    found = []
    for agent in ledger.agents(one.site):
        seqs = [
            seq
            for seq in ledger.within(one.site, agent, one.start_ns, one.end_ns)
            if seq > one.agents.get(agent, 0) and not aside.covers(agent, seq)
        ]
        if seqs:
            found.append(Late(agent, len(seqs), seqs[0], seqs[-1]))
    return found


def close(
    ledger: Ledger, plain: Any, manifest_sha256: bytes, signer: Signer, now_ns: int
) -> ClosedMonth | None:
    """Record that a month's report was made without an objection; None while the month goes on.

    Args:
        ledger: gets the record, durable on return.
        plain: the report.
        manifest_sha256: of the bundle's signed manifest.
        signer: the gateway's key.
        now_ns: the time now [ns UTC].
    """
    site, name = plain["site"], plain["month"]
    start_ns, end_ns = month_bounds(name, ZoneInfo(plain["timezone"]))
    if now_ns < end_ns:
        return None
    values = [[one["id"], one["scope"], one["value"]] for one in plain["parameters"]]
    figures = hashlib.sha256(cbor.encode(values)).digest()
    last = ledger.documents.newest(MONTH, site, name)
    before = _closed(last) if last else None
    if before is not None and before.figures == figures and not late(ledger, before):
        return before
    fields = {
        "site": site,
        "at": now_ns,
        "reason": "late rows or other figures" if before else "first version",
        "month": name,
        "start": start_ns,
        "end": end_ns,
        "figures": figures,
        "manifest": manifest_sha256,
        "agents": {one["agent"]: one["last_seq"] for one in plain["evidence"]},
    }
    raw = own_records.sign(MONTH, fields, signer)
    return _closed(ledger.documents.add(Draft(MONTH, site, name, raw, now_ns)))


def standing(ledger: Reader, sites: Sequence[str]) -> list[dict[str, Any]]:
    """The last closed month of each site, and every one for which something came later."""
    found = []
    for site in sites:
        months = newest(ledger, site)
        for one in months:
            missed = late(ledger, one)
            if missed or one is months[-1]:
                found.append(
                    {
                        "site": site,
                        "closed_month": one.month,
                        "version": one.version,
                        "late_batches": "; ".join(map(str, missed)),
                        "needs_new_version": bool(missed),
                    }
                )
    return found
