"""The one place that decides whether a batch is the next legal one of its agent.

Rules (agent start-up, gateway ingest and offline verifier call the same ``extend``):

    C1  the first batch has seq 1 and prev of 32 zero bytes
    C2  seq at or below the head with the same hash is a replay: already kept
    C3  seq at or below the head with another hash is a fork
    C4  seq beyond the head's successor leaves a gap
    C5  the successor's prev must be the head's hash, else it is a fork
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import Fork, Gap, Replay
from edge_agent.wire.batch import VerifiedBatch

ZERO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Last accepted batch of an agent: its number and the hash of its signed bytes."""

    seq: int = 0
    sha256: bytes = ZERO_HASH


def extend(
    head: ChainHead, batch: VerifiedBatch, hash_at: Callable[[int], bytes | None]
) -> ChainHead:
    """The head after this batch.

    Args:
        head: the chain so far; ``ChainHead()`` before the first batch (C1).
        batch: a verified batch of the same agent.
        hash_at: hash of the accepted batch with a given seq, None when not known.

    Raises:
        Replay, Fork, Gap: by rules C2 to C5.
    """
    seq = batch.batch.seq
    if seq <= head.seq:
        if hash_at(seq) == batch.sha256:  # C2
            message = f"batch {seq} is already accepted"
            raise Replay(message)
        message = f"another batch {seq} is already accepted"  # C3
        raise Fork(message)
    if seq > head.seq + 1:  # C4
        message = f"batch {seq} arrived, {head.seq + 1} is next"
        raise Gap(message)
    if batch.batch.prev != head.sha256:  # C1, C5
        message = f"batch {seq} does not follow the accepted batch {head.seq}"
        raise Fork(message)
    return ChainHead(seq, batch.sha256)
