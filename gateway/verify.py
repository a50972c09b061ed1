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
from edge_agent.wire import cbor
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.keys import Enrolment, KeyRing, PublicKey
from gateway import bundle as bundle_
from gateway import day_evidence, decisions, lab, log_evidence, verify_log
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
from gateway.trust import clocks, offline, offline_clocks, offline_lab
from gateway.trust.clocks import Aside
from gateway.trust.keyfold import KeyFold
from gateway.trust.offline import Keys
from gateway.trust.persons import People
from gateway.trust_file import Trust
from gateway.verify_log import Stretch

_UNPROVEN = (
    CarbonError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What content of another shape raises somewhere on the way: a contradiction, never a crash."""
_KEY_DECISIONS = {
    "enrol": "enrolments",
    "keychange": "changes of key",
    "revoke": "revocations",
    "release": "releases",
    "relabel": "relabellings",
}


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
    gateway, gateways = _gateway(bundle, trust)
    tell(f"1 manifest      {len(bundle.files) - 1} files as signed by the gateway")
    record = cbor.decode(bundle.files["month.cbor"])
    site = record["site"]
    papers = decisions.read(bundle, site)
    persons = bundle_.person_keys(bundle)
    keys = _keys(bundle, site, (gateway, persons), papers, (trust, tell))
    reader, aside = _Both(), clocks.fold(papers)
    ranges = _replay(bundle, site, keys.ring, (reader, aside), tell)
    lab_papers = lab.check(site, bundle_.lab_documents(bundle), persons)
    days, leaves = _leaves(bundle, (site, ranges), papers, lab_papers)
    logged = verify_log.check(bundle, (site, papers, leaves), trust, tell)
    every = _configurations(bundle, keys.ring, ranges, tell)
    zone = every[ranges[0].config_sha256].plain["timezone"]
    bounds = month_bounds(record["month"], ZoneInfo(zone))
    month = Stretch(site, record["month"], bounds, zone, ranges, aside.covers, gateways)
    open_points = [*logged.open_points, *verify_log.stretch(logged, month, days, tell)]
    ranges = in_force(ranges, reader.marks.uses, bounds[1])
    configuration = merge([every[item.config_sha256] for item in ranges])
    open_points += _decisions(papers, keys, (ranges, every, reader.marks.uses), (trust, tell))
    open_points += offline_clocks.judge(papers, (gateways, ranges, aside), (trust, tell))
    _software(reader, trust, tell)
    open_points += _lab(bundle, lab_papers, (ranges, aside, logged.indexes), (trust, tell))
    content = (configuration, lab_papers, ranges, papers)
    notes = aside.reservations(_spans(ranges)) + sources.reservations(
        one.plain for one in every.values()
    )
    told = day_evidence.of_month(days, ranges, logged.indexes, bounds[1])
    figures = _figures(bundle, record, content, (reader, notes, told), tell)
    open_points = [*(open_points if trust is not None else []), *_software_reservations(trust)]
    for text in [*figures.reservations, *verify_log.reservations(logged.log, trust), *open_points]:
        tell(f"9 reservation   {text}")
    return Proven(figures, configuration, ranges, reader)


def _leaves(
    bundle: Bundle,
    batches: tuple[str, Sequence[BatchRange]],
    papers: Sequence[Paper],
    lab_papers: lab.Papers,
) -> tuple[list[Day], dict[str, bytes]]:
    """The records of days, and leaf data by name of all that the log has to hold."""
    days = day_evidence.read(bundle)
    found = log_evidence.leaves_of(*batches, bundle.files)
    return days, found | decisions.leaves(papers) | lab.leaves(lab_papers) | (
        day_evidence.leaves(days)
    )


def _gateway(bundle: Bundle, trust: Trust | None) -> tuple[PublicKey, dict[bytes, PublicKey]]:
    """The key that signed the manifest, and by id that one and those before it."""
    gateway = bundle_.check_manifest(bundle, {})
    trusted = trust.keys if trust is not None else None
    return gateway, bundle_.gateway_keys(bundle, gateway, trusted)


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


def _keys(
    bundle: Bundle,
    site: str,
    others: tuple[PublicKey, Mapping[str, list[PublicKey]]],
    papers: Sequence[Paper],
    to: tuple[Trust | None, Callable[[str], None]],
) -> Keys:
    """The agents' keys: those that the bundle names, or what signed decisions make of them.

    ``others`` are the gateway's key and the persons' by name.
    """
    (gateway, persons), (trust, tell) = others, to
    listed = bundle_.agent_keys(bundle)
    people = {f"person {name}": keys for name, keys in persons.items()}
    if trust is not None:
        offline.check_persons(persons, trust)
    if trust is None or not trust.cas:
        _check_trust(gateway, {**listed, **people}, trust, tell)
        ring = [Enrolment(site, agent, key) for agent, keys in listed.items() for key in keys]
        return Keys(KeyFold(ring, People([])))
    for key in (gateway, *(key for some in people.values() for key in some)):
        _check_anchor(key, trust)
    keys = offline.fold(papers, listed, site, trust)
    enrolled = keys.counts["enrol"]
    pinned = len(keys.ring.enrolments()) - enrolled
    tell(
        f"2 keys          {1 + pinned + sum(map(len, people.values()))} keys in the trust file, "
        f"{enrolled} enrolled under {len(trust.cas)} CA"
    )
    told = ", ".join(f"{keys.counts[kind]} {text}" for kind, text in _KEY_DECISIONS.items())
    tell(f"2 decisions     {told}")
    return keys


def _check_trust(
    gateway: PublicKey,
    keys: Mapping[str, list[PublicKey]],
    trust: Trust | None,
    tell: Callable[[str], None],
) -> None:
    every = [gateway, *(key for some in keys.values() for key in some)]
    if trust is None:
        tell(
            f"2 keys          {len(every)} keys taken from the bundle itself; "
            "give --trust to anchor them outside"
        )
        return
    for key in every:
        _check_anchor(key, trust)
    tell(f"2 keys          {len(every)} keys, all in the trust file")


def _check_anchor(key: PublicKey, trust: Trust) -> None:
    if key.kid not in trust.keys:
        message = f"keys.cbor: key {key.kid.hex()} is not in the trust file"
        raise BundleError(message)


def _spans(ranges: Sequence[BatchRange]) -> list[tuple[str, int, int]]:
    return [(one.agent, one.first_seq, one.last_seq) for one in ranges]


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
    month: tuple[Sequence[BatchRange], Aside, Mapping[str, int]],
    to: tuple[Trust | None, Callable[[str], None]],
) -> list[str]:
    """Lab documents, their signers and the files that they name; gives what is not inside.

    ``month`` is its batches, what is set aside, and the places of all in the log.
    """
    (ranges, aside, indexes), (trust, tell) = month, to
    tell(
        f"6 lab           {len(papers.documents)} documents, {len(papers.entries)} entries in force"
    )
    if trust is not None:
        offline_lab.check(papers.documents, (ranges, aside.covers), indexes, trust)
    files = {
        name.removeprefix(bundle_.ATTACHMENTS): content
        for name, content in bundle.files.items()
        if name.startswith(bundle_.ATTACHMENTS)
    }
    there, missing = lab.check_attachments(papers, files)
    tell(f"6 attachments   {there} as signed, {missing} not inside")
    if not missing:
        return []
    return [f"{missing} files that lab documents name are not inside 化验附件未附"]


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
