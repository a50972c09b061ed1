"""The ledger against its own roots: every document, leaf, node and checkpoint, one after another.

    A1  every agent's batches are a chain without a hole, each one authentic
    A2  every document has its leaf, and every leaf its document
    A3  every stored hash of leaf and node is what its children give
    A4  every checkpoint is signed, and states the root that the leaves give
    A5  every head of the log that an agent carried in a batch is one of this tree's
    A6  every file that a lab document names is what its digest says
    A7  every site's records of closed days follow one another without a hole, in days and in leaves,
        each under a checkpoint that was made before it

Reads once, in memory that does not grow with the history, as of one moment while a gateway goes on
writing; a finding names the leaf.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from edge_agent.errors import EvidenceError, StoreError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import merkle, notes
from edge_agent.wire.chain import ChainHead, extend
from edge_agent.wire.keys import KeyRing
from edge_agent.wire.notes import NoteKey
from gateway import day_records
from gateway.day_records import KIND, DayRecord
from gateway.ledger.reader import Reader
from gateway.ledger.tree import Tree
from gateway.ledger.writer import config_leaf

_MOST_FINDINGS = 100


@dataclass(slots=True)
class LedgerCheck:
    """What was counted, and what is wrong: one line a finding."""

    batches: int = 0
    leaves: int = 0
    checkpoints: int = 0
    findings: list[str] = field(default_factory=list)

    def find(self, text: str) -> None:
        """Note a finding; beyond a hundred only their number matters."""
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(text)


def check(ledger: Reader, key: NoteKey) -> LedgerCheck:
    """Check the whole ledger.

    Args:
        ledger: the ledger.
        key: the log's key.

    Raises:
        StoreError: the file cannot be read.
    """
    result = LedgerCheck()
    with ledger.snapshot():
        _check(ledger, key, result)
    return result


def _check(ledger: Reader, key: NoteKey, result: LedgerCheck) -> None:
    ring = ledger.key_ring()
    size = ledger.tree.size()
    expected = 0
    for leaf, name in _documents(ledger):
        expected += 1
        if ledger.tree.index_of(leaf) is None:
            result.find(f"{name}: not in the tree as it stands in the ledger")
    for site in ledger.sites():
        for agent in ledger.agents(site):
            expected += _check_chain(ledger, site, agent, ring, result)
    if expected != size:
        result.find(f"{size} leaves for {expected} documents")
    _check_tree(ledger, result)
    _check_checkpoints(ledger, key, result)
    _check_days(ledger, result)
    for sha256, content in ledger.attachments():  # A6
        if hashlib.sha256(content).digest() != sha256:
            result.find(f"attachment {sha256.hex()}: its content has another digest")


def _documents(ledger: Reader) -> Iterator[tuple[bytes, str]]:
    """Leaf data and name of everything but batches."""
    for site, agent, digest, raw in ledger.all_configs():
        yield config_leaf(site, agent, digest, raw), f"{site}/{agent} configuration {digest.hex()}"
    for one in ledger.documents.all():
        sha256 = hashlib.sha256(one.raw).digest()
        leaf = merkle.document_leaf(one.kind, one.site, one.id, one.version, sha256)
        yield leaf, f"{one.site} {one.kind} {one.id} version {one.version}"
    for site, name, version, raw in ledger.all_lab():
        leaf = merkle.document_leaf("lab", site, name, version, hashlib.sha256(raw).digest())
        yield leaf, f"{site} lab {name} version {version}"


def _check_chain(ledger: Reader, site: str, agent: str, ring: KeyRing, result: LedgerCheck) -> int:
    """A1, A5 and the batches' part of A2; gives the number of batches."""
    head, hashes, count = ChainHead(), dict[int, bytes](), 0
    tree, size = ledger.tree, ledger.tree.size()
    seen: tuple[int, bytes] | None = None
    for row in ledger.batches(site, agent):
        count += 1
        name = f"{site}/{agent} batch {row.seq}"
        leaf = merkle.batch_leaf(site, agent, row.seq, hashlib.sha256(row.raw).digest())
        if tree.index_of(leaf) is None:
            result.find(f"{name}: not in the tree as it stands in the ledger")
        try:
            verified = wire_batch.verify(row.raw, site, agent, ring)
            head = extend(head, verified, hashes.get)
        except EvidenceError as error:
            result.find(f"{name}: {error.reason}: {error}")
            head = ChainHead(row.seq, hashlib.sha256(row.raw).digest())
            continue
        log = verified.batch.log
        if log is not None and log != seen:
            seen = log
            if log[0] > size or _root(tree, log[0]) != log[1]:
                result.find(f"{name}: carries a head of {log[0]} leaves that is not this log's")
    result.batches += count
    return count


def _root(tree: Tree, size: int) -> bytes | None:
    """Root of the first leaves; None when a node is missing, which A3 then names."""
    try:
        return tree.root(size)
    except StoreError:
        return None


def _check_tree(ledger: Reader, result: LedgerCheck) -> None:
    """A3: leaves are without a hole, and nodes are what their children give."""
    pending: list[bytes] = []
    for place, (index, leaf, stored) in enumerate(ledger.tree.leaves()):
        found = merkle.leaf_hash(leaf)
        if index != place or found != stored:
            result.find(f"leaf {place}: missing, or its stored hash is not its data's")
            return
        level = 0
        while index % 2:
            found = merkle.node_hash(pending.pop(), found)
            level, index = level + 1, index >> 1  # noqa: PLW2901  climbs the tree
            try:
                kept = ledger.tree.node(level, index)
            except StoreError:
                kept = b""
            if kept != found:
                result.find(f"leaf {place}: node {index} of level {level} is not its children's")
                return
        pending.append(found)
        result.leaves += 1


def _check_checkpoints(ledger: Reader, key: NoteKey, result: LedgerCheck) -> None:
    """A4."""
    size = ledger.tree.size()
    for made in ledger.tree.checkpoints():
        result.checkpoints += 1
        name = f"checkpoint of {made.size} leaves"
        try:
            head = notes.verify_checkpoint(made.note, key)
        except EvidenceError as error:
            result.find(f"{name}: {error}")
            continue
        if made.size > size:
            result.find(f"{name}: the tree has only {size}: its end is missing")
        elif (head.size, head.root) != (made.size, made.root) or _root(
            ledger.tree, made.size
        ) != made.root:
            result.find(f"{name}: its root is not the tree's")


def _check_days(ledger: Reader, result: LedgerCheck) -> None:
    """A7."""
    last: dict[str, DayRecord] = {}
    for document in ledger.documents.all(KIND):
        site = document.site
        name = f"{site} record of day {document.id} version {document.version}"
        one = day_records.readable(document.raw)
        if one is None or (one.site, one.day) != (site, document.id):
            result.find(f"{name}: it is of another day or site, or not readable")
            continue
        index = ledger.tree.index_of(one.leaf)
        for text in day_records.contradictions(last.get(site), one, index):
            result.find(f"{name}: {text}")
        made = ledger.tree.checkpoint(one.size)
        if made is None or (made.size, made.root) != (one.size, one.root):
            result.find(f"{name}: no checkpoint states {one.size} leaves with its root")
        last[site] = one
