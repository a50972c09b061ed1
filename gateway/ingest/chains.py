"""Where each agent stands: its chain's head, what waits, its clocks, its account."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.errors import EvidenceError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.batch import Batch, VerifiedBatch
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import KeyRing
from gateway.ingest.cadence import Cadence
from gateway.ingest.hold import Hold
from gateway.ingest.marks import Marks, Policy
from gateway.ledger import Ledger
from gateway.trust.closed_months import ClosedMonths

Source = tuple[str, str]
"""Site and agent."""


@dataclass(slots=True)
class Chain:
    """One agent's place: the head with what is not committed yet, and what waits."""

    source: Source
    head: ChainHead
    held: Hold
    hash_at: Callable[[int], bytes | None]
    marks: Marks
    cadence: Cadence


class Chains:
    """All agents' places, read from the ledger when first asked for."""

    def __init__(self, ledger: Ledger, keys: KeyRing, policy: Policy, clock: Clock) -> None:
        self.fresh_hashes: dict[tuple[Source, int], bytes] = {}
        self.fresh_configs: set[tuple[Source, bytes]] = set()
        self._ledger = ledger
        self._keys = keys
        self._policy = policy
        self._clock = clock
        self._months = ClosedMonths(ledger)
        self._chains: dict[Source, Chain] = {}

    def __iter__(self) -> Iterator[Chain]:
        return iter(self._chains.values())

    def of(self, source: Source) -> Chain:
        """An agent's place."""
        chain = self._chains.get(source)
        if chain is None:

            def hash_at(seq: int) -> bytes | None:
                fresh = self.fresh_hashes.get((source, seq))
                return fresh or self._ledger.hash_at(*source, seq)

            head = self._ledger.head(*source)
            last = self._last_batch(source, head.seq)
            marks = Marks(self._ledger.tree, self._policy, last, self._months)
            held = Hold(self._policy.hold_batches, self._policy.hold_bytes)
            cadence = Cadence(
                self._policy.allowance, last.last_ns if last else None, self._clock.monotonic_ns()
            )
            chain = Chain(source, head, held, hash_at, marks, cadence)
            self._chains[source] = chain
        return chain

    def follow(self, chain: Chain) -> bool:
        """Whether another gateway on this ledger is further; then the chain goes on from there."""
        head = self._ledger.head(*chain.source)
        if head.seq <= chain.head.seq:
            return False
        chain.head = head
        last = self._last_batch(chain.source, head.seq)
        chain.marks = Marks(self._ledger.tree, self._policy, last, self._months)
        return True

    def knows_config(self, verified: VerifiedBatch) -> bool:
        """Whether a batch's configuration came, from its own agent."""
        batch = verified.batch
        source, digest = (batch.site, batch.agent), batch.config_sha256
        if (source, digest) in self.fresh_configs:
            return True
        return self._ledger.config(*source, digest) is not None

    def written(self) -> None:
        """What was fresh stands in the ledger now."""
        self.fresh_hashes.clear()
        self.fresh_configs.clear()

    def _last_batch(self, source: Source, seq: int) -> Batch | None:
        """The newest batch of the ledger; None when there is none or its key is unknown now."""
        for row in self._ledger.batches(*source, seq, seq):
            try:
                return wire_batch.verify(row.raw, *source, self._keys).batch
            except EvidenceError:
                return None
        return None
