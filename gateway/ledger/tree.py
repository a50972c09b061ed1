"""The one growing Merkle tree over everything signed that the ledger holds, and its checkpoints.

A leaf is added in the transaction that adds its document, so tree and documents cannot part. Of
the inner nodes only complete subtrees are stored (one for each leaf on average), with the leaf
that completes them; roots and proofs of any size come from them by O(log n) look-ups.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import StoreError
from edge_agent.wire import merkle
from edge_agent.wire.merkle import HASH_BYTES
from gateway.ledger import schema

_PAGE = "SELECT position, leaf, hash FROM leaves WHERE position BETWEEN ? AND ? ORDER BY position"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement of the tree's size and root, as text: when, and by which raw key."""

    size: int
    root: bytes
    at_ns: int
    note: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time-stamp token of a checkpoint: whose, when it was got, request and response in DER."""

    size: int
    authority: str
    at_ns: int
    request: bytes
    response: bytes


class Tree:
    """The tree; belongs to one open ledger and is used by its thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def append(self, leaf: bytes) -> int:
        """Add a leaf's data inside an open transaction; gives its index."""
        return self.extend([leaf])

    def extend(self, leaves: Sequence[bytes]) -> int:
        """Add the data of several leaves inside an open transaction; gives the first one's index."""
        first = self.size()
        hashes: dict[tuple[int, int], bytes] = {}
        rows: list[tuple[int, bytes, bytes, bytes]] = []
        for index, leaf in enumerate(leaves, first):
            own = found = hashes[0, index] = merkle.leaf_hash(leaf)
            completed, level, place = b"", 0, index
            while place % 2:
                left = hashes.get((level, place - 1)) or self.node(level, place - 1)
                found, level, place = merkle.node_hash(left, found), level + 1, place >> 1
                hashes[level, place] = found
                completed += found
            rows.append((index, leaf, own, completed))
        self._db.executemany("INSERT INTO leaves VALUES (?, ?, ?, ?)", rows)
        return first

    def size(self) -> int:
        """Number of leaves."""
        return int(self._all("SELECT coalesce(max(position) + 1, 0) FROM leaves")[0][0])

    def root(self, size: int | None = None) -> bytes:
        """Root over the first ``size`` leaves, all of them when None."""
        return merkle.range_root(0, self.size() if size is None else size, self.node)

    def node(self, level: int, place: int) -> bytes:
        """Hash of a complete subtree.

        Raises:
            StoreError: the ledger lacks it.
        """
        last = ((place + 1) << level) - 1
        rows = self._all("SELECT hash, completed FROM leaves WHERE position = ?", last)
        found = b""
        if rows and level == 0:
            found = rows[0][0]
        elif rows and rows[0][1] is not None:
            found = rows[0][1][(level - 1) * HASH_BYTES : level * HASH_BYTES]
        elif rows:  # of a ledger from before, which keeps its nodes in a table
            rows = self._all("SELECT hash FROM nodes WHERE level = ? AND place = ?", level, place)
            found = rows[0][0] if rows else b""
        if len(found) != HASH_BYTES:
            message = f"ledger: the tree lacks node {place} of level {level}"
            raise StoreError(message)
        return bytes(found)

    def index_of(self, leaf: bytes) -> int | None:
        """Where a leaf's data stands; None when it is not in the tree."""
        hash_ = merkle.leaf_hash(leaf)
        place = merkle.batch_of(leaf)
        if place is None:
            found = self._all(
                "SELECT position FROM leaves WHERE hash = ? AND leaf = ?"
                " AND substr(leaf, 1, 7) != x'85656261746368'",
                hash_,
                leaf,
            )
        else:
            found = self._all(
                "SELECT position FROM leaves WHERE hash = ? AND leaf = ? AND position = ("
                "SELECT id - 1 FROM batches WHERE site = ? AND agent = ? AND seq = ?)",
                hash_, leaf, *place,
            ) or self._all("SELECT position FROM leaves WHERE hash = ? AND leaf = ?", hash_, leaf)  # fmt: skip
        return int(found[0][0]) if found else None

    def leaves(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Index, data and stored hash of the leaves [start, end)."""
        page = 1_000
        end = self.size() if end is None else end
        while start < end:
            last = min(start + page, end) - 1
            yield from self._all(_PAGE, start, last)
            start = last + 1

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Path from a leaf to the root of the first ``size`` leaves."""
        return merkle.inclusion(index, size, self.node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of ``new`` leaves grew out of the one of ``old``."""
        return merkle.consistency(old, new, self.node)

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; durable on return. The first one of a size stays."""
        row = (
            checkpoint.size, checkpoint.root, checkpoint.at_ns, checkpoint.note, checkpoint.key
        )  # fmt: skip
        self._all("INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?, ?, ?)", *row)

    def add_cosignature(self, size: int, witness: str, line: str) -> None:
        """Keep a witness's signature line for a checkpoint; durable on return."""
        self._all("INSERT OR IGNORE INTO cosignatures VALUES (?, ?, ?)", size, witness, line)

    def checkpoint(self, at_most: int | None = None) -> Checkpoint | None:
        """The newest checkpoint (of at most a size); None before the first."""
        rows = self._all(
            "SELECT size, root, at_ns, note, key FROM checkpoints WHERE size <= ?"
            " ORDER BY size DESC LIMIT 1",
            2**62 if at_most is None else at_most,
        )
        return Checkpoint(*rows[0]) if rows else None

    def checkpoints(self, size: int = 0) -> list[Checkpoint]:
        """All checkpoints of at least a size, oldest first."""
        query = "SELECT size, root, at_ns, note, key FROM checkpoints WHERE size >= ? ORDER BY size"
        return [Checkpoint(*row) for row in self._all(query, size)]

    def size_before(self, at_ns: int) -> int:
        """Size of the last checkpoint that was made before a time [ns UTC]; 0 when there is none."""
        query = "SELECT coalesce(max(size), 0) FROM checkpoints WHERE at_ns < ?"
        return int(self._all(query, at_ns)[0][0])

    def has_closed_day(self, size: int) -> bool:
        """Whether a checkpoint of at least a size closes a plant day."""
        query = "SELECT 1 FROM checkpoints WHERE size >= ? AND instr(note, ?) LIMIT 1"
        return bool(self._all(query, size, "\nday "))

    def cosignatures(self, size: int) -> list[str]:
        """Signature lines of the witnesses of a checkpoint, by name."""
        query = "SELECT line FROM cosignatures WHERE size = ? ORDER BY witness"
        return [line for (line,) in self._all(query, size)]

    def add_stamp(self, stamp: Stamp) -> None:
        """Keep a checkpoint's time-stamp token; durable on return. The first one stays."""
        row = (stamp.size, stamp.authority, stamp.at_ns, stamp.request, stamp.response)
        self._all("INSERT OR IGNORE INTO timestamps VALUES (?, ?, ?, ?, ?)", *row)

    def stamps(self, first: int = 0, last: int = 2**62) -> list[Stamp]:
        """Time-stamp tokens of the checkpoints of these sizes, both included, in order."""
        query = (
            "SELECT size, authority, at_ns, request, response FROM timestamps"
            " WHERE size BETWEEN ? AND ? ORDER BY size, authority"
        )
        return [Stamp(*row) for row in self._all(query, first, last)]

    def stamped(self, authority: str) -> Checkpoint | None:
        """The newest checkpoint with a token of this authority."""
        rows = self._all("SELECT max(size) FROM timestamps WHERE authority = ?", authority)
        return None if rows[0][0] is None else self.checkpoint(rows[0][0])

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with schema.stored():
            return self._db.execute(query, values).fetchall()
