"""Marks and verdicts on clocks in a bundle, judged by what a verifier got elsewhere (rule V6). Pure."""

from collections.abc import Callable, Mapping, Sequence

from edge_agent.errors import CarbonError, TrustError
from edge_agent.wire import cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey
from gateway.bundle import BundleError
from gateway.decisions import Paper
from gateway.evidence import BatchRange
from gateway.trust import clocks, statements
from gateway.trust.clocks import Aside
from gateway.trust.offline import hashes_of, people_of
from gateway.trust.persons import People
from gateway.trust_file import Trust

_UNCHECKED = "the trust file names no person: no verdict on clocks was checked 时钟裁定未核验"


def judge(
    papers: Sequence[Paper],
    month: tuple[Mapping[bytes, PublicKey], Sequence[BatchRange], Aside],
    to: tuple[Trust | None, Callable[[str], None]],
) -> list[str]:
    """Marks are the gateway's and name batches of the chain; verdicts are an operator's.

    Verdicts are held against the persons of the trust file, if it names any. A mark that sets no
    batch of the bundle aside, nor ends that here, is a reservation where its key is not known.

    Args:
        papers: the bundle's decisions in order of arrival.
        month: the gateway's keys by id, now and before, the batch ranges, and what marks and verdicts set aside.
        to: what was got elsewhere, and whom to tell.

    Returns:
        What stays unproven.

    Raises:
        BundleError: names the file and what is wrong with it.
    """
    (gateway, ranges, aside), (trust, tell) = month, to
    hashes = hashes_of(ranges)
    people = people_of(trust) if trust is not None and trust.persons else None
    marks = [paper for paper in papers if paper.kind == clocks.MARK]
    verdicts = [paper for paper in papers if paper.kind == clocks.VERDICT]
    foreign = 0
    for paper in (*marks, *verdicts):
        try:
            if paper.kind == clocks.MARK and not _touches(paper, ranges, aside):
                foreign += cose.parse(paper.raw).kid not in gateway
                continue
            _check(paper, gateway, people, hashes)
        except CarbonError as error:
            message = f"{paper.name} ({paper.leaf_name}): {error}"
            raise BundleError(message) from error
    if not marks:
        return []
    runs = [run for one in ranges for run in aside.runs(one.agent, one.first_seq, one.last_seq)]
    left = sum(run.last_seq - run.first_seq + 1 for run in runs if not run.counts)
    tell(f"6 clocks        {len(marks)} marks, {len(verdicts)} verdicts, {left} batches left out")
    unproven = [_UNCHECKED] if trust is not None and verdicts and people is None else []
    if foreign:
        unproven.append(
            f"{foreign} clock marks of batches that are not here are by unknown keys 时钟标记密钥未知"
        )
    return unproven


def _touches(mark: Paper, ranges: Sequence[BatchRange], aside: Aside) -> bool:
    """Whether what a mark says is of batches of the bundle."""
    seq = statements.unchecked(mark.raw)["seq"]
    return any(
        one.agent == mark.id and aside.begin(one.agent, one.first_seq) <= seq <= one.last_seq
        for one in ranges
    )


def _check(
    paper: Paper,
    gateway: Mapping[bytes, PublicKey],
    people: People | None,
    hashes: dict[tuple[str, int], bytes],
) -> None:
    if paper.kind == clocks.MARK:
        said = clocks.open_mark(paper.raw, gateway)
        if hashes.get((paper.id, said["seq"]), said["hash"]) != said["hash"]:
            message = f"it names another batch {said['seq']}"
            raise TrustError(message)
    elif people is not None:
        kind = MessageType.CLOCK_VERDICT
        said = dict(statements.open_(paper.raw, kind, people, paper.received_ns).fields)
    else:
        return
    if (said["site"], said["agent"]) != (paper.site, paper.id):
        message = f"it is about {said['site']}/{said['agent']}"
        raise TrustError(message)
