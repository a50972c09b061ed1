"""The store against the ledger, value by value; and the way to heal it.

Works a day at a time, so that memory holds one day of one site however long the history is.
Where two batches contradict each other the first one counts, as in the store.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edge_agent.errors import EvidenceError
from edge_agent.readings import Event, Record
from edge_agent.wire import cbor
from edge_agent.wire.keys import KeyRing
from gateway.ingest.recorder import catch_up, contents, set_aside
from gateway.ledger import Ledger, LedgerRow
from gateway.store import PointStore, Projection
from gateway.trust.clocks import Aside

_HOUR_NS = 3600 * 10**9
_DAY_NS = 24 * _HOUR_NS
_END_NS = 2**63 - 1
EVENTS = "(events)"
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """An hour of a series in which store and ledger differ.

    ``rows`` counts the differing keys; ``expected`` (ledger) and ``found`` (store) are the first
    of them, None where that side has nothing.
    """

    series: str
    hour_ns: int
    rows: int
    expected: Record | Event | None
    found: Record | Event | None


class LedgerDamage(EvidenceError):
    """A row of the ledger does not verify any more."""

    reason = "ledger"


def compare(ledger: Ledger, store: PointStore, site: str) -> list[Difference]:
    """Read every batch again and compare both directions.

    Raises:
        LedgerDamage: a row does not verify, or an agent's chain has a hole.
        StoreError: the store cannot be read.
    """
    for agent in ledger.agents(site):
        if not ledger.contiguous(site, agent):
            raise LedgerDamage(f"{site}/{agent}: the chain has a hole")
    judge = (ledger.key_ring(), set_aside(ledger, site))
    known = set(store.series(site))
    expected_events: Counter[bytes] = Counter()
    found: list[Difference] = []
    for start_ns, end_ns, recorded in _windows(ledger, site):
        expected: dict[_Key, Record] = {}
        for batch in _batches(ledger, site, (start_ns, end_ns), judge) if recorded else ():
            if start_ns <= batch.first_ns:
                expected_events.update(map(cbor.encode, batch.contents.events))
            for record in batch.contents.columns.records():
                if start_ns <= record.time_ns < end_ns:
                    expected.setdefault((record.series, record.time_ns), record)
        names = sorted(known | {name for name, _ in expected})
        stored = _records(store, site, names, (start_ns, end_ns))
        found += _differences(expected, stored)
    return found + _event_differences(expected_events, store, site)


def rebuild(ledger: Ledger, store: PointStore, site: str) -> int:
    """Throw the site's projection away and make it again.

    Returns:
        Number of batches written.
    """
    store.clear(site)
    return catch_up(ledger, store, site)


def _windows(ledger: Ledger, site: str) -> Iterator[tuple[int, int, bool]]:
    """All of time, half-open: days with batches one by one, and what lies between them."""
    days: set[int] = set()
    for first_ns, last_ns in ledger.spans(site):
        days.update(range(first_ns // _DAY_NS, last_ns // _DAY_NS + 1))
    end_ns = -_END_NS
    for day in sorted(days):
        start_ns = day * _DAY_NS
        if end_ns < start_ns:
            yield end_ns, start_ns, False
        end_ns = min(start_ns + _DAY_NS, _END_NS)
        yield start_ns, end_ns, True
    yield end_ns, _END_NS, False


@dataclass(frozen=True, slots=True)
class _Batch:
    number: int
    first_ns: int
    contents: Projection


def _batches(
    ledger: Ledger, site: str, window: tuple[int, int], judge: tuple[KeyRing, Aside]
) -> list[_Batch]:
    """The window's batches of all agents, verified again, in order of arrival."""
    batches: list[_Batch] = []
    for agent in ledger.agents(site):
        seqs = ledger.window(site, agent, *window)
        batches.extend(
            _Batch(row.number, row.first_ns, _verified(row, *judge))
            for row in (ledger.batches(site, agent, *seqs) if seqs else ())
            if row.first_ns < window[1] and row.last_ns >= window[0]
        )
    return sorted(batches, key=lambda batch: batch.number)


def _verified(row: LedgerRow, keys: KeyRing, aside: Aside) -> Projection:
    try:
        return contents(row, keys, aside)
    except EvidenceError as error:
        raise LedgerDamage(f"{row.site}/{row.agent} batch {row.seq}: {error}") from error


def _records(
    store: PointStore, site: str, names: Iterable[str], window: tuple[int, int]
) -> dict[_Key, Record]:
    return {
        (name, record.time_ns): record
        for name in names
        for record in store.read(site, name, *window)
    }


def _differences(expected: dict[_Key, Record], stored: dict[_Key, Record]) -> Iterator[Difference]:
    hours: dict[tuple[str, int], list[_Key]] = {}
    for key in sorted(expected.keys() | stored.keys()):
        if not _same(expected.get(key), stored.get(key)):
            hours.setdefault((key[0], key[1] // _HOUR_NS * _HOUR_NS), []).append(key)
    for (series, hour_ns), keys in hours.items():
        yield Difference(series, hour_ns, len(keys), expected.get(keys[0]), stored.get(keys[0]))


def _same(one: Record | None, other: Record | None) -> bool:
    """Equal in value, type of value and quality; 1 and 1.0 are not the same record."""
    if one is None or other is None:
        return one is other
    return one == other and type(one.value) is type(other.value)


def _event_differences(expected: Counter[bytes], store: PointStore, site: str) -> list[Difference]:
    stored = Counter(map(cbor.encode, store.read_events(site, -_END_NS, _END_NS)))
    differences = []
    for body in sorted(expected.keys() | stored.keys()):
        if expected[body] != stored[body]:
            event = cbor.decode(body, finite=False)
            differences.append(
                Difference(
                    EVENTS,
                    event["t"] // _HOUR_NS * _HOUR_NS,
                    abs(expected[body] - stored[body]),
                    event if expected[body] > stored[body] else None,
                    event if stored[body] > expected[body] else None,
                )
            )
    return differences
