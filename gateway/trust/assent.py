"""Approvals of configurations: what one must be, and what lacks one. Pure.

Rules P1 to P5 stand in ``approvals``; here are those that need no ledger: the approver's role (P1),
that author and approver differ (P4), and from which batch on an approval holds (P5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.errors import TrustError
from edge_agent.wire.cose import MessageType
from gateway.trust import statements
from gateway.trust.persons import People
from gateway.trust.statements import Statement

Approved = Mapping[bytes, int]
"""Approved configurations by digest, each with the time from which it holds [ns UTC]."""


def open_approval(raw: bytes, people: People, received_ns: int) -> Statement:
    """Check and read an approval by rules P1 and P4.

    Raises:
        TrustError: not authentic, by somebody who may not approve, or by the author.
    """
    statement = statements.open_(raw, MessageType.APPROVAL, people, received_ns)
    author = statement.fields["author"].strip()
    if not author:
        message = "the approval does not say who changed the configuration (author)"
        raise TrustError(message)
    if author.casefold() == statement.person.name.casefold():
        message = f"{author} changed the configuration and cannot approve it: a second person must"
        raise TrustError(message)
    return statement


def add(found: dict[bytes, int], statement: Statement) -> None:
    """Put an approval behind those before it; the earliest time from which it holds counts."""
    digest, from_ns = statement.fields["config"], statement.fields["valid_from"]
    found[digest] = min(from_ns, found.pop(digest, from_ns))


@dataclass(frozen=True, slots=True)
class Use:
    """Batches of one agent under one configuration, and their first time [ns UTC]."""

    agent: str
    config: bytes
    first_seq: int
    last_seq: int
    first_ns: int


def objections(uses: Sequence[Use], holding: Mapping[str, Approved]) -> list[str]:
    """What keeps a month from closing: batches under configurations nobody approved. Pure.

    Args:
        uses: which batches were made under which configuration.
        holding: approved configurations by agent.
    """
    told = []
    for use in uses:
        from_ns = holding.get(use.agent, {}).get(use.config)
        if from_ns is None or use.first_ns < from_ns:  # P5
            why = "is not approved" if from_ns is None else "is approved for later batches only"
            told.append(
                f"batches {use.first_seq}-{use.last_seq} of {use.agent}: "
                f"configuration {use.config.hex()[:16]} {why}"
            )
    return told
