"""An operator's verdict on batches that were set aside (``clocks``, rule M3)."""

from collections.abc import Iterator

from edge_agent.errors import TrustError
from edge_agent.readings import Record
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import key_id
from gateway.ledger import Draft, Ledger
from gateway.store import PointStore
from gateway.trust import clocks, statements
from gateway.trust.clocks import Run
from gateway.trust.enrolment import Decision
from gateway.trust.people import People


def decide(
    ledger: Ledger,
    people: People,
    store: PointStore,
    run: Run,
    site: str,
    decision: Decision,
) -> None:
    """Keep a verdict; the store has to be made again afterwards.

    Args:
        ledger: the evidence.
        people: whose decisions count.
        store: the present projection, in which nothing is set aside.
        run: the batches and whether they count.
        site: the plant.
        decision: who decides, when and why.

    Raises:
        TrustError: not all of the batches are set aside, they would count beside other rows of the
            same times, or nobody may decide this; nothing was kept.
    """
    _check_set_aside(ledger, site, run)
    if run.counts:
        _check_rows(ledger, store, site, run)
    person = people.find(key_id(decision.signer.public_spki()), "operator", decision.at_ns)
    fields = {
        "site": site,
        "agent": run.agent,
        "at": decision.at_ns,
        "by": person.name,
        "reason": decision.reason,
        "first_seq": run.first_seq,
        "last_seq": run.last_seq,
        "counts": bool(run.counts),
    }
    raw = statements.sign(MessageType.CLOCK_VERDICT, fields, decision.signer)
    statements.open_(raw, MessageType.CLOCK_VERDICT, people, decision.at_ns)
    ledger.documents.add(Draft(clocks.VERDICT, site, run.agent, raw, decision.at_ns))


def runs(ledger: Ledger, site: str) -> Iterator[Run]:
    """Everything of a site that was ever set aside, with its fate."""
    aside = clocks.fold(ledger.documents.all(clocks.MARK, clocks.VERDICT, site=site))
    for agent in ledger.agents(site):
        yield from aside.runs(agent, 1, ledger.head(site, agent).seq)


def _check_set_aside(ledger: Ledger, site: str, run: Run) -> None:
    found = [one for one in runs(ledger, site) if one.agent == run.agent]
    seqs = {seq for one in found for seq in range(one.first_seq, one.last_seq + 1)}
    if run.first_seq > run.last_seq or not seqs.issuperset(range(run.first_seq, run.last_seq + 1)):
        there = ", ".join(f"{one.first_seq}-{one.last_seq}" for one in found) or "none"
        message = f"{run} were not all set aside; set aside are: {there}"
        raise TrustError(message)


def _check_rows(ledger: Ledger, store: PointStore, site: str, run: Run) -> None:
    """No row of these batches stands where the store holds another batch's row already."""
    keys = ledger.key_ring()
    aside = clocks.fold(ledger.documents.all(clocks.MARK, clocks.VERDICT, site=site))
    for row in ledger.batches(site, run.agent, run.first_seq, run.last_seq):
        if not aside.covers(run.agent, row.seq):
            continue  # it counts already
        columns = wire_batch.verify(row.raw, site, run.agent, keys).batch.columns
        ours: dict[str, dict[int, Record]] = {}
        for record in columns.records():
            ours.setdefault(record.series, {})[record.time_ns] = record
        for series, records in ours.items():
            for other in store.read(site, series, min(records), max(records) + 1):
                mine = records.get(other.time_ns)
                if mine is not None:
                    message = (
                        f"batch {row.seq} of {run.agent} says {mine.value!r} of {series} at "
                        f"{other.time_ns}, where {other.value!r} counts already: leave it out"
                    )
                    raise TrustError(message)
