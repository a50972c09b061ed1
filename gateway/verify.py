"""The verifier's check of a bundle: offline, no database, no broker, no clock.

Steps, each told with its count: (1) manifest, (2) keys, (3) signatures and profile, (4) chain,
(5) Merkle root and log, (6) configuration of every batch, (7) recomputation from the signed rows,
(8) comparison with the month record, the JSON report and the sheet, (9) what is not proven.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from openpyxl import load_workbook

from edge_agent.errors import CarbonError, EvidenceError
from edge_agent.wire import cbor
from edge_agent.wire.keys import Enrolment, KeyRing, PublicKey
from gateway import bundle as bundle_
from gateway import lab, log_evidence, stamp_evidence
from gateway import month as month_
from gateway.bundle import Bundle, BundleError
from gateway.evidence import BatchRange, BatchReader, Configuration, merge, open_config, replay
from gateway.lab.sheet import UNREADABLE
from gateway.log_evidence import Checked
from gateway.reports import render
from gateway.reports.basis import Proven, basis
from gateway.trust_file import Trust

_MAX_UNPACKED = 256 * 2**20


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
    except (CarbonError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        reason = f" [{error.reason}]" if isinstance(error, EvidenceError) else ""
        verdict.difference = f"{error}{reason}" if isinstance(error, CarbonError) else repr(error)
    return verdict


def _steps(path: Path, trust: Trust | None, tell: Callable[[str], None]) -> Proven:
    bundle = bundle_.read(path)
    gateway = bundle_.check_manifest(bundle, {})
    tell(f"1 manifest      {len(bundle.files) - 1} files as signed by the gateway")
    keys = bundle_.agent_keys(bundle)
    persons = bundle_.person_keys(bundle)
    _check_trust(gateway, {**keys, **{f"person {n}": k for n, k in persons.items()}}, trust, tell)
    record = cbor.decode(bundle.files["month.cbor"])
    reader = BatchReader()
    ranges = _replay(bundle, record["site"], keys, reader, tell)
    log = _log(bundle, record["site"], ranges, trust, tell)
    undated = _timestamps(bundle, log, trust, tell)
    configuration = _configuration(bundle, keys, ranges, tell)
    _software(reader, trust, tell)
    papers = lab.check(record["site"], bundle_.lab_documents(bundle), persons)
    tell(
        f"6 lab           {len(papers.documents)} documents, {len(papers.entries)} entries in force"
    )
    given = basis(configuration, papers.entries)
    month = month_.compute(given, record["month"], reader, reader.events)
    month.reservations += reader.marks.reservations()
    tell(f"7 recomputed    {len(month.values)} values, {len(month.effects)} anode effects")
    plain = render.to_plain(month, configuration, ranges)
    _compare(plain, bundle, record)
    tell("8 compared      month record, report.json and report.xlsx agree with the signed rows")
    for text in [*month.reservations, *_log_reservations(log, trust), *undated]:
        tell(f"9 reservation   {text}")
    return Proven(month, configuration, ranges, reader)


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
        if key.kid not in trust.keys:
            message = f"keys.cbor: key {key.kid.hex()} is not in the trust file"
            raise BundleError(message)
    tell(f"2 keys          {len(every)} keys, all in the trust file")


def _replay(
    bundle: Bundle,
    site: str,
    keys: Mapping[str, list[PublicKey]],
    reader: BatchReader,
    tell: Callable[[str], None],
) -> list[BatchRange]:
    """Signatures, chain and root of every agent's batches; fills the reader."""
    ranges = []
    for agent in bundle.agents():
        ring = KeyRing([Enrolment(site, agent, key) for key in keys.get(agent, [])])
        ranges.append(replay(site, agent, bundle.batches(agent), ring, reader))
    count = sum(item.count for item in ranges)
    tell(f"3 signatures    {count} batches")
    tell(f"4 chain         {', '.join(f'{r.agent} {r.first_seq}-{r.last_seq}' for r in ranges)}")
    tell(f"5 Merkle root   {', '.join(r.root.hex() for r in ranges)}")
    return ranges


def _log(
    bundle: Bundle,
    site: str,
    ranges: list[BatchRange],
    trust: Trust | None,
    tell: Callable[[str], None],
) -> Checked | None:
    """That everything signed stands in the log, under a checkpoint that enough witnesses saw."""
    leaves = log_evidence.leaves_of(site, ranges, bundle.files)
    known = trust or Trust(frozenset())
    checked = log_evidence.check(bundle, leaves, known.log, known.witnesses)
    if checked is None:
        if known.log is not None or known.quorum:
            message = f"{log_evidence.CHECKPOINT} is missing"
            raise BundleError(message)
        tell("5 log           no checkpoint inside")
        return None
    if len(checked.witnesses) < known.quorum:
        message = (
            f"{log_evidence.CHECKPOINT}: cosigned by {len(checked.witnesses)} of the known "
            f"witnesses, {known.quorum} are needed"
        )
        raise BundleError(message)
    seen = f"witnessed by {', '.join(checked.witnesses)}" if checked.witnesses else "not witnessed"
    tell(
        f"5 log           {checked.leaves} documents in {checked.head.origin}, "
        f"{checked.head.size} leaves, {seen}"
    )
    return checked


def _log_reservations(log: Checked | None, trust: Trust | None) -> list[str]:
    if log is None:
        return ["the log does not cover this month yet 日志检查点未覆盖"]
    found = [] if log.witnesses else ["the log is not witnessed 无见证"]
    if trust is not None and trust.log is None:
        found.append("the log's key comes from the bundle itself 日志密钥未经外部确认")
    return found


def _timestamps(
    bundle: Bundle, log: Checked | None, trust: Trust | None, tell: Callable[[str], None]
) -> list[str]:
    """Since when the content exists by outside authorities; gives what they leave unproven."""
    known = trust.authorities if trust is not None else ()
    if log is None:
        return ["no time-stamp token 无可信时间戳"] if known else []
    times = stamp_evidence.check(bundle, (log.head, log.key), log.last, known)
    counts = [f"{count} of {name}" for name, count in times.counts.items()]
    if times.others:
        counts.append(f"{times.others} of authorities that the trust file does not name, unchecked")
    before = ""
    if times.first is not None:
        size, token = times.first
        before = f"; the log's first {size} leaves existed before {token.before:%Y-%m-%dT%H:%M:%SZ}"
    if times.all_before is not None:
        before += f", everything here before {times.all_before.before:%Y-%m-%dT%H:%M:%SZ}"
    tell(f"5 timestamps    {', '.join(counts) or 'no tokens'}{before}")
    if not known or times.all_before is not None:
        return []
    return ["no time-stamp token covers all of this month 可信时间戳未覆盖全月"]


def _software(reader: BatchReader, trust: Trust | None, tell: Callable[[str], None]) -> None:
    digests = sorted(item.hex() if item else "none" for item in reader.marks.software)
    tell(f"6 software      {len(digests)} digests of the legally relevant files")
    if trust is None or not trust.software:
        return
    for digest in digests:
        if digest == "none" or bytes.fromhex(digest) not in trust.software:
            message = f"batches were made by software {digest}, which is not approved"
            raise BundleError(message)


def _configuration(
    bundle: Bundle,
    keys: Mapping[str, list[PublicKey]],
    ranges: list[BatchRange],
    tell: Callable[[str], None],
) -> Configuration:
    """The month's configuration; every batch must name one that is here."""
    every = [key for some in keys.values() for key in some]
    found: dict[bytes, Configuration] = {}
    for sha256 in (digest for item in ranges for digest in item.configs):
        name = f"configs/{sha256.hex()}.cose"
        if name not in bundle.files:
            message = f"{name}: a batch names this configuration, which is missing"
            raise BundleError(message)
        found[sha256] = open_config(bundle.files[name], every)
        if found[sha256].sha256 != sha256:
            message = f"{name}: its content has another digest"
            raise BundleError(message)
    tell(f"6 configuration {len(found)}")
    return merge([found[item.config_sha256] for item in ranges])


def _compare(plain: Any, bundle: Bundle, record: Any) -> None:
    """Every figure, in order; the first difference is named."""
    try:
        report = json.loads(bundle.files["report.json"])
    except (ValueError, RecursionError) as error:
        message = f"report.json: cannot be read: {error}"
        raise BundleError(message) from error
    sheet = _sheet_figures(bundle.files["report.xlsx"])
    ours = cbor.decode(render.month_record(plain))["values"]
    for mine, theirs in zip(ours, record["values"], strict=False):
        if mine != theirs:
            message = (
                f"month.cbor: {theirs[0]} of {theirs[1]} is {theirs[2]}, "
                f"the signed rows give {mine[2]}"
            )
            raise BundleError(message)
    if len(ours) != len(record["values"]):
        message = f"month.cbor: {len(record['values'])} values, the signed rows give {len(ours)}"
        raise BundleError(message)
    for place, mine in enumerate(plain["parameters"]):
        _compare_report(mine, report["parameters"][place], sheet[place])
    if report != json.loads(render.to_json(plain)):
        names = sorted(key for key in plain if report.get(key) != plain[key])
        message = f"report.json: differs from the signed rows in {', '.join(names)}"
        raise BundleError(message)


def _compare_report(mine: Any, theirs: Any, figure: float | None) -> None:
    for key in mine:
        if mine[key] != theirs.get(key):
            message = (
                f"report.json: {key} of {mine['id']} of {mine['scope']} is "
                f"{theirs.get(key)!r}, the signed rows give {mine[key]!r}"
            )
            raise BundleError(message)
    expected = None if mine["reported"] is None else float(mine["reported"])
    if figure != expected:
        message = (
            f"report.xlsx: {mine['id']} of {mine['scope']} is {figure}, "
            f"the signed rows give {mine['reported']}"
        )
        raise BundleError(message)


def _sheet_figures(xlsx: bytes) -> list[Any]:
    """The reported values of the first sheet; what unpacks to too much is not unpacked."""
    try:
        with ZipFile(io.BytesIO(xlsx)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > _MAX_UNPACKED:
            message = f"report.xlsx: unpacks to {unpacked} bytes; at most {_MAX_UNPACKED} are read"
            raise BundleError(message)
        sheet = load_workbook(io.BytesIO(xlsx), read_only=True, data_only=True).worksheets[0]
        return [row[4] for row in sheet.iter_rows(min_row=5, values_only=True)]
    except UNREADABLE as error:
        message = f"report.xlsx: cannot be read as a workbook: {error}"
        raise BundleError(message) from error
