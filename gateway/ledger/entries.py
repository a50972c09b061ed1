"""What goes into the ledger and comes out of it."""

from dataclasses import dataclass, field

from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import Verified
from gateway.ledger.documents import Draft


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One accepted batch as it stands in the ledger; ``number`` is its place of arrival."""

    number: int
    site: str
    agent: str
    seq: int
    sha256: bytes
    raw: bytes
    received_ns: int
    first_ns: int
    last_ns: int
    config_sha256: bytes
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is no evidence: why, where it came in, and its bytes.

    ``source`` is the enrolled (site, agent) it is counted for, two empty texts if none.
    """

    reason: str
    topic: str
    message: bytes
    received_ns: int
    source: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Overflow:
    """Messages of one source that are only counted: how many, their bytes, the last one's digest."""

    source: tuple[str, str]
    reason: str
    messages: int
    size: int
    last_ns: int
    last_sha256: bytes


@dataclass(frozen=True, slots=True)
class ForkedBatch:
    """An authentic batch that contradicts the chain whose head stands beside it."""

    batch: VerifiedBatch
    received_ns: int
    head: ChainHead


@dataclass(slots=True)
class Evidence:
    """What one transaction shall make durable."""

    batches: list[tuple[VerifiedBatch, int]] = field(default_factory=list)
    configs: list[tuple[str, str, Verified, int]] = field(default_factory=list)
    forks: list[ForkedBatch] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    overflows: list[Overflow] = field(default_factory=list)
    documents: list[Draft] = field(default_factory=list)

    def __bool__(self) -> bool:
        kinds = (self.batches, self.configs, self.forks, self.refusals, self.overflows)
        return any(kinds) or bool(self.documents)


@dataclass(frozen=True, slots=True)
class QuarantineCount:
    """How often one source was refused for one reason, kept or not."""

    site: str
    agent: str
    reason: str
    messages: int
    size: int
    not_kept: int
