"""The log's part of a bundle: that everything signed in it stands in one witnessed tree.

    log/checkpoint       the oldest checkpoint that covers all of it, with its cosignatures
    log/inclusion.cbor   leaf indexes of batches and configurations, and the hashes
                         that with those leaves give the checkpoint's root

``pack`` reads the tree; ``check`` is pure and runs offline.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.wire import cbor, merkle, notes
from edge_agent.wire.notes import Head, NoteKey
from gateway.bundle import Bundle, BundleError
from gateway.day_records import KIND
from gateway.evidence import BatchRange

CHECKPOINT, INCLUSION = "log/checkpoint", "log/inclusion.cbor"


class Log(Protocol):
    """What is needed of the ledger's tree."""

    def index_of(self, leaf: bytes) -> int | None:
        """Where a leaf's data stands."""
        ...

    def node(self, level: int, place: int) -> bytes:
        """Hash of a complete subtree."""
        ...

    def cosignatures(self, size: int) -> list[str]:
        """Signature lines of the witnesses of a checkpoint."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """What the log proves: its head, the key that signed it, how many leaves, who cosigned.

    ``last`` is the highest index of a leaf that the month rests on: not of a day's record, which only
    says what came when.
    """

    head: Head
    key: NoteKey
    leaves: int
    last: int
    witnesses: tuple[str, ...]


def leaves_of(
    site: str, ranges: Sequence[BatchRange], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Leaf data of batches and configurations in a bundle, by a name that is unique in it.

    Raises:
        BundleError: a configuration is missing.
    """
    found: dict[str, bytes] = {}
    for item in ranges:
        for place, sha256 in enumerate(item.hashes):
            seq = item.first_seq + place
            found[f"{item.agent}/{seq}"] = merkle.batch_leaf(site, item.agent, seq, sha256)
        for digest in item.configs:
            name = f"configs/{digest.hex()}.cose"
            if name not in files:
                message = f"{name}: a batch names this configuration, which is missing"
                raise BundleError(message)
            sha256 = hashlib.sha256(files[name]).digest()
            id_ = f"{item.agent}/{digest.hex()}"
            found[id_] = merkle.document_leaf("config", site, id_, 1, sha256)
    return found


def pack(
    log: Log, size: int, note: str, public: bytes, leaves: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files that prove these leaves under a checkpoint.

    Args:
        log: the tree.
        size: the checkpoint's size.
        note: the checkpoint.
        public: the log's raw public key.
        leaves: leaf data by name.

    Raises:
        BundleError: a leaf is not in the tree, or behind the checkpoint.
    """
    indexes: dict[str, int] = {}
    for name, leaf in leaves.items():
        index = log.index_of(leaf)
        if index is None or index >= size:
            message = f"{name} is not in the log's first {size} leaves"
            raise BundleError(message)
        indexes[name] = index
    hashes = merkle.many(sorted(indexes.values()), size, log.node)
    proof = {"key": public, "indexes": list(indexes.values()), "hashes": hashes}
    return {
        CHECKPOINT: (note + "".join(log.cosignatures(size))).encode(),
        INCLUSION: cbor.encode(proof),
    }


def check(
    bundle: Bundle,
    leaves: Mapping[str, bytes],
    key: NoteKey | None,
    witnesses: Sequence[NoteKey] = (),
) -> Checked | None:
    """What the log in a bundle proves; None when there is none inside.

    Args:
        bundle: as read.
        leaves: leaf data by name, as computed from the bundle's verified content.
        key: the log's key, got elsewhere; None takes the one inside.
        witnesses: known witnesses.

    Raises:
        BundleError, ProofError, EvidenceError: the log does not prove these leaves.
    """
    if CHECKPOINT not in bundle.files or INCLUSION not in bundle.files:
        return None
    proof = _proof(bundle.files[INCLUSION], len(leaves))
    note = bundle.files[CHECKPOINT].decode("utf-8")
    stated, lines = notes.parse(note)
    key = key or NoteKey(stated.origin, proof["key"])
    head = notes.verify_checkpoint(note, key)
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves.values()]
    known = dict(zip(proof["indexes"], hashes, strict=True))
    if len(known) != len(hashes):
        message = f"{INCLUSION}: two leaves have one index"
        raise BundleError(message)
    if merkle.root_by_many(known, head.size, proof["hashes"]) != head.root:
        message = f"{INCLUSION}: the leaves do not give the root of {CHECKPOINT}"
        raise BundleError(message)
    cosigned = [one.name for one in witnesses if notes.cosigned_at(head, lines, one) is not None]
    rests_on = (
        index
        for name, index in zip(leaves, proof["indexes"], strict=True)
        if not name.startswith(f"{KIND}/")
    )
    return Checked(head, key, len(leaves), max(rests_on, default=-1), tuple(cosigned))


def indexes(bundle: Bundle, leaves: Mapping[str, bytes]) -> dict[str, int]:
    """Where each leaf stands in the log, by its name, as ``check`` found it proven."""
    return dict(zip(leaves, _proof(bundle.files[INCLUSION], len(leaves))["indexes"], strict=True))


def _proof(content: bytes, count: int) -> dict[str, Any]:
    proof: dict[str, Any] = cbor.decode(content)
    good = (
        type(proof) is dict
        and proof.keys() == {"key", "indexes", "hashes"}
        and type(proof["key"]) is bytes
        and len(proof["key"]) == merkle.HASH_BYTES
        and type(proof["indexes"]) is list
        and type(proof["hashes"]) is list
        and all(type(index) is int for index in proof["indexes"])
    )
    if not good or len(proof["indexes"]) != count:
        message = f"{INCLUSION}: not the proof of the {count} leaves in the bundle"
        raise BundleError(message)
    return proof
