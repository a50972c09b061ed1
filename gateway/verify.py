"""The verifier's check of a bundle: offline, no database, no broker, no clock.

Steps, each told with its count: (1) manifest, (2) keys and the decisions that made them, (3)
signatures and profile, (4) chain, (5) Merkle root and log, (6) configuration of every batch, its
changes and approvals, lab documents and their files, (7) recomputation from the signed rows, the
sums a second time by other code (``recount``), (8) comparison with the month record, the JSON report and the sheet, (9) what is not proven.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import month_bounds
from edge_agent.errors import CarbonError, EvidenceError
from edge_agent.wire import cbor, cose
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.keys import KeyRing, PublicKey
from gateway import bundle as bundle_
from gateway import day_evidence, decisions, lab, log_evidence, verify_keys, verify_log
from gateway import month as month_
from gateway.bundle import Bundle, BundleError
from gateway.day_evidence import Day
from gateway.decisions import Paper
from gateway.evidence import (
    BatchRange,
    BatchReader,
    Configuration,
    ConfigUse,
    in_force,
    merge,
    open_config,
    replay,
)
from gateway.month import Month
from gateway.recount import Rows, recount
from gateway.reports import comparison, governance, render, sources
from gateway.reports.basis import Proven, basis
from gateway.trust import clocks, offline, offline_clocks, offline_lab, offline_own
from gateway.trust.clocks import Aside
from gateway.trust.offline import Keys
from gateway.trust.offline_lab import Order
from gateway.trust.offline_own import Revoked
from gateway.trust_file import Trust
from gateway.verify_log import Stretch

_UNPROVEN = (
    CarbonError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What content of another shape raises somewhere on the way: a contradiction, never a crash."""


@dataclass(slots=True)
class Verdict:
    """What the check found: lines to print, and the first contradiction if there is one."""

    lines: list[str] = field(default_factory=list)
    difference: str = ""
    content: Proven | None = None

    @property
    def proven(self) -> bool:
        """True when nothing contradicts."""
        return not self.difference

    @property
    def reserved(self) -> bool:
        """True when there is something the evidence does not prove."""
        return any(line.startswith("9 ") for line in self.lines)


def verify(path: Path, trust: Trust | None = None) -> Verdict:
    """Check a bundle; the verdict names the first difference."""
    verdict = Verdict()
    try:
        verdict.content = _steps(path, trust, verdict.lines.append)
    except _UNPROVEN as error:
        reason = f" [{error.reason}]" if isinstance(error, EvidenceError) else ""
        verdict.difference = f"{error}{reason}" if isinstance(error, CarbonError) else repr(error)
    return verdict


def _steps(path: Path, trust: Trust | None, tell: Callable[[str], None]) -> Proven:
    bundle = bundle_.read(path)
    gateway, gateways = _gateway(bundle, trust, tell)
    record = cbor.decode(bundle.files["month.cbor"])
    site = record["site"]
    papers = decisions.read(bundle, site)
    keys = verify_keys.keys_of(bundle, site, gateway, papers, (trust, tell))
    reader, aside = _Both(), clocks.fold(papers)
    ranges = _replay(bundle, site, keys.ring, (reader, aside), tell)
    lab_papers = lab.check(site, bundle_.lab_documents(bundle), bundle_.person_keys(bundle))
    days = day_evidence.read(bundle)
    leaves = _leaves(bundle, (site, ranges), (papers, lab_papers, days))
    logged = verify_log.check(bundle, (site, papers, leaves), trust, tell)
    every = _configurations(bundle, keys.ring, ranges, tell)
    month = _month(record, every[ranges[0].config_sha256], (ranges, aside), gateways)
    open_points = [*logged.open_points, *verify_log.stretch(logged, month, days, tell)]
    ranges = in_force(ranges, reader.marks.uses, month.bounds[1])
    configuration = merge([every[item.config_sha256] for item in ranges])
    open_points += _decisions(papers, keys, (ranges, every, reader.marks.uses), (trust, tell))
    open_points += offline_clocks.judge(papers, (gateways, ranges, aside), (trust, tell))
    _software(reader, trust, tell)
    records = [day.record for day in days]
    order = Order(logged.indexes, ranges, aside.covers, records, logged.tokens)
    revoked = offline_lab.merged(offline_own.read(papers, gateways, logged.indexes, tell), trust)
    open_points += _lab(bundle, lab_papers, (revoked, order), tell)
    content = (configuration, lab_papers, ranges, papers)
    notes = _notes(aside, ranges, every)
    reported = (reader, notes, day_evidence.of_month(days, ranges, logged.indexes, month.bounds[1]))
    figures = _figures(bundle, record, content, reported, tell)
    open_points = [*(open_points if trust is not None else []), *_software_reservations(trust)]
    for text in [*figures.reservations, *verify_log.reservations(logged.log, trust), *open_points]:
        tell(f"9 reservation   {text}")
    return Proven(figures, configuration, ranges, reader)


def _leaves(
    bundle: Bundle,
    batches: tuple[str, Sequence[BatchRange]],
    others: tuple[Sequence[Paper], lab.Papers, Sequence[Day]],
) -> dict[str, bytes]:
    """Leaf data by name of all that the log has to hold, in the order of its proof."""
    papers, lab_papers, days = others
    found = log_evidence.leaves_of(*batches, bundle.files) | decisions.leaves(papers)
    return found | lab.leaves(lab_papers) | day_evidence.leaves(days)


def _gateway(
    bundle: Bundle, trust: Trust | None, tell: Callable[[str], None]
) -> tuple[PublicKey, dict[bytes, PublicKey]]:
    """The key that signed the manifest, and by id that one and those before it."""
    gateway = bundle_.check_manifest(bundle, {})
    tell(f"1 manifest      {len(bundle.files) - 1} files as signed by the gateway")
    trusted = trust.keys if trust is not None else None
    return gateway, bundle_.gateway_keys(bundle, gateway, trusted)


def _month(
    record: Any,
    configuration: Configuration,
    batches: tuple[Sequence[BatchRange], Aside],
    gateways: Mapping[bytes, PublicKey],
) -> Stretch:
    """The month's batches as they were checked."""
    (ranges, aside), zone = batches, configuration.plain["timezone"]
    bounds = month_bounds(record["month"], ZoneInfo(zone))
    place = (record["site"], record["month"], bounds, zone)
    return Stretch(*place, ranges, aside.covers, gateways)


def _figures(
    bundle: Bundle,
    record: Any,
    content: tuple[Configuration, lab.Papers, list[BatchRange], Sequence[Paper]],
    rows: "tuple[_Both, list[str], list[dict[str, Any]]]",
    tell: Callable[[str], None],
) -> Month:
    """The month worked out from what was checked, and held against what was reported.

    ``content`` is its configuration, lab documents, batch ranges and decisions; ``rows`` are those of
    the batches, what a reader must know of them, and the days on which they came.
    """
    (configuration, lab_papers, ranges, papers), (reader, notes, days) = content, rows
    given = basis(configuration, lab_papers.entries)
    month = month_.compute(given, record["month"], reader, reader.events)
    month.reservations += [*reader.marks.reservations(), *notes]
    tell(f"7 recomputed    {len(month.values)} values, {len(month.effects)} anode effects")
    told = governance.to_plain(papers, reader.marks.keys) | {"days": days}
    plain = render.to_plain(month, configuration, ranges, told)
    comparison.compare(plain, bundle, record)
    _second(reader.rows, configuration, bundle, (record, plain), tell)
    tell("8 compared      month record, report.json and report.xlsx agree with the signed rows")
    return month


class _Both(BatchReader):
    """Feeds the second sums with the same verified batches."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()

    def add(self, verified: VerifiedBatch) -> None:
        """Take up a batch's rows and events."""
        super().add(verified)
        self.rows.add(verified)


def _second(
    rows: Rows,
    configuration: Configuration,
    bundle: Bundle,
    reported: tuple[Any, Any],
    tell: Callable[[str], None],
) -> None:
    """The sums by other code; ``reported`` is the month record and the report."""
    record, plain = reported
    found = recount(
        configuration.plain,
        bundle_.lab_documents(bundle),
        rows,
        record,
        plain["parameters"],
    )
    left = ", ".join(found.left) or "none"
    tell(f"7 second sums   {found.agree} of {len(record['values'])} values agree; not: {left}")


def _notes(
    aside: Aside, ranges: Sequence[BatchRange], every: Mapping[bytes, Configuration]
) -> list[str]:
    """What a reader must know of batches that were set aside, and of sources."""
    spans = [(one.agent, one.first_seq, one.last_seq) for one in ranges]
    plains = [one.plain for one in every.values()]
    return aside.reservations(spans) + sources.reservations(plains)


def _replay(
    bundle: Bundle,
    site: str,
    ring: KeyRing,
    rows: tuple[BatchReader, Aside],
    tell: Callable[[str], None],
) -> list[BatchRange]:
    """Signatures, chain and root of every agent's batches; fills the reader."""
    reader, aside = rows
    ranges = [
        replay(site, agent, bundle.batches(agent), ring, reader, aside.covers)
        for agent in bundle.agents()
    ]
    count = sum(item.count for item in ranges)
    tell(f"3 signatures    {count} batches")
    tell(f"4 chain         {', '.join(f'{r.agent} {r.first_seq}-{r.last_seq}' for r in ranges)}")
    tell(f"5 Merkle root   {', '.join(r.root.hex() for r in ranges)}")
    return ranges


def _decisions(
    papers: Sequence[Paper],
    keys: Keys,
    month: tuple[list[BatchRange], Mapping[bytes, Configuration], Sequence[ConfigUse]],
    to: tuple[Trust | None, Callable[[str], None]],
) -> list[str]:
    """Changes of configuration, approvals, and decisions about batches; gives what is unproven.

    ``month`` is its ranges, configurations, and which batches were made under which.
    """
    (ranges, every, uses), (trust, tell) = month, to
    for text in offline.differences(uses, every):
        tell(f"6 changed       {text}")
    if trust is None:
        return []
    unproven = []
    if trust.cas:
        offline.check_places(papers, keys, ranges)
    else:
        unproven.append("the trust file names no CA: keys are believed by their ids 未指定签发机构")
    if not trust.persons:
        return [*unproven, "the trust file names no person: no approval was checked 审批未核验"]
    approvals = offline.check_approvals(papers, every, trust)
    lacking = offline.objections(uses, approvals)
    tell(f"6 approvals     {approvals.count} checked, {len(lacking)} runs of batches without one")
    if lacking and trust.approval:
        raise BundleError(lacking[0])
    return unproven + [f"{text} 配置未经审批" for text in lacking]


def _lab(
    bundle: Bundle,
    papers: lab.Papers,
    ends: tuple[Mapping[bytes, Revoked], Order],
    tell: Callable[[str], None],
) -> list[str]:
    """Lab documents, their signers and the files that they name; gives what is unproven or not inside.

    ``ends`` are the revoked keys of persons, and what the log tells of the order of things.
    """
    tell(
        f"6 lab           {len(papers.documents)} documents, {len(papers.entries)} entries in force"
    )
    kids = [cose.parse(raw).kid for raw in papers.raw.values()]
    named = offline_lab.check(zip(papers.documents, kids, strict=True), *ends)
    files = {
        name.removeprefix(bundle_.ATTACHMENTS): content
        for name, content in bundle.files.items()
        if name.startswith(bundle_.ATTACHMENTS)
    }
    there, missing = lab.check_attachments(papers, files)
    tell(f"6 attachments   {there} as signed, {missing} not inside")
    if missing:
        named.append(f"{missing} files that lab documents name are not inside 化验附件未附")
    return named


def _software_reservations(trust: Trust | None) -> list[str]:
    if trust is None or trust.software:
        return []
    return ["the trust file approves no software 软件未经外部确认"]


def _software(reader: BatchReader, trust: Trust | None, tell: Callable[[str], None]) -> None:
    """Which software made the batches; with approved digests every batch's must be one of them."""
    made = reader.marks.software
    digests = {digest for _, _, digest in made}
    approved = trust.software if trust else frozenset()
    words = f", all of {len(approved)} approved ones" if approved else ""
    if approved:
        foreign = [
            f"batches {found.first_seq}-{found.last_seq} ({found.count}) of {agent} by {name}, "
            f"digest {digest.hex() if digest else 'none'}"
            for (agent, name, digest), found in made.items()
            if digest not in approved
        ]
        if foreign:
            raise BundleError(f"software that is not approved made {'; '.join(foreign)}")
    tell(f"6 software      {len(digests)} digests of the legally relevant files{words}")


def _configurations(
    bundle: Bundle, ring: KeyRing, ranges: list[BatchRange], tell: Callable[[str], None]
) -> dict[bytes, Configuration]:
    """The month's configurations by digest; every batch must name one that is here."""
    found: dict[bytes, Configuration] = {}
    for item in ranges:
        keys = [one.public for one in ring.enrolments() if one.agent == item.agent]
        for sha256 in item.configs:
            name = f"configs/{sha256.hex()}.cose"
            if name not in bundle.files:
                message = f"{name}: a batch names this configuration, which is missing"
                raise BundleError(message)
            found[sha256] = open_config(bundle.files[name], keys)
            if found[sha256].sha256 != sha256:
                message = f"{name}: its content has another digest"
                raise BundleError(message)
    tell(f"6 configuration {len(found)}")
    return found
