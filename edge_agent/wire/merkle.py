"""The Merkle tree of RFC 6962 section 2.1: hashing, inclusion, consistency, many leaves at once.

Pure. A tree is given by ``node(level, place)``: the hash of the complete subtree over the
leaves [place * 2^level, (place + 1) * 2^level). Proofs are lists of hashes in the order of the
RFC (leaf to root), so that any implementation of it can check them.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from edge_agent.errors import EvidenceError
from edge_agent.wire import cbor

Node = Callable[[int, int], bytes]
EMPTY_ROOT = hashlib.sha256(b"").digest()
HASH_BYTES = 32
_BATCH_START = bytes.fromhex("85656261746368")
"""How a batch's leaf data begins: array of five, text "batch"."""


class ProofError(ValueError):
    """A proof does not prove what it should."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 of 0x00 and the leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The Merkle tree hash over leaf hashes; SHA-256 of nothing for an empty tree.

    Works level by level: pairing neighbours and carrying an odd last node up gives the same
    tree as the recursive split at the largest power of two.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def batch_leaf(site: str, agent: str, seq: int, sha256: bytes) -> bytes:
    """Leaf data of a batch: the deterministic CBOR array ["batch", site, agent, seq, hash]."""
    return cbor.encode(["batch", site, agent, seq, sha256])


def batch_of(leaf: bytes) -> tuple[str, str, int] | None:
    """Site, agent and number of the batch that a leaf's data is about; None for another leaf's."""
    if not leaf.startswith(_BATCH_START):
        return None
    try:
        _, site, agent, seq, _ = cbor.decode(leaf)
    except (EvidenceError, ValueError):
        return None
    return site, agent, seq


def document_leaf(kind: str, site: str, id_: str, version: int, sha256: bytes) -> bytes:
    """Leaf data of any other document: ["config", site, id, version, hash]."""
    return cbor.encode([kind, site, id_, version, sha256])


def range_root(start: int, end: int, node: Node) -> bytes:
    """Hash of the leaves [start, end); ``start`` is a multiple of a power of two >= end - start."""
    if start == end:
        return EMPTY_ROOT
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(width)
    return node_hash(range_root(start, middle, node), range_root(middle, end, node))


def inclusion(index: int, size: int, node: Node) -> list[bytes]:
    """Path from leaf ``index`` to the root of the first ``size`` leaves (RFC 6962 2.1.1).

    Requires 0 <= index < size.
    """
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(start, middle, node))
            start = middle
    return path[::-1]


def consistency(old: int, new: int, node: Node) -> list[bytes]:
    """Proof that the first ``old`` of ``new`` leaves are unchanged (RFC 6962 2.1.2).

    Requires 0 < old <= new.
    """
    path: list[bytes] = []
    start, end, is_whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(start, middle, node))
            start, is_whole = middle, False
    if not is_whole:
        path.append(range_root(start, end, node))
    return path[::-1]


def root_by_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion path gives for a leaf hash (RFC 9162 2.1.3.2).

    Raises:
        ProofError: the path's length or a hash's does not fit index and size.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} of {size}")
    _check(path)
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError("the inclusion path is too long")
        if place % 2 or place == last:
            found = node_hash(sibling, found)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the inclusion path is too short")
    return found


def check_consistency(
    old: tuple[int, bytes], new: tuple[int, bytes], path: Sequence[bytes]
) -> None:
    """Check that the tree ``new`` (size, root) grew out of ``old`` (RFC 9162 2.1.4.2).

    Raises:
        ProofError: it did not, or the path does not fit.
    """
    (old_size, old_root), (new_size, new_root) = old, new
    _check(path)
    if not 0 < old_size <= new_size:
        raise ProofError(f"a tree of {new_size} leaves cannot follow one of {old_size}")
    if old_size == new_size:
        if path or old_root != new_root:
            raise ProofError("two roots of one size")
        return
    hashes = list(path)
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise ProofError("the consistency path is too short")
    roots = _roots_by_consistency(old_size - 1, new_size - 1, hashes)
    if roots != (old_root, new_root):
        raise ProofError(f"the tree of {new_size} leaves does not hold the one of {old_size}")


def _roots_by_consistency(place: int, last: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    while place % 2:
        place, last = place >> 1, last >> 1
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofError("the consistency path is too long")
        if place % 2 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the consistency path is too short")
    return before, after


def many(indexes: Sequence[int], size: int, node: Node) -> list[bytes]:
    """The hashes that, with the leaves at these rising indexes, give the root of ``size`` leaves.

    They stand from left to right, each the largest subtree without one of the leaves.
    """
    return list(_missing(sorted(set(indexes)), 0, size, node)) if size else []


def root_by_many(leaves: Mapping[int, bytes], size: int, hashes: Sequence[bytes]) -> bytes:
    """The root that ``many`` and leaf hashes by index give.

    Raises:
        ProofError: an index beyond the size, or too few or too many hashes.
    """
    _check(hashes)
    if not leaves or min(leaves) < 0 or max(leaves) >= size:
        raise ProofError("a leaf's index lies outside the tree")
    rest = iter(hashes)
    found = _rebuilt(sorted(leaves), leaves, (0, size), rest)
    if next(rest, None) is not None:
        raise ProofError("too many hashes")
    return found


def _missing(indexes: Sequence[int], start: int, end: int, node: Node) -> Iterator[bytes]:
    if not indexes:
        yield range_root(start, end, node)
    elif end - start > 1:
        middle = start + _split(end - start)
        cut = bisect_left(indexes, middle)
        yield from _missing(indexes[:cut], start, middle, node)
        yield from _missing(indexes[cut:], middle, end, node)


def _rebuilt(
    indexes: Sequence[int],
    leaves: Mapping[int, bytes],
    span: tuple[int, int],
    rest: Iterator[bytes],
) -> bytes:
    start, end = span
    if not indexes:
        found = next(rest, None)
        if found is None:
            raise ProofError("too few hashes")
        return found
    if end - start == 1:
        return leaves[start]
    middle = start + _split(end - start)
    cut = bisect_left(indexes, middle)
    left = _rebuilt(indexes[:cut], leaves, (start, middle), rest)
    return node_hash(left, _rebuilt(indexes[cut:], leaves, (middle, end), rest))


def _split(width: int) -> int:
    """The largest power of two below a width of at least 2."""
    return 1 << (width - 1).bit_length() - 1


def _check(hashes: Sequence[bytes]) -> None:
    if any(type(item) is not bytes or len(item) != HASH_BYTES for item in hashes):
        raise ProofError("a proof is a list of 32-byte hashes")
