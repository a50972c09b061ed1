"""The verifier's fifth step: what the log, its witnesses and outside clocks say of a bundle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_agent.wire.keys import PublicKey
from gateway import day_check, day_evidence, decisions, leaf_list, log_evidence, stamp_evidence
from gateway.bundle import Bundle, BundleError
from gateway.day_evidence import Day
from gateway.decisions import Paper
from gateway.evidence import BatchRange
from gateway.log_evidence import Checked
from gateway.stamp_evidence import Times
from gateway.trust_file import Trust


@dataclass(frozen=True, slots=True)
class Logged:
    """What the log proves, where each leaf stands in it, what its own leaves show, and what is unproven.

    ``log`` is None where there is none inside; ``tokens`` are sizes that existed before a time.
    """

    log: Checked | None
    indexes: Mapping[str, int]
    found: leaf_list.Complete | None
    open_points: Sequence[str]
    tokens: Sequence[tuple[int, datetime]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A month's batches as the verifier checked them.

    ``bounds`` are those of the month [ns UTC], ``gateway`` its keys by id.
    """

    site: str
    name: str
    bounds: tuple[int, int]
    timezone: str
    ranges: Sequence[BatchRange]
    is_aside: leaf_list.IsAside
    gateway: Mapping[bytes, PublicKey]


def check(
    bundle: Bundle,
    content: tuple[str, Sequence[Paper], Mapping[str, bytes]],
    trust: Trust | None,
    tell: Callable[[str], None],
) -> Logged:
    """What the log, its own leaves and outside clocks say, and what they leave unproven.

    ``content`` is the site, its decisions, and all leaves by name.
    """
    log = prove(bundle, content[2], trust, tell)
    times, open_points = timestamps(bundle, log, trust, tell)
    found = complete(bundle, content, log, tell)
    indexes = log_evidence.indexes(bundle, content[2]) if log is not None else {}
    tokens = [(size, token.before) for size, token in times.every] if times else []
    return Logged(log, indexes, found, open_points, tokens)


def prove(
    bundle: Bundle,
    leaves: Mapping[str, bytes],
    trust: Trust | None,
    tell: Callable[[str], None],
) -> Checked | None:
    """That everything signed stands in the log, under a checkpoint that enough witnesses saw."""
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


def complete(
    bundle: Bundle,
    content: tuple[str, Sequence[Paper], Mapping[str, bytes]],
    log: Checked | None,
    tell: Callable[[str], None],
) -> leaf_list.Complete | None:
    """That decisions stand in the log's order and none was left out; gives what the leaves showed.

    ``content`` is the site, its decisions, and all leaves by name.
    """
    site, papers, leaves = content
    if log is None:
        return None
    decisions.check_order(papers, log_evidence.indexes(bundle, leaves))
    found = leaf_list.check(bundle, log.head, site, leaves)
    if found is not None:
        tell(
            f"5 leaves        {found.leaves}, no decision and no version of what is here left out; "
            f"{len(found.other_lab)} lab documents of other months, by the gateway's word"
        )
    return found


def stretch(
    logged: Logged, month: Stretch, records: Sequence[Day], tell: Callable[[str], None]
) -> list[str]:
    """That no batch of the month was cut off or came on a later day; gives what is unproven."""
    if logged.log is None:
        if records:
            message = f"{day_evidence.FILE}: stands here without a checkpoint of the log"
            raise BundleError(message)
        return []
    days, unproven = _days(logged, month, records, tell)
    if logged.found is None:
        text = "the log's leaves are not inside: what was left out is not seen 未附日志全部叶子"
        return [text, *unproven]
    absent = leaf_list.check_stretch(logged.found, month.ranges, month.bounds, month.is_aside)
    tell(
        f"5 stretch       {', '.join(one.agent for one in month.ranges)}: no batch cut off, each from "
        "before the month or the log's first to after it or the log's last"
    )
    if days is not None and absent:
        tell(
            f"5 absent        {', '.join(absent)}: by the records of days no batch until {days} holds "
            "times of the month"
        )
        return unproven
    return [
        f"the log holds batches of {agent} and none is here: whether they are all of other months "
        "cannot be told 该采集端无批次在内"
        for agent in absent
    ] + unproven


def _days(
    logged: Logged, month: Stretch, records: Sequence[Day], tell: Callable[[str], None]
) -> tuple[str | None, list[str]]:
    """The records of closed days; gives the last day when they cover all of the month, and what is unproven."""
    assert logged.log is not None  # noqa: S101  the caller looked
    context = day_check.Context(
        site=month.site,
        gateway=month.gateway,
        name=month.name,
        month=month.bounds,
        timezone=month.timezone,
        log=(logged.log.head, logged.log.key),
        indexes=logged.indexes,
        ranges=month.ranges,
        is_aside=month.is_aside,
        leaves=logged.found,
        tokens=logged.tokens,
    )
    found = day_check.check(records, context)
    if not records:
        tell("5 days          no record of a closed day")
        return None, found.reservations
    first, last = records[0].record, records[-1].record
    tell(
        f"5 days          {first.day} to {last.day}, none missing; {found.late} batches came on a later "
        f"day than they end; nothing of the month is left out of what came until {last.day} was closed"
    )
    covers = first.day <= f"{month.name}-01" and last.end_ns >= month.bounds[1]
    return (last.day if covers else None), found.reservations


def timestamps(
    bundle: Bundle, log: Checked | None, trust: Trust | None, tell: Callable[[str], None]
) -> tuple[Times | None, list[str]]:
    """Since when the content exists by outside authorities, and what they leave unproven."""
    known = trust.authorities if trust is not None else ()
    if log is None:
        return None, ["no time-stamp token 无可信时间戳"] if known else []
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
        return times, []
    return times, ["no time-stamp token covers all of this month 可信时间戳未覆盖全月"]


def reservations(log: Checked | None, trust: Trust | None) -> list[str]:
    """What of the log is unproven."""
    if log is None:
        return ["the log does not cover this month yet 日志检查点未覆盖"]
    found = [] if log.witnesses else ["the log is not witnessed 无见证"]
    if trust is not None and trust.log is None:
        found.append("the log's key comes from the bundle itself 日志密钥未经外部确认")
    return found
