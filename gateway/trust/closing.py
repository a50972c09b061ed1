"""What a month's report must say about keys, configurations and clocks, and what keeps it open."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edge_agent.errors import TrustError
from edge_agent.wire.cose import MessageType
from gateway.ledger.reader import Reader
from gateway.trust import approvals, clocks, enrolment, statements
from gateway.trust.approvals import Use
from gateway.trust.changes import SEMANTIC
from gateway.trust.people import People

Range = tuple[str, int, int]
"""Agent, first and last number of its batches."""


@dataclass(slots=True)
class Closing:
    """``objections`` keep the month open; ``changes`` and ``notes`` stand in its report."""

    objections: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(
    ledger: Reader, people: People, site: str, ranges: Sequence[Range], *, required: bool
) -> Closing:
    """Judge the batches behind a month.

    Args:
        ledger: the evidence.
        people: whose decisions count.
        site: the plant.
        ranges: the month's batches.
        required: whether configurations need a second person's approval.

    Raises:
        TrustError: a configuration that a batch names is missing or not authentic.
    """
    closing = Closing()
    uses = [
        Use(agent, *use) for agent, first, last in ranges
        for use in ledger.config_uses(site, agent, first, last)
    ]  # fmt: skip
    if required:
        holding = {agent: approvals.approved(ledger, people, site, agent) for agent, _, _ in ranges}
        closing.objections += approvals.objections(uses, holding)
    else:
        closing.notes.append("no second person approves configurations (approval: off)")
    closing.notes += [
        f"{count} batches of {agent} between {low} and {high} are marked {flag}"
        for agent, first, last in ranges
        for flag, (count, low, high) in sorted(ledger.marked(site, agent, first, last).items())
        if flag != approvals.UNAPPROVED
    ]
    _judge_clocks(closing, ledger, (people, site), ranges)
    closing.changes += _changes(ledger, site, uses)
    closing.objections += [
        f"batches {max(one.first_seq, first)}-{min(one.last_seq, last)} of {agent} are suspect:"
        f" {one.reason}"
        for one in enrolment.suspects(ledger, site, people)
        for agent, first, last in ranges
        if one.agent == agent and one.first_seq <= last and first <= one.last_seq
    ]
    return closing


def _judge_clocks(
    closing: Closing, ledger: Reader, of: tuple[People, str], ranges: Sequence[Range]
) -> None:
    """Batches from a clock ahead of the gateway's, and what was decided about them."""
    people, site = of
    documents = list(ledger.documents.all(clocks.MARK, clocks.VERDICT, site=site))
    for one in documents:
        if one.kind == clocks.VERDICT:
            try:
                statements.open_(one.raw, MessageType.CLOCK_VERDICT, people, one.received_ns)
            except TrustError as error:
                closing.objections.append(f"verdict {one.version} on clocks of {one.id}: {error}")
    aside = clocks.fold(documents)
    for given in ranges:
        for run in aside.runs(*given):
            if run.counts is None:
                closing.objections.append(
                    f"{run} come from a clock ahead of the gateway's and are left out until an"
                    " operator decides (`carbon-gateway clocks decide`)"
                )
            else:
                fate = "are counted" if run.counts else "are left out"
                closing.notes.append(f"{run}, from a clock ahead, {fate}: {run.by}: {run.reason}")


def _changes(ledger: Reader, site: str, uses: Sequence[Use]) -> list[str]:
    """Changes of meaning between one configuration and the next of the same agent."""
    told = []
    for before, after in pairwise(uses):
        if before.agent == after.agent:
            told += [
                f"{after.agent} from batch {after.first_seq}: {change}"
                for change in approvals.differences(
                    ledger, site, after.agent, before.config, after.config
                )
                if change.kind in SEMANTIC
            ]
    return told
