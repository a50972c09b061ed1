"""Makes a month's report: computed from the store, proven against the ledger, bundled.

The report reads the store. The same figures are then computed from the signed batches in the
ledger; a difference stops the report and names the series and hours.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import month_bounds
from edge_agent.errors import CarbonError
from edge_agent.readings import Event, Record
from edge_agent.wire import cbor
from edge_agent.wire.keys import KeyRing, PublicKey, Signer, public_key
from gateway import (
    bundle,
    day_evidence,
    day_records,
    decisions,
    lab,
    leaf_list,
    log_evidence,
    month,
    stamp_evidence,
)
from gateway.evidence import (
    BatchRange,
    BatchReader,
    Configuration,
    EvidenceGap,
    in_force,
    merge,
    open_config,
    replay,
)
from gateway.lab import Papers
from gateway.ledger.reader import Reader as LedgerReader
from gateway.month import LOOKBACK_NS, Month, Points
from gateway.reports import governance, render, sources
from gateway.reports.basis import basis
from gateway.reports.stretch import stretch
from gateway.trust import clocks


class ReportStopped(CarbonError):
    """The store and the ledger disagree; names where. Nothing was written."""


class MonthStore(Protocol):
    """The part of a point store that a report reads."""

    def read(self, site: str, series: str, start_ns: int, end_ns: int) -> Iterable[Record]:
        """Rows of a series in [start, end), by time."""
        ...

    def read_events(
        self, site: str, start_ns: int, end_ns: int, types: Sequence[str] | None = None
    ) -> Iterable[Event]:
        """Events in [start, end)."""
        ...


class StoreReader:
    """Usable rows of a store, for ``month.compute``."""

    def __init__(self, store: MonthStore, site: str) -> None:
        self._store = store
        self._site = site

    def points(self, series: str, start_ns: int, end_ns: int) -> Points:
        """Rows whose quality is not bad and whose value is not null, by time."""
        times: list[int] = []
        values: list[int | float] = []
        for record in self._store.read(self._site, series, start_ns, end_ns):
            if record.value is not None and record.quality.usable:
                times.append(record.time_ns)
                values.append(record.value)
        return Points(times, values)


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    plain: dict[str, Any]
    files: tuple[Path, ...]
    manifest_sha256: bytes


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """The key that the gateway signs with, and those that it signed with before."""

    signer: Signer
    former: Sequence[PublicKey] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """The month as the ledger proves it."""

    month: Month
    configuration: Configuration
    ranges: Sequence[BatchRange]
    papers: Papers
    reader: BatchReader


def make(
    ledger: LedgerReader,
    store: MonthStore,
    site: str,
    month_name: str,
    signer: "Signer | GatewayKeys",
    out: Path,
) -> Made:
    """Compute, prove and write a month's report and bundle.

    Args:
        ledger: the evidence.
        store: its projection, from which the figures are computed.
        site: the plant.
        month_name: ``YYYY-MM`` in plant local time.
        signer: the gateway's key, which signs the bundle's manifest; with those before it, if any.
        out: folder that gets ``report.json``, ``report.xlsx`` and the bundle.

    Raises:
        ReportStopped: store and ledger disagree.
        EvidenceGap, EvidenceError, CalculationError: the evidence does not carry a report.
    """
    keys = signer if isinstance(signer, GatewayKeys) else GatewayKeys(signer)
    with ledger.snapshot():
        files, plain = _prepare(ledger, store, (site, month_name), keys)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"month-{site}-{month_name}.bundle"
    manifest = bundle.write(path, files, keys.signer)
    for name in ("report.json", "report.xlsx"):
        (out / name).write_bytes(files[name])
    return Made(plain, (out / "report.json", out / "report.xlsx", path), manifest)


def _prepare(
    ledger: LedgerReader,
    store: MonthStore,
    of: tuple[str, str],
    keys: GatewayKeys,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The bundle's files and the report, of a site and month."""
    site, month_name = of
    files: dict[str, bytes] = {}
    proof = prove(ledger, site, month_name, files)
    files |= decisions.pack(ledger.documents.all(*decisions.FOLDERS, site=site))
    papers = decisions.read(bundle.Bundle(files), site)
    files |= _papers(ledger, proof.papers)
    packed, days = _log(ledger, site, proof, files)
    files |= packed
    told = governance.to_plain(papers, proof.reader.marks.keys) | {"days": days}
    plain = render.to_plain(proof.month, proof.configuration, proof.ranges, told)
    _compare(plain, _from_store(store, site, proof), proof)
    files |= {
        "month.cbor": render.month_record(plain),
        "report.json": render.to_json(plain),
        "report.xlsx": render.to_xlsx(plain),
        "keys.cbor": bundle.pack_keys(
            _keys(ledger, site, proof.ranges),
            keys.signer.public_spki(),
            proof.papers.persons,
            [one.spki for one in keys.former],
        ),
    }
    return files, plain


def _log(
    ledger: LedgerReader, site: str, proof: Proof, files: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The log's proof of everything signed, when a checkpoint covers it, and the days in it.

    Of the checkpoints that do, the newest one that is witnessed and stamped, or what comes near:
    it covers most records of days, and so says most of what came late.
    """
    leaves = log_evidence.leaves_of(site, proof.ranges, files)
    leaves |= decisions.leaves(decisions.read(bundle.Bundle(dict(files)), site))
    leaves |= lab.leaves(proof.papers)
    tree = ledger.tree
    places = {name: tree.index_of(leaf) or 0 for name, leaf in leaves.items()}
    stamped = {stamp.size for stamp in tree.stamps()}
    covering = tree.checkpoints(max(places.values()) + 1)
    if not covering:
        return {}, []
    made = min(
        covering,
        key=lambda one: (
            not tree.cosignatures(one.size),
            one.size not in stamped,
            one.size > leaf_list.MOST_LEAVES,
            -one.size,
        ),
    )
    lowest = min(places[f"{one.agent}/{one.first_seq}"] for one in proof.ranges)
    records = day_records.of_site(ledger.documents.of_kind(day_records.KIND, site))
    run = day_evidence.run(records, tree, lowest, made.size)
    packed = day_evidence.pack(run, tree, made.size)
    days = day_evidence.read(bundle.Bundle(packed))
    leaves |= day_evidence.leaves(days)
    packed |= log_evidence.pack(tree, made.size, made.note, made.key, leaves)
    packed |= leaf_list.pack(tree, made.size)
    packed |= stamp_evidence.pack(tree, made.size, min(places.values()))
    return packed, day_evidence.of_month(days, proof.ranges, places, proof.month.end_ns)


def _papers(ledger: LedgerReader, papers: Papers) -> dict[str, bytes]:
    """The lab documents and the files they name, as far as these were handed in.

    Raises:
        EvidenceGap: a file was changed since.
    """
    files = {f"lab/{sha256}.cose": raw for sha256, raw in papers.raw.items()}
    for sha256 in sorted({sha256 for one in papers.documents for sha256 in one.attachments}):
        content = ledger.attachment(sha256)
        if content is None:
            continue
        if hashlib.sha256(content).digest() != sha256:
            message = f"attachment {sha256.hex()} was changed in the ledger"
            raise EvidenceGap(message)
        files[f"{bundle.ATTACHMENTS}{sha256.hex()}"] = content
    return files


def prove(ledger: LedgerReader, site: str, month_name: str, files: dict[str, bytes]) -> Proof:
    """The month from the signed batches; puts batches and configurations into ``files``."""
    ring = ledger.key_ring()
    aside = clocks.fold(ledger.documents.all(clocks.MARK, clocks.VERDICT, site=site))
    zone = zone_of(ledger, site)
    start_ns, end_ns = month_bounds(month_name, zone)
    reader = BatchReader()
    ranges: list[BatchRange] = []
    for agent in ledger.agents(site):
        window = stretch(ledger, (site, agent), (start_ns, end_ns), aside.covers)
        if window is None:
            continue
        packed = bundle.pack_batches(
            (row.seq, row.raw) for row in ledger.batches(site, agent, *window)
        )
        files[f"batches/{agent}.bin"] = packed
        batches = bundle.Bundle(files).batches(agent)
        ranges.append(replay(site, agent, batches, ring, reader, aside.covers))
    if not ranges:
        message = f"there is no batch of {site} in {month_name}"
        raise EvidenceGap(message)
    ranges = in_force(ranges, reader.marks.uses, end_ns)
    every = [_configs(ledger, site, item, ring, files) for item in ranges]
    configuration = merge(
        [some[item.config_sha256] for some, item in zip(every, ranges, strict=True)]
    )
    papers = lab_papers(ledger, site).within(start_ns, end_ns)
    given = basis(configuration, papers.entries)
    computed = month.compute(given, month_name, reader, reader.events)
    computed.reservations += reader.marks.reservations()
    computed.reservations += aside.reservations(
        [(one.agent, one.first_seq, one.last_seq) for one in ranges]
    )
    plains = [one.plain for some in every for one in some.values()]
    computed.reservations += sources.reservations(plains)
    return Proof(computed, configuration, ranges, papers, reader)


def lab_papers(ledger: LedgerReader, site: str) -> Papers:
    """A site's lab documents, by the keys that they were accepted with."""
    rows = ledger.lab_documents(site)
    persons: dict[str, list[PublicKey]] = {}
    for raw, spki in rows:
        persons.setdefault(lab.author_of(raw), []).append(public_key(spki))
    return lab.check(site, (raw for raw, _ in rows), persons)


def zone_of(ledger: LedgerReader, site: str) -> ZoneInfo:
    """Plant local time by the newest configuration of the site's first agent."""
    return ZoneInfo(newest_configuration(ledger, site).plain["timezone"])


def newest_configuration(ledger: LedgerReader, site: str) -> Configuration:
    """The newest configurations of a site's agents as one.

    Raises:
        EvidenceGap: the ledger holds none, or they contradict each other.
    """
    ring = ledger.key_ring()
    found: list[Configuration] = []
    for agent in ledger.agents(site):
        for digest in reversed(ledger.config_digests(site, agent)):
            raw = ledger.config(site, agent, digest)
            if raw is not None:
                found.append(open_config(raw, _agent_keys(ring, site, agent)))
                break
    if not found:
        message = f"the ledger holds no configuration of site {site!r}"
        raise EvidenceGap(message)
    return merge(found)


def _configs(
    ledger: LedgerReader, site: str, item: BatchRange, ring: KeyRing, files: dict[str, bytes]
) -> dict[bytes, Configuration]:
    """The configurations that a range's batches name, by digest; they go into the files."""
    opened: dict[bytes, Configuration] = {}
    for digest in item.configs:
        raw = ledger.config(site, item.agent, digest)
        if raw is None:
            message = f"configuration {digest.hex()} of {site}/{item.agent} is missing"
            raise EvidenceGap(message)
        files[f"configs/{digest.hex()}.cose"] = raw
        opened[digest] = open_config(raw, _agent_keys(ring, site, item.agent))
    return opened


def _agent_keys(ring: KeyRing, site: str, agent: str) -> list[PublicKey]:
    return [
        enrolment.public
        for enrolment in ring.enrolments()
        if (enrolment.site, enrolment.agent) == (site, agent)
    ]


def _keys(ledger: LedgerReader, site: str, ranges: Sequence[BatchRange]) -> dict[str, list[bytes]]:
    ring = ledger.key_ring()
    return {
        item.agent: [key.spki for key in _agent_keys(ring, site, item.agent)] for item in ranges
    }


def _from_store(store: MonthStore, site: str, proof: Proof) -> Any:
    """The report as the store's rows give it."""
    start_ns, end_ns = proof.month.start_ns, proof.month.end_ns
    events = list(store.read_events(site, start_ns - LOOKBACK_NS, end_ns + LOOKBACK_NS))
    configuration = proof.configuration
    given = basis(configuration, proof.papers.entries)
    computed = month.compute(given, proof.month.month, StoreReader(store, site), events)
    return render.to_plain(computed, configuration, proof.ranges, {})


def _compare(proven: Any, stored: Any, proof: Proof) -> None:
    """Stop at the first figure that differs between store and ledger."""
    for ours, theirs in zip(proven["parameters"], stored["parameters"], strict=True):
        if ours != theirs:
            series = ", ".join(ours["evidence"]["series"]) or "its inputs"
            message = (
                f"{ours['id']} of {ours['scope']}: the store gives {theirs['value']}, the signed "
                f"batches give {ours['value']} (series {series}); "
                f"`carbon-gateway audit` names the hours"
            )
            raise ReportStopped(message)
    if cbor.encode(proven["effects"]) != cbor.encode(stored["effects"]):
        message = f"the store's anode effects of {proof.month.month} differ from the signed ones"
        raise ReportStopped(message)
