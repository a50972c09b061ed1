"""The ledger: append-only evidence in one SQLite file. It is the truth; the store is derived.

Every signed batch stands here with the bytes as received, every configuration message, both
sides of every fork, and what was refused. Triggers forbid to change or delete batches,
configurations, enrolments, forks and documents; who removes the triggers is caught by the chain. A commit
returns after the disk has it (WAL with synchronous=FULL). Readers never wait for the writer.

``append`` runs the chain rules again inside its transaction, so two gateways on one ledger
cannot write two histories: what the other one wrote already is a replay and is skipped.
"""

from gateway.ledger.documents import Document, Draft
from gateway.ledger.entries import (
    Evidence,
    ForkedBatch,
    LedgerRow,
    Overflow,
    QuarantineCount,
    Refusal,
)
from gateway.ledger.tree import Checkpoint, Stamp, Tree
from gateway.ledger.writer import Ledger

__all__ = [
    "Checkpoint",
    "Document",
    "Draft",
    "Evidence",
    "ForkedBatch",
    "Ledger",
    "LedgerRow",
    "Overflow",
    "QuarantineCount",
    "Refusal",
    "Stamp",
    "Tree",
]
