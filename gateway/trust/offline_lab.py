"""Lab documents of persons whose key was revoked, by what a verifier got elsewhere. Pure.

When a document was signed is its signer's word. A revoked key could write an earlier time; but the log
tells the order. A document that stands in it behind a batch from after the revocation came in later
than that. Batches of the bundle date it, but for those that are set aside; a clock may be ahead of the
gateway's by less than ``MARGIN_NS``. What a thief brings in before such a batch does is not seen.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from gateway.bundle import BundleError
from gateway.evidence import BatchRange
from gateway.trust.persons import NEVER_NS
from gateway.trust_file import Trust

MARGIN_NS = 3_600 * 10**9
"""More than a clock may be ahead of the gateway's without being set aside (five minutes as delivered)."""


class Signed(Protocol):
    """A lab document: which, by whom, signed when [ns UTC]."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def version(self) -> int:
        """Its version."""
        ...

    @property
    def author(self) -> str:
        """Who signed it."""
        ...

    @property
    def at_ns(self) -> int:
        """When it was signed."""
        ...


def check(
    documents: Sequence[Signed],
    month: tuple[Sequence[BatchRange], Callable[[str, int], bool]],
    indexes: Mapping[str, int],
    trust: Trust,
) -> None:
    """That no lab document was signed, or came in, after its author's key was revoked.

    Args:
        documents: those of the bundle.
        month: the batches, and which of them are set aside.
        indexes: where leaves stand in the log, by name; empty without a log.
        trust: what was got elsewhere.

    Raises:
        BundleError: names the document.
    """
    ends = {one.name: one.revoked_ns for one in trust.persons}
    places, latest = _dated(month, indexes)
    for one in documents:
        name, end_ns = f"lab document {one.id} v{one.version}", ends.get(one.author, NEVER_NS)
        if one.at_ns >= end_ns:
            message = f"{name}: the key of {one.author} was revoked"
            raise BundleError(message)
        before = bisect_left(places, indexes.get(f"lab/{one.id}/{one.version}", 0))
        if before and latest[before - 1] >= end_ns + MARGIN_NS:
            message = (
                f"{name}: the key of {one.author} was revoked, and the document stands in the log "
                "behind batches from after that"
            )
            raise BundleError(message)


def _dated(
    month: tuple[Sequence[BatchRange], Callable[[str, int], bool]], indexes: Mapping[str, int]
) -> tuple[list[int], list[int]]:
    """Places in the log in order, and the latest start of a batch [ns UTC] up to each."""
    ranges, is_aside = month
    dated = sorted(
        (indexes[f"{one.agent}/{seq}"], start_ns)
        for one in ranges
        for seq, start_ns in enumerate(one.starts_ns, one.first_seq)
        if f"{one.agent}/{seq}" in indexes and not is_aside(one.agent, seq)
    )
    return [place for place, _ in dated], list(accumulate((at for _, at in dated), max))
