"""Lab documents of persons whose key was revoked, by what a verifier got elsewhere and by the log. Pure.

When a document was signed is its signer's word: a revoked key could write an earlier time. The log tells
the order, whatever anybody claims:

    L1  a document that says itself that it was signed after the revocation is refused
    L2  so is one whose leaf stands behind the leaf of the gateway's record of the revocation
    L3  or behind a batch from after the revocation, unless that is set aside; a clock may be ahead of
        the gateway's by less than ``MARGIN_NS``
    L4  or behind the record of a day that was closed after it
    L5  one that came in before is good where a time-stamp token, or the record of a day, covers its leaf
        and is from before the revocation; any other is named
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Protocol

from edge_agent.calc.windows import to_ns
from edge_agent.wire import certificates
from gateway.bundle import BundleError
from gateway.day_records import DayRecord
from gateway.evidence import BatchRange
from gateway.trust.offline_own import Revoked
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


@dataclass(frozen=True, slots=True)
class Order:
    """What the log tells of the order of things: places by name, and what dates them.

    ``ranges`` are the batches, ``days`` the records of closed days, ``tokens`` sizes of the log that
    existed before a time. ``indexes`` is empty without a log.
    """

    indexes: Mapping[str, int]
    ranges: Sequence[BatchRange] = ()
    is_aside: Callable[[str, int], bool] = lambda _agent, _seq: False
    days: Sequence[DayRecord] = ()
    tokens: Sequence[tuple[int, datetime]] = ()
    _dated: list[tuple[list[int], list[int]]] = field(default_factory=list)

    def latest_ns(self, index: int) -> int | None:
        """The latest time of which something before this leaf proves that it was past."""
        if not self._dated:
            self._dated.append(self._batches())
        places, latest = self._dated[0]
        before = bisect_left(places, index)
        times = [latest[before - 1] - MARGIN_NS] if before else []
        times += [one.end_ns for one in self.days if self.indexes[one.leaf_name] < index]
        return max(times, default=None)

    def earliest_ns(self, index: int) -> int | None:
        """The earliest time of which something proves that this leaf existed by then."""
        times = [one.at_ns for one in self.days if one.last >= index]
        times += [to_ns(before) for size, before in self.tokens if size > index]
        return min(times, default=None)

    def _batches(self) -> tuple[list[int], list[int]]:
        """Places in the log in order, and the latest start of a batch [ns UTC] up to each."""
        dated = sorted(
            (self.indexes[f"{one.agent}/{seq}"], start_ns)
            for one in self.ranges
            for seq, start_ns in enumerate(one.starts_ns, one.first_seq)
            if f"{one.agent}/{seq}" in self.indexes and not self.is_aside(one.agent, seq)
        )
        return [place for place, _ in dated], list(accumulate((at for _, at in dated), max))


def merged(recorded: Mapping[bytes, Revoked], trust: Trust | None) -> dict[bytes, Revoked]:
    """Revoked keys by id: by the gateway's records, by the trust file, the earlier time of both."""
    found = dict(recorded)
    for one in trust.persons if trust is not None else ():
        if one.is_revoked:
            known = found.get(one.public.kid)
            since_ns = min(one.revoked_ns, known.since_ns) if known else one.revoked_ns
            found[one.public.kid] = Revoked(one.name, since_ns, known.index if known else None)
    return found


def check(
    documents: Iterable[tuple[Signed, bytes]], revoked: Mapping[bytes, Revoked], order: Order
) -> list[str]:
    """That no lab document was signed, or came in, after its signer's key was revoked (L1 to L5).

    Args:
        documents: those of the bundle, each with the id of the key that signed it.
        revoked: the persons' keys that are revoked, by id.
        order: what the log tells.

    Returns:
        Documents of which nothing shows that they came in before, each with where it stands.

    Raises:
        BundleError: names the document.
    """
    named = []
    for one, kid in documents:
        if kid in revoked and (text := _judge(one, revoked[kid], order)):
            named.append(text)
    return named


def _judge(one: Signed, end: Revoked, order: Order) -> str:
    name = f"lab document {one.id} v{one.version}"
    if one.at_ns >= end.since_ns:  # L1
        message = f"{name}: the key of {one.author} was revoked"
        raise BundleError(message)
    since = certificates.from_ns(end.since_ns).isoformat()
    index = order.indexes.get(f"lab/{one.id}/{one.version}")
    if index is None:
        return f"{name}: the key of {one.author} was revoked {since}, and no log tells when it came in 入账先后未证"
    if end.index is not None and index > end.index:  # L2
        message = (
            f"{name}: the key of {one.author} was revoked, and the document stands in the log behind "
            f"that (leaf {index}, the revocation {end.index})"
        )
        raise BundleError(message)
    latest_ns = order.latest_ns(index)
    if latest_ns is not None and latest_ns >= end.since_ns:  # L3, L4
        message = (
            f"{name}: the key of {one.author} was revoked, and the document stands in the log behind "
            "batches or days from after that"
        )
        raise BundleError(message)
    earliest_ns = order.earliest_ns(index)
    if earliest_ns is not None and earliest_ns <= end.since_ns:  # L5
        return ""
    behind = (
        f"before its record (leaf {end.index})" if end.index is not None else "which no record says"
    )
    return (
        f"{name}: signed {certificates.from_ns(one.at_ns).isoformat()} by its own word, in the log at leaf "
        f"{index}; the key of {one.author} was revoked {since}, {behind}, and nothing shows that the "
        "document came in by then 密钥吊销前后入账未证"
    )
