"""Batches that wait in memory for a missing one, a configuration, or an operator."""

from edge_agent.wire.batch import VerifiedBatch


class Hold:
    """Batches of one agent that wait, within limits."""

    def __init__(self, batches: int, size: int) -> None:
        self._limits = (batches, size)
        self._waiting: dict[int, tuple[VerifiedBatch, int]] = {}
        self._size = 0

    def get(self, seq: int) -> tuple[VerifiedBatch, int] | None:
        """The waiting batch with this number, and when it came."""
        return self._waiting.get(seq)

    def contradicts(self, verified: VerifiedBatch) -> bool:
        """Whether other bytes wait under this batch's number."""
        waiting = self._waiting.get(verified.batch.seq)
        return waiting is not None and waiting[0].sha256 != verified.sha256

    def span(self) -> tuple[int, int] | None:
        """Lowest and highest number that wait."""
        return (min(self._waiting), max(self._waiting)) if self._waiting else None

    def put(self, verified: VerifiedBatch, received_ns: int) -> bool:
        """Keep a batch; when full, the highest seqs give way. False: it did not stay itself."""
        seq = verified.batch.seq
        self._waiting[seq] = (verified, received_ns)
        self._size += len(verified.raw)
        while len(self._waiting) > self._limits[0] or self._size > self._limits[1]:
            self.pop(max(self._waiting))
        return seq in self._waiting

    def pop(self, seq: int) -> tuple[VerifiedBatch, int] | None:
        """Take a waiting batch out."""
        entry = self._waiting.pop(seq, None)
        if entry is not None:
            self._size -= len(entry[0].raw)
        return entry

    def clear(self) -> None:
        """Forget everything that waits."""
        self._waiting.clear()
        self._size = 0
