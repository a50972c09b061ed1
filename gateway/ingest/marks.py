"""What an accepted batch is marked with: its clocks, its receive time, the log it saw.

A mark is a flag in the ledger and an alarm, never a refusal.
"""

from dataclasses import dataclass, field

from edge_agent.clock import NS_PER_S
from edge_agent.errors import LogConflict
from edge_agent.wire import clock_rules
from edge_agent.wire.batch import Batch, VerifiedBatch
from gateway.ingest.cadence import Allowance
from gateway.ledger import Tree
from gateway.trust.closed_months import FLAG, ClosedMonths


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits; None switches a flag off (where the gateway's clock says nothing of the plant's)."""

    hold_batches: int = 1_000
    hold_bytes: int = 67_108_864
    late_after_s: int | None = 3_600
    future_after_s: int | None = 300
    clock_drift_ppm: int | None = 500
    key_grace_days: int = 45
    allowance: Allowance = field(default_factory=Allowance)

    def paid_to_ns(self, last_ns: int, received_ns: int) -> int:
        """Up to when a batch earns something: its last time, but not far ahead of our clock [ns]."""
        if self.future_after_s is None:
            return last_ns
        return min(last_ns, received_ns + self.future_after_s * NS_PER_S)


class Marks:
    """What one agent's next batch is held against besides the chain."""

    def __init__(
        self, tree: Tree, policy: Policy, last: Batch | None, months: ClosedMonths
    ) -> None:
        """Go on from the agent's last batch in the ledger, None before the first."""
        self._tree = tree
        self._months = months
        self._policy = policy
        self._clock = clock_rules.mark(last) if last else None
        self._log = last.log if last else None

    def flags(self, verified: VerifiedBatch, received_ns: int) -> tuple[str, ...]:
        """The marks that the agent's next batch gets; nothing is remembered yet.

        Raises:
            StoreError: the ledger cannot be read now.
        """
        if any(flag.startswith("body_") for flag in verified.flags):
            return ()
        batch = verified.batch
        found = (
            *self._time_flags(batch, received_ns),
            *self._clock_flags(batch),
            *self._log_flags(batch),
            *((FLAG,) if self._months.late_for(batch) else ()),
        )
        return tuple(dict.fromkeys(found))

    def follow(self, verified: VerifiedBatch) -> None:
        """Remember the batch as the agent's last one: it is accepted."""
        if any(flag.startswith("body_") for flag in verified.flags):
            return
        self._clock = clock_rules.following(self._clock, verified.batch)
        self._log = verified.batch.log or self._log

    def news_of_log(self) -> tuple[str | None, tuple[bytes, ...] | None]:
        """The newest checkpoint, when the last batch does not carry it, and its proof from there."""
        newest = self._tree.checkpoint()
        seen = self._log[0] if self._log else 0
        if newest is None or newest.size <= seen:
            return None, None
        if seen == 0:
            return newest.note, None
        return newest.note, tuple(self._tree.consistency(seen, newest.size))

    def _time_flags(self, batch: Batch, received_ns: int) -> list[str]:
        behind_ns = received_ns - batch.last_ns
        late, future = self._policy.late_after_s, self._policy.future_after_s
        flags = []
        if late is not None and behind_ns > late * NS_PER_S:
            flags.append("late")
        if future is not None and -behind_ns > future * NS_PER_S:
            flags.append("clock_future")
        return flags

    def _clock_flags(self, batch: Batch) -> tuple[str, ...]:
        drift_ppm, before = self._policy.clock_drift_ppm, self._clock
        flags = clock_rules.own_flags(batch, drift_ppm)
        if drift_ppm is not None and before is not None:
            flags += clock_rules.chain_flags(before, batch, drift_ppm)
        return flags

    def _log_flags(self, batch: Batch) -> tuple[str, ...]:
        """Whether the head of the log that the agent saw is one of this log."""
        seen = batch.log
        if seen is None or seen == self._log:
            return ()
        is_ours = seen[0] <= self._tree.size() and self._tree.root(seen[0]) == seen[1]
        return () if is_ours else (LogConflict.reason,)
