"""The log's own leaves in a bundle: that nothing was left out which they show to belong inside.

    log/leaves.bin   the data of every leaf up to log/checkpoint, each with a 16-bit length before it

A proof of inclusion says that a document stands in the log; it cannot say that no other one does.
The whole list can: it gives the checkpoint's root, and every leaf in it that names a decision of
the site, another version of a lab document, or another batch under a number of the bundle must be
in it.

A leaf of a batch tells its number and not its time. So where the list holds batches of an agent before
or after those of the bundle, the bundle's own first batch must end before the month, or its last one
begin after it (``check_stretch``). Agents of the site without any batch here are named: whether theirs
are all of other months cannot be told. Nor can it of rows of the month that came very late, in batches
behind one that begins after it.

Longer lists than ``MOST_LEAVES`` stay out; then the verifier says what is unproven.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_agent.wire import cbor, merkle
from edge_agent.wire.notes import Head
from gateway.bundle import Bundle, BundleError
from gateway.day_records import KIND
from gateway.decisions import FOLDERS
from gateway.evidence import BatchRange

IsAside = Callable[[str, int], bool]
FILE = "log/leaves.bin"
MOST_LEAVES = 131_072
_LENGTH_BYTES = 2


class Log(Protocol):
    """What is needed of the ledger's tree."""

    def leaves(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Index, data and hash of the leaves [start, end)."""
        ...


@dataclass(slots=True)
class Complete:
    """What the list showed: leaves in all, and lab documents of the site that are not inside.

    Those have no entry in the month, by the gateway's word: a leaf names a document, not its days.
    ``batches`` are first and last number of each agent of the site in the log; ``sequence`` its batches as
    (leaf, agent, number) and ``days`` its records of closed days as (leaf, day), both in the log's order.
    """

    leaves: int = 0
    other_lab: set[str] = field(default_factory=set)
    batches: dict[str, tuple[int, int]] = field(default_factory=dict)
    sequence: list[tuple[int, str, int]] = field(default_factory=list)
    days: list[tuple[int, str]] = field(default_factory=list)


def pack(log: Log, size: int) -> dict[str, bytes]:
    """The list up to a checkpoint's size, unless it is too long."""
    if size > MOST_LEAVES:
        return {}
    content = b"".join(
        len(leaf).to_bytes(_LENGTH_BYTES, "big") + leaf for _, leaf, _ in log.leaves(0, size)
    )
    return {FILE: content}


def check(bundle: Bundle, head: Head, site: str, known: Mapping[str, bytes]) -> Complete | None:
    """What the list of leaves proves; None when there is none inside.

    Args:
        bundle: as read.
        head: of the checkpoint whose signature was checked.
        site: the plant.
        known: leaf data of all that the bundle holds, by name.

    Raises:
        BundleError: the list is not the checkpoint's, or holds what the bundle leaves out.
    """
    if FILE not in bundle.files:
        return None
    every = list(_leaves(bundle.files[FILE]))
    root = merkle.root([merkle.leaf_hash(leaf) for leaf in every])
    if (len(every), root) != (head.size, head.root):
        message = f"{FILE}: {len(every)} leaves that do not give the root of log/checkpoint"
        raise BundleError(message)
    found, ours = Complete(len(every)), set(known.values())
    batches = {tuple(cbor.decode(leaf)[2:4]) for leaf in ours if cbor.decode(leaf)[0] == "batch"}
    labs = {cbor.decode(leaf)[2] for leaf in ours if cbor.decode(leaf)[0] == "lab"}
    for place, leaf in enumerate(every):
        plain = cbor.decode(leaf)
        if plain[:2] == ["batch", site]:
            _count(found.batches, plain[2], plain[3])
            found.sequence.append((place, plain[2], plain[3]))
        elif plain[:2] == [KIND, site]:
            found.days.append((place, plain[2]))
        if leaf not in ours:
            _judge(plain, site, (batches, labs), (place, found))
    return found


def _count(batches: dict[str, tuple[int, int]], agent: str, seq: int) -> None:
    low, high = batches.get(agent, (seq, seq))
    batches[agent] = (min(low, seq), max(high, seq))


def check_stretch(
    found: Complete, ranges: Sequence[BatchRange], month: tuple[int, int], aside: IsAside
) -> list[str]:
    """That no batch of the month was cut off at either end; gives agents without any batch.

    Args:
        found: what the list of leaves showed.
        ranges: the batches of the bundle.
        month: its first moment and the one after its last [ns UTC].
        aside: whether a batch is in no sum; one that is proves no time.

    Raises:
        BundleError: the log holds more of an agent, and the bundle does not reach out of the month.
    """
    start_ns, end_ns = month
    for one in ranges:
        low, high = found.batches.get(one.agent, (one.first_seq, one.last_seq))
        ends_before = one.first_end_ns < start_ns and not aside(one.agent, one.first_seq)
        begins_after = one.last_start_ns >= end_ns and not aside(one.agent, one.last_seq)
        if low < one.first_seq and not ends_before:
            message = (
                f"the log holds batches of {one.agent} before batch {one.first_seq}, left out here, "
                "which does not end before the month"
            )
            raise BundleError(message)
        if high > one.last_seq and not begins_after:
            message = (
                f"the log holds batches of {one.agent} after batch {one.last_seq}, left out here, "
                "which does not begin after the month"
            )
            raise BundleError(message)
    return sorted(found.batches.keys() - {one.agent for one in ranges})


def _judge(
    leaf: Any,
    site: str,
    inside: tuple[set[tuple[Any, ...]], set[Any]],
    where: tuple[int, Complete],
) -> None:
    """Refuse a leaf that the bundle should hold; ``inside`` names its batches and lab documents."""
    (kind, of, *rest), (place, found) = leaf, where
    batches, labs = inside
    if of != site:
        return
    if kind in FOLDERS:
        message = (
            f"the log holds {kind} of {rest[0]} version {rest[1]} (leaf {place}), left out here"
        )
    elif kind == "batch" and tuple(rest[:2]) in batches:
        message = f"the log holds another batch {rest[1]} of {rest[0]} (leaf {place})"
    elif kind == "lab" and rest[0] in labs:
        message = f"the log holds lab {rest[0]} version {rest[1]} (leaf {place}), left out here"
    else:
        if kind == "lab":
            found.other_lab.add(rest[0])
        return
    raise BundleError(message)


def _leaves(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[start - _LENGTH_BYTES : start], "big")
        if at > len(content):
            message = f"{FILE}: the last leaf is cut off"
            raise BundleError(message)
        yield content[start:at]
