"""The verifier's fifth step: what the log, its witnesses and outside clocks say of a bundle."""

from collections.abc import Callable, Mapping, Sequence

from gateway import decisions, leaf_list, log_evidence, stamp_evidence
from gateway.bundle import Bundle, BundleError
from gateway.decisions import Paper
from gateway.evidence import BatchRange
from gateway.log_evidence import Checked
from gateway.trust_file import Trust


def check(
    bundle: Bundle,
    content: tuple[str, Sequence[Paper], Mapping[str, bytes]],
    trust: Trust | None,
    tell: Callable[[str], None],
) -> tuple[Checked | None, leaf_list.Complete | None, list[str]]:
    """What the log, its own leaves and outside clocks say, and what they leave unproven.

    ``content`` is the site, its decisions, and all leaves by name.
    """
    log = prove(bundle, content[2], trust, tell)
    open_points = timestamps(bundle, log, trust, tell)
    return log, complete(bundle, content, log, tell), open_points


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
    found: leaf_list.Complete | None,
    content: tuple[Sequence[BatchRange], tuple[int, int], leaf_list.IsAside],
    log: Checked | None,
    tell: Callable[[str], None],
) -> list[str]:
    """That no batch of the month was cut off; gives what is unproven.

    ``content`` is the batch ranges, the month's bounds [ns UTC], and which batches are set aside.
    """
    if log is None:
        return []
    if found is None:
        return ["the log's leaves are not inside: what was left out is not seen 未附日志全部叶子"]
    ranges, month, aside = content
    absent = leaf_list.check_stretch(found, ranges, month, aside)
    tell(
        f"5 stretch       {', '.join(one.agent for one in ranges)}: no batch cut off, each from before "
        "the month or the log's first to after it or the log's last"
    )
    return [
        f"the log holds batches of {agent} and none is here: whether they are all of other months "
        "cannot be told 该采集端无批次在内"
        for agent in absent
    ]


def timestamps(
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


def reservations(log: Checked | None, trust: Trust | None) -> list[str]:
    """What of the log is unproven."""
    if log is None:
        return ["the log does not cover this month yet 日志检查点未覆盖"]
    found = [] if log.witnesses else ["the log is not witnessed 无见证"]
    if trust is not None and trust.log is None:
        found.append("the log's key comes from the bundle itself 日志密钥未经外部确认")
    return found
