"""Merkle tree hashing of RFC 6962 section 2.1."""

import hashlib
from collections.abc import Sequence

from edge_agent.wire import cbor


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
        return hashlib.sha256(b"").digest()
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
