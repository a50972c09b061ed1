"""The writing side of the ledger."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import Replay
from edge_agent.wire import merkle
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.chain import ChainHead, extend
from edge_agent.wire.cose import Verified
from edge_agent.wire.keys import Enrolment
from gateway.ledger import lab, packing, schema
from gateway.ledger.entries import Evidence, ForkedBatch, Overflow, Refusal
from gateway.ledger.reader import Reader

_QUARANTINED_BYTES = 4_096
_TOPIC_CHARACTERS = 200
_HOUR_NS = 3_600 * 10**9


def config_leaf(site: str, agent: str, digest: bytes, raw: bytes) -> bytes:
    """Leaf of a configuration message: its id is ``agent/digest``, its version always 1."""
    sha256 = hashlib.sha256(raw).digest()
    return merkle.document_leaf("config", site, f"{agent}/{digest.hex()}", 1, sha256)


class Ledger(Reader):
    """Evidence of all agents of an installation; one object per thread and process."""

    def __init__(
        self,
        path: Path,
        *,
        quarantine_messages: int = 10_000,
        quarantine_per_topic: int = 1_000,
        quarantine_per_hour: int = 100,
    ) -> None:
        super().__init__(path)
        self._packer = packing.Packer()
        self._limits = (quarantine_messages, quarantine_per_topic, quarantine_per_hour)
        if not self.tree.size():
            with schema.transaction(self._db):
                self._plant()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Until the end everything added here is one step, all or nothing, durable on leaving.

        Raises:
            StoreError: the file cannot be written now.
        """
        with self._packer.forgetting(), schema.transaction(self._db):
            yield

    def append(self, entries: Sequence[tuple[VerifiedBatch, int]]) -> None:
        """Add batches with their receive times, all or none, durable on return.

        Raises:
            Fork, Gap: a batch is not its agent's next one (one already there is skipped).
            StoreError: the file cannot be written now.
        """
        self.write(Evidence(batches=list(entries)))

    def write(self, evidence: Evidence) -> None:
        """Add evidence of every kind in one transaction; a fork also freezes its agent."""
        with self._packer.forgetting(), schema.transaction(self._db):
            for site, agent, config, received_ns in evidence.configs:
                self._insert_config(site, agent, config, received_ns)
            self._insert_batches(evidence.batches)
            for fork in evidence.forks:
                self._insert_fork(fork)
            for draft in evidence.documents:
                self.documents.add(draft)
            for refusal in evidence.refusals:
                self._insert_refusal(refusal)
            for overflow in evidence.overflows:
                self._count(overflow, not_kept=overflow.messages)

    def add_config(self, site: str, agent: str, config: Verified, received_ns: int) -> None:
        """Add a signed configuration under the digest of its payload; known ones stay."""
        self.write(Evidence(configs=[(site, agent, config, received_ns)]))

    def add_lab(
        self, place: tuple[str, str, int], raw: bytes, spki: bytes, received_ns: int
    ) -> None:
        """Add a signed lab document under (site, name, version).

        Raises:
            StoreError: this version is there already, or the file cannot be written now.
        """
        site, name, version = place
        leaf = merkle.document_leaf("lab", site, name, version, hashlib.sha256(raw).digest())
        with schema.transaction(self._db):
            lab.add(self._db, place, raw, spki, received_ns)
            self.tree.append(leaf)

    def add_attachment(self, content: bytes, received_ns: int) -> None:
        """Keep a file that a lab document names by its digest; a known one stays."""
        lab.add_attachment(self._db, content, received_ns)

    def quarantine(self, refusal: Refusal) -> None:
        """Keep the beginning of a refused message while there is room; count it always."""
        self.write(Evidence(refusals=[refusal]))

    def enrol(self, enrolments: Sequence[Enrolment]) -> None:
        """Remember public keys, so that the ledger can be verified when the file forgot them."""
        with schema.transaction(self._db):
            for one in enrolments:
                key = (one.public.kid, one.site, one.agent)
                if not self._exists("enrolments", "kid = ? AND site = ? AND agent = ?", key):
                    self._db.execute(
                        "INSERT INTO enrolments VALUES (?, ?, ?, ?)", (*key, one.public.spki)
                    )

    def freeze(self, site: str, agent: str, at_ns: int, reason: str) -> None:
        """Accept nothing new of this agent until an operator releases it."""
        with schema.transaction(self._db):
            self._insert_freeze(site, agent, at_ns, reason, frozen=True)

    def release(self, site: str, agent: str, at_ns: int, reason: str) -> None:
        """An operator's decision that the agent may go on; stays on record."""
        with schema.transaction(self._db):
            self._insert_freeze(site, agent, at_ns, reason, frozen=False)

    def _insert_batches(self, entries: Sequence[tuple[VerifiedBatch, int]]) -> None:
        heads: dict[tuple[str, str], ChainHead] = {}
        fresh: dict[tuple[str, str, int], bytes] = {}
        rows: list[tuple[object, ...]] = []
        first_id = self.tree.size() + 1
        for verified, received_ns in entries:
            batch = verified.batch
            site, agent = source = (batch.site, batch.agent)
            head = heads.get(source) or self.head(site, agent)

            def hash_at(seq: int, site: str = site, agent: str = agent) -> bytes | None:
                return fresh.get((site, agent, seq)) or self.hash_at(site, agent, seq)

            try:
                heads[source] = extend(head, verified, hash_at)
            except Replay:
                continue
            id_ = first_id + len(rows)
            packed, base = self._packer.pack(source, verified.raw, id_)
            fresh[site, agent, batch.seq] = verified.sha256
            rows.append(
                (id_, site, agent, batch.seq, verified.sha256, packed, received_ns,
                 batch.first_ns, batch.last_ns, batch.config_sha256, " ".join(verified.flags), base)
            )  # fmt: skip
        self.tree.extend([merkle.batch_leaf(*place, sha256) for place, sha256 in fresh.items()])
        self._db.executemany(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
        )

    def _plant(self) -> None:
        """Give a ledger from before there was a tree its leaves, in order of arrival."""
        if self._all("SELECT 1 FROM batches LIMIT 1", ()):  # whose numbers lead to no leaf
            self._db.execute("CREATE INDEX IF NOT EXISTS leaves_by_hash ON leaves (hash)")
        for digest, site, agent, raw in self._all(
            "SELECT digest, site, agent, raw FROM configs ORDER BY rowid", ()
        ):
            self.tree.append(config_leaf(site, agent, digest, raw))
        for site, agent, seq, sha256 in self._all(
            "SELECT site, agent, seq, sha256 FROM batches ORDER BY id", ()
        ):
            self.tree.append(merkle.batch_leaf(site, agent, seq, sha256))
        for one in self.documents.all():
            self.tree.append(
                merkle.document_leaf(one.kind, one.site, one.id, one.version, one.sha256)
            )

    def _insert_config(self, site: str, agent: str, config: Verified, received_ns: int) -> None:
        digest = hashlib.sha256(config.payload).digest()
        if self.config(site, agent, digest) is None:
            self._db.execute(
                "INSERT INTO configs VALUES (?, ?, ?, ?, ?)",
                (digest, site, agent, config.raw, received_ns),
            )
            self.tree.append(config_leaf(site, agent, digest, config.raw))

    def _insert_fork(self, fork: ForkedBatch) -> None:
        batch = fork.batch.batch
        key = (batch.site, batch.agent, batch.seq, fork.batch.sha256)
        if not self._exists("forks", "site = ? AND agent = ? AND seq = ? AND sha256 = ?", key):
            self._db.execute(
                "INSERT INTO forks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, fork.batch.raw, fork.received_ns, fork.head.seq, fork.head.sha256),
            )
            reason = f"fork at {batch.seq}"
            self._insert_freeze(batch.site, batch.agent, fork.received_ns, reason, frozen=True)

    def _insert_freeze(
        self, site: str, agent: str, at_ns: int, reason: str, *, frozen: bool
    ) -> None:
        self._db.execute(
            "INSERT INTO freezes (site, agent, at_ns, frozen, reason) VALUES (?, ?, ?, ?, ?)",
            (site, agent, at_ns, int(frozen), reason),
        )

    def _insert_refusal(self, refusal: Refusal) -> None:
        topic, size = refusal.topic[:_TOPIC_CHARACTERS], len(refusal.message)
        sha256 = hashlib.sha256(refusal.message).digest()
        kept = self._exists("quarantine", "topic = ? AND sha256 = ?", (topic, sha256))
        if not kept and self._has_room(topic, refusal.received_ns):
            kept = True
            self._db.execute(
                "INSERT INTO quarantine (reason, topic, head, sha256, size, received_ns)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (refusal.reason, topic, refusal.message[:_QUARANTINED_BYTES], sha256, size,
                 refusal.received_ns),
            )  # fmt: skip
        at_ns, one = refusal.received_ns, (1, size)
        counted = Overflow(refusal.source, refusal.reason, *one, at_ns, sha256)
        self._count(counted, not_kept=int(not kept))

    def _count(self, these: Overflow, *, not_kept: int) -> None:
        self._db.execute(
            "INSERT INTO quarantine_counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (site, agent, reason) DO UPDATE SET"
            " messages = messages + excluded.messages,"
            " bytes = bytes + excluded.bytes, not_kept = not_kept + excluded.not_kept,"
            " last_ns = excluded.last_ns, last_sha256 = excluded.last_sha256",
            (*these.source, these.reason, these.messages, these.size, not_kept, these.last_ns,
             these.last_sha256),
        )  # fmt: skip

    def _has_room(self, topic: str, now_ns: int) -> bool:
        """Within the limits in all, of the topic, and of the topic in the last hour."""
        total, of_topic, an_hour = self._limits
        (kept,) = self._one("SELECT coalesce(max(id), 0) FROM quarantine", ())
        here, lately = self._one(
            "SELECT count(*), coalesce(sum(received_ns > ? - ?), 0) FROM quarantine WHERE topic = ?",
            (now_ns, _HOUR_NS, topic),
        )
        return bool(kept < total and here < of_topic and lately < an_hour)

    def _exists(self, table: str, condition: str, values: Sequence[object]) -> bool:
        query = f"SELECT 1 FROM {table} WHERE {condition}"  # noqa: S608  both are constants here
        return self._first(query, values) is not None
