"""How an agent follows the gateway's log, so that every plant is a witness. Pure.

    L1  the first checkpoint seen is taken on trust
    L2  a head that the agent has put into its own signed batches can only be followed by one
        whose proof of consistency with it holds; while the gateway has not acked that batch,
        a newer checkpoint teaches nothing yet
    L3  a smaller tree, or another root of the same size, is another history
    L4  so is a log of another origin than the configured one; who configures another origin
        (a gateway restored without its newest leaves must take one) begins again at L1

Who rewrites the log must therefore also have the signing key of every agent since then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_agent.errors import LogConflict
from edge_agent.wire import cbor, merkle, notes
from edge_agent.wire.notes import NoteKey


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest verified size and root; ``seq`` is the first batch that carries it."""

    origin: str
    size: int
    root: bytes
    seq: int | None = None

    def carried_by(self, seq: int) -> "LogHead":
        """The head after a batch took it along."""
        return self if self.seq is not None else replace(self, seq=seq)

    def dump(self) -> bytes:
        """Bytes for storage."""
        return cbor.encode([self.origin, self.size, self.root, self.seq])

    @classmethod
    def load(cls, stored: bytes | None, origin: str) -> "LogHead | None":
        """The head of this origin that ``dump`` gave; None for nothing or another origin's."""
        found = None if stored is None else cls(*cbor.decode(stored))
        return found if found is not None and found.origin == origin else None


@dataclass(frozen=True, slots=True)
class LogTrust:
    """Which log an agent follows: its origin, and its key where that is pinned."""

    origin: str
    key: NoteKey | None = None


def follow(
    known: LogHead | None,
    acked_seq: int,
    note: str,
    proof: Sequence[bytes] | None,
    trust: LogTrust,
) -> LogHead | None:
    """The newest verified head after an ack that brought a checkpoint.

    Args:
        known: the head so far.
        acked_seq: the ack's ``seq``.
        note: the checkpoint.
        proof: consistency of the head in batch ``acked_seq`` with the checkpoint.
        trust: the log to follow; where no key is pinned the ack's signature speaks for the text.

    Raises:
        LogConflict: the checkpoint contradicts what was verified before.
        BadProfile, BadSignature: not a checkpoint of the pinned log.
    """
    head = notes.verify_checkpoint(note, trust.key) if trust.key else notes.parse(note)[0]
    if head.origin != trust.origin:
        raise LogConflict(f"the checkpoint is of {head.origin!r}, not of {trust.origin!r}")
    if known is None:
        return LogHead(head.origin, head.size, head.root) if head.size else None
    if head.size == known.size:
        if head.root != known.root:
            raise LogConflict(f"two roots of {head.size} leaves")
        return known
    if known.seq is None or acked_seq < known.seq:
        return known
    if proof is None:
        raise LogConflict(f"no proof from {known.size} to {head.size} leaves")
    try:
        merkle.check_consistency((known.size, known.root), (head.size, head.root), proof)
    except merkle.ProofError as error:
        raise LogConflict(str(error)) from error
    return LogHead(head.origin, head.size, head.root)
